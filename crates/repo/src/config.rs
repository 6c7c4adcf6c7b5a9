//! What one repository of a member's configuration says.

use crate::address::{Address, Transport};
use crate::credentials::Credentials;
use crate::error::Error;
use regraft_model::{BranchName, RepositoryName};
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// How long a remote may be silent before we give up: longer than a slow pre-receive hook, shorter than a person's
/// patience.
const DEFAULT_PATIENCE: Duration = Duration::from_secs(30);

/// One repository.
#[derive(Clone)]
pub struct Config {
    /// Its name.
    pub name: RepositoryName,
    /// `https://`, `http://`, `ssh://`, `user@host:path` or `file://`; never with a password in it.
    pub url: String,
    /// The tracked branch.
    pub branch: BranchName,
    /// Folder of the local bare clone. A cache: it may be deleted while the member is down.
    pub folder: PathBuf,
    /// Who we are to the remote.
    pub credentials: Credentials,
    /// Author and committer of our commits.
    pub author: Identity,
    /// How http leaves this machine.
    pub proxy: Proxy,
    /// PEM file of the authorities (with intermediates) that alone may sign the server's certificate.
    pub certificate_authority: Option<PathBuf>,
    /// How long the remote may be silent.
    pub patience: Duration,
}

/// Author and committer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Name.
    pub name: String,
    /// Mail address.
    pub mail: String,
}

impl Default for Identity {
    fn default() -> Self {
        Self {
            name: "regraft".to_owned(),
            mail: "regraft@localhost".to_owned(),
        }
    }
}

/// How http leaves this machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Proxy {
    /// As `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY` say.
    #[default]
    Environment,
    /// Through none.
    Direct,
}

impl Config {
    /// A repository with defaults for everything else.
    pub fn new(
        name: impl Into<RepositoryName>,
        url: impl Into<String>,
        branch: impl Into<BranchName>,
        folder: impl Into<PathBuf>,
    ) -> Self {
        Self {
            name: name.into(),
            url: url.into(),
            branch: branch.into(),
            folder: folder.into(),
            credentials: Credentials::None,
            author: Identity::default(),
            proxy: Proxy::Environment,
            certificate_authority: None,
            patience: DEFAULT_PATIENCE,
        }
    }

    /// Checks everything that needs no connection, and takes the URL apart.
    ///
    /// # Errors
    /// [`Error::Configuration`] says which field is wrong and why.
    pub fn check(&self) -> Result<Address, Error> {
        let address = Address::parse(&self.url).map_err(|problem| self.refuse("url", problem))?;
        if !is_branch(self.branch.as_str()) {
            let problem = format!("`{}` is no valid name of a branch", self.branch);
            return Err(self.refuse("branch", problem));
        }
        if git2::Signature::new(&self.author.name, &self.author.mail, &git2::Time::new(0, 0))
            .is_err()
        {
            let problem = "name and mail must not be empty or hold < or >".to_owned();
            return Err(self.refuse("author", problem));
        }
        if self.patience < Duration::from_millis(100) {
            return Err(self.refuse("patience", "it must be at least 100ms".to_owned()));
        }
        self.check_credentials(&address)?;
        Ok(address)
    }

    fn check_credentials(&self, address: &Address) -> Result<(), Error> {
        let problem = match (address, &self.credentials) {
            (_, Credentials::None)
            | (Address::Ssh { .. }, Credentials::SshKey { .. })
            | (Address::Http { .. }, Credentials::Basic { .. } | Credentials::Bearer { .. }) => {
                return Ok(());
            }
            (Address::Ssh { .. }, _) => "an ssh URL needs an ssh key",
            (Address::Http { .. }, _) => "an http URL needs basic or bearer credentials",
            (Address::File { .. }, _) => "a file:// URL needs no credentials",
        };
        Err(self.refuse("credentials", problem.to_owned()))
    }

    /// Whether secrets would travel where others can read them.
    pub(crate) fn sends_secrets_in_the_clear(&self, address: &Address) -> bool {
        let secret = !matches!(self.credentials, Credentials::None);
        let plain_elsewhere = match address {
            Address::Http {
                transport: Transport::Plain,
                host,
                ..
            } => host != "localhost" && host != "::1" && !host.starts_with("127."),
            _ => false,
        };
        secret && plain_elsewhere
    }

    fn refuse(&self, field: &'static str, problem: String) -> Error {
        Error::Configuration {
            repository: self.name.clone(),
            field,
            problem,
        }
    }
}

/// Whether Git takes this for a branch. A leading dash is refused: other tools read it as an option.
pub fn is_branch(name: &str) -> bool {
    !name.starts_with('-') && git2::Reference::is_valid_name(&format!("refs/heads/{name}"))
}

impl fmt::Debug for Config {
    /// Shows the URL only if it is known to hold no secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let url = match Address::parse(&self.url) {
            Ok(address) => address.to_string(),
            Err(_) => "(refused)".to_owned(),
        };
        let credentials = match &self.credentials {
            Credentials::None => "none",
            Credentials::Basic { .. } => "basic",
            Credentials::Bearer { .. } => "bearer",
            Credentials::SshKey { .. } => "ssh key",
        };
        f.debug_struct("Config")
            .field("name", &self.name.as_str())
            .field("url", &url)
            .field("branch", &self.branch.as_str())
            .field("folder", &self.folder)
            .field("credentials", &credentials)
            .field("author", &self.author)
            .field("certificate_authority", &self.certificate_authority)
            .field("patience", &self.patience)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::SecretString;

    #[test]
    fn debug_shows_neither_passwords_nor_refused_urls() {
        let mut config = Config::new(
            "fleet",
            "https://bot:s3cret@git.example.org/fleet.git",
            "main",
            "/tmp/fleet",
        );
        config.credentials = Credentials::Basic {
            user: "bot".to_owned(),
            password: SecretString::from("s3cret"),
        };
        let shown = format!("{config:?}");
        assert!(!shown.contains("s3cret"), "{shown}");
        assert!(shown.contains("(refused)"), "{shown}");
    }

    #[test]
    fn a_wrong_configuration_names_the_field() {
        let good = Config::new("fleet", "https://g.example.org/f.git", "main", "/tmp/f");
        let with = |change: &dyn Fn(&mut Config)| {
            let mut config = good.clone();
            change(&mut config);
            config.check().unwrap_err().chain()
        };
        let shown = [
            with(&|c| c.url = "https://bot:s3cret@g.example.org/f.git".to_owned()),
            with(&|c| c.branch = "a..b".into()),
            with(&|c| c.branch = "-x".into()),
            with(&|c| c.author.name = "<>".to_owned()),
            with(&|c| c.patience = Duration::ZERO),
            with(&|c| {
                c.credentials = Credentials::SshKey {
                    private_key: "/k".into(),
                    passphrase: None,
                    known_hosts: "/h".into(),
                };
            }),
        ]
        .join("\n");
        insta::assert_snapshot!(shown, @r"
        ConfigurationInvalid: `url` of repository fleet cannot be used: it holds a user or password; put them into `credentials` (a file or an environment variable)
        ConfigurationInvalid: `branch` of repository fleet cannot be used: `a..b` is no valid name of a branch
        ConfigurationInvalid: `branch` of repository fleet cannot be used: `-x` is no valid name of a branch
        ConfigurationInvalid: `author` of repository fleet cannot be used: name and mail must not be empty or hold < or >
        ConfigurationInvalid: `patience` of repository fleet cannot be used: it must be at least 100ms
        ConfigurationInvalid: `credentials` of repository fleet cannot be used: an http URL needs basic or bearer credentials
        ");
    }
}
