//! Ctrl-C and SIGTERM for the drivers: what was started ends, what was written goes.

use std::path::PathBuf;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::error::Error;
use crate::process;

/// Exit code of a program that a person interrupted.
const INTERRUPTED: i32 = 130;

/// From now on, a signal to end kills all started processes, removes `folder` and ends this process.
///
/// # Errors
/// When the signals cannot be listened to.
pub fn end_cleanly_on_signals(folder: PathBuf) -> Result<(), Error> {
    let mut signals = Signals::new([SIGINT, SIGTERM]).map_err(|source| Error::Start {
        program: "the signal handler".to_owned(),
        source,
    })?;
    std::thread::spawn(move || {
        if signals.forever().next().is_some() {
            process::kill_all();
            // Best effort: the process ends here whatever is left.
            let _ = std::fs::remove_dir_all(&folder);
            std::process::exit(INTERRUPTED);
        }
    });
    Ok(())
}
