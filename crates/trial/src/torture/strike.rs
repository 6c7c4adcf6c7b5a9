//! Has members suffer a fault, and ends it.

use std::time::Duration;

use anyhow::Result;
use regraft_testbed::Signal;
use regraft_wal::testing::Dice;
use serde::Serialize;

use super::fault::{Kind, Planned, Victim};
use super::lab::{Cut, Party};
use super::members::Members;
use super::{MEMBERS, Time};
use crate::clock;
use crate::member::faults::DiskFault;

/// How far clocks jump, milliseconds: from what a time service corrects to what nobody set.
const JUMPS_MS: [i64; 6] = [
    -86_400_000,
    -3_600_000,
    -3_000,
    3_000,
    3_600_000,
    86_400_000,
];
/// Slowest and longest sync, milliseconds: a disk that is shared with too many, one that is about to fail.
const SLOW_MIN_MS: u64 = 20;
const SLOW_MAX_MS: u64 = 800;
/// Lost of a hundred packets: what a bad cable loses, what lets next to nothing through.
const LOSS_MIN_PERCENT: u64 = 2;
const LOSS_MAX_PERCENT: u64 = 40;
/// How late all arrives, milliseconds: another region, and more than an election takes.
const DELAY_MIN_MS: u64 = 20;
const DELAY_MAX_MS: u64 = 600;

/// A fault that was.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Struck {
    pub(super) kind: Kind,
    /// Who was hit; 0: all.
    pub(super) member: u64,
    /// What it did then.
    pub(super) victim: Victim,
    /// What was chosen, for people.
    pub(super) how: String,
    pub(super) begin_us: u64,
    pub(super) end_us: u64,
}

/// Has the members suffer a fault from its begin to its end.
pub(super) async fn strike(
    members: &Members,
    time: Time,
    number: u32,
    planned: Planned,
    leader: Option<u64>,
) -> Result<Struck> {
    let mut dice = Dice::new(planned.dice);
    let (member, victim) = choose(planned.victim, leader, &mut dice);
    let mut struck = Struck {
        kind: planned.kind,
        member,
        victim,
        how: String::new(),
        begin_us: time.us(),
        end_us: 0,
    };
    let other = (member + dice.below(MEMBERS - 1)) % MEMBERS + 1;
    begin(members, number, &mut struck, other, &mut dice)?;
    clock::rest(planned.lasts).await;
    end(members, number, &struck)?;
    struck.end_us = time.us();
    Ok(struck)
}

fn choose(wanted: Victim, leader: Option<u64>, dice: &mut Dice) -> (u64, Victim) {
    let random = dice.below(MEMBERS) + 1;
    match (wanted, leader) {
        (Victim::Leader, Some(leader)) => (leader, Victim::Leader),
        (Victim::Follower, Some(leader)) if leader == random => {
            (leader % MEMBERS + 1, Victim::Follower)
        }
        _ => (random, Victim::Follower),
    }
}

fn begin(
    members: &Members,
    number: u32,
    struck: &mut Struck,
    other: u64,
    dice: &mut Dice,
) -> Result<()> {
    let member = struck.member;
    let others: Vec<u64> = (1..=MEMBERS).filter(|it| *it != member).collect();
    let all = |cut: fn(Party) -> Cut| -> Vec<(u64, Cut)> {
        let each = others.iter();
        each.map(|other| (member, cut(Party::Member(*other))))
            .collect()
    };
    match struck.kind {
        Kind::Kill => members.kill(member),
        Kind::KillAll => {
            struck.member = 0;
            members.kill_all();
        }
        Kind::Freeze => members.signal(member, Signal::Freeze),
        Kind::Isolate => {
            let cuts = [all(Cut::From), all(Cut::To)].concat();
            members.cut(number, &cuts)?;
        }
        Kind::Part => {
            struck.how = format!("from {other}");
            let party = Party::Member(other);
            members.cut(
                number,
                &[(member, Cut::From(party)), (member, Cut::To(party))],
            )?;
        }
        Kind::Deafen => members.cut(number, &all(Cut::From))?,
        Kind::Mute => members.cut(number, &all(Cut::To))?,
        Kind::CutRequests => members.cut(number, &[(member, Cut::From(Party::Clients))])?,
        Kind::CutAnswers => members.cut(number, &[(member, Cut::To(Party::Clients))])?,
        Kind::Loss => {
            let percent = LOSS_MIN_PERCENT + dice.below(LOSS_MAX_PERCENT - LOSS_MIN_PERCENT);
            struck.how = format!("{percent} %");
            members.cut(number, &[(member, Cut::Some(percent))])?;
        }
        Kind::Delay => {
            let by = DELAY_MIN_MS + dice.below(DELAY_MAX_MS - DELAY_MIN_MS);
            struck.how = format!("{by} ms");
            members.delay(member, Duration::from_millis(by))?;
        }
        Kind::FullDisk => members.lab.fill(member)?,
        Kind::SlowSync => {
            let slow = SLOW_MIN_MS + dice.below(SLOW_MAX_MS - SLOW_MIN_MS);
            struck.how = format!("{slow} ms");
            let slow = DiskFault::Slow(Duration::from_millis(slow));
            members.faults(member).set_disk(Some(slow))?;
        }
        Kind::FailSync => members.faults(member).set_disk(Some(DiskFault::Fail))?,
        Kind::ClockJump => {
            let at = usize::try_from(dice.below(JUMPS_MS.len() as u64)).unwrap_or_default();
            struck.how = format!("{} s", JUMPS_MS[at] / 1_000);
            members.faults(member).set_clock(JUMPS_MS[at])?;
        }
    }
    Ok(())
}

fn end(members: &Members, number: u32, struck: &Struck) -> Result<()> {
    let member = struck.member;
    match struck.kind {
        Kind::Kill => members.revive(member),
        Kind::KillAll => (1..=MEMBERS).try_for_each(|member| members.revive(member)),
        Kind::Freeze => {
            members.signal(member, Signal::Thaw);
            Ok(())
        }
        Kind::Isolate
        | Kind::Part
        | Kind::Deafen
        | Kind::Mute
        | Kind::CutRequests
        | Kind::CutAnswers
        | Kind::Loss => members.mend(number),
        Kind::Delay => members.hasten(member),
        Kind::FullDisk => members.lab.empty(member),
        Kind::SlowSync | Kind::FailSync => Ok(members.faults(member).set_disk(None)?),
        Kind::ClockJump => Ok(members.faults(member).set_clock(0)?),
    }
}
