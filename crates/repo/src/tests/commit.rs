use super::world::{AT, KEY, World, always};
use crate::Permit;
use crate::Repository;
use crate::commit::Prepared;
use crate::push::Order;
use regraft_model::git::{CommitOutcome, CommitRequest};
use regraft_model::source::FileMode;
use regraft_model::{BlobId, Edit, Revision, Timestamp};
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

/// A good and a bad revision of `apps/web`.
fn broken(world: &World) -> (Revision, Revision) {
    let good = world.change("apps/web/a.yaml", b"image: web:1\n");
    let bad = world.change("apps/web/a.yaml", b"image: web:oops\n");
    (good, bad)
}

pub(super) fn committed(outcome: CommitOutcome) -> Revision {
    match outcome {
        CommitOutcome::Committed(revision) => revision,
        other => panic!("{other:?}"),
    }
}

pub(super) fn failed(outcome: CommitOutcome) -> String {
    match outcome {
        CommitOutcome::Failed { reason } => reason,
        other => panic!("{other:?}"),
    }
}

pub(super) fn ready(repository: &mut Repository, request: &CommitRequest) -> Order {
    match repository.prepare(request, AT).unwrap() {
        Prepared::Ready(order) => order,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_repair_restores_every_kind_of_file_byte_for_byte() {
    let world = World::new();
    let all_bytes: Vec<u8> = (0..=255).collect();
    world.write("apps/web/crlf.yaml", b"a: 1\r\n");
    world.write("apps/web/binary", &all_bytes);
    world.write("apps/web/was/deleted.yaml", b"back: true\n");
    world.write("apps/web/prüfung ☂.yaml", b"no newline");
    world.write("apps/web/run.sh", b"#!/bin/sh\n");
    world.write("apps/other/x.yaml", b"x: 1\n");
    let script = world.work().join("apps/web/run.sh");
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    std::os::unix::fs::symlink("crlf.yaml", world.work().join("apps/web/link")).unwrap();
    let good = world.commit("Good");

    world.write("apps/web/crlf.yaml", b"a: 1\n");
    world.write("apps/web/binary", b"text");
    world.write("apps/web/prüfung ☂.yaml", b"newline\n");
    world.write("apps/web/new/file.yaml", b"new: true\n");
    std::fs::remove_dir_all(world.work().join("apps/web/was")).unwrap();
    std::fs::remove_file(world.work().join("apps/web/link")).unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o644)).unwrap();
    world.write("apps/other/x.yaml", b"x: 2\n");
    let bad = world.commit("Bad");

    let mut repository = world.repository();
    let request = world.request(&bad, &good);
    assert_eq!(request.edits.len(), 7);
    let ours = committed(repository.commit(&request, AT, &always()));

    assert_eq!(world.tip("main"), ours);
    assert_eq!(world.there(&["rev-parse", "main~1"]), bad.0);
    assert_eq!(
        world.there(&["rev-parse", "main:apps/web"]),
        world.there(&["rev-parse", &format!("{good}:apps/web")])
    );
    assert_eq!(
        world.there(&["cat-file", "-p", "main:apps/other/x.yaml"]),
        "x: 2"
    );
    world.there(&["fsck", "--strict"]);
    let head = world.there(&[
        "log",
        "-1",
        "--format=%an <%ae>%n%cn <%ce>%n%cI%n%B",
        "main",
    ]);
    insta::assert_snapshot!(head.replace(good.short(), "GOOD"));
    assert_eq!(
        repository.fetch(Some(&ours)).unwrap(),
        crate::Fetched::Unchanged
    );
    assert!(
        repository
            .history(&good, &ours, "apps/web", 10)
            .unwrap()
            .base
            .files
            == repository
                .history(&good, &ours, "apps/web", 10)
                .unwrap()
                .tip
                .files
    );
}

#[test]
fn the_same_request_at_the_same_time_makes_the_same_commit() {
    let (one, two) = (World::new(), World::new());
    let revisions = [&one, &two].map(|world| {
        let (good, bad) = broken(world);
        committed(
            world
                .repository()
                .commit(&world.request(&bad, &good), AT, &always()),
        )
    });
    assert_eq!(revisions[0], revisions[1]);
}

#[test]
fn a_plan_is_committed_once_however_often_it_is_asked_for() {
    let world = World::new();
    let (good, bad) = broken(&world);
    let mut request = world.request(&bad, &good);
    let ours = committed(world.repository().commit(&request, AT, &always()));
    // Another member with its own clone, later.
    let mut config = world.config();
    config.folder = world.folder.path().join("clones/another");
    let mut other = Repository::open(config).unwrap();
    let later = Timestamp(AT.0 + 60_000);
    assert_eq!(
        other.commit(&request, later, &always()),
        CommitOutcome::AlreadyThere(ours.clone())
    );
    // Also after others committed on top, and when it planned again on the new head.
    world.git(&["pull", "-q", "--ff-only", "origin", "main"]);
    let tip = world.change("README.md", b"read me\n");
    request.parent = tip.clone();
    assert_eq!(
        other.commit(&request, later, &always()),
        CommitOutcome::AlreadyThere(ours)
    );
    assert_eq!(world.tip("main"), tip);
}

#[test]
fn the_key_is_found_in_a_merge_and_after_a_rewrite() {
    let world = World::new();
    let (good, bad) = broken(&world);
    let mut repository = world.repository();
    let request = world.request(&bad, &good);
    world.git(&["checkout", "-q", "-b", "side"]);
    world.git(&["commit", "-q", "--allow-empty", "-m", &request.message]);
    let side = Revision(world.git(&["rev-parse", "HEAD"]));
    world.git(&["checkout", "-q", "main"]);
    world.git(&["merge", "-q", "--no-ff", "-m", "Merge side", "side"]);
    world.git(&["push", "-q", "origin", "HEAD:main"]);
    assert_eq!(
        repository.commit(&request, AT, &always()),
        CommitOutcome::AlreadyThere(side)
    );
    // A history without anything we know: the search goes as far as there are commits.
    world.git(&["checkout", "-q", "--orphan", "fresh"]);
    let rewritten = world.commit(&request.message);
    assert_eq!(
        repository.commit(&request, AT, &always()),
        CommitOutcome::AlreadyThere(rewritten)
    );
}

#[test]
fn a_branch_that_moved_before_the_fetch_loses_the_plan() {
    let world = World::new();
    let (good, bad) = broken(&world);
    let mut repository = world.repository();
    let tip = world.change("README.md", b"read me\n");
    let outcome = repository.commit(&world.request(&bad, &good), AT, &always());
    assert_eq!(outcome, CommitOutcome::Lost { tip: tip.clone() });
    assert_eq!(world.tip("main"), tip);
}

#[test]
fn a_branch_that_moved_between_fetch_and_push_loses_the_plan() {
    let world = World::new();
    let (good, bad) = broken(&world);
    let mut repository = world.repository();
    let request = world.request(&bad, &good);
    let order = ready(&mut repository, &request);
    let tip = world.change("README.md", b"read me\n");
    let outcome = repository.deliver(&request, &order, &always()).unwrap();
    assert_eq!(outcome, CommitOutcome::Lost { tip: tip.clone() });
    assert_eq!(world.tip("main"), tip);
}

#[test]
fn a_branch_reset_to_an_ancestor_between_fetch_and_push_is_not_moved() {
    let world = World::new();
    let (good, bad) = broken(&world);
    let mut repository = world.repository();
    let request = world.request(&bad, &good);
    let order = ready(&mut repository, &request);
    // From here our commit is a fast-forward all the same: only the comparison of tips can tell.
    world.there(&["update-ref", "refs/heads/main", &good.0]);
    let outcome = repository.deliver(&request, &order, &always()).unwrap();
    assert_eq!(outcome, CommitOutcome::Lost { tip: good.clone() });
    assert_eq!(world.tip("main"), good);
}

#[test]
fn a_push_that_is_not_wanted_any_more_is_not_made() {
    let world = World::new();
    let (good, bad) = broken(&world);
    let mut repository = world.repository();
    let denied: Permit = Arc::new(|| Err("it was vetoed".to_owned()));
    let reason = failed(repository.commit(&world.request(&bad, &good), AT, &denied));
    assert_eq!(reason, "it was vetoed");
    assert_eq!(world.tip("main"), bad);
}

#[test]
fn a_branch_deleted_between_fetch_and_push_stays_deleted() {
    let world = World::new();
    let (good, bad) = broken(&world);
    let mut repository = world.repository();
    let request = world.request(&bad, &good);
    let order = ready(&mut repository, &request);
    world.there(&["update-ref", "-d", "refs/heads/main"]);
    let error = repository.deliver(&request, &order, &always()).unwrap_err();
    assert_eq!(error.reason(), "BranchMissing");
    assert_eq!(world.there(&["branch", "--list"]), "");
}

#[test]
fn a_later_good_commit_to_other_files_survives_the_plan_on_the_new_head() {
    let world = World::new();
    let (good, bad) = broken(&world);
    let mut repository = world.repository();
    let tip = world.change("apps/other/x.yaml", b"x: 1\n");
    let lost = repository.commit(&world.request(&bad, &good), AT, &always());
    assert_eq!(lost, CommitOutcome::Lost { tip: tip.clone() });
    committed(repository.commit(&world.request(&tip, &good), AT, &always()));
    assert_eq!(
        world.there(&["cat-file", "-p", "main:apps/other/x.yaml"]),
        "x: 1"
    );
    assert_eq!(
        world.there(&["cat-file", "-p", "main:apps/web/a.yaml"]),
        "image: web:1"
    );
}

#[test]
fn requests_that_must_not_become_commits_are_refused_with_a_reason() {
    let world = World::new();
    let (good, bad) = broken(&world);
    let mut repository = world.repository();
    let request = world.request(&bad, &good);
    let edit = |path: &str, before: Option<&BlobId>, after: Option<&BlobId>| Edit {
        path: path.to_owned(),
        before: before.cloned(),
        after: after.cloned(),
        mode: FileMode::Regular,
    };
    let Edit { before, after, .. } = &request.edits[0];
    let (before, after) = (before.as_ref(), after.as_ref());
    let absent = BlobId("0123456789012345678901234567890123456789".to_owned());
    let path = "apps/web/a.yaml";
    let edits: Vec<(&str, Vec<Edit>)> = vec![
        ("no edits", vec![]),
        ("changes nothing", vec![edit(path, before, before)]),
        ("parent has other bytes", vec![edit(path, after, after)]),
        ("parent has the file", vec![edit(path, None, after)]),
        (
            "parent has no such file",
            vec![edit("apps/web/b.yaml", before, after)],
        ),
        ("unknown blob", vec![edit(path, before, Some(&absent))]),
        (
            "edited twice",
            vec![edit(path, before, after), edit(path, before, after)],
        ),
        ("file over a folder", vec![edit("apps/web", None, after)]),
        (
            "folder over a file",
            vec![edit("apps/web/a.yaml/x", None, after)],
        ),
        ("leaves the tree", vec![edit("apps/../../x", None, after)]),
        (
            "Git's own files",
            vec![edit("apps/.GIT/config", None, after)],
        ),
        ("absolute", vec![edit("/etc/passwd", None, after)]),
    ];
    let mut shown = String::new();
    for (name, edits) in edits {
        let request = CommitRequest {
            edits,
            ..request.clone()
        };
        shown += &format!(
            "{name}: {}\n",
            failed(repository.commit(&request, AT, &always()))
        );
    }
    let change = |name: &str, change: &dyn Fn(&mut CommitRequest)| {
        let mut request = request.clone();
        change(&mut request);
        let mut repository = world.repository();
        format!(
            "{name}: {}\n",
            failed(repository.commit(&request, AT, &always()))
        )
    };
    shown += &change("no trailer", &|r| r.message = "Roll back".to_owned());
    shown += &change("other trailer", &|r| r.key = "web-7.2".to_owned());
    shown += &change("other installation", &|r| r.installation = "o".to_owned());
    shown += &change("no key", &|r| r.key = String::new());
    shown += &change("other repository", &|r| r.repository = "other".into());
    shown += &change("other branch", &|r| r.branch = "other".into());
    shown += &change("bad branch", &|r| r.push_to = "a b".into());
    insta::assert_snapshot!(shown);
    assert_eq!(world.tip("main"), bad);
}

#[test]
fn trailers_are_found_whatever_their_case() {
    let world = World::new();
    world.write("apps/web/deployment.yaml", b"image: web:1\n");
    let good = world.commit("Good");
    world.write("apps/web/deployment.yaml", b"image: web:2\n");
    let bad = world.commit("Bad");
    let mut request = world.request(&bad, &good);
    request.message = request.message.replace("Regraft-", "regraft-");
    committed(world.repository().commit(&request, AT, &always()));
}

#[test]
fn a_folder_goes_with_its_last_file_and_files_and_folders_change_places() {
    let world = World::new();
    world.write("apps/web/now-file/x.yaml", b"x\n");
    world.write("apps/web/now-folder", b"file\n");
    let good = world.commit("Good");
    std::fs::remove_dir_all(world.work().join("apps/web/now-file")).unwrap();
    std::fs::remove_file(world.work().join("apps/web/now-folder")).unwrap();
    world.write("apps/web/now-file", b"file\n");
    world.write("apps/web/now-folder/a/b.yaml", b"b\n");
    world.write("apps/web/only/new.yaml", b"new\n");
    let bad = world.commit("Bad");
    committed(
        world
            .repository()
            .commit(&world.request(&bad, &good), AT, &always()),
    );
    assert_eq!(
        world.there(&["rev-parse", "main^{tree}"]),
        world.there(&["rev-parse", &format!("{good}^{{tree}}")])
    );
    world.there(&["fsck", "--strict"]);
}

#[test]
fn the_first_repair_can_empty_the_whole_tree() {
    let world = World::new();
    let good = world.commit("Nothing yet");
    let bad = world.change("apps/web/a.yaml", b"image: web:oops\n");
    committed(
        world
            .repository()
            .commit(&world.request(&bad, &good), AT, &always()),
    );
    assert_eq!(world.there(&["ls-tree", "main"]), "");
}

pub(super) fn proposal(world: &World, parent: &Revision, good: &Revision) -> CommitRequest {
    CommitRequest {
        push_to: format!("regraft/{KEY}").into(),
        ..world.request(parent, good)
    }
}

#[test]
fn a_proposal_gets_its_branch_and_follows_the_head_it_is_planned_on() {
    let world = World::new();
    let (good, bad) = broken(&world);
    let mut repository = world.repository();
    let request = proposal(&world, &bad, &good);
    let branch = request.push_to.clone();
    let first = committed(repository.commit(&request, AT, &always()));
    assert_eq!(
        (world.tip(branch.as_str()), world.tip("main")),
        (first.clone(), bad)
    );
    let again = repository.commit(&request, Timestamp(AT.0 + 5000), &always());
    assert_eq!(again, CommitOutcome::AlreadyThere(first.clone()));
    let tip = world.change("README.md", b"read me\n");
    let second = committed(repository.commit(&proposal(&world, &tip, &good), AT, &always()));
    assert_ne!(first, second);
    assert_eq!(world.tip(branch.as_str()), second);
    assert_eq!(world.there(&["rev-parse", &format!("{branch}~1")]), tip.0);
    // Merged by a person, it is there for good.
    world.there(&["update-ref", "refs/heads/main", &second.0]);
    let merged = repository.commit(&proposal(&world, &tip, &good), AT, &always());
    assert_eq!(merged, CommitOutcome::AlreadyThere(second));
}

#[test]
fn a_persons_commits_on_a_proposal_are_left_alone() {
    let world = World::new();
    let (good, bad) = broken(&world);
    let mut repository = world.repository();
    let request = proposal(&world, &bad, &good);
    let ours = committed(repository.commit(&request, AT, &always()));
    world.git(&["fetch", "-q", "origin", request.push_to.as_str()]);
    world.git(&["checkout", "-q", "FETCH_HEAD"]);
    world.git(&["commit", "-q", "--allow-empty", "-m", "Better"]);
    world.git(&["push", "-q", "origin", &format!("HEAD:{}", request.push_to)]);
    let theirs = world.tip(request.push_to.as_str());
    world.git(&["checkout", "-q", "main"]);
    let tip = world.change("README.md", b"read me\n");
    let outcome = repository.commit(&proposal(&world, &tip, &good), AT, &always());
    assert_eq!(outcome, CommitOutcome::AlreadyThere(ours));
    assert_eq!(world.tip(request.push_to.as_str()), theirs);
}

#[test]
fn a_proposals_branch_that_is_somebody_elses_is_not_touched() {
    let world = World::new();
    let (good, bad) = broken(&world);
    let mut repository = world.repository();
    let request = proposal(&world, &bad, &good);
    let branch = request.push_to.as_str();
    world.there(&["update-ref", &format!("refs/heads/{branch}"), &good.0]);
    let reason = failed(repository.commit(&request, AT, &always()));
    assert_eq!(
        reason,
        "BranchTaken: branch `regraft/web-7.1` is there and holds none of this plan's commits"
    );
    assert_eq!(world.tip(branch), good);
    // It appears between fetch and push.
    world.there(&["update-ref", "-d", &format!("refs/heads/{branch}")]);
    let order = ready(&mut repository, &request);
    world.there(&["update-ref", &format!("refs/heads/{branch}"), &good.0]);
    let error = repository.deliver(&request, &order, &always()).unwrap_err();
    assert_eq!(error.reason(), "Rejected");
    assert_eq!(world.tip(branch), good);
}
