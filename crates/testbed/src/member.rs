//! A member of regraft as its own process: killed, restarted and measured by pid.

use std::path::{Path, PathBuf};

use crate::binaries::Binary;
use crate::error::Error;
use crate::process::{Process, Program, Signal, Usage};

/// What to start.
#[derive(Clone, Debug)]
pub struct MemberOptions {
    /// Name of the member, of its files and its log.
    pub name: String,
    /// Text of its configuration file.
    pub config: String,
    /// What it gets in its environment, such as credentials and `RUST_LOG`.
    pub environment: Vec<(String, String)>,
}

/// A member; dropping it kills it.
#[derive(Debug)]
pub struct Member {
    name: String,
    config: PathBuf,
    log: PathBuf,
    program: Program,
    process: Option<Process>,
}

impl Member {
    /// Writes the configuration below `dir` and starts `regraft serve` with it.
    ///
    /// # Errors
    /// `MissingBinary` before the build; when files cannot be written.
    pub fn start(dir: &Path, options: &MemberOptions) -> Result<Self, Error> {
        let binary = Binary::Regraft.path()?;
        let config = dir.join(format!("{}.yaml", options.name));
        std::fs::write(&config, &options.config).map_err(Error::file("write", &config))?;
        let mut program = Program::new(binary)
            .args(["serve", "--config"])
            .args([&config]);
        for (key, value) in &options.environment {
            program = program.env(key, value);
        }
        let log = dir.join(format!("{}.log", options.name));
        let mut member = Self {
            name: options.name.clone(),
            config,
            log,
            program,
            process: None,
        };
        member.restart()?;
        Ok(member)
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its configuration file.
    #[must_use]
    pub fn config(&self) -> &Path {
        &self.config
    }

    /// Where its log goes, over restarts.
    #[must_use]
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Its process id while it runs.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Process::pid)
    }

    /// `Ok` while it runs.
    ///
    /// # Errors
    /// `Ended` with the end of its log.
    pub fn check(&mut self) -> Result<(), Error> {
        match &mut self.process {
            Some(process) => process.check(),
            None => Err(Error::Ended {
                name: self.name.clone(),
                status: "killed".to_owned(),
                log: String::new(),
            }),
        }
    }

    /// SIGKILL, and waits until it is gone.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// SIGTERM; gives whether it ended by itself with success.
    pub fn stop(&mut self) -> bool {
        let status = self.process.as_mut().and_then(Process::stop);
        self.process = None;
        status.is_some_and(|status| status.success())
    }

    /// Sends a signal, for instance to freeze it.
    pub fn signal(&self, signal: Signal) {
        if let Some(process) = &self.process {
            process.signal(signal);
        }
    }

    /// Starts it again on its data, where it does not run.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn restart(&mut self) -> Result<(), Error> {
        if self.process.is_none() {
            self.process = Some(Process::start(&self.name, &self.program, &self.log)?);
        }
        Ok(())
    }

    /// Memory and processor time while it runs.
    #[must_use]
    pub fn usage(&self) -> Option<Usage> {
        self.process.as_ref()?.usage()
    }

    /// The last lines of its log.
    #[must_use]
    pub fn log_tail(&self) -> String {
        self.process
            .as_ref()
            .map(Process::log_tail)
            .unwrap_or_default()
    }
}
