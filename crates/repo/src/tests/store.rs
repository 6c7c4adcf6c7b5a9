use super::world::{AT, World, always};
use crate::{Fetched, Repository};
use regraft_model::Revision;
use regraft_model::git::CommitOutcome;
use regraft_testbed::HttpOptions;
use std::path::{Path, PathBuf};

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut waiting = vec![folder.to_owned()];
    while let Some(folder) = waiting.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => waiting.push(path),
                false => found.push(path),
            }
        }
    }
    found.sort();
    found
}

fn ruin(folder: &Path) {
    let mut ruined = 0;
    for file in files(&folder.join("objects")) {
        std::fs::remove_file(&file).unwrap();
        std::fs::write(&file, b"ruined").unwrap();
        ruined += 1;
    }
    assert!(ruined > 0);
}

fn head(revision: &Revision) -> Fetched {
    Fetched::Head {
        revision: revision.clone(),
    }
}

#[test]
fn a_head_that_did_not_move_downloads_nothing() {
    let world = World::new();
    let first = world.change("a", b"1");
    let mut repository = Repository::open(world.config()).unwrap();
    assert!(!repository.has(&first).unwrap());
    assert_eq!(repository.fetch(None).unwrap(), head(&first));
    let before = files(&world.clone_folder());
    assert_eq!(repository.fetch(Some(&first)).unwrap(), Fetched::Unchanged);
    assert_eq!(repository.fetch(None).unwrap(), head(&first));
    assert_eq!(files(&world.clone_folder()), before);
    let second = world.change("a", b"2");
    assert!(!repository.has(&second).unwrap());
    repository.ensure(&second).unwrap();
    assert!(repository.has(&second).unwrap());
    let absent = Revision("0123456789012345678901234567890123456789".to_owned());
    assert_eq!(
        repository.ensure(&absent).unwrap_err().reason(),
        "RevisionMissing"
    );
}

#[test]
fn only_the_tracked_branch_is_fetched() {
    let (world, _server) = World::over_http(HttpOptions::default());
    let main = world.change("a", b"1");
    world.git(&["checkout", "-q", "-b", "side"]);
    world.write("a", b"side");
    world.git(&["commit", "-qam", "Side"]);
    world.git(&["push", "-q", "origin", "HEAD:side"]);
    let repository = world.repository();
    assert!(repository.has(&main).unwrap());
    assert!(!repository.has(&world.tip("side")).unwrap());
}

#[test]
fn a_damaged_clone_is_noticed_and_made_anew() {
    let world = World::new();
    let first = world.change("apps/web/a.yaml", b"1");
    drop(world.repository());
    ruin(&world.clone_folder());
    let mut repository = Repository::open(world.config()).unwrap();
    let error = repository.read(&first, "apps/web").unwrap_err();
    assert_eq!(error.reason(), "Corrupt");
    assert_eq!(repository.fetch(Some(&first)).unwrap(), Fetched::Unchanged);
    assert_eq!(
        repository.read(&first, "apps/web").unwrap().1.files.len(),
        1
    );
    let beside: Vec<_> = std::fs::read_dir(world.clone_folder().parent().unwrap())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(beside, ["fleet"]);
}

#[test]
fn damage_while_it_runs_is_made_good_by_the_next_fetch() {
    let world = World::new();
    let first = world.change("apps/web/a.yaml", b"1");
    let mut repository = world.repository();
    ruin(&world.clone_folder());
    repository.read(&first, "apps/web").unwrap_err();
    repository.fetch(Some(&first)).unwrap();
    assert_eq!(
        repository.read(&first, "apps/web").unwrap().1.files.len(),
        1
    );
}

#[test]
fn a_damaged_clone_does_not_stop_a_repair() {
    let world = World::new();
    let good = world.change("apps/web/a.yaml", b"1");
    let bad = world.change("apps/web/a.yaml", b"2");
    drop(world.repository());
    ruin(&world.clone_folder());
    let mut repository = Repository::open(world.config()).unwrap();
    let outcome = repository.commit(&world.request(&bad, &good), AT, &always());
    assert!(
        matches!(outcome, CommitOutcome::Committed(_)),
        "{outcome:?}"
    );
}

#[test]
fn a_folder_that_is_no_clone_is_replaced_only_once_the_remote_answers() {
    let world = World::new();
    let first = world.change("a", b"1");
    std::fs::create_dir_all(world.clone_folder()).unwrap();
    std::fs::write(world.clone_folder().join("HEAD"), b"nonsense").unwrap();
    let away = world.folder.path().join("away.git");
    std::fs::rename(world.remote(), &away).unwrap();
    let mut repository = Repository::open(world.config()).unwrap();
    assert_eq!(
        repository.fetch(None).unwrap_err().reason(),
        "RepositoryNotFound"
    );
    assert!(world.clone_folder().join("HEAD").exists());
    std::fs::rename(&away, world.remote()).unwrap();
    assert_eq!(repository.fetch(None).unwrap(), head(&first));
}

#[test]
fn a_crash_while_clones_are_swapped_leaves_one_of_them() {
    let world = World::new();
    let first = world.change("a", b"1");
    drop(world.repository());
    let beside =
        |suffix: &str| PathBuf::from(format!("{}.{suffix}", world.clone_folder().display()));
    // Between the two renames: the old one is away, the new one is not there yet.
    std::fs::rename(world.clone_folder(), beside("old")).unwrap();
    std::fs::create_dir_all(beside("new")).unwrap();
    let repository = Repository::open(world.config()).unwrap();
    assert!(repository.has(&first).unwrap());
    assert!(!beside("old").exists() && !beside("new").exists());
    // After both: the old one was not removed yet.
    std::fs::create_dir_all(beside("old")).unwrap();
    let repository = Repository::open(world.config()).unwrap();
    assert!(repository.has(&first).unwrap());
    assert!(!beside("old").exists());
}

#[test]
fn too_many_packs_make_the_clone_anew() {
    let world = World::new();
    let first = world.change("a", b"1");
    let mut repository = world.repository();
    let packs = world.clone_folder().join("objects/pack");
    for number in 0..300 {
        std::fs::write(packs.join(format!("pack-{number}.pack")), b"").unwrap();
    }
    assert_eq!(repository.fetch(Some(&first)).unwrap(), Fetched::Unchanged);
    assert!(files(&packs).len() <= 2, "{:?}", files(&packs));
    assert!(repository.has(&first).unwrap());
}

#[test]
fn a_clone_that_cannot_be_made_says_where() {
    let world = World::new();
    std::fs::write(world.folder.path().join("clones"), b"a file").unwrap();
    let error = Repository::open(world.config()).unwrap_err();
    assert_eq!(error.reason(), "FolderUnusable");
    assert!(error.chain().contains("clones/fleet"), "{}", error.chain());
}
