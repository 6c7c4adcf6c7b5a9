use super::commit::{committed, failed, proposal, ready};
use super::world::{AT, World, always};
use crate::{Config, Credentials, Fetched, Permit, Repository};
use regraft_model::git::{CommitOutcome, CommitRequest};
use regraft_model::{Revision, Timestamp};
use regraft_testbed::{GitServer, HoldPoint, HttpOptions};
use secrecy::SecretString;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// A push reaches the server of this machine well within this, also when it is busy.
const HELD_BOUND: Duration = Duration::from_secs(30);

struct Scene {
    world: World,
    server: GitServer,
    good: Revision,
    bad: Revision,
}

impl Scene {
    fn new() -> Self {
        let (world, server) = World::over_http(HttpOptions {
            credentials: Some(regraft_testbed::Credentials {
                user: "bot".to_owned(),
                password: "s3cret".to_owned(),
            }),
        });
        let good = world.change("apps/web/a.yaml", b"image: web:1\r\n");
        let bad = world.change("apps/web/a.yaml", b"image: web:oops\r\n");
        Self {
            world,
            server,
            good,
            bad,
        }
    }

    fn config(&self) -> Config {
        let mut config = self.world.config();
        config.credentials = Credentials::Basic {
            user: "bot".to_owned(),
            password: SecretString::from("s3cret"),
        };
        config
    }

    fn repository(&self) -> Repository {
        let mut repository = Repository::open(self.config()).unwrap();
        repository.fetch(None).unwrap();
        repository
    }

    fn request(&self) -> CommitRequest {
        self.world.request(&self.bad, &self.good)
    }

    /// Commits while the server holds the push, and does something meanwhile.
    fn commit_held(&self, at: HoldPoint, meanwhile: impl FnOnce()) -> CommitOutcome {
        self.commit_permitted(at, &always(), meanwhile)
    }

    /// The same, as long as the permit says so.
    fn commit_permitted(
        &self,
        at: HoldPoint,
        permit: &Permit,
        meanwhile: impl FnOnce(),
    ) -> CommitOutcome {
        let mut repository = self.repository();
        let request = self.request();
        self.server.hold_pushes(at);
        std::thread::scope(|scope| {
            let pushing = scope.spawn(|| repository.commit(&request, AT, permit));
            let held = self.server.wait_held(HELD_BOUND);
            meanwhile();
            self.server.release();
            held.unwrap();
            pushing.join().unwrap()
        })
    }
}

#[test]
fn what_is_said_while_the_remote_is_slow_is_heard_before_the_push() {
    let scene = Scene::new();
    let wanted = Arc::new(AtomicBool::new(true));
    let its_wanted = Arc::clone(&wanted);
    let permit: Permit = Arc::new(move || match its_wanted.load(Ordering::Acquire) {
        true => Ok(()),
        false => Err("it was vetoed".to_owned()),
    });
    let outcome = scene.commit_permitted(HoldPoint::BeforeTip, &permit, || {
        wanted.store(false, Ordering::Release);
    });
    assert_eq!(failed(outcome), "it was vetoed");
    assert_eq!(scene.world.tip("main"), scene.bad);
}

#[test]
fn a_known_head_downloads_nothing() {
    let scene = Scene::new();
    let mut repository = Repository::open(scene.config()).unwrap();
    let fetched = repository.fetch(None).unwrap();
    let revision = scene.bad.clone();
    assert_eq!(fetched, Fetched::Head { revision });
    let downloads = scene.server.counts().upload_pack;
    assert!(downloads > 0);
    assert_eq!(
        repository.fetch(Some(&scene.bad)).unwrap(),
        Fetched::Unchanged
    );
    let counts = scene.server.counts();
    assert_eq!((counts.upload_pack, counts.refs_for_fetch), (downloads, 2));
    assert_eq!(
        repository
            .read(&scene.bad, "apps/web")
            .unwrap()
            .1
            .files
            .len(),
        1
    );
}

#[test]
fn a_wrong_or_missing_password_is_told_and_a_right_one_helps_at_once() {
    let scene = Scene::new();
    let mut repository = Repository::open(scene.world.config()).unwrap();
    let missing = repository.fetch(None).unwrap_err();
    let wrong = Credentials::Basic {
        user: "bot".to_owned(),
        password: SecretString::from("wr0ng"),
    };
    repository.replace_credentials(wrong).unwrap();
    let wrong = repository.fetch(None).unwrap_err();
    insta::assert_snapshot!(format!("{}\n{}", missing.chain(), wrong.chain()), @r"
    AuthenticationFailed: cannot fetch repository fleet: authentication failed: the server asks for credentials and none are configured
    AuthenticationFailed: cannot fetch repository fleet: authentication failed: the server refuses the credentials
    ");
    repository
        .replace_credentials(scene.config().credentials)
        .unwrap();
    repository.fetch(None).unwrap();
    // Somebody took our right away: the commit says so and nothing is pushed.
    let wrong = Credentials::Basic {
        user: "bot".to_owned(),
        password: SecretString::from("wr0ng"),
    };
    repository.replace_credentials(wrong).unwrap();
    let reason = failed(repository.commit(&scene.request(), AT, &always()));
    assert!(reason.starts_with("AuthenticationFailed"), "{reason}");
    assert!(!reason.contains("wr0ng"), "{reason}");
    assert_eq!(scene.world.tip("main"), scene.bad);
}

#[test]
fn a_repair_arrives_over_http_byte_for_byte() {
    let scene = Scene::new();
    let mut repository = scene.repository();
    let ours = committed(repository.commit(&scene.request(), AT, &always()));
    assert_eq!(scene.world.tip("main"), ours);
    assert_eq!(
        scene.world.there(&["rev-parse", "main^{tree}"]),
        scene
            .world
            .there(&["rev-parse", &format!("{}^{{tree}}", scene.good)])
    );
    scene.world.there(&["fsck", "--strict"]);
    let again = repository.commit(&scene.request(), AT, &always());
    assert_eq!(again, CommitOutcome::AlreadyThere(ours));
    assert_eq!(scene.server.counts().receive_pack, 1);
}

#[test]
fn a_branch_reset_to_an_ancestor_before_the_push_is_not_moved_and_nothing_is_sent() {
    let scene = Scene::new();
    let mut repository = scene.repository();
    let request = scene.request();
    let order = ready(&mut repository, &request);
    scene
        .world
        .there(&["update-ref", "refs/heads/main", &scene.good.0]);
    let outcome = repository.deliver(&request, &order, &always()).unwrap();
    let tip = scene.good.clone();
    assert_eq!(outcome, CommitOutcome::Lost { tip });
    assert_eq!(scene.world.tip("main"), scene.good);
    assert_eq!(scene.server.counts().receive_pack, 0);
}

#[test]
fn a_branch_that_moves_while_the_push_is_held_loses_the_plan() {
    let scene = Scene::new();
    let mut moved = Revision::default();
    let outcome = scene.commit_held(HoldPoint::BeforeAccept, || {
        moved = scene.world.change("README.md", b"read me\n");
    });
    assert_eq!(outcome, CommitOutcome::Lost { tip: moved.clone() });
    assert_eq!(scene.world.tip("main"), moved);
}

#[test]
fn a_branch_reset_to_an_ancestor_while_the_push_is_held_is_not_moved() {
    let scene = Scene::new();
    let outcome = scene.commit_held(HoldPoint::BeforeAccept, || {
        scene
            .world
            .there(&["update-ref", "refs/heads/main", &scene.good.0]);
    });
    let tip = scene.good.clone();
    assert_eq!(outcome, CommitOutcome::Lost { tip });
    assert_eq!(scene.world.tip("main"), scene.good);
}

#[test]
fn a_lost_answer_is_unknown_and_the_commit_is_found_the_next_time() {
    let scene = Scene::new();
    let reason = failed(scene.commit_held(HoldPoint::AfterAccept, || scene.server.drop_held()));
    assert!(reason.starts_with("OutcomeUnknown: "), "{reason}");
    let ours = scene.world.tip("main");
    assert_ne!(ours, scene.bad);
    let later = Timestamp(AT.0 + 60_000);
    let again = scene
        .repository()
        .commit(&scene.request(), later, &always());
    assert_eq!(again, CommitOutcome::AlreadyThere(ours.clone()));
    assert_eq!(scene.world.there(&["rev-parse", "main~1"]), scene.bad.0);
}

#[test]
fn a_push_that_never_arrived_is_unknown_and_is_made_the_next_time() {
    let scene = Scene::new();
    let reason = failed(scene.commit_held(HoldPoint::BeforeAccept, || scene.server.drop_held()));
    assert!(reason.starts_with("OutcomeUnknown: "), "{reason}");
    assert_eq!(scene.world.tip("main"), scene.bad);
    let later = Timestamp(AT.0 + 60_000);
    let ours = committed(
        scene
            .repository()
            .commit(&scene.request(), later, &always()),
    );
    assert_eq!(scene.world.tip("main"), ours);
}

#[test]
fn a_server_that_accepts_the_push_and_falls_silent_is_given_up_and_asked_again() {
    let scene = Scene::new();
    let mut repository = scene.repository();
    let mut config = scene.config();
    config.folder = scene.world.folder.path().join("clones/impatient");
    config.patience = Duration::from_millis(1500);
    let mut impatient = Repository::open(config).unwrap();
    impatient.fetch(None).unwrap();
    scene.server.hold_pushes(HoldPoint::AfterAccept);
    let reason = failed(impatient.commit(&scene.request(), AT, &always()));
    assert!(reason.starts_with("OutcomeUnknown: "), "{reason}");
    assert!(reason.ends_with("no sign of life for 1 s"), "{reason}");
    let outcome = repository.commit(&scene.request(), Timestamp(AT.0 + 5000), &always());
    assert_eq!(
        outcome,
        CommitOutcome::AlreadyThere(scene.world.tip("main"))
    );
    scene.server.release();
}

#[test]
fn a_hook_that_declines_is_quoted() {
    let scene = Scene::new();
    let hook = scene.world.remote().join("hooks/pre-receive");
    std::fs::create_dir_all(hook.parent().unwrap()).unwrap();
    std::fs::write(
        &hook,
        "#!/bin/sh\necho 'main is frozen: s3cret' >&2\nexit 1\n",
    )
    .unwrap();
    std::fs::set_permissions(&hook, std::fs::Permissions::from_mode(0o755)).unwrap();
    let reason = failed(scene.repository().commit(&scene.request(), AT, &always()));
    insta::assert_snapshot!(reason, @"Rejected: cannot push to repository fleet: rejected by the server: pre-receive hook declined; the server says: main is frozen: [secret]");
    assert_eq!(scene.world.tip("main"), scene.bad);
}

#[test]
fn a_server_error_before_the_push_is_no_unknown_outcome() {
    let scene = Scene::new();
    let mut repository = scene.repository();
    let request = scene.request();
    let order = ready(&mut repository, &request);
    scene.server.fail_next(503);
    let error = repository.deliver(&request, &order, &always()).unwrap_err();
    assert_eq!(error.reason(), "Unreachable", "{}", error.chain());
    assert_eq!(scene.world.tip("main"), scene.bad);
}

#[test]
fn proposals_are_made_and_replaced_over_http() {
    let scene = Scene::new();
    let mut repository = scene.repository();
    let request = proposal(&scene.world, &scene.bad, &scene.good);
    let branch = request.push_to.as_str();
    let first = committed(repository.commit(&request, AT, &always()));
    assert_eq!(scene.world.tip(branch), first);
    let tip = scene.world.change("README.md", b"read me\n");
    let request = proposal(&scene.world, &tip, &scene.good);
    let order = ready(&mut repository, &request);
    let second = match repository.deliver(&request, &order, &always()).unwrap() {
        CommitOutcome::Committed(revision) => revision,
        other => panic!("{other:?}"),
    };
    assert_eq!(scene.world.tip(branch), second);
    // A replacement is compared too: meanwhile a person put something else there.
    let tip = scene.world.change("README.md", b"read me again\n");
    let request = proposal(&scene.world, &tip, &scene.good);
    let order = ready(&mut repository, &request);
    scene
        .world
        .there(&["update-ref", &format!("refs/heads/{branch}"), &scene.good.0]);
    let error = repository.deliver(&request, &order, &always()).unwrap_err();
    assert_eq!(error.reason(), "Rejected");
    assert_eq!(scene.world.tip(branch), scene.good);
}
