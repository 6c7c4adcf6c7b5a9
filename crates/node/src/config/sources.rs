//! Repositories and clusters of the file: where they are, and where their secrets are found.

use super::check::Check;
use super::parse::location;
use super::schema;
use super::{Kubeconfig, POLL_DEFAULT_S, POLL_MIN_S, Repository};
use crate::failure;
use regraft_model::problem::Location;
use regraft_model::time::Seconds;
use regraft_repo::{Address, Credentials, CredentialsSource, SecretSource};
use serde_saphyr::Spanned;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Forges take any user name beside a token in the password's place.
const USERNAME_DEFAULT: &str = "git";

impl Check<'_> {
    pub(super) fn repositories(
        &mut self,
        repositories: Vec<schema::Repository>,
    ) -> Vec<Repository> {
        let mut names = BTreeMap::new();
        repositories
            .into_iter()
            .map(|repository| {
                let before = self.problems();
                self.name("repository", &repository.name);
                self.unique(&mut names, &repository.name, "repositories");
                self.url(&repository.url);
                self.branch(&repository.branch);
                let poll = repository
                    .poll_interval
                    .as_ref()
                    .map_or(Seconds(POLL_DEFAULT_S), |poll| poll.value);
                if let Some(text) = repository
                    .poll_interval
                    .as_ref()
                    .filter(|poll| poll.value.0 < POLL_MIN_S)
                {
                    self.wrong(
                        text,
                        "OutOfRange",
                        "a remote cannot be asked without a pause",
                        format!("write at least {}", Seconds(POLL_MIN_S)),
                    );
                }
                let read = Repository {
                    ca: repository
                        .credentials
                        .ca_file
                        .as_ref()
                        .map(|path| self.file("authority's certificate", path)),
                    credentials: self.credentials(&repository.url, &repository.credentials),
                    author: repository
                        .author
                        .as_ref()
                        .map(|author| (author.name.clone(), author.mail.clone())),
                    name: repository.name.value.as_str().into(),
                    url: repository.url.value.clone(),
                    branch: repository.branch.value.as_str().into(),
                    poll,
                };
                // What stands wrong already need not be told twice.
                if self.problems() == before {
                    self.can_be_opened(&repository, &read);
                }
                read
            })
            .collect()
    }

    /// What Git itself would refuse, while the file is still at hand: secrets are read, and forgotten again.
    fn can_be_opened(&mut self, given: &schema::Repository, read: &Repository) {
        let secret = given.credentials.secret().unwrap_or(&given.url);
        let credentials = match Credentials::load(&read.credentials) {
            Ok(credentials) => credentials,
            Err(error) => {
                let message = failure::chain(&error);
                return self.wrong(secret, error.reason(), message, error.next_action());
            }
        };
        let mut config = regraft_repo::Config::new(
            read.name.clone(),
            read.url.clone(),
            read.branch.clone(),
            PathBuf::new(),
        );
        config.credentials = credentials;
        if let Some((name, mail)) = &read.author {
            config.author = regraft_repo::Identity {
                name: name.clone(),
                mail: mail.clone(),
            };
        }
        let Err(error) = config.check() else { return };
        let at = match &error {
            regraft_repo::Error::Configuration {
                field: "credentials",
                ..
            } => secret,
            regraft_repo::Error::Configuration {
                field: "author", ..
            } => &given.name,
            _ => &given.url,
        };
        self.wrong(
            at,
            error.reason(),
            failure::chain(&error),
            error.next_action(),
        );
    }

    fn url(&mut self, url: &Spanned<String>) {
        // The problem never repeats a user or a password.
        if let Err(problem) = Address::parse(&url.value) {
            self.wrong(
                url,
                "BadUrl",
                format!("the URL cannot be used: {problem}"),
                "write the URL you would clone; secrets go into `credentials`, for example `passwordFile` or `passwordEnv`",
            );
        }
    }

    fn branch(&mut self, branch: &Spanned<String>) {
        if !regraft_repo::is_branch(&branch.value) {
            self.wrong(
                branch,
                "BadName",
                format!("`{}` is no valid name of a branch", branch.value),
                "write its name, for example main",
            );
        }
    }

    fn credentials(
        &mut self,
        url: &Spanned<String>,
        given: &schema::Credentials,
    ) -> CredentialsSource {
        let password = self.secret(
            "password",
            given.password_file.as_ref(),
            given.password_env.as_ref(),
        );
        let token = self.secret("token", given.token_file.as_ref(), given.token_env.as_ref());
        let passphrase = self.secret(
            "passphrase",
            given.passphrase_file.as_ref(),
            given.passphrase_env.as_ref(),
        );
        let key = given
            .ssh_key_file
            .as_ref()
            .map(|path| self.secret_file("SSH key", path));
        let known_hosts = given
            .known_hosts_file
            .as_ref()
            .map(|path| self.file("list of known hosts", path));
        if [password.is_some(), token.is_some(), key.is_some()]
            .into_iter()
            .filter(|given| *given)
            .count()
            > 1
        {
            self.wrong(
                url,
                "Ambiguous",
                "more than one of password, token and SSH key is given for this repository",
                "keep one of them",
            );
        }
        match (password, token, key) {
            (Some(password), _, _) => CredentialsSource::Basic {
                user: given
                    .username
                    .clone()
                    .unwrap_or_else(|| USERNAME_DEFAULT.to_owned()),
                password,
            },
            (None, Some(token), _) => CredentialsSource::Bearer { token },
            (None, None, Some(key)) => match known_hosts {
                Some(known_hosts) => CredentialsSource::Ssh {
                    private_key: key,
                    passphrase,
                    known_hosts,
                },
                None => {
                    self.wrong(url, "MissingField", "an SSH key is given, but not which host keys to trust", "add `knownHostsFile`, for example made by ssh-keyscan and compared with the server's fingerprints");
                    CredentialsSource::None
                }
            },
            (None, None, None) => CredentialsSource::None,
        }
    }

    fn secret(
        &mut self,
        what: &str,
        file: Option<&Spanned<String>>,
        env: Option<&Spanned<String>>,
    ) -> Option<SecretSource> {
        match (file, env) {
            (Some(_), Some(env)) => {
                self.wrong(
                    env,
                    "Ambiguous",
                    format!("the {what} is named twice, by file and by variable"),
                    "keep one of them",
                );
                None
            }
            (Some(file), None) => Some(SecretSource::File(
                self.secret_file(&format!("{what} file"), file),
            )),
            (None, Some(env)) => {
                if std::env::var_os(&env.value).is_none() {
                    self.wrong(
                        env,
                        "Unset",
                        format!("the environment has no `{}`", env.value),
                        format!("set it to the {what} before starting regraft"),
                    );
                }
                Some(SecretSource::Env(env.value.clone()))
            }
            (None, None) => None,
        }
    }

    pub(super) fn clusters(&mut self, clusters: Vec<schema::Kubeconfig>) -> Vec<Kubeconfig> {
        let mut names = BTreeMap::new();
        clusters
            .into_iter()
            .map(|cluster| {
                self.name("cluster", &cluster.name);
                self.unique(&mut names, &cluster.name, "clusters");
                let kubeconfig = Kubeconfig {
                    file: self.file("kubeconfig", &cluster.kubeconfig),
                    name: cluster.name.value.into(),
                    context: cluster.context,
                };
                if kubeconfig.file.is_file()
                    && let Err(error) = kubeconfig.source().server()
                {
                    self.wrong(
                        &cluster.kubeconfig,
                        "BadKubeconfig",
                        error.to_string(),
                        "correct it (`kubectl config view --kubeconfig FILE` shows it), or name another `context`",
                    );
                }
                kubeconfig
            })
            .collect()
    }

    fn unique(
        &mut self,
        names: &mut BTreeMap<String, Location>,
        name: &Spanned<String>,
        list: &str,
    ) {
        let here = location(self.file, &name.referenced);
        if let Some(first) = names.insert(name.value.clone(), here) {
            self.wrong(
                name,
                "Duplicate",
                format!(
                    "`{}` stands in `{list}` twice, first at {first}",
                    name.value
                ),
                "rename or remove one of them",
            );
        }
    }
}
