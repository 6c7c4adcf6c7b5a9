//! Steps of an incident that has a plan.

use crate::desk::{Desk, TREE};
use regraft_model::incident::Phase;
use regraft_model::time::Seconds;
use regraft_state::command::Command;

fn renewals(desk: &Desk) -> usize {
    let is_renewal = |command: &&Command| matches!(command, Command::Renew { .. });
    desk.proposed.iter().filter(is_renewal).count()
}

#[test]
fn a_clock_that_is_ahead_renews_no_lock_without_end_and_says_when_it_is_too_far_ahead() {
    for (ahead, told) in [(31_000, ""), (61_000, "set both by NTP")] {
        let mut desk = Desk::new("main");
        desk.ahead = ahead;
        let incident = desk.with_incident(TREE, Seconds(3600));
        desk.planned(&incident, vec![]);
        assert_eq!(desk.view().incidents[&incident].phase, Phase::Locked);
        for _ in 0..60 {
            desk.wait(1000);
        }
        // The lease of a minute is renewed every twenty seconds.
        assert!((3..=4).contains(&renewals(&desk)), "{}", renewals(&desk));
        let waits_for = &desk.view().incidents[&incident].waits_for;
        assert_eq!(told.is_empty(), waits_for.is_empty(), "{waits_for}");
        assert!(waits_for.contains(told), "{waits_for}");
    }
}
