//! The same repository behind a real sshd on loopback, with keys made for it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::repository::BareRepository;
use crate::binaries::Binary;
use crate::error::Error;
use crate::ports::Port;
use crate::process::{self, Process, Program};
use crate::wait;

/// sshd listens within tens of milliseconds.
const LISTEN_BOUND: Duration = Duration::from_secs(20);
/// Where sshd, run by root, wants an empty folder for its unprivileged half.
const PRIVILEGE_SEPARATION: &str = "/run/sshd";

/// An sshd that serves one repository; dropping it ends it and its sessions.
#[derive(Debug)]
pub struct SshServer {
    url: String,
    dir: PathBuf,
    _process: Process,
    _port: Port,
}

impl SshServer {
    /// Starts one in a folder below `dir`.
    ///
    /// # Errors
    /// `MissingBinary` before the bootstrap; `Ended` when sshd refuses its configuration.
    pub fn start(dir: &Path, repository: &BareRepository) -> Result<Self, Error> {
        let program = Binary::Sshd.path()?;
        let dir = dir.join("ssh");
        std::fs::create_dir_all(&dir).map_err(Error::file("create", &dir))?;
        let port = Port::reserve()?;
        let number = port.number();
        for key in ["host_key", "user_key"] {
            let file = dir.join(key).display().to_string();
            process::run(
                &Program::new("ssh-keygen")
                    .args(["-q", "-t", "ed25519", "-N", "", "-C", key, "-f", &file]),
            )?;
        }
        let host_key = read(&dir.join("host_key.pub"))?;
        write(
            &dir.join("known_hosts"),
            &format!("[127.0.0.1]:{number} {host_key}"),
        )?;
        write(
            &dir.join("authorized_keys"),
            &read(&dir.join("user_key.pub"))?,
        )?;
        let config = dir.join("sshd_config");
        write(&config, &configuration(&dir, number, repository.home()))?;
        let user = process::run(&Program::new("id").args(["-un"]))?
            .trim()
            .to_owned();
        if user == "root" {
            let folder = Path::new(PRIVILEGE_SEPARATION);
            std::fs::create_dir_all(folder).map_err(Error::file("create", folder))?;
        }
        let arguments = [
            "-D".to_owned(),
            "-e".to_owned(),
            "-f".to_owned(),
            config.display().to_string(),
        ];
        let mut process = Process::start(
            "sshd",
            &Program::new(program).args(arguments),
            &dir.join("sshd.log"),
        )?;
        wait_listening(&mut process, number)?;
        let url = format!(
            "ssh://{user}@127.0.0.1:{number}{}",
            repository.path().display()
        );
        Ok(Self {
            url,
            dir,
            _process: process,
            _port: port,
        })
    }

    /// The repository's address.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The private key that may log in.
    #[must_use]
    pub fn private_key(&self) -> PathBuf {
        self.dir.join("user_key")
    }

    /// Its host key as a `known_hosts` file.
    #[must_use]
    pub fn known_hosts(&self) -> PathBuf {
        self.dir.join("known_hosts")
    }
}

fn configuration(dir: &Path, port: u16, home: &Path) -> String {
    let dir = dir.display();
    format!(
        "Port {port}\n\
         ListenAddress 127.0.0.1\n\
         HostKey {dir}/host_key\n\
         AuthorizedKeysFile {dir}/authorized_keys\n\
         PidFile none\n\
         StrictModes no\n\
         UsePAM no\n\
         PasswordAuthentication no\n\
         KbdInteractiveAuthentication no\n\
         PermitRootLogin prohibit-password\n\
         AllowTcpForwarding no\n\
         X11Forwarding no\n\
         SetEnv GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_NOSYSTEM=1 HOME={}\n",
        home.display()
    )
}

fn wait_listening(process: &mut Process, port: u16) -> Result<(), Error> {
    let mut ended = None;
    wait::until("sshd listens", LISTEN_BOUND, || {
        if let Err(error) = process.check() {
            ended = Some(error);
            return Ok(());
        }
        match std::net::TcpStream::connect(("127.0.0.1", port)) {
            Ok(_) => Ok(()),
            Err(error) => Err(error.to_string()),
        }
    })?;
    ended.map_or(Ok(()), Err)
}

fn read(path: &Path) -> Result<String, Error> {
    std::fs::read_to_string(path).map_err(Error::file("read", path))
}

fn write(path: &Path, text: &str) -> Result<(), Error> {
    std::fs::write(path, text).map_err(Error::file("write", path))
}
