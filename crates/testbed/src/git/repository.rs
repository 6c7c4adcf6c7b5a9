//! A bare repository and the clones of people who work on it, through git itself.

use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::process::{self, Program};

/// The branch that everything here tracks.
const BRANCH: &str = "main";

/// Who commits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Author {
    /// Name in the log.
    pub name: String,
    /// Address in the log.
    pub email: String,
}

impl Author {
    /// Somebody with an address made from the name.
    #[must_use]
    pub fn named(name: &str) -> Self {
        let local: String = name
            .to_lowercase()
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(".");
        Self {
            name: name.to_owned(),
            email: format!("{local}@example.com"),
        }
    }
}

/// A bare repository on disk.
#[derive(Clone, Debug)]
pub struct BareRepository {
    path: PathBuf,
    home: PathBuf,
}

/// A person's clone of a bare repository.
#[derive(Clone, Debug)]
pub struct WorkClone {
    path: PathBuf,
    home: PathBuf,
    author: Author,
}

impl BareRepository {
    /// Makes an empty one at `path`; its parent folder is the home of all git runs on it.
    ///
    /// # Errors
    /// When git fails.
    pub fn create(path: &Path) -> Result<Self, Error> {
        let home = path.parent().unwrap_or(path).to_path_buf();
        std::fs::create_dir_all(path).map_err(Error::file("create", path))?;
        let repository = Self {
            path: path.to_path_buf(),
            home,
        };
        repository.git(["init", "--quiet", "--bare", "--initial-branch", BRANCH, "."])?;
        repository.git(["config", "http.receivepack", "true"])?;
        // People force pushes on purpose in these tests.
        repository.git(["config", "receive.denyNonFastForwards", "false"])?;
        Ok(repository)
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its address without a server.
    #[must_use]
    pub fn file_url(&self) -> String {
        format!("file://{}", self.path.display())
    }

    /// Fills it with one commit that holds the files of a folder.
    ///
    /// # Errors
    /// When a file cannot be read or git fails.
    pub fn seed(&self, folder: &Path, scratch: &Path) -> Result<String, Error> {
        let clone = self.clone_to(&scratch.join("seed"), &Author::named("Platform Team"))?;
        copy(folder, &clone.path)?;
        let commit = clone.commit("Add the web shop and its fleet")?;
        clone.push()?;
        Ok(commit)
    }

    /// A person's clone in a new folder.
    ///
    /// # Errors
    /// When git fails.
    pub fn clone_to(&self, path: &Path, author: &Author) -> Result<WorkClone, Error> {
        std::fs::create_dir_all(path).map_err(Error::file("create", path))?;
        let clone = WorkClone {
            path: path.to_path_buf(),
            home: self.home.clone(),
            author: author.clone(),
        };
        clone.git(["init", "--quiet", "--initial-branch", BRANCH, "."])?;
        clone.git(["remote", "add", "origin", &self.path.display().to_string()])?;
        if self.head().is_ok() {
            clone.pull()?;
        }
        Ok(clone)
    }

    /// The commit at the tip of the tracked branch.
    ///
    /// # Errors
    /// When there is none yet.
    pub fn head(&self) -> Result<String, Error> {
        self.tip(BRANCH)
    }

    /// The commit at the tip of a branch.
    ///
    /// # Errors
    /// When there is no such branch.
    pub fn tip(&self, branch: &str) -> Result<String, Error> {
        self.line([
            "rev-parse",
            "--verify",
            "--quiet",
            &format!("refs/heads/{branch}^{{commit}}"),
        ])
    }

    /// Names of all branches.
    ///
    /// # Errors
    /// When git fails.
    pub fn branches(&self) -> Result<Vec<String>, Error> {
        Ok(self
            .git(["for-each-ref", "--format=%(refname:short)", "refs/heads"])?
            .lines()
            .map(str::to_owned)
            .collect())
    }

    /// One line per commit of the tracked branch, newest first, in a `git log` format.
    ///
    /// # Errors
    /// When git fails.
    pub fn log(&self, format: &str) -> Result<Vec<String>, Error> {
        let text = self.git(["log", &format!("--format={format}"), BRANCH])?;
        Ok(text.lines().map(str::to_owned).collect())
    }

    /// Commits of the tracked branch whose message holds a trailer line `key: value`.
    ///
    /// # Errors
    /// When git fails.
    pub fn commits_with_trailer(&self, key: &str, value: &str) -> Result<Vec<String>, Error> {
        let format = format!("%H %(trailers:key={key},valueonly,separator=%x2C)");
        let has = |line: &String| {
            line.split_once(' ')
                .is_some_and(|(_, values)| values.split(',').any(|v| v == value))
        };
        let lines = self.log(&format)?.into_iter().filter(has);
        Ok(lines
            .filter_map(|line| line.split(' ').next().map(str::to_owned))
            .collect())
    }

    /// What `git show` prints of a revision.
    ///
    /// # Errors
    /// When there is no such revision.
    pub fn show(&self, revision: &str) -> Result<String, Error> {
        self.git(["show", "--no-color", revision])
    }

    /// Content of a file at a revision.
    ///
    /// # Errors
    /// When there is no such file.
    pub fn file_at(&self, revision: &str, path: &str) -> Result<String, Error> {
        self.git(["show", &format!("{revision}:{path}")])
    }

    /// Runs any git command in it.
    ///
    /// # Errors
    /// `Command` with git's words.
    pub fn git<'a>(&self, args: impl IntoIterator<Item = &'a str>) -> Result<String, Error> {
        process::run(&git(&self.home).current_dir(&self.path).args(args))
    }

    fn line<'a>(&self, args: impl IntoIterator<Item = &'a str>) -> Result<String, Error> {
        Ok(self.git(args)?.trim().to_owned())
    }

    pub(crate) fn home(&self) -> &Path {
        &self.home
    }
}

impl WorkClone {
    /// Where its files are.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The same clone as somebody else.
    #[must_use]
    pub fn with_author(&self, author: &Author) -> Self {
        Self {
            author: author.clone(),
            ..self.clone()
        }
    }

    /// Content of a file.
    ///
    /// # Errors
    /// When there is no such file.
    pub fn read(&self, file: &str) -> Result<String, Error> {
        let path = self.path.join(file);
        std::fs::read_to_string(&path).map_err(Error::file("read", &path))
    }

    /// Writes a file, with its folders.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, file: &str, content: &str) -> Result<(), Error> {
        let path = self.path.join(file);
        let folder = path.parent().unwrap_or(&self.path);
        std::fs::create_dir_all(folder).map_err(Error::file("create", folder))?;
        std::fs::write(&path, content).map_err(Error::file("write", &path))
    }

    /// Replaces text in a file; an edit that would change nothing is an error.
    ///
    /// # Errors
    /// When the file or the text is not there.
    pub fn replace(&self, file: &str, from: &str, to: &str) -> Result<(), Error> {
        let content = self.read(file)?;
        if !content.contains(from) {
            return Err(Error::Unreadable {
                what: file.to_owned(),
                detail: format!("it does not hold {from:?}"),
            });
        }
        self.write(file, &content.replace(from, to))
    }

    /// Removes a file.
    ///
    /// # Errors
    /// When it is not there.
    pub fn remove(&self, file: &str) -> Result<(), Error> {
        let path = self.path.join(file);
        std::fs::remove_file(&path).map_err(Error::file("remove", &path))
    }

    /// Commits everything that changed and gives the commit's id.
    ///
    /// # Errors
    /// When nothing changed or git fails.
    pub fn commit(&self, message: &str) -> Result<String, Error> {
        self.git(["add", "--all"])?;
        self.git(["commit", "--quiet", "--message", message])?;
        self.head()
    }

    /// Pushes the tracked branch.
    ///
    /// # Errors
    /// When the remote has moved on.
    pub fn push(&self) -> Result<(), Error> {
        self.git(["push", "--quiet", "origin", BRANCH]).map(drop)
    }

    /// Pushes the tracked branch whatever the remote holds.
    ///
    /// # Errors
    /// When git fails.
    pub fn force_push(&self) -> Result<(), Error> {
        self.git(["push", "--quiet", "--force", "origin", BRANCH])
            .map(drop)
    }

    /// Takes over the remote's tracked branch.
    ///
    /// # Errors
    /// When both sides have new commits that conflict.
    pub fn pull(&self) -> Result<(), Error> {
        self.git(["pull", "--quiet", "--rebase", "origin", BRANCH])
            .map(drop)
    }

    /// Commits and pushes in one, after taking over what the remote has.
    ///
    /// # Errors
    /// As its parts.
    pub fn publish(&self, message: &str) -> Result<String, Error> {
        self.commit(message)?;
        self.pull()?;
        self.push()?;
        self.head()
    }

    /// Moves the branch and the files to a revision.
    ///
    /// # Errors
    /// When there is no such revision.
    pub fn reset_hard(&self, revision: &str) -> Result<(), Error> {
        self.git(["reset", "--quiet", "--hard", revision]).map(drop)
    }

    /// A commit that undoes another one, as `git revert` makes it.
    ///
    /// # Errors
    /// When it conflicts.
    pub fn revert(&self, revision: &str) -> Result<String, Error> {
        self.git(["revert", "--no-edit", revision])?;
        self.head()
    }

    /// The commit its branch is at.
    ///
    /// # Errors
    /// When there is none yet.
    pub fn head(&self) -> Result<String, Error> {
        Ok(self.git(["rev-parse", "HEAD"])?.trim().to_owned())
    }

    /// Runs any git command in it.
    ///
    /// # Errors
    /// `Command` with git's words.
    pub fn git<'a>(&self, args: impl IntoIterator<Item = &'a str>) -> Result<String, Error> {
        let Author { name, email } = &self.author;
        let program = git(&self.home)
            .current_dir(&self.path)
            .env("GIT_AUTHOR_NAME", name)
            .env("GIT_AUTHOR_EMAIL", email)
            .env("GIT_COMMITTER_NAME", name)
            .env("GIT_COMMITTER_EMAIL", email);
        process::run(&program.args(args))
    }
}

/// Git that reads no configuration of this machine and never asks.
pub(super) fn git(home: &Path) -> Program {
    Program::new("git")
        .env("HOME", home)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_TERMINAL_PROMPT", "0")
}

fn copy(from: &Path, to: &Path) -> Result<(), Error> {
    for entry in std::fs::read_dir(from).map_err(Error::file("list", from))? {
        let entry = entry.map_err(Error::file("list", from))?;
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            std::fs::create_dir_all(&target).map_err(Error::file("create", &target))?;
            copy(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), &target).map_err(Error::file("copy", entry.path()))?;
        }
    }
    Ok(())
}
