use super::world::World;
use crate::Repository;
use regraft_model::Revision;
use regraft_model::git::{History, HistoryError, Relation};

fn subjects(history: &History) -> Vec<&str> {
    history
        .commits
        .iter()
        .map(|commit| commit.subject())
        .collect()
}

fn between(repository: &Repository, from: &Revision, to: &Revision) -> History {
    repository.history(from, to, "apps/web", 100).unwrap()
}

#[test]
fn only_commits_that_changed_the_folder_are_told_oldest_first_with_their_files() {
    let world = World::new();
    let start = world.change("apps/web/a.yaml", b"image: 1\n");
    world.change("apps/other/b.yaml", b"b\n");
    world.write("apps/web/a.yaml", b"image: 2\n");
    world.commit("Use image 2\n\nWhy: news\n\nReviewed-by: Bob\nRegraft-Plan: web-1.1");
    std::fs::remove_file(world.work().join("apps/web/a.yaml")).unwrap();
    world.commit("Remove web");
    world.change("apps/web/a.yaml", b"image: 1\n");
    let end = world.change("README.md", b"read me\n");
    let history = between(&world.repository(), &start, &end);

    assert_eq!(
        subjects(&history),
        ["Use image 2", "Remove web", "Change apps/web/a.yaml"]
    );
    assert_eq!(history.base.files, history.tip.files);
    assert_eq!(
        (&history.base.revision, &history.tip.revision),
        (&start, &end)
    );
    let first = &history.commits[0];
    assert_eq!(first.author, "Ada <ada@example.org>");
    assert_eq!(first.committed_at.to_rfc3339(), "2026-01-01T00:00:00.000Z");
    assert_eq!(first.trailer("regraft-plan"), Some("web-1.1"));
    assert_eq!(first.trailer("Why"), None);
    assert_eq!(first.tree.files["apps/web/a.yaml"].bytes, b"image: 2\n");
    assert_eq!(first.tree.revision, first.revision);
    assert!(history.commits[1].tree.files.is_empty());
    assert_eq!(
        history.commits[2].parent.as_ref(),
        Some(&history.commits[1].revision)
    );
}

#[test]
fn nothing_changed_is_an_empty_history() {
    let world = World::new();
    let start = world.change("apps/web/a.yaml", b"image: 1\n");
    let end = world.change("README.md", b"read me\n");
    let repository = world.repository();
    assert!(between(&repository, &start, &end).commits.is_empty());
    assert!(between(&repository, &end, &end).commits.is_empty());
}

#[test]
fn a_merge_stands_for_the_commits_it_brought() {
    let world = World::new();
    let start = world.change("apps/web/a.yaml", b"image: 1\n");
    world.git(&["checkout", "-q", "-b", "feature"]);
    world.write("apps/web/a.yaml", b"image: 2\n");
    world.git(&["commit", "-qam", "On the feature"]);
    world.git(&["checkout", "-q", "main"]);
    world.change("README.md", b"read me\n");
    world.git(&["merge", "-q", "--no-ff", "-m", "Merge feature", "feature"]);
    world.git(&["push", "-q", "origin", "HEAD:main"]);
    let history = between(&world.repository(), &start, &world.tip("main"));
    assert_eq!(subjects(&history), ["Merge feature"]);
}

#[test]
fn a_pull_that_was_pushed_keeps_to_the_line_of_the_branch() {
    // Ada's merge has her own work as first parent, and what the branch was as second.
    let world = World::new();
    let start = world.change("apps/web/a.yaml", b"image: 1\n");
    let pushed = world.change("apps/web/b.yaml", b"b: 1\n");
    world.git(&["checkout", "-q", "-b", "ada", &start.0]);
    world.write("apps/web/a.yaml", b"image: 2\n");
    world.git(&["commit", "-qam", "Ada's work"]);
    world.git(&[
        "merge",
        "-q",
        "--no-ff",
        "-m",
        "Merge main into ada",
        &pushed.0,
    ]);
    world.git(&["push", "-q", "origin", "HEAD:main"]);
    let history = between(&world.repository(), &pushed, &world.tip("main"));
    assert_eq!(subjects(&history), ["Merge main into ada"]);
    assert_eq!(history.commits[0].parent.as_ref(), Some(&pushed));
    assert_eq!(history.base.files.len(), 2);
}

#[test]
fn a_history_that_cannot_be_told_says_why() {
    let world = World::new();
    let start = world.change("apps/web/a.yaml", b"image: 1\n");
    let lost = world.change("apps/web/a.yaml", b"image: 2\n");
    let mut repository = world.repository();
    world.git(&["reset", "-q", "--hard", &start.0]);
    let mut end = start.clone();
    for image in 3..6 {
        end = world.change("apps/web/a.yaml", format!("image: {image}\n").as_bytes());
    }
    repository.fetch(None).unwrap();
    let absent = Revision("0123456789012345678901234567890123456789".to_owned());
    let ask = |from: &Revision, to: &Revision, limit| {
        repository.history(from, to, "apps/web", limit).unwrap_err()
    };
    assert_eq!(ask(&lost, &end, 10), HistoryError::Rewritten);
    assert_eq!(ask(&absent, &end, 10), HistoryError::Rewritten);
    assert_eq!(ask(&end, &start, 10), HistoryError::Rewritten);
    assert_eq!(ask(&start, &end, 2), HistoryError::TooLong { limit: 2 });
    assert!(matches!(
        ask(&start, &absent, 10),
        HistoryError::Unreadable(_)
    ));
    assert_eq!(
        repository
            .history(&start, &end, "apps/web", 3)
            .unwrap()
            .commits
            .len(),
        3
    );
}

#[test]
fn heads_are_the_same_or_descend_or_were_rewritten() {
    let world = World::new();
    let start = world.change("a", b"1");
    let second = world.change("a", b"2");
    let mut repository = world.repository();
    world.git(&["reset", "-q", "--hard", &start.0]);
    let other = world.change("a", b"3");
    repository.fetch(Some(&second)).unwrap();
    let absent = Revision("0123456789012345678901234567890123456789".to_owned());
    for (from, to, relation) in [
        (&start, &start, Relation::Same),
        (&start, &second, Relation::Descends),
        (&second, &other, Relation::Rewritten),
        (&second, &start, Relation::Rewritten),
        (&absent, &start, Relation::Rewritten),
    ] {
        assert_eq!(
            repository.relation(from, to).unwrap(),
            relation,
            "{from} {to}"
        );
    }
    assert_eq!(
        repository.relation(&start, &absent).unwrap_err().reason(),
        "RevisionMissing"
    );
}
