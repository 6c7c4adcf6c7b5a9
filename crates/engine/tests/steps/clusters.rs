//! Which cluster a name is for.

use crate::desk::{CONFIGURATION, Desk, FIRST, OTHER, REPOSITORY, UID, configured_with, target};
use crate::is_applying;
use regraft_engine::Effect;
use regraft_model::finding::SyncState;
use regraft_model::id::TargetKey;
use regraft_state::command::Command;
use serde_json::json;

#[test]
fn what_another_installation_reconciles_is_not_told_as_a_deletion() {
    for (installation, is_ours) in [("i", true), ("another", false)] {
        let mut desk = Desk::new("main");
        desk.inventory_of = installation;
        desk.configuration = configured_with("prune: true");
        desk.until_applying();
        desk.cluster_sees(
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {
            "name": "older", "namespace": "shop", "labels": {"regraft.dev/application": "web"}}}),
        );
        let told = desk.deletions();
        assert_eq!(!told.is_empty(), is_ours, "{installation}: {told:?}");
    }
}

#[test]
fn a_cluster_with_two_credentials_is_not_connected_at_all() {
    let mut desk = Desk::tracking(&[(REPOSITORY, "main"), (OTHER, "main")]);
    desk.until_applying();
    desk.apply_succeeds();
    let other = "
apiVersion: regraft.dev/v1alpha1
kind: Cluster
metadata: {name: eu}
spec: {credentials: elsewhere}
";
    let asked = desk.other_repository_has(other, &[]);
    let is_left =
        |effect: &Effect| matches!(effect, Effect::Unwatch { cluster } if cluster.as_str() == "eu");
    assert!(asked.iter().any(is_left), "{asked:?}");
    let sync = &desk.view().statuses[&target()].sync;
    assert_eq!(sync.state, SyncState::Blocked);
    assert_eq!(
        sync.message,
        "eu has the credentials `elsewhere` in the repository other and `eu` in the repository fleet: give one of them \
         another name, or both the same credentials"
    );
}

fn renamed() -> TargetKey {
    TargetKey::new(&"web".into(), &"eu-west".into())
}

/// The application runs in `eu`, and Git calls that cluster `eu-west` now.
fn with_another_name() -> Desk {
    let mut desk = Desk::new("main");
    desk.until_applying();
    desk.apply_succeeds();
    let asked = desk.reconfigure(&CONFIGURATION.replace("eu", "eu-west"));
    assert!(!is_applying(&asked), "{asked:?}");
    desk
}

fn told(desk: &Desk, target: &TargetKey) -> String {
    desk.view().statuses[target].sync.message.clone()
}

#[test]
fn what_runs_in_a_cluster_is_not_let_go_because_the_cluster_was_renamed() {
    let mut desk = with_another_name();
    let mut asked = desk.wait(1000);
    let waits = "eu-west may be the same cluster: that is known when it is connected";
    assert!(told(&desk, &target()).ends_with(waits));
    // Another member has connected it.
    desk.replicate(&Command::RegisterCluster {
        cluster: "eu-west".into(),
        uid: UID.to_owned(),
    });
    asked.extend(desk.wait(10_000));
    let waits = "`regraft forget-cluster eu` leaves all to eu-west";
    assert!(told(&desk, &target()).ends_with(waits));
    desk.proposed.clear();
    desk.replicate(&Command::ForgetCluster {
        cluster: "eu".into(),
    });
    asked.extend(desk.wait(10_000));
    let is_left = |command: &Command| matches!(command, Command::Retired { target: left } if *left == target());
    assert!(desk.proposed.iter().any(is_left), "{:?}", desk.proposed);
    assert!(!is_applying(&asked), "{asked:?}");
}

#[test]
fn a_renamed_cluster_is_written_to_once_its_old_name_is_forgotten() {
    let mut desk = with_another_name();
    desk.assign_target(renamed(), 1);
    desk.read(FIRST);
    let asked = desk.cluster_tells_as("eu-west");
    assert!(!is_applying(&asked), "{asked:?}");
    let waits = "if it was renamed, `regraft forget-cluster eu`";
    assert!(told(&desk, &renamed()).ends_with(waits));
    desk.replicate(&Command::ForgetCluster {
        cluster: "eu".into(),
    });
    assert!(is_applying(&desk.wait(10_000)));
}
