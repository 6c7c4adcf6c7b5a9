//! A Git server over http on loopback, with exact control of the moment of a push.
//!
//! Guarantees: `git http-backend` does all of Git's work; a held push is either
//! not yet seen by git (`BeforeAccept`) or whole in the repository with the
//! pusher not yet told (`AfterAccept`), and stays so until released.

use std::io::{self, BufReader};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use data_encoding::BASE64;

use super::cgi;
use super::repository::{Author, BareRepository, WorkClone};
use super::request::{Request, answer};
use crate::error::Error;
use crate::wait;

/// A client that says nothing for so long is gone.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
const REPOSITORY: &str = "fleet.git";
/// Git asks with an empty packet whether it may push before it sends a large pack.
const PROBE_BYTES: usize = 4;

/// User and password that the server asks for.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The user.
    pub user: String,
    /// The password.
    pub password: String,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Credentials")
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

/// How the server behaves.
#[derive(Clone, Debug, Default)]
pub struct HttpOptions {
    /// Asked for on every request, where given.
    pub credentials: Option<Credentials>,
}

/// Where a push is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HoldPoint {
    /// The pusher has asked where the branches are, and has no answer yet.
    BeforeTip,
    /// The server has read the push; git has not seen it.
    BeforeAccept,
    /// Git has accepted the push; the pusher has no answer yet.
    AfterAccept,
}

/// Requests so far, by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RequestCounts {
    /// References asked for by somebody who wants to fetch (`ls-remote`).
    pub refs_for_fetch: u64,
    /// References asked for by somebody who wants to push.
    pub refs_for_push: u64,
    /// Fetches of objects (and, in protocol 2, listings of references).
    pub upload_pack: u64,
    /// Pushes.
    pub receive_pack: u64,
    /// Requests without the right credentials.
    pub unauthorized: u64,
}

/// A Git server; dropping it closes its port and lets go of held pushes.
#[derive(Debug)]
pub struct GitServer {
    repository: BareRepository,
    root: PathBuf,
    port: u16,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    root: PathBuf,
    options: HttpOptions,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    counts: RequestCounts,
    hold: Option<HoldPoint>,
    held: usize,
    dropping: bool,
    fail_next: Option<u16>,
    closed: bool,
}

impl GitServer {
    /// Starts one with an empty repository in a folder below `dir`.
    ///
    /// # Errors
    /// When the repository cannot be made or no port be bound.
    pub fn http(dir: &Path, options: HttpOptions) -> Result<Self, Error> {
        let root = dir.join("git");
        let repository = BareRepository::create(&root.join(REPOSITORY))?;
        // The kernel chooses the port; nothing else ever learns it before it is bound.
        let bound = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| {
            let port = listener.local_addr()?.port();
            Ok((listener, port))
        });
        let (listener, port) = bound.map_err(|source| Error::Start {
            program: "the Git server".to_owned(),
            source,
        })?;
        let shared = Arc::new(Shared {
            root: root.clone(),
            options,
            state: Mutex::default(),
            changed: Condvar::new(),
        });
        let acceptor = {
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || accept(&listener, &shared))
        };
        Ok(Self {
            repository,
            root,
            port,
            shared,
            acceptor: Some(acceptor),
        })
    }

    /// Fills the repository with one commit that holds the files of a folder.
    ///
    /// # Errors
    /// When a file cannot be read or git fails.
    pub fn seed(&self, folder: &Path) -> Result<String, Error> {
        self.repository.seed(folder, &self.root)
    }

    /// Its address, without credentials.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/{REPOSITORY}", self.port)
    }

    /// The repository behind it.
    #[must_use]
    pub fn repository(&self) -> &BareRepository {
        &self.repository
    }

    /// A person's clone, beside the server: what this person does is not counted.
    ///
    /// # Errors
    /// When git fails.
    pub fn work_clone(&self, author: &Author) -> Result<WorkClone, Error> {
        self.repository
            .clone_to(&self.root.join(format!("clone of {}", author.name)), author)
    }

    /// Requests so far.
    #[must_use]
    pub fn counts(&self) -> RequestCounts {
        self.shared.state().counts
    }

    /// Holds every push from now on, until `release` or `drop_held`.
    pub fn hold_pushes(&self, at: HoldPoint) {
        self.shared.state().hold = Some(at);
    }

    /// Waits until a push is held.
    ///
    /// # Errors
    /// `TimedOut` when none comes.
    pub fn wait_held(&self, bound: Duration) -> Result<(), Error> {
        wait::until("a push is held by the Git server", bound, || {
            let state = self.shared.state();
            if state.held > 0 {
                Ok(())
            } else {
                Err(format!("{:?}", state.counts))
            }
        })
    }

    /// Lets held pushes go on, and holds none any more.
    pub fn release(&self) {
        self.shared.state().hold = None;
        self.shared.changed.notify_all();
    }

    /// Closes the connections of held pushes without an answer, and holds none any more:
    /// held before accepting, the push never happened; held after, it happened and nobody was told.
    pub fn drop_held(&self) {
        let mut state = self.shared.state();
        state.hold = None;
        state.dropping = state.held > 0;
        drop(state);
        self.shared.changed.notify_all();
    }

    /// Answers the next request with an HTTP status instead of serving it.
    pub fn fail_next(&self, status: u16) {
        self.shared.state().fail_next = Some(status);
    }
}

impl Drop for GitServer {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        state.closed = true;
        state.hold = None;
        state.dropping = state.held > 0;
        drop(state);
        self.shared.changed.notify_all();
        // One more connection wakes the accepting thread, which then sees that it is over.
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for connection in listener.incoming() {
        if shared.state().closed {
            return;
        }
        let Ok(connection) = connection else { continue };
        let shared = Arc::clone(shared);
        std::thread::spawn(move || {
            // A client that went away is its own affair.
            let _ = shared.serve(&connection);
        });
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(&self, connection: &TcpStream) -> io::Result<()> {
        connection.set_read_timeout(Some(IDLE_TIMEOUT))?;
        connection.set_write_timeout(Some(IDLE_TIMEOUT))?;
        let mut output = connection;
        let Some(request) = Request::read(&mut BufReader::new(connection), &mut output)? else {
            return Ok(());
        };
        let failure = self.state().fail_next.take();
        if let Some(status) = failure {
            return answer(&mut output, &format!("{status} Failed on purpose"), "", b"");
        }
        let user = match self.user(&request) {
            Ok(user) => user,
            Err(()) => {
                self.state().counts.unauthorized += 1;
                let asked = "WWW-Authenticate: Basic realm=\"fleet\"\r\n";
                return answer(&mut output, "401 Unauthorized", asked, b"");
            }
        };
        self.count(&request);
        let push = request.path.ends_with("/git-receive-pack") && request.body.len() > PROBE_BYTES;
        let asks = request.path.ends_with("/refs") && request.query == "service=git-receive-pack";
        if asks && !self.pass(HoldPoint::BeforeTip) {
            return Ok(());
        }
        if push && !self.pass(HoldPoint::BeforeAccept) {
            return Ok(());
        }
        let served = cgi::serve(&self.root, &request, Some(user))?;
        if push && !self.pass(HoldPoint::AfterAccept) {
            return Ok(());
        }
        answer(&mut output, &served.status, &served.headers, &served.body)
    }

    /// Waits while pushes are held here; `false` means: close without an answer.
    fn pass(&self, here: HoldPoint) -> bool {
        let mut state = self.state();
        if state.hold != Some(here) {
            return true;
        }
        state.held += 1;
        while state.hold == Some(here) {
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        state.held -= 1;
        let dropping = state.dropping;
        if state.held == 0 {
            state.dropping = false;
        }
        !dropping
    }

    fn user(&self, request: &Request) -> Result<&str, ()> {
        let Some(Credentials { user, password }) = &self.options.credentials else {
            return Ok("anonymous");
        };
        let expected = format!(
            "Basic {}",
            BASE64.encode(format!("{user}:{password}").as_bytes())
        );
        if request.header("authorization") == Some(expected.as_str()) {
            Ok(user)
        } else {
            Err(())
        }
    }

    fn count(&self, request: &Request) {
        let counts = &mut self.state().counts;
        let counter = match (request.path.rsplit('/').next(), request.query.as_str()) {
            (Some("refs"), "service=git-upload-pack") => &mut counts.refs_for_fetch,
            (Some("refs"), "service=git-receive-pack") => &mut counts.refs_for_push,
            (Some("git-upload-pack"), _) => &mut counts.upload_pack,
            (Some("git-receive-pack"), _) => &mut counts.receive_pack,
            _ => return,
        };
        *counter += 1;
    }
}
