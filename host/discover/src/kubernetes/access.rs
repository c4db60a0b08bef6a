//! How the API server is reached: by a kubeconfig, or as a pod of the cluster by its service account.

use std::path::{Path, PathBuf};

use kube::Config;
use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};

use super::health::chain;
use crate::Surroundings;
use crate::config::KubernetesConfig;

/// Why there is no way to the API server.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// Neither way is there.
    #[error(
        "no way to the Kubernetes API server: give `discovery.kubernetes.kubeconfig` or the variable KUBECONFIG, or run as a pod \
         of the cluster with its service account's token (automountServiceAccountToken)"
    )]
    NoWay,
    /// The service account's folder.
    #[error(
        "cannot read {path} of the pod's service account: is automountServiceAccountToken off?"
    )]
    ServiceAccount {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// Not a host and a port.
    #[error("KUBERNETES_SERVICE_HOST and _PORT make no address: {address}")]
    Address {
        /// What they make.
        address: String,
        /// Why it is none.
        #[source]
        source: http::uri::InvalidUri,
    },
    /// The certificates.
    #[error("{path} holds no certificate of the API server's authority")]
    Authority {
        /// The file.
        path: PathBuf,
    },
    /// The kubeconfig.
    #[error("cannot use kubeconfig {path}: {problem}")]
    Kubeconfig {
        /// The file.
        path: PathBuf,
        /// What is wrong, and what would be right.
        problem: String,
    },
    /// The file of a token.
    #[error("cannot read the token in {path}")]
    ReadToken {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The file of a token, empty or with more than one line.
    #[error("{path} holds no token")]
    Token {
        /// The file.
        path: PathBuf,
    },
    /// Not supported.
    #[error(
        "the API server is to be reached through the proxy {proxy}, which is not supported: take `proxy-url` out of the \
         kubeconfig, and HTTPS_PROXY out of the environment"
    )]
    Proxy {
        /// The proxy.
        proxy: String,
    },
    /// TLS, or another way to say who we are.
    #[error("cannot prepare the connection to {url}: {problem}")]
    Client {
        /// The API server.
        url: String,
        /// What is wrong.
        problem: String,
    },
}

/// What the client needs, by the first way that is there.
pub(super) async fn find(
    config: &KubernetesConfig,
    around: &Surroundings,
) -> Result<Config, AccessError> {
    let found = if let Some(path) = &config.kubeconfig {
        by_file(path, config).await?
    } else if let Some(address) = &around.kubernetes_service {
        as_pod(address, &config.service_account)?
    } else if let Some(path) = &around.kubeconfig {
        by_file(path, config).await?
    } else {
        return Err(AccessError::NoWay);
    };
    Ok(found)
}

async fn by_file(path: &Path, config: &KubernetesConfig) -> Result<Config, AccessError> {
    let wrong = |problem| AccessError::Kubeconfig {
        path: path.to_owned(),
        problem,
    };
    let options = KubeConfigOptions {
        context: config.context.clone(),
        ..KubeConfigOptions::default()
    };
    let read = Kubeconfig::read_from(path).map_err(|error| wrong(problem(&error, &[])))?;
    let contexts: Vec<String> = read
        .contexts
        .iter()
        .map(|named| named.name.clone())
        .collect();
    Config::from_custom_kubeconfig(read, &options)
        .await
        .map_err(|error| wrong(problem(&error, &contexts)))
}

/// What is wrong with a kubeconfig that has these contexts.
fn problem(error: &KubeconfigError, contexts: &[String]) -> String {
    let remedy = || {
        let names = match contexts {
            [] => "it has none".to_owned(),
            names => format!("it has {}", names.join(", ")),
        };
        format!(
            "{names} (`discovery.kubernetes.context`, or else `current-context` in the file, names one)"
        )
    };
    match error {
        KubeconfigError::ReadConfig(source, _) => source.to_string(),
        KubeconfigError::LoadContext(name) => format!("no context {name}: {}", remedy()),
        KubeconfigError::CurrentContextNotSet => format!("no context is chosen: {}", remedy()),
        other => chain(other),
    }
}

fn as_pod(address: &str, account: &Path) -> Result<Config, AccessError> {
    let url = format!("https://{address}");
    let url = url.parse().map_err(|source| AccessError::Address {
        address: address.to_owned(),
        source,
    })?;
    let (authority, token) = (account.join("ca.crt"), account.join("token"));
    for path in [&authority, &token] {
        std::fs::read(path).map_err(|source| AccessError::ServiceAccount {
            path: path.clone(),
            source,
        })?;
    }
    let mut config = Config::new(url);
    config.root_cert_file = Some(authority);
    config.auth_info.token_file = Some(token.display().to_string());
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KUBECONFIG: &str = "
apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: \"http://127.0.0.1:1\"}}]
users: [{name: u, user: {}}]
contexts: [{name: staging, context: {cluster: c, user: u}}, {name: production, context: {cluster: gone, user: u}}]
";

    async fn refusal(text: &str, context: Option<&str>) -> String {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("kubeconfig");
        std::fs::write(&path, text).unwrap();
        let config = KubernetesConfig {
            context: context.map(str::to_owned),
            ..KubernetesConfig::default()
        };
        let error = by_file(&path, &config).await.err().unwrap();
        assert!(
            std::error::Error::source(&error).is_none(),
            "it is all in one line"
        );
        let said = error.to_string();
        let prefix = format!("cannot use kubeconfig {}: ", path.display());
        said.strip_prefix(&prefix)
            .unwrap_or_else(|| panic!("{said}"))
            .to_owned()
    }

    #[tokio::test]
    async fn what_is_wrong_with_a_kubeconfig_is_said_with_what_would_be_right() {
        let wrong = refusal(KUBECONFIG, Some("test")).await;
        assert!(
            wrong.starts_with("no context test: it has staging, production ("),
            "{wrong}"
        );
        let none = refusal(KUBECONFIG, None).await;
        assert!(
            none.starts_with("no context is chosen: it has staging"),
            "{none}"
        );
        let cluster = refusal(KUBECONFIG, Some("production")).await;
        assert!(cluster.contains("gone"), "{cluster}");
        let garbage = refusal("{ not yaml", None).await;
        assert!(
            garbage.starts_with("failed to parse kubeconfig YAML"),
            "{garbage}"
        );
    }
}
