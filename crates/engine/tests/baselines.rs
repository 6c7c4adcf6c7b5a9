//! What clusters learn, through the replicated machine, to a cluster that is new: from samples to a band, as bytes.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

use prost::Message as _;
use regraft_detect::Stored;
use regraft_detect::metrics::{
    Learning, METRICS_MAX, NAME_BYTES_MAX, SERVICE_ENTRY, SUMMARY_FORMAT, Settings, Summary, Watch,
};
use regraft_engine::baselines::{Unusable, peers, share};
use regraft_model::id::{ClusterName, MemberId, TargetKey};
use regraft_model::time::Timestamp;
use regraft_state::command::{
    Command, Envelope, FORMAT, RejectionReason, Response, SharedBaselines, Stamped,
};
use regraft_state::record::Assignment;
use regraft_state::store::Memory;
use regraft_state::table::prefix;
use regraft_state::view::{self, Baselines, View};
use std::collections::BTreeMap;
use std::ops::Range;

const STEP_MS: i64 = 300_000;
const DAY: i64 = 288;
/// When the new cluster begins: a Saturday, 06:00 UTC.
const BEGIN_MS: i64 = 1_700_287_200_000;
/// The cluster that is new.
const NEW: &str = "ap";
/// How large the service is in each of the clusters, in requests a second.
const SIZES: [(&str, f64); 3] = [(NEW, 20.0), ("eu", 100.0), ("us", 900.0)];

/// Requests at a step: a wave of a day around the service's size, and 5 % of noise.
fn requests(cluster: &str, step: i64) -> f64 {
    let (_, size) = SIZES.into_iter().find(|(name, _)| *name == cluster).unwrap();
    let of_day = step.rem_euclid(DAY) as f64 / DAY as f64;
    let wave = 1.0 + 0.6 * (of_day * std::f64::consts::TAU).sin();
    size * (wave + 0.05 * noise(step, size as u64))
}

/// From -1 to 1, the same for the same numbers. SplitMix64 (Steele, Lea, Flood).
fn noise(step: i64, seed: u64) -> f64 {
    let mut bits = (step as u64)
        .wrapping_mul(0x9e37_79b9_7f4a_7c15)
        .wrapping_add(seed << 32);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((bits ^ (bits >> 31)) >> 11) as f64 / (1_u64 << 52) as f64 - 1.0
}

fn at(step: i64) -> Timestamp {
    Timestamp(BEGIN_MS + step * STEP_MS)
}

fn empty() -> Watch {
    Watch::new(Settings::default(), vec!["requests".to_owned()]).unwrap()
}

fn observe(watch: &mut Watch, cluster: &str, steps: Range<i64>) {
    for step in steps {
        watch.observe(at(step), &[requests(cluster, step)], Learning::On);
    }
}

/// The replicated machine with the application `shop` in every cluster, its workload `cart`.
struct Machine {
    store: Memory,
    view: View,
    index: u64,
    now: Timestamp,
}

impl Machine {
    fn new() -> Self {
        let mut machine = Self {
            store: Memory::default(),
            view: View::default(),
            index: 0,
            now: at(0),
        };
        for (cluster, _) in SIZES {
            let uid = format!("uid-of-{cluster}");
            let cluster = cluster.into();
            assert_eq!(
                machine.run(&Command::RegisterCluster { cluster, uid }),
                Response::Done
            );
        }
        let grants = SIZES.map(|(cluster, _)| (target(cluster), MemberId(1)));
        machine.run(&Command::Assign {
            after: machine.view.spread,
            grants: grants.to_vec(),
            revoked: vec![],
        });
        machine
    }

    /// Applies a command the way it lies in the log: as bytes.
    fn run(&mut self, command: &Command) -> Response {
        self.index += 1;
        let envelope = Envelope {
            client: "test".to_owned(),
            sequence: self.index,
            actor: "member/1".to_owned(),
            format: FORMAT,
            command: serde_json::to_vec(command).unwrap(),
        };
        let entry = Stamped {
            stamped_ms: self.now.0,
            command: envelope.encode_to_vec(),
        };
        let applied =
            regraft_state::apply(&self.store, self.index, &entry.encode_to_vec()).unwrap();
        self.view.apply(&applied.batch.writes).unwrap();
        self.store.write(applied.batch);
        serde_json::from_slice(&applied.response).unwrap()
    }

    fn refused(&mut self, command: &Command) -> RejectionReason {
        match self.run(command) {
            Response::Rejected(rejection) => rejection.reason,
            other => panic!("expected a refusal, got {other:?}"),
        }
    }

    fn share(&self, cluster: &str, watch: &Watch) -> Vec<Command> {
        share(self.assignment(cluster), "cart", watch)
    }

    fn assignment(&self, cluster: &str) -> &Assignment {
        &self.view.assignments[&target(cluster)]
    }

    fn baselines(&self) -> Baselines {
        view::baselines(&self.store, &"shop".into(), "cart").unwrap()
    }

    /// What the other clusters know, as one of them reads it.
    fn peers(&self, own: &str) -> Vec<Summary> {
        let (summaries, unusable) = peers(&self.baselines().known, &own.into());
        assert_eq!(unusable, []);
        summaries
    }

    /// Every byte kept of baselines.
    fn stored(&self) -> BTreeMap<Vec<u8>, Vec<u8>> {
        let pairs = self.store.0.iter();
        pairs
            .filter(|(key, _)| key.starts_with(prefix::BASELINES.as_bytes()))
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect()
    }
}

fn target(cluster: &str) -> TargetKey {
    TargetKey {
        application: "shop".into(),
        cluster: cluster.into(),
    }
}

/// What `eu` and `us` share in the fortnight before the new cluster begins: each every five days, and at its end.
fn fortnight(machine: &Machine) -> Vec<Command> {
    let mut commands = Vec::new();
    for cluster in ["eu", "us"] {
        let mut watch = empty();
        let days = [-14, -9, -4, 0].map(|day| day * DAY);
        for part in days.windows(2) {
            observe(&mut watch, cluster, part[0]..part[1]);
            commands.extend(machine.share(cluster, &watch));
        }
    }
    commands
}

/// The new cluster after some steps, with whatever it started from.
fn begun(steps: i64, peers: &[Summary]) -> Watch {
    let mut watch = empty();
    for step in 0..steps {
        if watch.wants_peers() {
            watch.start_from(peers);
        }
        observe(&mut watch, NEW, step..step + 1);
    }
    watch
}

/// Share of steps at which the new cluster's requests are inside of a band that is narrower than the wave is high.
fn foretold(watch: &Watch, steps: Range<i64>) -> f64 {
    let all = steps.end - steps.start;
    let inside = steps.filter(|step| {
        let value = requests(NEW, *step);
        let band = watch.band(0, at(*step));
        band.is_some_and(|it| (it.low..=it.high).contains(&value) && it.high - it.low < 15.0)
    });
    inside.count() as f64 / all as f64
}

#[test]
fn a_new_cluster_foretells_its_first_day_from_what_others_shared() {
    let mut machine = Machine::new();
    for command in fortnight(&machine) {
        assert_eq!(machine.run(&command), Response::Done);
    }
    let peers = machine.peers(NEW);
    assert_eq!(peers.len(), 2);
    // After two hours and a half, the rest of the day.
    let started = foretold(&begun(30, &peers), 30..DAY);
    assert!(started > 0.9, "{started}");
    // Alone it has no band by then, and at noon one that knows no wave.
    let alone = foretold(&begun(30, &[]), 30..DAY);
    assert!(alone < 0.1, "{alone}");
    let at_noon = foretold(&begun(DAY / 2, &[]), DAY / 2..DAY);
    assert!(at_noon < 0.5, "{at_noon}");
}
