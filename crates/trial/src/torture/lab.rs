//! Where members are tortured: a network and disks of their own, that the kernel takes away with the last process.
//!
//! ```text
//! network and mounts of this process alone (unshare)
//!   br0 10.77.0.254 ── clients                  FOLDER/disk-1.img ─ext4, loop─> FOLDER/disk-1
//!    ├── to1 ── eth0 10.77.0.1  (netns m1)      FOLDER/disk-2.img ...
//!    ├── to2 ── eth0 10.77.0.2  (netns m2)
//!    └── to3 ── eth0 10.77.0.3  (netns m3)      nftables in each: whom it does not hear, whom it does not reach,
//!                                               which packets are lost, which connections take a slow way
//! ```
//!
//! Nothing of the machine's own network or mounts changes, so nothing has to be put back, however the run ends. Where the
//! rights for this are missing, members listen on loopback and keep their data in plain folders.

use std::fs::File;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};
use regraft_testbed::Port;
use rustix::fs::FallocateFlags;

use super::MEMBERS;

/// What a process that was confined already is told.
pub(super) const CONFINED: &str = "--confined";
/// The clients' address.
const CLIENTS: &str = "10.77.0.254";
const RAFT_PORT: u16 = 7_202;
const STORE_PORT: u16 = 7_203;
/// Where the slow way to a port begins: this much above it.
const SLOW_ABOVE: u16 = 100;
/// Bytes of a member's disk: the log keeps some segments of 16 MiB, the state and its snapshots about as much again.
const DISK_BYTES: u64 = 768 << 20;
/// Left when a disk is filled: less than anything asks for at once.
const LEFT_BYTES: u64 = 16 << 10;
/// Tries to fill a disk: each takes what is left then.
const FILL_TRIES: u32 = 40;

/// What a run may use.
pub(super) struct Lab {
    /// Network and disks of its own, or not.
    pub(super) confinement: Confinement,
    folder: PathBuf,
    ports: Vec<Port>,
    disks: Vec<Disk>,
}

/// Whether this process has a network and mounts of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Confinement {
    Own,
    /// Faults of network and disk space are left out.
    Shared,
}

/// A mounted disk.
struct Disk(PathBuf);

/// Who talks to a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Party {
    Member(u64),
    Clients,
}

/// Traffic of a member that is dropped, as the member sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cut {
    /// What the other one sends.
    From(Party),
    /// What it sends to the other one.
    To(Party),
    /// So many of a hundred packets, at random, of all that it sends and is sent.
    Some(u64),
}

/// Runs this process again with a network and mounts of its own. Comes back where that cannot be had, with the reason.
pub(super) fn confine() -> Result<String> {
    let with = ["--mount", "--net", "--propagation=private", "--"];
    let tried = Command::new("unshare").args(with).arg("true").output();
    match tried {
        Err(error) => return Ok(format!("unshare cannot be started: {error}")),
        Ok(output) if !output.status.success() => {
            let said = String::from_utf8_lossy(&output.stderr);
            return Ok(format!("{} (root may)", said.trim()));
        }
        Ok(_) => {}
    }
    let program = std::env::current_exe()?;
    let error = Command::new("unshare")
        .args(with)
        .arg(program)
        .args(std::env::args_os().skip(1))
        .arg(CONFINED)
        .exec();
    Err(error).context("start again with a network of its own")
}

impl Lab {
    /// Prepares it in `folder`.
    pub(super) fn new(folder: &Path, confinement: Confinement) -> Result<Self> {
        let mut lab = Self {
            confinement,
            folder: folder.to_owned(),
            ports: Vec::new(),
            disks: Vec::new(),
        };
        match confinement {
            Confinement::Own => {
                make_network()?;
                for member in 1..=MEMBERS {
                    lab.disks.push(Disk::mount(folder, member)?);
                }
            }
            Confinement::Shared => {
                for _ in 0..2 * MEMBERS {
                    lab.ports.push(Port::reserve()?);
                }
            }
        }
        Ok(lab)
    }

    /// The name or address that a member has in its certificate.
    pub(super) fn host(&self, member: u64) -> String {
        match self.confinement {
            Confinement::Own => format!("10.77.0.{member}"),
            Confinement::Shared => "127.0.0.1".to_owned(),
        }
    }

    /// Where other members reach it.
    pub(super) fn raft(&self, member: u64) -> String {
        self.address(member, RAFT_PORT, 0)
    }

    /// Where clients reach it.
    pub(super) fn store(&self, member: u64) -> String {
        self.address(member, STORE_PORT, MEMBERS)
    }

    fn address(&self, member: u64, port: u16, after: u64) -> String {
        let reserved = usize::try_from(member - 1 + after).unwrap_or_default();
        let port = self.ports.get(reserved).map_or(port, Port::number);
        format!("{}:{port}", self.host(member))
    }

    /// Where a member keeps its data.
    pub(super) fn data(&self, member: u64) -> PathBuf {
        disk_folder(&self.folder, member).join("data")
    }

    /// What a member's program is started by.
    pub(super) fn prefix(&self, member: u64) -> Vec<String> {
        match self.confinement {
            Confinement::Own => vec![
                "nsenter".to_owned(),
                format!("--net=/run/netns/m{member}"),
                "--".to_owned(),
            ],
            Confinement::Shared => vec![],
        }
    }

    /// Drops this traffic of a member, and no other.
    pub(super) fn cut(&self, member: u64, cuts: &[Cut]) -> Result<()> {
        let mut rules = String::from("flush table inet cut\n");
        for cut in cuts {
            let address = |party: &Party| match party {
                Party::Member(other) => self.host(*other),
                Party::Clients => CLIENTS.to_owned(),
            };
            rules.push_str(&match cut {
                Cut::From(party) => {
                    format!("add rule inet cut in ip saddr {} drop\n", address(party))
                }
                Cut::To(party) => {
                    format!("add rule inet cut out ip daddr {} drop\n", address(party))
                }
                Cut::Some(percent) => format!(
                    "add rule inet cut in iifname eth0 numgen random mod 100 < {percent} drop\n\
                     add rule inet cut out oifname eth0 numgen random mod 100 < {percent} drop\n"
                ),
            });
        }
        filter(member, &rules)
    }

    /// The slow ways to a member's ports, and where they lead.
    pub(super) fn slow_ways(&self, member: u64) -> [String; 2] {
        let host = self.host(member);
        [RAFT_PORT, STORE_PORT].map(|port| format!("{host}:{}={host}:{port}", port + SLOW_ABOVE))
    }

    /// Leads connections to a member by its slow ways, and breaks those that it has.
    pub(super) fn lead_slowly(&self, member: u64) -> Result<()> {
        let mut rules = String::from(
            "flush table inet slow\n\
             add rule inet slow old tcp flags rst accept\n",
        );
        for port in [RAFT_PORT, STORE_PORT] {
            let slow = port + SLOW_ABOVE;
            rules.push_str(&format!(
                "add rule inet slow new iifname eth0 tcp dport {port} redirect to :{slow}\n\
                 add rule inet slow old iifname eth0 tcp dport {port} reject with tcp reset\n"
            ));
        }
        filter(member, &rules)
    }

    /// Leads connections to a member straight to it.
    pub(super) fn lead_straight(&self, member: u64) -> Result<()> {
        filter(member, "flush table inet slow\n")
    }

    /// Fills a member's disk.
    pub(super) fn fill(&self, member: u64) -> Result<()> {
        let file = File::create(self.filler(member)).context("make a file to fill a disk with")?;
        let mut length = 0;
        for _ in 0..FILL_TRIES {
            let disk = rustix::fs::fstatvfs(&file)?;
            let free = (disk.f_bavail * disk.f_frsize).saturating_sub(LEFT_BYTES);
            if free == 0 {
                return Ok(());
            }
            // Metadata takes room, too.
            let some = (free / 2).max(LEFT_BYTES);
            match rustix::fs::fallocate(&file, FallocateFlags::empty(), length, some) {
                Ok(()) => length += some,
                Err(rustix::io::Errno::NOSPC) => return Ok(()),
                Err(error) => return Err(error).context("fill a disk"),
            }
        }
        Ok(())
    }

    /// Gives the room back.
    pub(super) fn empty(&self, member: u64) -> Result<()> {
        match std::fs::remove_file(self.filler(member)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).context("empty a disk")
            }
            _ => Ok(()),
        }
    }

    fn filler(&self, member: u64) -> PathBuf {
        disk_folder(&self.folder, member).join("filler")
    }

    /// Copies what is on the disks to where it stays when they are gone.
    pub(super) fn keep(&self) -> Result<()> {
        for disk in &self.disks {
            let data = disk.0.join("data");
            let kept = disk.0.with_extension("kept");
            run(Command::new("cp").arg("-a").arg(data).arg(kept))?;
        }
        Ok(())
    }
}

fn disk_folder(folder: &Path, member: u64) -> PathBuf {
    folder.join(format!("disk-{member}"))
}

impl Disk {
    /// A file system in a file, which syncs as the disk below does.
    fn mount(folder: &Path, member: u64) -> Result<Self> {
        let at = disk_folder(folder, member);
        std::fs::create_dir_all(&at)?;
        let image = at.with_extension("img");
        File::create(&image)?.set_len(DISK_BYTES)?;
        run(Command::new("mkfs.ext4")
            .args(["-q", "-F", "-m", "0"])
            .arg(&image))?;
        run(Command::new("mount")
            .args(["-o", "loop,noatime"])
            .args([&image, &at]))?;
        Ok(Self(at))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // What still uses it keeps it until it ends; then the kernel takes it away.
        let _ = run(Command::new("umount").arg("--lazy").arg(&self.0));
        let _ = std::fs::remove_file(self.0.with_extension("img"));
    }
}

fn make_network() -> Result<()> {
    // Names of networks are files there; the machine's own are not to be seen or touched.
    run(Command::new("mount").args(["-t", "tmpfs", "tmpfs", "/run"]))?;
    ip("link set lo up")?;
    ip("link add br0 type bridge")?;
    ip(&format!("addr add {CLIENTS}/24 dev br0"))?;
    ip("link set br0 up")?;
    for member in 1..=MEMBERS {
        ip(&format!("netns add m{member}"))?;
        ip(&format!(
            "link add to{member} type veth peer name eth0 netns m{member}"
        ))?;
        ip(&format!("link set to{member} master br0 up"))?;
        ip(&format!(
            "-n m{member} addr add 10.77.0.{member}/24 dev eth0"
        ))?;
        ip(&format!("-n m{member} link set lo up"))?;
        ip(&format!("-n m{member} link set eth0 up"))?;
        let table = "add table inet cut\n\
             add chain inet cut in { type filter hook input priority 0; }\n\
             add chain inet cut out { type filter hook output priority 0; }\n\
             add table inet slow\n\
             add chain inet slow new { type nat hook prerouting priority -100; }\n\
             add chain inet slow old { type filter hook input priority 0; }\n";
        filter(member, table)?;
    }
    Ok(())
}

fn ip(arguments: &str) -> Result<()> {
    run(Command::new("ip").args(arguments.split(' ')))
}

/// Has nftables read this in the network of a member.
fn filter(member: u64, rules: &str) -> Result<()> {
    let mut command = Command::new("nsenter");
    command.args([&format!("--net=/run/netns/m{member}"), "--", "nft"]);
    run(command.arg(rules))
}

fn run(command: &mut Command) -> Result<()> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("start {command:?}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{command:?}: {}", said.trim())
    }
    Ok(())
}
