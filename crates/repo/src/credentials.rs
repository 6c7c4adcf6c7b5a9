//! How to prove who we are: secrets come from files or environment variables, and are shown nowhere.

use crate::error::Error;
use secrecy::SecretString;
use std::path::{Path, PathBuf};

/// A secret longer than this is no password or token: somebody named the wrong file.
const MAX_SECRET_BYTES: u64 = 64 * 1024;

/// Loaded credentials. `Debug` shows no secret.
#[derive(Clone, Debug, Default)]
pub enum Credentials {
    /// Nothing: public repositories and `file://`.
    #[default]
    None,
    /// User and password (or token) over http.
    Basic {
        /// Who.
        user: String,
        /// Password or token.
        password: SecretString,
    },
    /// `Authorization: Bearer` over http.
    Bearer {
        /// The token.
        token: SecretString,
    },
    /// A private key over ssh.
    SshKey {
        /// File of the private key.
        private_key: PathBuf,
        /// What unlocks it.
        passphrase: Option<SecretString>,
        /// File of host keys in OpenSSH's format; a host that is not in it is never talked to.
        known_hosts: PathBuf,
    },
}

/// Where credentials come from, as a member's configuration names it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum CredentialsSource {
    /// Nothing.
    #[default]
    None,
    /// User and password over http.
    Basic {
        /// Who.
        user: String,
        /// Password or token.
        password: SecretSource,
    },
    /// A bearer token over http.
    Bearer {
        /// The token.
        token: SecretSource,
    },
    /// A private key over ssh.
    Ssh {
        /// File of the private key.
        private_key: PathBuf,
        /// What unlocks it.
        passphrase: Option<SecretSource>,
        /// File of host keys in OpenSSH's format.
        known_hosts: PathBuf,
    },
}

/// Where one secret comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretSource {
    /// A file; white space at its end is no part of the secret.
    File(PathBuf),
    /// An environment variable.
    Env(String),
}

impl Credentials {
    /// Reads the secrets that a configuration names.
    ///
    /// # Errors
    /// [`Error::Credentials`] names the file or variable that cannot be read or is empty.
    pub fn load(source: &CredentialsSource) -> Result<Self, Error> {
        Ok(match source {
            CredentialsSource::None => Self::None,
            CredentialsSource::Basic { user, password } => Self::Basic {
                user: user.clone(),
                password: secret(password)?,
            },
            CredentialsSource::Bearer { token } => Self::Bearer {
                token: secret(token)?,
            },
            CredentialsSource::Ssh {
                private_key,
                passphrase,
                known_hosts,
            } => {
                readable(private_key)?;
                readable(known_hosts)?;
                Self::SshKey {
                    private_key: private_key.clone(),
                    passphrase: passphrase.as_ref().map(secret).transpose()?,
                    known_hosts: known_hosts.clone(),
                }
            }
        })
    }
}

fn secret(source: &SecretSource) -> Result<SecretString, Error> {
    let (text, place) = match source {
        SecretSource::File(path) => {
            let place = format!("file {}", path.display());
            (read_bounded(path, &place)?, place)
        }
        SecretSource::Env(name) => {
            let place = format!("environment variable {name}");
            let text = std::env::var(name).map_err(|_| {
                unreadable(&place, std::io::Error::other("it is not set, or no text"))
            })?;
            (text, place)
        }
    };
    let text = text.trim_end();
    if text.is_empty() {
        return Err(unreadable(&place, std::io::Error::other("it is empty")));
    }
    if text.contains(['\n', '\r', '\0']) {
        return Err(unreadable(
            &place,
            std::io::Error::other("it has more than one line"),
        ));
    }
    Ok(SecretString::from(text.to_owned()))
}

fn read_bounded(path: &Path, place: &str) -> Result<String, Error> {
    let size_bytes = std::fs::metadata(path)
        .map_err(|error| unreadable(place, error))?
        .len();
    if size_bytes > MAX_SECRET_BYTES {
        return Err(unreadable(
            place,
            std::io::Error::other(format!("it is longer than {MAX_SECRET_BYTES} bytes")),
        ));
    }
    std::fs::read_to_string(path).map_err(|error| unreadable(place, error))
}

fn readable(path: &Path) -> Result<(), Error> {
    std::fs::File::open(path)
        .map(drop)
        .map_err(|error| unreadable(&format!("file {}", path.display()), error))
}

fn unreadable(place: &str, source: std::io::Error) -> Error {
    Error::Credentials {
        place: place.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::ExposeSecret;

    #[test]
    fn secrets_come_from_files_and_the_line_end_is_no_part_of_them() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("password");
        std::fs::write(&file, "s3cret\n").unwrap();
        let source = CredentialsSource::Basic {
            user: "bot".to_owned(),
            password: SecretSource::File(file),
        };
        let loaded = Credentials::load(&source).unwrap();
        let Credentials::Basic { user, password } = &loaded else {
            panic!("{loaded:?}")
        };
        assert_eq!((user.as_str(), password.expose_secret()), ("bot", "s3cret"));
        assert!(!format!("{loaded:?}").contains("s3cret"));
    }

    #[test]
    fn missing_empty_and_doubtful_secrets_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        std::fs::write(path("empty"), "\n").unwrap();
        std::fs::write(path("lines"), "a\nb\n").unwrap();
        std::fs::write(path("huge"), vec![b'x'; 70_000]).unwrap();
        let mut shown = String::new();
        for source in [
            SecretSource::File(path("missing")),
            SecretSource::File(path("empty")),
            SecretSource::File(path("lines")),
            SecretSource::File(path("huge")),
            SecretSource::Env("REGRAFT_TEST_NO_SUCH_VARIABLE".to_owned()),
        ] {
            let error =
                Credentials::load(&CredentialsSource::Bearer { token: source }).unwrap_err();
            let text = error
                .chain()
                .replace(&folder.path().display().to_string(), "FOLDER");
            shown.push_str(&format!("{text}\n"));
        }
        insta::assert_snapshot!(shown, @r"
        CredentialsUnreadable: cannot read the secret in file FOLDER/missing: No such file or directory (os error 2)
        CredentialsUnreadable: cannot read the secret in file FOLDER/empty: it is empty
        CredentialsUnreadable: cannot read the secret in file FOLDER/lines: it has more than one line
        CredentialsUnreadable: cannot read the secret in file FOLDER/huge: it is longer than 65536 bytes
        CredentialsUnreadable: cannot read the secret in environment variable REGRAFT_TEST_NO_SUCH_VARIABLE: it is not set, or no text
        ");
    }
}
