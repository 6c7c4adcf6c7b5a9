//! The few things that the log asks of a disk, and the disk of the machine.

use crate::error::Error;
use std::any::Any;
use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Zeros that are written at a time, and synced: a sync of the log waits behind this much, not behind a segment.
const ZEROS_BYTES: usize = 1 << 20;
static ZEROS: [u8; ZEROS_BYTES] = [0; ZEROS_BYTES];

const LOCK_FILE: &str = "lock";

/// One flat folder of files.
///
/// What was written or changed may be lost in a crash until it is synced, in any part and in any order; but a sector
/// of 512 bytes is either as before or as written.
pub trait Disk: Send + Sync {
    /// The names of all files, in no order.
    ///
    /// # Errors
    /// As the disk says.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Makes an empty file.
    ///
    /// # Errors
    /// `AlreadyExists`, and as the disk says.
    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>>;

    /// Opens a file to read and write it.
    ///
    /// # Errors
    /// `NotFound`, and as the disk says.
    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>>;

    /// Gives a file another name, that no file has.
    ///
    /// # Errors
    /// As the disk says.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Deletes a file. Who has it open can still read it.
    ///
    /// # Errors
    /// As the disk says.
    fn delete(&self, name: &str) -> io::Result<()>;

    /// Makes every creation, renaming and deletion so far durable.
    ///
    /// # Errors
    /// As the disk says.
    fn sync_folder(&self) -> io::Result<()>;
}

/// One open file.
pub trait DiskFile: Send + Sync {
    /// Its length in bytes.
    ///
    /// # Errors
    /// As the disk says.
    fn length(&self) -> io::Result<u64>;

    /// Makes a shorter file this many bytes long, durably: what is new is allocated and filled with zeros, so that
    /// later writes to it need no room and change nothing but the bytes.
    ///
    /// # Errors
    /// `StorageFull` where there is no room, and as the disk says; the file is then as long as before, or empty space
    /// is left at its end.
    fn preallocate(&self, bytes: u64) -> io::Result<()>;

    /// Writes all the bytes at the offset.
    ///
    /// # Errors
    /// As the disk says; any of the sectors may be written then.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Fills the buffer from the offset.
    ///
    /// # Errors
    /// `UnexpectedEof` where the file ends before, and as the disk says.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;

    /// Makes every byte written so far durable.
    ///
    /// # Errors
    /// As the disk says; which bytes are durable is unknown then, and stays so.
    fn sync(&self) -> io::Result<()>;
}

/// A folder of the machine. Nobody else opens it while this lives.
pub struct Folder {
    path: PathBuf,
    /// To sync it.
    handle: File,
    /// Locked as long as it is open.
    _lock: File,
    /// Dropped after the lock.
    _kept: Option<Box<dyn Any + Send + Sync>>,
}

impl Folder {
    /// Opens the folder, made where there is none, and locks it.
    ///
    /// # Errors
    /// [`Error::Folder`], [`Error::InUse`].
    pub fn open(path: &Path) -> Result<Self, Error> {
        let failed = |source| Error::Folder {
            path: path.to_owned(),
            source,
        };
        make_folder(path).map_err(failed)?;
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path.join(LOCK_FILE))
            .map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(Error::InUse {
                    path: path.to_owned(),
                });
            }
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        Ok(Self {
            path: path.to_owned(),
            handle: File::open(path).map_err(failed)?,
            _lock: lock,
            _kept: None,
        })
    }

    /// Keeps something until the folder may be opened again: whoever waits for its end knows when that is.
    #[must_use]
    pub fn keeping(self, kept: impl Any + Send + Sync) -> Self {
        Self {
            _kept: Some(Box::new(kept)),
            ..self
        }
    }
}

/// A folder is durable when the one above it was synced.
fn make_folder(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let above = match path.parent() {
        Some(above) if above != Path::new("") => above,
        _ => Path::new("."),
    };
    make_folder(above)?;
    match std::fs::create_dir(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    File::open(above)?.sync_all()
}

impl Disk for Folder {
    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for item in std::fs::read_dir(&self.path)? {
            // A name that is no text is not one of ours.
            if let Ok(name) = item?.file_name().into_string() {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .open(self.path.join(name))?;
        Ok(Arc::new(OpenFile(file)))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(self.path.join(name))?;
        Ok(Arc::new(OpenFile(file)))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        std::fs::rename(self.path.join(from), self.path.join(to))
    }

    fn delete(&self, name: &str) -> io::Result<()> {
        std::fs::remove_file(self.path.join(name))
    }

    fn sync_folder(&self) -> io::Result<()> {
        self.handle.sync_all()
    }
}

struct OpenFile(File);

impl DiskFile for OpenFile {
    fn length(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn preallocate(&self, bytes: u64) -> io::Result<()> {
        let before = self.length()?;
        let filled = self.fill(before, bytes);
        if filled.is_err() {
            // What was taken goes back; where that fails, the file is only longer than asked for.
            let _ = self.0.set_len(before);
        }
        filled
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.0.read_exact_at(buffer, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }
}

impl OpenFile {
    fn fill(&self, from: u64, to: u64) -> io::Result<()> {
        if from >= to {
            return Ok(());
        }
        // Allocated first, in one piece and refused at once where there is no room. It is not enough: such blocks are
        // marked as unwritten, and the first write to each changes that mark, which is metadata to sync.
        let allocated = rustix::fs::fallocate(
            &self.0,
            rustix::fs::FallocateFlags::empty(),
            from,
            to - from,
        );
        match allocated {
            Ok(()) | Err(rustix::io::Errno::OPNOTSUPP) => {}
            Err(error) => return Err(error.into()),
        }
        let mut at = from;
        while at < to {
            let piece = usize::try_from(to - at).map_or(ZEROS_BYTES, |left| left.min(ZEROS_BYTES));
            self.0.write_all_at(&ZEROS[..piece], at)?;
            self.0.sync_data()?;
            at += piece as u64;
        }
        self.0.sync_all()
    }
}
