//! A remote, a person's work tree and the member's clone in one temporary folder.

use crate::{Config, Permit, Proxy, Repository};
use regraft_model::git::CommitRequest;
use regraft_model::source::FileMode;
use regraft_model::{BlobId, Edit, Revision, Timestamp};
use regraft_testbed::{GitServer, HttpOptions};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

pub(super) const KEY: &str = "web-7.1";
pub(super) const AT: Timestamp = Timestamp(1_767_225_600_000);

/// A push that is wanted whenever it comes.
pub(super) fn always() -> Permit {
    Arc::new(|| Ok(()))
}

pub(super) struct World {
    pub(super) folder: tempfile::TempDir,
    remote: PathBuf,
    url: String,
}

impl World {
    /// With a remote over `file://`.
    pub(super) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let remote = folder.path().join("remote.git");
        let url = format!("file://{}", remote.display());
        let world = Self {
            folder,
            remote,
            url,
        };
        world.run(&["init", "-q", "--bare", "-b", "main", "remote.git"], "");
        world.with_work()
    }

    /// With a remote over http.
    pub(super) fn over_http(options: HttpOptions) -> (Self, GitServer) {
        let folder = tempfile::tempdir().unwrap();
        let server = GitServer::http(folder.path(), options).unwrap();
        let world = Self {
            folder,
            remote: server.repository().path().to_owned(),
            url: server.url(),
        };
        (world.with_work(), server)
    }

    fn with_work(self) -> Self {
        self.run(&["init", "-q", "-b", "main", "work"], "");
        let remote = self.remote.display().to_string();
        self.git(&["remote", "add", "origin", &remote]);
        self
    }

    pub(super) fn remote(&self) -> PathBuf {
        self.remote.clone()
    }

    pub(super) fn work(&self) -> PathBuf {
        self.folder.path().join("work")
    }

    pub(super) fn clone_folder(&self) -> PathBuf {
        self.folder.path().join("clones/fleet")
    }

    pub(super) fn config(&self) -> Config {
        let mut config = Config::new("fleet", &*self.url, "main", self.clone_folder());
        config.proxy = Proxy::Direct;
        config
    }

    pub(super) fn repository(&self) -> Repository {
        let mut repository = Repository::open(self.config()).unwrap();
        repository.fetch(None).unwrap();
        repository
    }

    /// Git in the work tree.
    pub(super) fn git(&self, arguments: &[&str]) -> String {
        self.run(arguments, "work")
    }

    /// Git in the remote.
    pub(super) fn there(&self, arguments: &[&str]) -> String {
        self.run(arguments, self.remote.to_str().unwrap())
    }

    fn run(&self, arguments: &[&str], folder: &str) -> String {
        let output = Command::new("git")
            .args(["-c", "core.autocrlf=false", "-c", "core.quotepath=false"])
            .args(arguments)
            .current_dir(self.folder.path().join(folder))
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_SYSTEM", "/dev/null")
            .env("GIT_AUTHOR_NAME", "Ada")
            .env("GIT_AUTHOR_EMAIL", "ada@example.org")
            .env("GIT_COMMITTER_NAME", "Ada")
            .env("GIT_COMMITTER_EMAIL", "ada@example.org")
            .env("GIT_AUTHOR_DATE", "2026-01-01T00:00:00Z")
            .env("GIT_COMMITTER_DATE", "2026-01-01T00:00:00Z")
            .output()
            .unwrap();
        let (out, error) = (
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr),
        );
        assert!(output.status.success(), "git {arguments:?}: {out}{error}");
        out.trim_end().to_owned()
    }

    pub(super) fn write(&self, path: &str, bytes: &[u8]) {
        let file = self.work().join(path);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, bytes).unwrap();
    }

    /// Commits everything in the work tree and pushes it.
    pub(super) fn commit(&self, message: &str) -> Revision {
        self.git(&["add", "-A"]);
        self.git(&["commit", "-q", "--allow-empty", "-m", message]);
        self.git(&["push", "-q", "-f", "origin", "HEAD:main"]);
        Revision(self.git(&["rev-parse", "HEAD"]))
    }

    /// One file, written, committed and pushed.
    pub(super) fn change(&self, path: &str, bytes: &[u8]) -> Revision {
        self.write(path, bytes);
        self.commit(&format!("Change {path}"))
    }

    /// The tip of a branch of the remote.
    pub(super) fn tip(&self, branch: &str) -> Revision {
        Revision(self.there(&["rev-parse", branch]))
    }

    /// Edits that restore a folder to what it was at a revision.
    pub(super) fn restore(&self, from: &Revision, to: &Revision, path: &str) -> Vec<Edit> {
        let raw = self.git(&[
            "diff-tree",
            "-r",
            "--no-renames",
            "--no-abbrev",
            "-z",
            &from.0,
            &to.0,
            "--",
            path,
        ]);
        let mut fields = raw.split('\0').filter(|field| !field.is_empty());
        let mut edits = Vec::new();
        while let (Some(meta), Some(path)) = (fields.next(), fields.next()) {
            let meta: Vec<&str> = meta.split(' ').collect();
            let blob = |id: &str| (!id.bytes().all(|b| b == b'0')).then(|| BlobId(id.to_owned()));
            edits.push(Edit {
                path: path.to_owned(),
                before: blob(meta[2]),
                after: blob(meta[3]),
                mode: match meta[1] {
                    "100755" => FileMode::Executable,
                    "120000" => FileMode::Link,
                    _ => FileMode::Regular,
                },
            });
        }
        edits
    }

    /// A request to restore `apps/web` to a revision.
    pub(super) fn request(&self, parent: &Revision, good: &Revision) -> CommitRequest {
        CommitRequest {
            repository: "fleet".into(),
            branch: "main".into(),
            push_to: "main".into(),
            parent: parent.clone(),
            edits: self.restore(parent, good, "apps/web"),
            message: format!(
                "Roll back web to {}\n\nIt crashed.\n\nRegraft-Plan: {KEY}\nRegraft-Installation: i\nRegraft-Action: rollback\n",
                good.short()
            ),
            key: KEY.to_owned(),
            installation: "i".to_owned(),
            search_from: good.clone(),
        }
    }
}
