//! What a person reads: facts on standard output, progress and errors on standard error.

use std::io::Write as _;

/// One line of result.
pub(crate) fn line(text: &str) {
    // A closed pipe (`cargo xtask verify | head`) is the reader's choice.
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// One line about what is going on.
pub(crate) fn note(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Why the command failed.
pub(crate) fn error(text: &str) {
    let _ = writeln!(std::io::stderr(), "error: {text}");
}
