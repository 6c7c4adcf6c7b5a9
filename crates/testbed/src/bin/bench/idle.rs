//! What may be used while nothing is to do.

use std::time::Duration;

use anyhow::{Result, ensure};
use regraft_testbed::{Error, Stopwatch, wait};

/// How long nothing may happen.
const IDLE: Duration = Duration::from_secs(60);
/// How long the wait may take, on a machine that stalls.
const IDLE_BOUND: Duration = Duration::from_secs(120);
/// How much of a core a member may use meanwhile.
const PERCENT_MAX: f64 = 2.0;

/// Lets a minute pass and gives the seconds it took. Time itself is what is measured here; a member that ends is
/// noticed at once.
pub(crate) fn a_minute(mut check: impl FnMut() -> Result<(), Error>) -> Result<f64> {
    let watch = Stopwatch::start();
    wait::until("a minute has passed", IDLE_BOUND, || {
        if let Err(ended) = check() {
            return Ok(Err(ended));
        }
        match watch.elapsed() >= IDLE {
            true => Ok(Ok(())),
            false => Err(String::new()),
        }
    })??;
    Ok(watch.seconds())
}

/// Tells what a member used, and fails where that is too much.
pub(crate) fn judge(member: &str, cpu_s: f64, seconds: f64) -> Result<()> {
    let percent = cpu_s / seconds * 100.0;
    println!("idle: {member} used {percent:.2} % of a core");
    ensure!(
        percent < PERCENT_MAX,
        "{member} used {percent:.2} % of a core while nothing was to do; the bar is {PERCENT_MAX} %"
    );
    Ok(())
}
