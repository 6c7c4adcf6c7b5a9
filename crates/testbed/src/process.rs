//! Programs that never outlive us.
//!
//! Guarantees: dropping a `Process` kills it and all its descendants; when this
//! process itself is killed, the kernel kills the direct children, because they
//! run under `setpriv --pdeathsig KILL`. That signal comes when the *thread*
//! that forked ends, so one thread that lives as long as the process forks all.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, kill_process, kill_process_group};

use crate::error::Error;
use crate::wait;

/// Requests that may wait for the forking thread; each is served in about a millisecond.
const SPAWN_QUEUE_LENGTH: usize = 64;
/// How much of a log an error shows.
const SHOWN_LOG_LINES: usize = 25;
/// How long a program may take to end after SIGTERM before it is killed.
const STOP_BOUND: Duration = Duration::from_secs(10);

/// What to start: the program, its arguments and what it adds to the environment.
#[derive(Clone, Debug)]
pub struct Program {
    path: PathBuf,
    arguments: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    folder: Option<PathBuf>,
}

impl Program {
    /// A program without arguments.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            arguments: Vec::new(),
            environment: Vec::new(),
            folder: None,
        }
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<A: Into<OsString>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// Adds a variable.
    #[must_use]
    pub fn env(mut self, key: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.environment.push((key.into(), value.into()));
        self
    }

    /// Sets the folder it runs in.
    #[must_use]
    pub fn current_dir(mut self, folder: impl Into<PathBuf>) -> Self {
        self.folder = Some(folder.into());
        self
    }

    /// The command that runs it tied to this process, in a process group of its own.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "KILL", "--"])
            .arg(&self.path)
            .args(&self.arguments);
        command.envs(self.environment.iter().map(|(key, value)| (key, value)));
        if let Some(folder) = &self.folder {
            command.current_dir(folder);
        }
        command.process_group(0);
        command
    }
}

/// A signal that tests send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGKILL: at once.
    Kill,
    /// SIGTERM: please end.
    Terminate,
    /// SIGHUP: read again what is on disk.
    Hangup,
    /// SIGSTOP: hang, as a machine under too much load does.
    Freeze,
    /// SIGCONT: go on.
    Thaw,
}

/// What a program uses.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Usage {
    /// Resident memory.
    pub resident_bytes: u64,
    /// The most resident memory it ever had.
    pub peak_bytes: u64,
    /// Processor time, user and system.
    pub cpu_s: f64,
}

/// A running program.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts it with its output appended to `log`.
    ///
    /// # Errors
    /// When the log cannot be opened or the program not be started.
    pub fn start(name: &str, program: &Program, log: &Path) -> Result<Self, Error> {
        let file = File::options()
            .create(true)
            .append(true)
            .open(log)
            .map_err(Error::file("open", log))?;
        let errors = file.try_clone().map_err(Error::file("open", log))?;
        let mut command = program.command();
        command.stdin(Stdio::null()).stdout(file).stderr(errors);
        let child = spawn(command).map_err(|source| Error::Start {
            program: name.to_owned(),
            source,
        })?;
        started().insert(child.id());
        Ok(Self {
            name: name.to_owned(),
            child,
            log: log.to_path_buf(),
        })
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Where its output goes.
    #[must_use]
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// `Ok` while it runs.
    ///
    /// # Errors
    /// `Ended` with the end of its log.
    pub fn check(&mut self) -> Result<(), Error> {
        match self.ended() {
            None => Ok(()),
            Some(status) => Err(Error::Ended {
                name: self.name.clone(),
                status: status.to_string(),
                log: last_lines(&self.log, SHOWN_LOG_LINES),
            }),
        }
    }

    /// Its exit status once it ended.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Sends a signal to it alone.
    pub fn signal(&self, signal: Signal) {
        let number = match signal {
            Signal::Kill => rustix::process::Signal::KILL,
            Signal::Terminate => rustix::process::Signal::TERM,
            Signal::Hangup => rustix::process::Signal::HUP,
            Signal::Freeze => rustix::process::Signal::STOP,
            Signal::Thaw => rustix::process::Signal::CONT,
        };
        if let Some(pid) = pid(self.child.id()) {
            // A program that has just ended is what the caller wanted, or finds out next.
            let _ = kill_process(pid, number);
        }
    }

    /// Kills it and its descendants with SIGKILL and waits until it is gone.
    pub fn kill(&mut self) {
        if self.ended().is_none() {
            kill_tree(self.child.id());
            let _ = self.child.wait();
        }
        started().remove(&self.child.id());
    }

    /// Asks it to end, and kills it when it does not within ten seconds.
    pub fn stop(&mut self) -> Option<ExitStatus> {
        self.signal(Signal::Terminate);
        let name = self.name.clone();
        let ended = wait::until(&format!("{name} ends"), STOP_BOUND, || {
            self.ended().ok_or_else(String::new)
        });
        self.kill();
        ended.ok()
    }

    /// Memory and processor time; nothing once it ended.
    #[must_use]
    pub fn usage(&self) -> Option<Usage> {
        usage(self.child.id())
    }

    /// The last lines of its log.
    #[must_use]
    pub fn log_tail(&self) -> String {
        last_lines(&self.log, SHOWN_LOG_LINES)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Kills everything that `Process` started and did not end yet.
pub(crate) fn kill_all() {
    let all: Vec<u32> = started().iter().copied().collect();
    all.into_iter().for_each(kill_tree);
}

fn started() -> MutexGuard<'static, BTreeSet<u32>> {
    static STARTED: Mutex<BTreeSet<u32>> = Mutex::new(BTreeSet::new());
    STARTED.lock().unwrap_or_else(PoisonError::into_inner)
}

fn kill_tree(root: u32) {
    let descendants = descendants(root);
    if let Some(group) = pid(root) {
        let _ = kill_process_group(group, rustix::process::Signal::KILL);
    }
    for descendant in descendants.into_iter().filter_map(pid) {
        let _ = kill_process(descendant, rustix::process::Signal::KILL);
    }
}

/// Forks from the one thread that lives as long as this process.
pub(crate) fn spawn(command: Command) -> io::Result<Child> {
    type Request = (Command, SyncSender<io::Result<Child>>);
    static SPAWNER: OnceLock<SyncSender<Request>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (requests, inbox) = sync_channel::<Request>(SPAWN_QUEUE_LENGTH);
        std::thread::spawn(move || {
            for (mut command, answer) in inbox {
                let _ = answer.send(command.spawn());
            }
        });
        requests
    });
    let (answer, result) = sync_channel(1);
    let gone = || io::Error::other("the forking thread is gone");
    spawner.send((command, answer)).map_err(|_| gone())?;
    result.recv().map_err(|_| gone())?
}

/// Runs a command to its end and gives its standard output.
pub(crate) fn run(program: &Program) -> Result<String, Error> {
    let words: Vec<_> = std::iter::once(program.path.display().to_string())
        .chain(
            program
                .arguments
                .iter()
                .map(|word| word.to_string_lossy().into_owned()),
        )
        .collect();
    let mut command = program.command();
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let failed = |source| Error::Start {
        program: words[0].clone(),
        source,
    };
    let output = spawn(command)
        .and_then(Child::wait_with_output)
        .map_err(failed)?;
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(stdout);
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    Err(Error::Command {
        command: words.join(" "),
        status: output.status.to_string(),
        output: format!("{}{}", stdout.trim(), stderr.trim()),
    })
}

fn pid(number: u32) -> Option<Pid> {
    i32::try_from(number).ok().and_then(Pid::from_raw)
}

fn usage(pid: u32) -> Option<Usage> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let bytes = |key: &str| {
        let value = status.lines().find_map(|line| line.strip_prefix(key))?;
        Some(
            value
                .trim()
                .strip_suffix(" kB")?
                .trim()
                .parse::<u64>()
                .ok()?
                * 1024,
        )
    };
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The program's name may hold anything, so fields are counted from behind it.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    #[expect(clippy::cast_precision_loss, reason = "ticks of a test run")]
    let cpu_s = (user + system) as f64 / rustix::param::clock_ticks_per_second() as f64;
    Some(Usage {
        resident_bytes: bytes("VmRSS:")?,
        peak_bytes: bytes("VmHWM:")?,
        cpu_s,
    })
}

/// All processes below this one, whatever their process group.
fn descendants(root: u32) -> Vec<u32> {
    let mut parents = Vec::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<u32>().ok())
        else {
            continue;
        };
        let Ok(stat) = std::fs::read_to_string(entry.path().join("stat")) else {
            continue;
        };
        let parent = stat
            .rsplit_once(')')
            .and_then(|(_, rest)| rest.split_whitespace().nth(1)?.parse::<u32>().ok());
        parents.extend(parent.map(|parent| (pid, parent)));
    }
    let mut found = vec![root];
    let mut next = 0;
    while let Some(parent) = found.get(next).copied() {
        found.extend(
            parents
                .iter()
                .filter(|(pid, of)| *of == parent && !found.contains(pid))
                .map(|(pid, _)| *pid)
                .collect::<Vec<_>>(),
        );
        next += 1;
    }
    found.split_off(1)
}

fn last_lines(path: &Path, count: usize) -> String {
    let text = std::fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dir::TestDir;

    #[test]
    fn dropping_a_process_ends_its_descendants_too() {
        let dir = TestDir::new("process").unwrap();
        // The shell starts one more process in a session of its own.
        let program = Program::new("/bin/sh").args(["-c", "setsid sleep 600 & sleep 600"]);
        let process = Process::start("sh", &program, &dir.path().join("log")).unwrap();
        let root = process.pid();
        let children = wait::until("two children", Duration::from_secs(5), || {
            let found = descendants(root);
            if found.len() >= 2 {
                Ok(found)
            } else {
                Err(format!("{found:?}"))
            }
        })
        .unwrap();
        assert!(process.usage().unwrap().resident_bytes > 0);
        drop(process);
        for pid in children.into_iter().chain([root]) {
            wait::until("the process is gone", Duration::from_secs(5), || {
                // A killed orphan may stay a zombie until init collects it.
                let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
                if stat.is_empty() || stat.contains(") Z ") {
                    Ok(())
                } else {
                    Err(stat)
                }
            })
            .unwrap();
        }
    }

    #[test]
    fn a_process_that_ended_tells_its_last_words() {
        let dir = TestDir::new("process").unwrap();
        let program = Program::new("/bin/sh").args(["-c", "echo the disk is full; exit 3"]);
        let mut process = Process::start("sh", &program, &dir.path().join("log")).unwrap();
        wait::until("sh ends", Duration::from_secs(5), || {
            process.ended().ok_or_else(String::new)
        })
        .unwrap();
        let error = process.check().unwrap_err().to_string();
        assert!(
            error.contains("exit status: 3") && error.contains("the disk is full"),
            "{error}"
        );
    }
}
