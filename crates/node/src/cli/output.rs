//! Standard output and error. A reader that went away is no error: `regraft get ... | head` ends well.

use super::{Exit, Failure, Format};
use crate::document::for_people;
use serde::Serialize;
use serde_json::Value;
use std::io::{ErrorKind, Write as _};

/// Writes to standard output.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(Failure::of(
            Exit::Failed,
            "CannotPrint",
            &error,
            "is the disk behind standard output full?",
        )),
        _ => Ok(()),
    }
}

/// Writes to standard error; when even that fails nobody is left to be told.
pub(crate) fn complain(text: &str) {
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}

/// A document as JSON or YAML, or by `table` as a table.
pub(super) fn render(
    document: &Value,
    format: Format,
    table: impl FnOnce(&Value) -> Result<String, Failure>,
) -> Result<String, Failure> {
    match format {
        Format::Table => table(document),
        Format::Json => json(document),
        Format::Yaml => yaml(document),
    }
}

/// A document for programs; as JSON where nothing else is asked for.
pub(super) fn written(document: &impl Serialize, format: Format) -> Result<String, Failure> {
    let document = serde_json::to_value(document).map_err(|error| broken(&error))?;
    match format {
        Format::Table | Format::Json => json(&document),
        Format::Yaml => yaml(&document),
    }
}

/// A document as JSON.
pub(super) fn json(document: &Value) -> Result<String, Failure> {
    let text = serde_json::to_string_pretty(&for_people(document.clone()));
    Ok(text.map_err(|error| broken(&error))? + "\n")
}

/// A document as YAML.
pub(super) fn yaml(document: &Value) -> Result<String, Failure> {
    serde_saphyr::to_string(&for_people(document.clone())).map_err(|error| broken(&error))
}

fn broken(error: &dyn std::error::Error) -> Failure {
    Failure::of(
        Exit::Failed,
        "CannotPrint",
        error,
        "please report this with the command you ran",
    )
}
