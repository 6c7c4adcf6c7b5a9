//! Progress of long builds: a bar on a terminal, a line now and then elsewhere.

use std::io::IsTerminal as _;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::clock::{Stopwatch, human};
use crate::say;

/// How often a line is written where there is no terminal.
const LINE_INTERVAL: Duration = Duration::from_secs(30);
/// Below this share of the work an estimate from it says nothing.
const LEAST_SHARE_FOR_ESTIMATE: f64 = 0.05;

/// One piece of work whose end people wait for.
pub(crate) struct Progress {
    title: String,
    usual: Duration,
    watch: Stopwatch,
    next_line: Duration,
    bar: Option<ProgressBar>,
}

impl Progress {
    /// `usual` is how long it takes on two cores; the estimate until the work itself tells better.
    pub(crate) fn start(title: &str, usual: Duration) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new_spinner();
            if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}") {
                bar.set_style(style);
            }
            bar
        });
        if bar.is_none() {
            say::note(&format!("{title} (usually {} on two cores)", human(usual)));
        }
        Self {
            title: title.to_owned(),
            usual,
            watch: Stopwatch::start(),
            next_line: LINE_INTERVAL,
            bar,
        }
    }

    /// Called often; `share` is the done part, 0 to 1, where the work can tell.
    pub(crate) fn tick(&mut self, share: Option<f64>) {
        let elapsed = self.watch.elapsed();
        let left = remaining(elapsed, self.usual, share);
        if let Some(bar) = &self.bar {
            bar.set_message(format!("{}: {}, {left}", self.title, human(elapsed)));
            bar.tick();
        } else if elapsed >= self.next_line {
            self.next_line = elapsed + LINE_INTERVAL;
            say::note(&format!("  {}: {}, {left}", self.title, human(elapsed)));
        }
    }

    /// The work is done.
    pub(crate) fn finish(self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        say::note(&format!(
            "{}: done in {}",
            self.title,
            human(self.watch.elapsed())
        ));
    }
}

fn remaining(elapsed: Duration, usual: Duration, share: Option<f64>) -> String {
    match share {
        Some(share) if share >= LEAST_SHARE_FOR_ESTIMATE => {
            let share = share.min(1.0);
            let left = elapsed.mul_f64((1.0 - share) / share);
            format!("{:.0} %, about {} left", share * 100.0, human(left))
        }
        _ => match usual.checked_sub(elapsed) {
            Some(left) => format!("about {} left", human(left)),
            None => "longer than usual".to_owned(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_estimate_comes_from_the_work_once_it_can_tell() {
        let usual = Duration::from_secs(600);
        let at = Duration::from_secs(100);
        assert_eq!(remaining(at, usual, None), "about 8m20s left");
        assert_eq!(remaining(at, usual, Some(0.01)), "about 8m20s left");
        assert_eq!(remaining(at, usual, Some(0.5)), "50 %, about 1m40s left");
        assert_eq!(
            remaining(Duration::from_secs(700), usual, None),
            "longer than usual"
        );
    }
}
