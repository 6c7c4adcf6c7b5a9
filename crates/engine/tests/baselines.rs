//! What clusters learn, through the replicated machine, to a cluster that is new: from samples to a band, as bytes.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

use prost::Message as _;
use regraft_detect::metrics::{
    Learning, METRICS_MAX, NAME_BYTES_MAX, SERVICE_ENTRY, SUMMARY_FORMAT, Settings, Summary, Watch,
};
use regraft_engine::baselines::{Unusable, peers, share};
use regraft_model::id::{ClusterName, MemberId, TargetKey};
use regraft_model::time::Timestamp;
use regraft_state::command::{
    COMMAND_FORMAT, Command, Envelope, RejectionReason, Response, SharedBaselines, Stamped,
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
    let (_, size) = SIZES
        .into_iter()
        .find(|(name, _)| *name == cluster)
        .unwrap();
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
            format: COMMAND_FORMAT,
            command: serde_json::to_vec(command).unwrap(),
            operation: None,
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

/// How far the middles of the bands that a watch foretells are from what comes, in shares of the new cluster's size; none
/// when it has no band.
fn miss(watch: &Watch, steps: Range<i64>) -> Option<f64> {
    let all = steps.end - steps.start;
    let misses = steps.map(|step| {
        let band = watch.band(0, at(step))?;
        Some((band.middle - requests(NEW, step)).abs())
    });
    let sum: Option<f64> = misses.sum();
    let (_, size) = SIZES[0];
    sum.map(|it| it / all as f64 / size)
}

/// Of the first day of a cluster: the share of samples inside of the band told right before, and how wide that is on
/// average, in shares of its size. It starts from peers when it wants them.
fn first_day(peers: &[Summary]) -> (f64, f64) {
    let mut watch = begun(30, peers);
    let (_, size) = SIZES[0];
    let (mut inside, mut width, mut all) = (0.0, 0.0, 0.0);
    for step in 30..DAY {
        let value = requests(NEW, step);
        if let Some(band) = watch.band(0, at(step)) {
            inside += f64::from(u8::from((band.low..=band.high).contains(&value)));
            width += (band.high - band.low) / size;
        }
        all += 1.0;
        observe(&mut watch, NEW, step..step + 1);
    }
    (inside / all, width / all)
}

#[test]
fn a_new_cluster_foretells_its_first_day_from_what_others_shared() {
    let mut machine = Machine::new();
    for command in fortnight(&machine) {
        assert_eq!(machine.run(&command), Response::Done);
    }
    let peers = machine.peers(NEW);
    assert_eq!(peers.len(), 2);
    // After two hours and a half, all that is left of the day; alone not even at noon.
    let missed = miss(&begun(30, &peers), 30..DAY).unwrap();
    assert!(missed < 0.15, "{missed}");
    assert_eq!(miss(&begun(30, &[]), 30..DAY), None);
    let alone = miss(&begun(DAY / 2, &[]), DAY / 2..DAY).unwrap();
    assert!(alone > 0.5, "{alone}");
    // And from sample to sample, with a band a quarter as wide.
    let (inside, width) = first_day(&peers);
    assert!(inside > 0.97 && width < 0.2, "{inside} {width}");
    let (inside, width) = first_day(&[]);
    assert!(inside < 0.8 && width > 0.5, "{inside} {width}");
}

#[test]
fn in_any_order_and_again_the_same_is_shared() {
    let commands = fortnight(&Machine::new());
    let count = commands.len();
    assert!(count > 4, "{count}");
    let told = |order: &[usize]| {
        let mut machine = Machine::new();
        for index in order {
            machine.run(&commands[*index]);
        }
        machine.stored()
    };
    let forwards: Vec<_> = (0..count).collect();
    let kept = told(&forwards);
    assert_eq!(kept.len(), 4, "the metric and the service, twice");
    let backwards: Vec<_> = forwards.iter().rev().copied().collect();
    let doubled = [&forwards[..], &backwards, &forwards].concat();
    assert_eq!(told(&backwards), kept);
    assert_eq!(told(&doubled), kept);
    for turn in 1..count {
        let mut turned = forwards.clone();
        turned.rotate_left(turn);
        assert_eq!(told(&turned), kept, "{turned:?}");
        // Lost: the newest of a cluster is all it takes.
        turned.retain(|index| !(0..2).contains(index));
        assert_eq!(told(&turned), kept, "{turned:?}");
    }
}

#[test]
fn a_cluster_that_is_forgotten_counts_no_more() {
    let mut machine = Machine::new();
    for command in fortnight(&machine) {
        machine.run(&command);
    }
    let both = machine.peers(NEW);
    let only_eu = machine.peers("us");
    for (cluster, left) in [("us", 1), ("eu", 0)] {
        let cluster = cluster.into();
        assert_eq!(
            machine.run(&Command::ForgetCluster { cluster }),
            Response::Done
        );
        assert_eq!(machine.peers(NEW).len(), left);
        if left == 1 {
            assert_eq!(machine.peers(NEW), only_eu);
            assert_ne!(begun(40, &only_eu), begun(40, &both));
        }
    }
    assert_eq!(begun(DAY, &machine.peers(NEW)), begun(DAY, &[]));
}

#[test]
fn a_cluster_is_no_peer_of_itself() {
    let mut machine = Machine::new();
    for command in fortnight(&machine) {
        machine.run(&command);
    }
    let all = machine.peers(NEW);
    assert_eq!(machine.peers("eu"), all[1..]);
    assert_eq!(machine.peers("us"), all[..1]);
}

#[test]
fn nothing_is_told_twice_nor_while_learning_is_frozen() {
    let mut machine = Machine::new();
    let mut watch = empty();
    assert_eq!(machine.share("eu", &watch), []);
    observe(&mut watch, "eu", -2 * DAY..-DAY);
    let commands = machine.share("eu", &watch);
    assert_eq!(commands.len(), 1);
    assert_eq!(machine.run(&commands[0]), Response::Done);
    for step in -DAY..0 {
        watch.observe(at(step), &[1e6], Learning::Frozen);
    }
    assert_eq!(machine.share("eu", &watch), commands);
    assert_eq!(machine.refused(&commands[0]), RejectionReason::AlreadyDone);
    observe(&mut watch, "eu", 0..1);
    assert_eq!(machine.run(&machine.share("eu", &watch)[0]), Response::Done);
}

#[test]
fn a_clock_far_ahead_is_refused_and_stops_no_later_share() {
    let mut machine = Machine::new();
    let mut watch = empty();
    observe(&mut watch, "eu", -2 * DAY..0);
    watch.observe(at(400 * 365 * DAY), &[requests("eu", 0)], Learning::On);
    let ahead = machine.share("eu", &watch);
    assert_eq!(machine.refused(&ahead[0]), RejectionReason::OutOfBounds);
    assert_eq!(machine.stored(), BTreeMap::new());
    observe(&mut watch, "eu", 0..20);
    machine.now = at(20);
    let right = machine.share("eu", &watch);
    assert_eq!(machine.run(&right[0]), Response::Done);
    // Before 1970 there is no time: older than all others.
    let mut watch = empty();
    let begin_ms = -400 * DAY * STEP_MS;
    for step in 0..DAY {
        let at = Timestamp(begin_ms + step * STEP_MS);
        watch.observe(at, &[requests("us", step)], Learning::On);
    }
    let old = shared(machine.share("us", &watch).remove(0));
    assert!(old.entries.values().all(|it| it.version == 0));
    assert_eq!(machine.run(&Command::ShareBaselines(old)), Response::Done);
}

#[test]
fn what_cannot_be_used_is_named_and_hinders_nothing_else() {
    let mut machine = Machine::new();
    let commands = fortnight(&machine);
    for command in &commands {
        machine.run(command);
    }
    let before = machine.peers(NEW);
    // A newer member in the new cluster's place, and one that writes damage.
    let mut newer = shared(commands[0].clone());
    newer.target = target(NEW);
    for (metric, baseline) in &mut newer.entries {
        match metric.as_str() {
            SERVICE_ENTRY => baseline.summary.truncate(9),
            _ => baseline.summary[0] = SUMMARY_FORMAT + 1,
        }
    }
    assert_eq!(machine.run(&Command::ShareBaselines(newer)), Response::Done);
    let (summaries, unusable) = peers(&machine.baselines().known, &"none".into());
    assert_eq!(summaries, before);
    let unusable: Vec<_> = unusable.iter().map(told).collect();
    let expected = [
        "the baseline of * that cluster ap shares cannot be used: read a stored summary: its check sum is another",
        "the baseline of requests that cluster ap shares cannot be used: read a stored summary of format 2; this program knows formats up to 1",
    ];
    assert_eq!(unusable, expected);
    // One bad record of a cluster leaves its others.
    let key = b"baselines/shop/cart/us/requests".to_vec();
    assert!(machine.store.0.insert(key, b"{".to_vec()).is_some());
    let baselines = machine.baselines();
    assert_eq!(baselines.unreadable.len(), 1);
    let (summaries, _) = peers(&baselines.known, &NEW.into());
    assert_eq!(summaries[0], before[0]);
    let names: Vec<_> = summaries[1].entries().into_iter().map(|it| it.0).collect();
    assert_eq!(names, [SERVICE_ENTRY]);
}

fn told(unusable: &Unusable) -> String {
    format!("{unusable}: {}", unusable.error)
}

fn shared(command: Command) -> SharedBaselines {
    match command {
        Command::ShareBaselines(shared) => shared,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_service_with_the_most_metrics_and_the_longest_names_fits() {
    /// Samples a day: enough for a day and a week to be found, and no more than a test has time for.
    const HOURS: i64 = 24;
    let names: Vec<_> = (0..METRICS_MAX)
        .map(|it| format!("{it:0>NAME_BYTES_MAX$}"))
        .collect();
    let mut watch = Watch::new(Settings::default(), names).unwrap();
    for hour in -21 * HOURS..0 {
        let step = hour * DAY / HOURS;
        let weekly = if (hour.div_euclid(HOURS) % 7).abs() < 2 {
            0.3
        } else {
            1.0
        };
        let values: Vec<_> = (0..METRICS_MAX)
            .map(|metric| weekly * requests("eu", step) + noise(step, metric as u64))
            .collect();
        watch.observe(at(step), &values, Learning::On);
    }
    let mut machine = Machine::new();
    let commands = machine.share("eu", &watch);
    let counts: Vec<_> = commands
        .iter()
        .map(|it| shared(it.clone()).entries.len())
        .collect();
    assert_eq!(counts, [128, 128, 1]);
    for command in &commands {
        assert_eq!(machine.run(command), Response::Done);
    }
    let summary = watch.summary();
    assert_eq!(summary.entries().len(), METRICS_MAX + 1);
    assert_eq!(machine.peers(NEW), [summary]);
    assert_eq!(machine.stored().len(), METRICS_MAX + 1);
}

#[test]
fn a_metric_without_a_name_keeps_no_other_from_being_shared() {
    let names = ["", "requests", SERVICE_ENTRY].map(str::to_owned);
    let mut watch = Watch::new(Settings::default(), names.to_vec()).unwrap();
    for step in -2 * DAY..0 {
        let value = requests("eu", step);
        watch.observe(at(step), &[value, value, value], Learning::On);
    }
    let mut machine = Machine::new();
    let command = machine.share("eu", &watch).remove(0);
    assert_eq!(machine.run(&command), Response::Done);
    let known = machine.baselines().known;
    let known: Vec<_> = known[&ClusterName::from("eu")].keys().collect();
    assert_eq!(known, [SERVICE_ENTRY, "requests"]);
}
