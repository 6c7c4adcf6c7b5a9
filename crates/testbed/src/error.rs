//! What can go wrong while real things are started and used.

use std::path::PathBuf;

/// A variant is the operation that failed and its subject.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or folder could not be used.
    #[error("{action} {path}")]
    File {
        /// What was tried: `create`, `read`, `write`.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
    /// A program could not be started.
    #[error("start {program}")]
    Start {
        /// The program.
        program: String,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
    /// A program that should have gone on ended.
    #[error("{name} ended ({status}); the end of its log:\n{log}")]
    Ended {
        /// Which of the started programs.
        name: String,
        /// Its exit status.
        status: String,
        /// The last lines it wrote.
        log: String,
    },
    /// A command failed.
    #[error("{command} ended with {status}: {output}")]
    Command {
        /// The command line.
        command: String,
        /// Its exit status.
        status: String,
        /// What it wrote to standard output and error.
        output: String,
    },
    /// A condition did not come true in time.
    #[error("{what} did not happen within {bound_s} s; last state: {last}")]
    TimedOut {
        /// The condition.
        what: String,
        /// The named bound.
        bound_s: u64,
        /// What was seen last.
        last: String,
    },
    /// A binary that the bootstrap builds is not there.
    #[error(
        "{name} is not at {path}: run `cargo xtask test` (or `cargo xtask bootstrap`, then source its env.sh)"
    )]
    MissingBinary {
        /// The binary.
        name: &'static str,
        /// Where it was looked for.
        path: PathBuf,
    },
    /// A certificate could not be made.
    #[error("make the certificate {name}")]
    Certificate {
        /// Whose certificate.
        name: String,
        /// The library's reason.
        #[source]
        source: rcgen::Error,
    },
    /// TLS could not be set up or spoken.
    #[error("TLS to {server}")]
    Tls {
        /// The other side.
        server: String,
        /// The library's reason.
        #[source]
        source: Box<ureq::Error>,
    },
    /// A request did not get through.
    #[error("{method} {path}")]
    Request {
        /// HTTP method.
        method: String,
        /// Path of the request.
        path: String,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
    /// The API server refused a request.
    #[error("{method} {path}: HTTP {status}: {body}")]
    Refused {
        /// HTTP method.
        method: String,
        /// Path of the request.
        path: String,
        /// HTTP status.
        status: u16,
        /// The answer's body.
        body: String,
    },
    /// An answer is not what its protocol says.
    #[error("{what} is not readable: {detail}")]
    Unreadable {
        /// The answer.
        what: String,
        /// What is wrong with it.
        detail: String,
    },
    /// No port is free.
    #[error("no free port between {from} and {to} on 127.0.0.1")]
    NoPort {
        /// First port tried.
        from: u16,
        /// Last port tried.
        to: u16,
    },
}

impl Error {
    pub(crate) fn file(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::File {
            action,
            path,
            source,
        }
    }
}
