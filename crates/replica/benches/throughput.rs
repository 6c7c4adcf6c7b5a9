//! Acknowledged writes and linearizable reads of three members in one process: `cargo bench -p regraft-replica`.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "figures are printed; a measurement that cannot go on has failed"
)]

#[path = "../tests/support/mod.rs"]
mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};
use support::{Fleet, applied, get, kill_all, leader_of, put};

/// Commands of each client.
const COMMANDS: usize = 400;
const VALUE_BYTES: usize = 256;

#[tokio::main]
async fn main() {
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

fn resident() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS"));
    line.unwrap().to_owned()
}

#[expect(clippy::disallowed_methods, reason = "this measures time")]
fn now() -> Instant {
    Instant::now()
}
