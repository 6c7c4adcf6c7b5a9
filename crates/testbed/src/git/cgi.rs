//! Hands a request to `git http-backend`, the server that Git ships.

use std::io::{self, Read as _, Write as _};
use std::path::Path;
use std::process::Stdio;

use super::repository::git;
use super::request::Request;
use crate::process;

/// What git answered: `200 OK`, header lines, body.
pub(super) struct Answer {
    pub(super) status: String,
    pub(super) headers: String,
    pub(super) body: Vec<u8>,
}

/// Runs it for one request on the repositories below `root`.
pub(super) fn serve(root: &Path, request: &Request, user: Option<&str>) -> io::Result<Answer> {
    let mut program = git(root)
        .args(["http-backend"])
        .env("GIT_PROJECT_ROOT", root)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("REQUEST_METHOD", &request.method)
        .env("PATH_INFO", &request.path)
        .env("QUERY_STRING", &request.query)
        .env("CONTENT_LENGTH", request.body.len().to_string())
        .env("REMOTE_ADDR", "127.0.0.1");
    let passed = [
        ("content-type", "CONTENT_TYPE"),
        ("content-encoding", "HTTP_CONTENT_ENCODING"),
        ("git-protocol", "GIT_PROTOCOL"),
    ];
    for (header, variable) in passed {
        if let Some(value) = request.header(header) {
            program = program.env(variable, value);
        }
    }
    if let Some(user) = user {
        program = program.env("REMOTE_USER", user);
    }
    let mut command = program.command();
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let mut child = process::spawn(command)?;
    let (Some(mut input), Some(mut output)) = (child.stdin.take(), child.stdout.take()) else {
        return Err(io::Error::other("no pipes to git http-backend"));
    };
    let mut bytes = Vec::new();
    std::thread::scope(|scope| {
        // Git may answer before it has read everything, and may not want the rest.
        scope.spawn(move || {
            let _ = input.write_all(&request.body);
        });
        output.read_to_end(&mut bytes)
    })?;
    child.wait()?;
    split(&bytes).ok_or_else(|| io::Error::other("git http-backend answered nothing readable"))
}

fn split(bytes: &[u8]) -> Option<Answer> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&bytes[..end]).ok()?;
    let mut status = "200 OK".to_owned();
    let mut headers = String::new();
    for line in head.split("\r\n") {
        match line.split_once(": ") {
            Some(("Status", value)) => value.clone_into(&mut status),
            Some((name, value)) => headers.push_str(&format!("{name}: {value}\r\n")),
            None => {}
        }
    }
    Some(Answer {
        status,
        headers,
        body: bytes[end + 4..].to_vec(),
    })
}
