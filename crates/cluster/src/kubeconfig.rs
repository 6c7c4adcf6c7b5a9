//! What a kubeconfig names.

use crate::connection::KubeconfigSource;
use crate::error::{Error, chain};
use kube::config::{KubeConfigOptions, Kubeconfig};
use std::path::Path;

impl KubeconfigSource {
    /// URL of the API server, without asking it anything.
    ///
    /// # Errors
    ///
    /// The file cannot be read, is no kubeconfig, or its context names what it does not have.
    pub fn server(&self) -> Result<String, Error> {
        let Self { path, context } = self;
        let kubeconfig = read(path)?;
        let missing = |what: &str, name: &str| Error::Kubeconfig {
            path: path.clone(),
            reason: format!("it has no {what} `{name}`"),
        };
        let context = match (context, &kubeconfig.current_context) {
            (Some(name), _) | (None, Some(name)) if !name.is_empty() => name,
            _ => {
                return Err(Error::Kubeconfig {
                    path: path.clone(),
                    reason: "it has no current-context, and no context is named".to_owned(),
                });
            }
        };
        let mut contexts = kubeconfig.contexts.iter();
        let context = contexts
            .find(|it| it.name == *context)
            .and_then(|it| it.context.as_ref())
            .ok_or_else(|| missing("context", context))?;
        let mut users = kubeconfig.auth_infos.iter();
        if let Some(user) = &context.user
            && !users.any(|it| it.name == *user)
        {
            return Err(missing("user", user));
        }
        let mut clusters = kubeconfig.clusters.iter();
        clusters
            .find(|it| it.name == context.cluster)
            .and_then(|it| it.cluster.as_ref()?.server.clone())
            .ok_or_else(|| missing("cluster with a server", &context.cluster))
    }
}

/// The configuration of a client for one context; the current one where none is named.
pub(crate) async fn from_file(path: &Path, context: Option<&str>) -> Result<kube::Config, Error> {
    let options = KubeConfigOptions {
        context: context.map(str::to_owned),
        ..KubeConfigOptions::default()
    };
    kube::Config::from_custom_kubeconfig(read(path)?, &options)
        .await
        .map_err(|error| Error::Kubeconfig {
            path: path.to_owned(),
            reason: chain(&error),
        })
}

fn read(path: &Path) -> Result<Kubeconfig, Error> {
    Kubeconfig::read_from(path).map_err(|error| Error::Kubeconfig {
        path: path.to_owned(),
        reason: chain(&error),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: &str = "\
apiVersion: v1
current-context: one
contexts:
  - {name: one, context: {cluster: a, user: me}}
  - {name: two, context: {cluster: b, user: me}}
  - {name: three, context: {cluster: c, user: me}}
  - {name: four, context: {cluster: a, user: you}}
clusters:
  - {name: a, cluster: {server: 'https://a.example:6443'}}
  - {name: b, cluster: {server: 'https://b.example:6443'}}
users:
  - {name: me, user: {token: hunter2}}
";

    fn server(text: &str, context: Option<&str>) -> Result<String, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kubeconfig");
        std::fs::write(&path, text).unwrap();
        let context = context.map(str::to_owned);
        let source = KubeconfigSource { path, context };
        source.server().map_err(|error| {
            let text = error.to_string();
            assert!(!text.contains("hunter2"), "{text}");
            text.split_once("kubeconfig: ").unwrap().1.to_owned()
        })
    }

    #[test]
    fn the_server_is_that_of_the_context_in_use() {
        let good = |context| server(TWO, context).unwrap();
        assert_eq!(good(None), "https://a.example:6443");
        assert_eq!(good(Some("two")), "https://b.example:6443");
    }

    #[test]
    fn what_a_kubeconfig_lacks_is_named() {
        let bad = |text, context| server(text, context).unwrap_err();
        assert_eq!(
            bad(TWO, Some("three")),
            "it has no cluster with a server `c`"
        );
        assert_eq!(bad(TWO, Some("four")), "it has no user `you`");
        assert_eq!(bad(TWO, Some("five")), "it has no context `five`");
        assert_eq!(
            bad("kind: Config", None),
            "it has no current-context, and no context is named"
        );
        assert_eq!(
            bad("users: [{name: a, user: {token: hunter2", None),
            "it is not valid YAML of a kubeconfig"
        );
    }

    #[tokio::test]
    async fn a_kubeconfig_that_is_not_there_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let missing = folder.path().join("none");
        let error = from_file(&missing, None).await.unwrap_err().to_string();
        assert!(error.contains("No such file"), "{error}");
    }
}
