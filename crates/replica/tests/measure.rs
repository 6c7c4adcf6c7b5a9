//! Figures, on request: `cargo test -p regraft-replica --test measure -- --ignored --nocapture`.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a measurement that cannot go on has failed"
)]

mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};
use support::{Fleet, applied, get, kill_all, leader_of, put};

/// Commands of each client.
const COMMANDS: usize = 400;
const VALUE_BYTES: usize = 256;
const FAILOVERS: usize = 5;
const IDLE: Duration = Duration::from_secs(15);
/// Of Linux, in `/proc`.
const TICKS_A_SECOND: f64 = 100.0;

#[expect(clippy::disallowed_methods, reason = "this measures time")]
fn now() -> Instant {
    Instant::now()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "measures the machine"]
async fn writes_and_reads_a_second() {
    let fleet = Fleet::new(3);
    let members = fleet.start_all().await;
    let leader = leader_of(&members).await;
    for clients in [1, 16, 64] {
        let value = Arc::new("v".repeat(VALUE_BYTES));
        let started = now();
        let work = (0..clients).map(|client| {
            let member = members[&leader].clone();
            let value = Arc::clone(&value);
            async move {
                let mut took = Vec::new();
                for number in 0..COMMANDS {
                    let sent = now();
                    put(&member, &format!("c{client}-{number}={value}")).await;
                    took.push(sent.elapsed());
                }
                took
            }
        });
        let mut took: Vec<Duration> = futures::future::join_all(work).await.concat();
        let rate = took.len() as f64 / started.elapsed().as_secs_f64();
        took.sort();
        let (half, most) = (took[took.len() / 2], took[took.len() * 99 / 100]);
        println!("{clients} clients: {rate:.0} writes/s, p50 {half:?}, p99 {most:?}");
    }
    let started = now();
    for _ in 0..COMMANDS {
        members[&leader].barrier().await.unwrap();
    }
    println!(
        "barrier on the leader: {:?}",
        started.elapsed() / COMMANDS as u32
    );
    println!(
        "three members in this process, with the test: {}",
        resident()
    );
    let index = members[&leader].barrier().await.unwrap();
    for member in members.values() {
        applied(member, index).await;
        assert!(get(member, "c0-0").is_some());
    }
    kill_all(members.into_values()).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "measures the machine"]
async fn idle() {
    let fleet = Fleet::new(3);
    let members = fleet.start_all().await;
    leader_of(&members).await;
    let before = cpu_ticks();
    let _ = tokio::time::timeout(IDLE, std::future::pending::<()>()).await;
    let share = (cpu_ticks() - before) as f64 / TICKS_A_SECOND / IDLE.as_secs_f64();
    println!(
        "three idle members: {:.2} % of a core, {}",
        share * 100.0,
        resident()
    );
    kill_all(members.into_values()).await;
}

fn resident() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS"));
    line.unwrap().to_owned()
}

/// User and system time of this process.
fn cpu_ticks() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let (_, after_name) = stat.rsplit_once(')').unwrap();
    let fields: Vec<&str> = after_name.split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "measures the machine"]
async fn failover() {
    let mut times = Vec::new();
    for _ in 0..FAILOVERS {
        let fleet = Fleet::new(3);
        let mut members = fleet.start_all().await;
        let leader = leader_of(&members).await;
        put(&members[&leader], "a=1").await;
        let dead = members.remove(&leader).unwrap();
        let closed = dead.closed();
        let died = now();
        drop(dead);
        let survivor = members.values().next().unwrap();
        put(survivor, "a=2").await;
        times.push(died.elapsed());
        closed.await;
        kill_all(members.into_values()).await;
    }
    times.sort();
    println!("writes possible again after: {times:?}");
}
