use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore};

use crate::authority::HttpGrant;
use crate::endpoints::tls::{Client, ClientFiles};

/// Trusts the grant's authorities, or the system's, and shows the grant's certificate. Its key stays on
/// this side. The error says what a person has to do.
pub(super) fn config(grant: &HttpGrant) -> Result<ClientConfig, String> {
    if grant.to.is_plain() {
        return trusting_nobody();
    }
    let files = ClientFiles {
        ca: grant.ca_file.clone(),
        cert_and_key: grant
            .client_cert_file
            .clone()
            .zip(grant.client_key_file.clone()),
    };
    let mut client = Client::new(files, "to")?;
    Ok(Arc::unwrap_or_clone(client.current()))
}

/// For origins without TLS: the connector asks for a configuration anyway.
fn trusting_nobody() -> Result<ClientConfig, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("TLS cannot be set up: {error}"))?;
    Ok(builder
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth())
}
