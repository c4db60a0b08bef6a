//! A certificate authority of one server, and its certificate: clients inside a pod insist on https.

use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tokio_rustls::TlsAcceptor;

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// Making it failed.
    #[error("cannot make a certificate")]
    Certify(#[from] rcgen::Error),
    /// Rustls does not take it.
    #[error("cannot use the certificate")]
    Configure(#[from] rustls::Error),
}

/// How the server speaks TLS, and whom a client has to trust.
#[derive(Clone)]
pub(crate) struct Tls {
    pub(crate) acceptor: TlsAcceptor,
    /// PEM.
    pub(crate) authority: String,
}

impl Tls {
    /// For these names and addresses.
    pub(crate) fn new(names: Vec<String>) -> Result<Self, TlsError> {
        let mut authority = CertificateParams::default();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        authority.key_usages = vec![
            KeyUsagePurpose::KeyCertSign,
            KeyUsagePurpose::DigitalSignature,
        ];
        authority
            .distinguished_name
            .push(DnType::CommonName, "kubernetes");
        let key = KeyPair::generate()?;
        let pem = authority.self_signed(&key)?.pem();
        let issuer = Issuer::new(authority, key);

        let mut server = CertificateParams::new(names)?;
        server
            .distinguished_name
            .push(DnType::CommonName, "kube-apiserver");
        server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let key = KeyPair::generate()?;
        let certificate = server.signed_by(&key, &issuer)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivateKeyDer::Pkcs8(key.serialize_der().into()),
            )?;
        Ok(Self {
            acceptor: TlsAcceptor::from(Arc::new(config)),
            authority: pem,
        })
    }
}
