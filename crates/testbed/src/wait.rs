//! Waiting for conditions: polled, bounded, and with the last state told on giving up.

use std::time::Duration;

use crate::clock::Stopwatch;
use crate::error::Error;

/// Short against everything that is waited for here, long against what looking costs.
const POLL_INTERVAL: Duration = Duration::from_millis(25);

/// Asks `probe` until it gives a value. Its `Err` is the state seen, told when `bound` has passed.
///
/// # Errors
/// `TimedOut` with the last state.
pub fn until<T>(
    what: &str,
    bound: Duration,
    probe: impl FnMut() -> Result<T, String>,
) -> Result<T, Error> {
    until_every(POLL_INTERVAL, what, bound, probe)
}

/// Like `until`, for probes that cost something (a program, a big answer).
///
/// # Errors
/// `TimedOut` with the last state.
pub fn until_every<T>(
    interval: Duration,
    what: &str,
    bound: Duration,
    mut probe: impl FnMut() -> Result<T, String>,
) -> Result<T, Error> {
    let watch = Stopwatch::start();
    loop {
        match probe() {
            Ok(value) => return Ok(value),
            Err(last) if watch.elapsed() >= bound => {
                return Err(Error::TimedOut {
                    what: what.to_owned(),
                    bound_s: bound.as_secs(),
                    last,
                });
            }
            Err(_) => std::thread::park_timeout(interval),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn giving_up_tells_the_last_state() {
        let mut looks = 0;
        let error = until::<()>("the moon is full", Duration::from_millis(60), || {
            looks += 1;
            Err(format!("look {looks}"))
        })
        .unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("the moon is full did not happen within 0 s; last state: look {looks}")
        );
        assert!(looks >= 2);
    }
}
