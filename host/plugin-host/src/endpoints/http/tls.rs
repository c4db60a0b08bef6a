use std::path::Path;
use std::sync::Arc;

use hyper::Uri;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

/// Connects by HTTP/1.1, over TLS where the URL says so. Trusts `ca_file` alone where it is given, and
/// the system's authorities otherwise.
pub(super) fn connector(
    url: &Uri,
    ca_file: Option<&Path>,
) -> Result<HttpsConnector<HttpConnector>, String> {
    let roots = match (url.scheme_str(), ca_file) {
        (_, Some(path)) => from_file(path)?,
        (Some("https"), None) => of_system()?,
        _ => RootCertStore::empty(),
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("TLS cannot be set up: {error}"))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(HttpsConnectorBuilder::new()
        .with_tls_config(tls)
        .https_or_http()
        .enable_http1()
        .build())
}

fn from_file(path: &Path) -> Result<RootCertStore, String> {
    let fail = |why: String| format!("ca_file {}: {why}", path.display());
    let mut roots = RootCertStore::empty();
    for certificate in
        CertificateDer::pem_file_iter(path).map_err(|error| fail(error.to_string()))?
    {
        let certificate = certificate.map_err(|error| fail(error.to_string()))?;
        roots
            .add(certificate)
            .map_err(|error| fail(error.to_string()))?;
    }
    if roots.is_empty() {
        Err(fail("holds no certificate in PEM form".to_owned()))
    } else {
        Ok(roots)
    }
}

fn of_system() -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    let (known, _) =
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if known == 0 {
        return Err("url: this system has no certificate authorities to trust; install them (ca-certificates) or set \
                    ca_file"
            .to_owned());
    }
    Ok(roots)
}
