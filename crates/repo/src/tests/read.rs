use super::world::World;
use crate::Error;
use crate::view::MAX_FILE_BYTES;
use regraft_model::source::FileMode;
use regraft_model::{Revision, SourceFile};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;

#[test]
fn files_are_read_byte_for_byte_with_their_modes() {
    let world = World::new();
    let all_bytes: Vec<u8> = (0..=255).collect();
    world.write("apps/web/crlf.yaml", b"a: 1\r\nb: 2\r\n");
    world.write("apps/web/deep/er/binary", &all_bytes);
    world.write("apps/web/prüfung ☂.yaml", b"no newline at the end");
    world.write("apps/web/run.sh", b"#!/bin/sh\n");
    world.write("apps/other/x.yaml", b"x: 1\n");
    let script = world.work().join("apps/web/run.sh");
    std::fs::set_permissions(script, std::fs::Permissions::from_mode(0o755)).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", world.work().join("apps/web/link")).unwrap();
    let head = world.commit("Add web");
    let repository = world.repository();

    let (tree, source) = repository.read(&head, "apps/web").unwrap();
    assert_eq!(tree.0, world.git(&["rev-parse", "HEAD:apps/web"]));
    assert_eq!(source.revision, head);
    let shown: Vec<(&str, FileMode, &[u8])> = source
        .files
        .iter()
        .map(|(path, file)| (path.as_str(), file.mode, file.bytes.as_slice()))
        .collect();
    assert_eq!(
        shown,
        [
            (
                "apps/web/crlf.yaml",
                FileMode::Regular,
                b"a: 1\r\nb: 2\r\n".as_slice()
            ),
            ("apps/web/deep/er/binary", FileMode::Regular, &all_bytes),
            ("apps/web/link", FileMode::Link, b"/etc/passwd"),
            (
                "apps/web/prüfung ☂.yaml",
                FileMode::Regular,
                b"no newline at the end"
            ),
            ("apps/web/run.sh", FileMode::Executable, b"#!/bin/sh\n"),
        ]
    );
    let SourceFile { blob, .. } = &source.files["apps/web/crlf.yaml"];
    assert_eq!(blob.0, world.git(&["rev-parse", "HEAD:apps/web/crlf.yaml"]));
    for same in ["apps/web/", "/apps/web", "./apps/web"] {
        assert_eq!(repository.read(&head, same).unwrap().1, source, "{same}");
    }
    for root in ["", ".", "/", "./"] {
        assert_eq!(
            repository.read(&head, root).unwrap().1.files.len(),
            6,
            "{root:?}"
        );
    }
}

#[test]
fn what_cannot_be_read_is_an_error_and_never_an_empty_tree() {
    let world = World::new();
    world.write("apps/web/a.yaml", b"a: 1\n");
    world.write("apps/huge/h.yaml", &vec![b'#'; MAX_FILE_BYTES + 1]);
    let odd = world.work().join("apps/odd");
    std::fs::create_dir_all(&odd).unwrap();
    std::fs::write(odd.join(std::ffi::OsStr::from_bytes(b"\xff.yaml")), b"x").unwrap();
    let head = world.commit("Add");
    let repository = world.repository();
    let absent = Revision("0123456789012345678901234567890123456789".to_owned());
    let shown: String = [
        (&head, "apps/gone"),
        (&head, "apps/web/a.yaml"),
        (&head, "apps/huge"),
        (&head, "apps/odd"),
        (&absent, "apps/web"),
        (&Revision("main".to_owned()), "apps/web"),
        (&Revision("0123".to_owned()), "apps/web"),
    ]
    .iter()
    .map(|(revision, path)| {
        let error = repository.read(revision, path).unwrap_err();
        format!("{} [{}]\n", error.chain(), error.next_action()).replace(head.short(), "HEAD")
    })
    .collect();
    insta::assert_snapshot!(shown);
}

#[test]
fn a_snapshot_has_the_configuration_and_the_id_of_every_folder() {
    let world = World::new();
    world.write(".regraft/fleet.yaml", b"kind: Cluster\n");
    world.write(".regraft/more/policy.yaml", b"kind: Policy\n");
    world.write("apps/web/a.yaml", b"a: 1\n");
    world.git(&["add", "-A"]);
    let submodule = "160000,0123456789012345678901234567890123456789,vendor/sub";
    world.git(&["update-index", "--add", "--cacheinfo", submodule]);
    world.git(&["commit", "-q", "-m", "Add"]);
    world.git(&["push", "-q", "origin", "HEAD:main"]);
    let head = world.tip("main");
    let repository = world.repository();

    let snapshot = repository.snapshot(&head).unwrap();
    let config: Vec<&str> = snapshot.config.files.keys().map(String::as_str).collect();
    assert_eq!(config, [".regraft/fleet.yaml", ".regraft/more/policy.yaml"]);
    let folders: Vec<&str> = snapshot.trees.keys().map(String::as_str).collect();
    let expected = [
        "",
        ".regraft",
        ".regraft/more",
        "apps",
        "apps/web",
        "vendor",
    ];
    assert_eq!(folders, expected);
    for (path, tree) in &snapshot.trees {
        assert_eq!(tree.0, world.git(&["rev-parse", &format!("HEAD:{path}")]));
    }
    assert_eq!(
        snapshot.trees["apps/web"],
        repository.read(&head, "apps/web").unwrap().0
    );
    assert!(repository.read(&head, "vendor").unwrap().1.files.is_empty());
}

#[test]
fn a_snapshot_without_configuration_is_empty_there() {
    let world = World::new();
    let head = world.change("apps/web/a.yaml", b"a: 1\n");
    let snapshot = world.repository().snapshot(&head).unwrap();
    assert!(snapshot.config.files.is_empty());
    assert_eq!(snapshot.config.revision, head);
}

#[test]
fn a_diff_is_what_people_know_and_is_cut_when_it_is_too_long() {
    let world = World::new();
    world.write("apps/web/old.yaml", b"gone: true\n");
    let good = world.change("apps/web/a.yaml", b"image: web:1\nreplicas: 2\n");
    std::fs::remove_file(world.work().join("apps/web/old.yaml")).unwrap();
    let bad = world.change("apps/web/a.yaml", b"image: web:2\nreplicas: 2\n");
    let huge = world.change("apps/web/a.yaml", "line\n".repeat(200_000).as_bytes());
    let repository = world.repository();
    let edits = world.restore(&bad, &good, "apps/web");
    insta::assert_snapshot!(repository.diff_text(&bad, &edits, |_| false).unwrap());
    let edits = world.restore(&huge, &good, "apps/web");
    let cut = repository.diff_text(&huge, &edits, |_| false).unwrap();
    assert!(
        cut.len() < crate::view::MAX_DIFF_BYTES + 100,
        "{}",
        cut.len()
    );
    assert!(cut.ends_with("... cut after 262144 bytes\n"));
    let wrong = repository.diff_text(&good, &edits, |_| false).unwrap_err();
    assert!(matches!(wrong, Error::Edit { .. }), "{wrong}");
}

#[test]
fn a_diff_shows_of_a_hidden_file_only_that_it_changes() {
    let world = World::new();
    let hides = |bytes: &[u8]| bytes.starts_with(b"secret");
    let steps: [(&str, &[u8]); 4] = [
        ("secret: one\n", b"plain: one\n"),
        ("plain: two\n", b"secret: two\n"),
        ("secret: three\n", b"secret: four\n"),
        ("plain: five\n", b"plain: six\n"),
    ];
    let repository = |before: &str, after: &[u8]| {
        let good = world.change("apps/web/a.yaml", before.as_bytes());
        let bad = world.change("apps/web/a.yaml", after);
        let edits = world.restore(&bad, &good, "apps/web");
        world.repository().diff_text(&bad, &edits, hides).unwrap()
    };
    for (before, after) in steps {
        let text = repository(before, after);
        let is_shown = !before.starts_with("secret") && !after.starts_with(b"secret");
        assert_eq!(text.contains("+plain: five"), is_shown, "{text}");
        assert_eq!(text.contains("(hidden: "), !is_shown, "{text}");
        assert!(text.contains("diff --git a/apps/web/a.yaml"), "{text}");
        assert!(!text.contains("secret:"), "{text}");
    }
}
