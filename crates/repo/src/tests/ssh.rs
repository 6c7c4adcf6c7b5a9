use super::commit::committed;
use super::world::{AT, World, always};
use crate::{Config, Credentials, Fetched, Repository};
use regraft_model::git::CommitOutcome;
use regraft_testbed::{BareRepository, SshServer};
use std::path::PathBuf;

struct Scene {
    world: World,
    server: SshServer,
}

impl Scene {
    fn new() -> Self {
        let world = World::new();
        let repository = BareRepository::create(&world.remote()).unwrap();
        let server = SshServer::start(world.folder.path(), &repository).unwrap();
        Self { world, server }
    }

    fn config(&self, private_key: PathBuf, known_hosts: PathBuf) -> Config {
        let mut config = self.world.config();
        config.url = self.server.url().to_owned();
        config.credentials = Credentials::SshKey {
            private_key,
            passphrase: None,
            known_hosts,
        };
        config
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.world.folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }
}

#[test]
fn a_repair_arrives_over_ssh_and_a_reset_branch_is_not_moved() {
    let scene = Scene::new();
    let good = scene.world.change("apps/web/a.yaml", b"image: web:1\n");
    let bad = scene.world.change("apps/web/a.yaml", b"image: web:oops\n");
    let config = scene.config(scene.server.private_key(), scene.server.known_hosts());
    let mut repository = Repository::open(config).unwrap();
    assert_eq!(
        repository.fetch(None).unwrap(),
        Fetched::Head {
            revision: bad.clone()
        }
    );
    let request = scene.world.request(&bad, &good);
    let order = super::commit::ready(&mut repository, &request);
    scene
        .world
        .there(&["update-ref", "refs/heads/main", &good.0]);
    let outcome = repository.deliver(&request, &order, &always()).unwrap();
    assert_eq!(outcome, CommitOutcome::Lost { tip: good });
    scene
        .world
        .there(&["update-ref", "refs/heads/main", &bad.0]);
    let ours = committed(repository.commit(&request, AT, &always()));
    assert_eq!(scene.world.tip("main"), ours);
    let again = repository.commit(&request, AT, &always());
    assert_eq!(again, CommitOutcome::AlreadyThere(ours));
}

#[test]
fn unknown_and_changed_host_keys_and_wrong_keys_are_refused() {
    let scene = Scene::new();
    scene.world.change("a", b"1");
    let (right_key, right_hosts) = (scene.server.private_key(), scene.server.known_hosts());
    let known = std::fs::read_to_string(&right_hosts).unwrap();
    let host = known.split(' ').next().unwrap();
    let wrong_key = scene.world.folder.path().join("other_key");
    let made = std::process::Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-f"])
        .arg(&wrong_key)
        .status()
        .unwrap();
    assert!(made.success());
    let other = std::fs::read_to_string(wrong_key.with_extension("pub")).unwrap();
    let empty = scene.write("empty", "");
    let changed = scene.write("changed", &format!("{host} {other}"));
    let missing = scene.world.folder.path().join("missing");
    let mut shown = String::new();
    for (name, key, hosts) in [
        ("unknown host", &right_key, &empty),
        ("changed host", &right_key, &changed),
        ("no known_hosts", &right_key, &missing),
        ("wrong key", &wrong_key, &right_hosts),
        ("no key", &missing, &right_hosts),
        ("no private key", &empty, &right_hosts),
    ] {
        let config = scene.config(key.clone(), hosts.clone());
        let error = Repository::open(config).unwrap().fetch(None).unwrap_err();
        shown += &format!("{name}: {}\n", error.chain());
    }
    let mut gone = scene.config(right_key, right_hosts);
    gone.url = gone.url.replace("remote.git", "gone.git");
    let error = Repository::open(gone).unwrap().fetch(None).unwrap_err();
    shown += &format!("no repository: {}\n", error.chain());
    let folder = scene.world.folder.path().display().to_string();
    let fingerprint = shown
        .split_whitespace()
        .find(|word| word.starts_with("SHA256:"))
        .unwrap()
        .to_owned();
    let shown = shown
        .replace(&folder, "FOLDER")
        .replace(host, "HOST")
        .replace(&fingerprint, "FINGERPRINT");
    insta::assert_snapshot!(shown);
}
