//! How the API server is reached: by a kubeconfig, or as a pod of the cluster by its service account.

use std::path::{Path, PathBuf};
use std::time::Duration;

use kube::Config;
use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};

use crate::Surroundings;
use crate::config::KubernetesConfig;

/// A connection that says nothing for so long is given up. A watch hears a bookmark each minute.
const SILENCE: Duration = Duration::from_secs(150);

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
    #[error("cannot use kubeconfig {path}")]
    Kubeconfig {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: Box<KubeconfigError>,
    },
    /// TLS, or a token that cannot be read.
    #[error("cannot prepare the connection to {url}")]
    Client {
        /// The API server.
        url: String,
        /// What is wrong.
        #[source]
        source: Box<kube::Error>,
    },
}

/// What the client needs, by the first way that is there.
pub(super) async fn find(
    config: &KubernetesConfig,
    around: &Surroundings,
) -> Result<Config, AccessError> {
    let mut found = if let Some(path) = &config.kubeconfig {
        by_file(path, config).await?
    } else if let Some(address) = &around.kubernetes_service {
        as_pod(address, &config.service_account)?
    } else if let Some(path) = &around.kubeconfig {
        by_file(path, config).await?
    } else {
        return Err(AccessError::NoWay);
    };
    found.read_timeout = Some(SILENCE);
    // The watches have a backoff of their own, and what is asked is to be seen and counted.
    found.default_retry = false;
    Ok(found)
}

async fn by_file(path: &Path, config: &KubernetesConfig) -> Result<Config, AccessError> {
    let wrong = |source| AccessError::Kubeconfig {
        path: path.to_owned(),
        source: Box::new(source),
    };
    let options = KubeConfigOptions {
        context: config.context.clone(),
        ..KubeConfigOptions::default()
    };
    let read = Kubeconfig::read_from(path).map_err(wrong)?;
    Config::from_custom_kubeconfig(read, &options)
        .await
        .map_err(wrong)
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
    // Read again each minute: it is renewed while the pod runs.
    config.auth_info.token_file = Some(token.display().to_string());
    Ok(config)
}
