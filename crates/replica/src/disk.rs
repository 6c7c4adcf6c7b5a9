//! Whose data folder this is.
//!
//! The marker names the cluster, the member and the disk. A folder of somebody else is refused: a
//! member that starts with another member's votes could elect two leaders. The disk id is made once
//! with the folder, so that the others notice a member that came back without what it promised. A folder that was
//! restored from a backup names its line, too: see [`crate::line`].

use crate::certs::Identity;
use crate::error::Error;
use crate::state::StateStore;
use crate::{database, line, log, tls};
use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};
use std::io::{self, Write as _};
use std::path::Path;

const MARKER: &str = "member.json";
const MARKER_NEW: &str = "member.json.new";
/// What is in the folder of a member that ever ran.
const PARTS: [&str; 2] = [log::FOLDER, StateStore::FOLDER];
/// What a file system has in its own root.
pub(crate) const LOST_AND_FOUND: &str = "lost+found";
/// Newest format of a marker. One without a line is still written in the first, which older versions read.
const FORMAT: u32 = 2;
const FORMAT_WITHOUT_LINE: u32 = 1;
const DISK_ID_BYTES: usize = 16;

/// The marker of a data folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Disk {
    format: u32,
    cluster_id: String,
    node_id: u64,
    /// Hexadecimal.
    disk_id: String,
    /// Names the members that were restored together, and who joined them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    line: Option<String>,
    /// Whether the folder is being filled from a backup; nobody starts on it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    restoring: bool,
}

impl Disk {
    /// Reads the marker of `dir`, or writes it when the folder is new.
    pub(crate) fn claim(dir: &Path, cluster_id: &str, node_id: u64) -> Result<Self, Error> {
        let Some(disk) = Self::read(dir)? else {
            if let Some(left) = PARTS.iter().find(|part| holds_files(&dir.join(part))) {
                return Err(Error::DamagedDatabase {
                    path: dir.join(MARKER),
                    reason: format!(
                        "it is gone, but `{left}` beside it is there: nobody knows whose it is"
                    ),
                });
            }
            let disk = Self::new(dir, cluster_id, node_id)?;
            disk.write(dir)?;
            return Ok(disk);
        };
        if disk.restoring {
            return Err(Error::HalfRestored {
                path: dir.to_owned(),
            });
        }
        if disk.cluster_id != cluster_id || disk.node_id != node_id {
            let member = |node_id: u64, cluster_id: &str| {
                Identity::Member {
                    node_id,
                    cluster_id: cluster_id.to_owned(),
                }
                .to_string()
            };
            return Err(Error::ForeignDisk {
                path: dir.to_owned(),
                expected: member(node_id, cluster_id),
                found: member(disk.node_id, &disk.cluster_id),
            });
        }
        Ok(disk)
    }

    /// Marks a new folder as one that is being filled from a backup.
    pub(crate) fn begin_restore(
        dir: &Path,
        cluster_id: &str,
        node_id: u64,
        line: String,
    ) -> Result<Self, Error> {
        let disk = Self {
            format: FORMAT,
            line: Some(line),
            restoring: true,
            ..Self::new(dir, cluster_id, node_id)?
        };
        disk.write(dir)?;
        Ok(disk)
    }

    /// Marks the folder as filled.
    pub(crate) fn end_restore(mut self, dir: &Path) -> Result<(), Error> {
        self.restoring = false;
        self.write(dir)
    }

    /// Has the folder's member belong to a line.
    pub(crate) fn join_line(mut self, dir: &Path, line: String) -> Result<Self, Error> {
        self.format = FORMAT;
        self.line = Some(line);
        self.write(dir)?;
        Ok(self)
    }

    /// What requests carry.
    pub(crate) fn id(&self) -> Vec<u8> {
        line::id_in(self.line.as_deref(), &self.disk_id)
    }

    fn read(dir: &Path) -> Result<Option<Self>, Error> {
        let path = dir.join(MARKER);
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(Error::ReadFile { path, source }),
        };
        let disk: Self = serde_json::from_str(&text).map_err(|error| Error::DamagedDatabase {
            path: path.clone(),
            reason: error.to_string(),
        })?;
        match disk.format {
            found if found > FORMAT => Err(Error::NewerDisk {
                path,
                found,
                known: FORMAT,
            }),
            _ => Ok(Some(disk)),
        }
    }

    fn new(dir: &Path, cluster_id: &str, node_id: u64) -> Result<Self, Error> {
        let mut random = [0; DISK_ID_BYTES];
        let filled = tls::provider().secure_random.fill(&mut random);
        filled.map_err(|_| Error::WriteFile {
            path: dir.join(MARKER),
            source: io::Error::other("the system gives no randomness"),
        })?;
        Ok(Self {
            format: FORMAT_WITHOUT_LINE,
            cluster_id: cluster_id.to_owned(),
            node_id,
            disk_id: HEXLOWER.encode(&random),
            line: None,
            restoring: false,
        })
    }

    fn write(&self, dir: &Path) -> Result<(), Error> {
        let failed = |source| Error::WriteFile {
            path: dir.join(MARKER),
            source,
        };
        std::fs::create_dir_all(dir).map_err(failed)?;
        let text = serde_json::to_string_pretty(self).map_err(|error| failed(error.into()))?;
        let beside = dir.join(MARKER_NEW);
        let mut file = std::fs::File::create(&beside).map_err(failed)?;
        writeln!(file, "{text}").map_err(failed)?;
        file.sync_all().map_err(failed)?;
        std::fs::rename(&beside, dir.join(MARKER)).map_err(failed)?;
        database::sync_dir(dir).map_err(failed)
    }
}

/// An empty folder may be a disk of its own, mounted there.
fn holds_files(part: &Path) -> bool {
    let mut entries = std::fs::read_dir(part).into_iter().flatten().flatten();
    entries.any(|entry| entry.file_name() != LOST_AND_FOUND)
}

/// Whether a restore into the folder was cut off.
pub(crate) fn is_half_restored(dir: &Path) -> Result<bool, Error> {
    Ok(Disk::read(dir)?.is_some_and(|disk| disk.restoring))
}

/// Has the folder be nobody's.
pub(crate) fn remove_marker(dir: &Path) -> io::Result<()> {
    std::fs::remove_file(dir.join(MARKER))?;
    database::sync_dir(dir)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_belongs_to_the_member_that_made_it() {
        let dir = tempfile::tempdir().unwrap();
        let claim = |cluster: &str, node: u64| {
            Disk::claim(dir.path(), cluster, node).map_err(|error| {
                error
                    .to_string()
                    .replace(&*dir.path().to_string_lossy(), "DIR")
            })
        };
        let disk = claim("shop", 1).unwrap();
        assert_eq!(disk.id().len(), 2 * DISK_ID_BYTES);
        assert_eq!(claim("shop", 1).unwrap(), disk);
        insta::assert_snapshot!(claim("shop", 2).unwrap_err(), @"the data folder DIR belongs to member 1 of cluster shop, but this member is member 2 of cluster shop: give every member its own folder, or use the configuration the folder was made with");
        insta::assert_snapshot!(claim("bank", 1).unwrap_err(), @"the data folder DIR belongs to member 1 of cluster shop, but this member is member 1 of cluster bank: give every member its own folder, or use the configuration the folder was made with");
    }

    #[test]
    fn a_folder_without_a_line_is_read_by_the_versions_of_before() {
        let dir = tempfile::tempdir().unwrap();
        let marker = || {
            let text = std::fs::read_to_string(dir.path().join(MARKER)).unwrap();
            let marker: serde_json::Value = serde_json::from_str(&text).unwrap();
            let names: Vec<_> = marker.as_object().unwrap().keys().cloned().collect();
            (marker["format"].clone(), names.join(" "))
        };
        let disk = Disk::claim(dir.path(), "shop", 1).unwrap();
        assert_eq!(
            marker(),
            (1.into(), "clusterId diskId format nodeId".into())
        );
        disk.join_line(dir.path(), "abc".to_owned()).unwrap();
        assert_eq!(
            marker(),
            (2.into(), "clusterId diskId format line nodeId".into())
        );
    }

    #[test]
    fn a_folder_that_lost_its_marker_is_nobodys() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join(StateStore::FOLDER);
        // A new disk of its own for the state.
        std::fs::create_dir_all(state.join(LOST_AND_FOUND)).unwrap();
        Disk::claim(dir.path(), "shop", 1).unwrap();
        std::fs::write(state.join("CURRENT"), "db-1").unwrap();
        Disk::claim(dir.path(), "shop", 1).unwrap();
        remove_marker(dir.path()).unwrap();
        let error = Disk::claim(dir.path(), "shop", 1).unwrap_err();
        assert!(matches!(error, Error::DamagedDatabase { .. }), "{error}");
        assert!(error.to_string().contains("`state`"), "{error}");
    }

    #[test]
    fn two_folders_are_two_disks() {
        let one = tempfile::tempdir().unwrap();
        let other = tempfile::tempdir().unwrap();
        let one = Disk::claim(one.path(), "shop", 1).unwrap();
        let other = Disk::claim(other.path(), "shop", 1).unwrap();
        assert_ne!(one.id(), other.id());
    }
}
