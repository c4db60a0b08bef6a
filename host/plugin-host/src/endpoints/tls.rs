//! Certificates and keys from PEM files, for both sides. Whoever renews them replaces the files: they
//! are read again when they change, and what does not load then leaves the old ones in use.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, ServerConfig};

/// What tells one content of a file from the next without reading it.
type Stamp = Vec<Option<(u64, u64, i64, i64)>>;

fn stamp<'a>(files: impl Iterator<Item = &'a PathBuf>) -> Stamp {
    files
        .map(|path| {
            let is = fs::metadata(path).ok()?;
            Some((is.ino(), is.len(), is.mtime(), is.mtime_nsec()))
        })
        .collect()
}

/// Files of a client. Without `ca` the system's authorities are trusted.
#[derive(Clone, Default)]
pub(crate) struct ClientFiles {
    pub(crate) ca: Option<PathBuf>,
    pub(crate) cert_and_key: Option<(PathBuf, PathBuf)>,
}

impl ClientFiles {
    fn stamp(&self) -> Stamp {
        let pair = self.cert_and_key.iter().flat_map(|(cert, key)| [cert, key]);
        stamp(self.ca.iter().chain(pair))
    }
}

/// A client's side, kept up to date with its files.
pub(crate) struct Client {
    files: ClientFiles,
    field: &'static str,
    stamp: Stamp,
    config: Arc<ClientConfig>,
}

impl Client {
    /// `field` is what asks for the system's authorities, for the error when there are none.
    pub(crate) fn new(files: ClientFiles, field: &'static str) -> Result<Self, String> {
        Ok(Self {
            stamp: files.stamp(),
            config: Arc::new(client(&files, field)?),
            files,
            field,
        })
    }

    /// As the files are now; the same one while they do not change.
    pub(crate) fn current(&mut self) -> Arc<ClientConfig> {
        let stamp = self.files.stamp();
        if stamp != self.stamp
            && let Ok(config) = client(&self.files, self.field)
        {
            self.config = Arc::new(config);
            self.stamp = stamp;
        }
        Arc::clone(&self.config)
    }
}

/// A server's side, kept up to date with its files.
pub(super) struct Server {
    cert: PathBuf,
    key: PathBuf,
    stamp: Stamp,
    config: Arc<ServerConfig>,
}

impl Server {
    pub(super) fn new(cert: &Path, key: &Path) -> Result<Self, String> {
        let (cert, key) = (cert.to_owned(), key.to_owned());
        Ok(Self {
            stamp: stamp([&cert, &key].into_iter()),
            config: Arc::new(server(&cert, &key)?),
            cert,
            key,
        })
    }

    /// As the files are now; the same one while they do not change.
    pub(super) fn current(&mut self) -> Arc<ServerConfig> {
        let stamp = stamp([&self.cert, &self.key].into_iter());
        if stamp != self.stamp
            && let Ok(config) = server(&self.cert, &self.key)
        {
            self.config = Arc::new(config);
            self.stamp = stamp;
        }
        Arc::clone(&self.config)
    }
}

fn client(files: &ClientFiles, field: &str) -> Result<ClientConfig, String> {
    let roots = match &files.ca {
        Some(path) => authorities(path)?,
        None => of_system(field)?,
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("TLS cannot be set up: {error}"))?
        .with_root_certificates(roots);
    match &files.cert_and_key {
        None => Ok(builder.with_no_client_auth()),
        Some((cert, key)) => builder
            .with_client_auth_cert(
                certificates("client_cert_file", cert)?,
                private_key("client_key_file", key)?,
            )
            .map_err(|error| unfit("client_cert_file", cert, "client_key_file", key, &error)),
    }
}

fn server(cert: &Path, key: &Path) -> Result<ServerConfig, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("TLS cannot be set up: {error}"))?
        .with_no_client_auth()
        .with_single_cert(
            certificates("cert_file", cert)?,
            private_key("key_file", key)?,
        )
        .map_err(|error| unfit("cert_file", cert, "key_file", key, &error))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

fn unfit(
    cert_field: &str,
    cert: &Path,
    key_field: &str,
    key: &Path,
    error: &rustls::Error,
) -> String {
    format!(
        "{cert_field} {} and {key_field} {} do not fit together: {error}",
        cert.display(),
        key.display()
    )
}

/// The certificates of a PEM file.
fn certificates(field: &str, path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let fail = |why: String| format!("{field} {}: {why}", path.display());
    let file = CertificateDer::pem_file_iter(path).map_err(|error| fail(pem(&error)))?;
    let certificates = file.collect::<Result<Vec<_>, _>>();
    let certificates = certificates.map_err(|error| fail(pem(&error)))?;
    if certificates.is_empty() {
        return Err(fail("holds no certificate in PEM form".to_owned()));
    }
    Ok(certificates)
}

fn private_key(field: &str, path: &Path) -> Result<PrivateKeyDer<'static>, String> {
    PrivateKeyDer::from_pem_file(path)
        .map_err(|error| format!("{field} {}: {}", path.display(), pem(&error)))
}

fn pem(error: &rustls::pki_types::pem::Error) -> String {
    use rustls::pki_types::pem::Error;
    match error {
        Error::Io(error) => error.to_string(),
        Error::NoItemsFound => "holds nothing of its kind in PEM form".to_owned(),
        // The content is not shown: it may be a key.
        _ => "is no PEM file".to_owned(),
    }
}

fn authorities(path: &Path) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates("ca_file", path)? {
        let added = roots.add(certificate);
        added.map_err(|error| format!("ca_file {}: {error}", path.display()))?;
    }
    Ok(roots)
}

fn of_system(field: &str) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    let (known, _) =
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if known == 0 {
        return Err(format!(
            "{field}: this system has no certificate authorities to trust; install them (ca-certificates) or set \
             ca_file"
        ));
    }
    Ok(roots)
}
