//! The handle of a test: start, stop and trouble the server, and read what was asked of it.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::access::{Rule, SERVICE_ACCOUNT};
use crate::cluster::Cluster;
use crate::credentials::Credentials;
use crate::faults::Fault;
use crate::http::Shared;
use crate::listen::Listening;
use crate::requests::Request;
use crate::tls::{Tls, TlsError};

/// How a server starts.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Https, with a certificate authority of its own.
    pub tls: bool,
    /// Where it listens; port 0: one that is free.
    pub address: SocketAddr,
}

/// Why a server does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address.
    #[error("cannot listen on {address}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The certificate.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// A running API server. It has a thread of its own, so that a test may block, and ends when it is dropped.
pub struct ApiServer {
    listening: Listening,
    shared: Arc<Shared>,
    authority: Option<String>,
    /// For the files of credentials that are written.
    token: Mutex<Option<String>>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            tls: false,
            address: SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 0),
        }
    }
}

impl Settings {
    /// Starts a server.
    pub fn start(self) -> Result<ApiServer, StartError> {
        let shared = Arc::new(Shared::new());
        let address = self.address;
        let tls = self
            .tls
            .then(|| Tls::new(names(address.ip())))
            .transpose()?;
        let authority = tls.as_ref().map(|tls| tls.authority.clone());
        let listening = Listening::start(address, tls, Arc::clone(&shared))
            .map_err(|source| StartError::Listen { address, source })?;
        let server = ApiServer {
            listening,
            shared,
            authority,
            token: Mutex::default(),
        };
        for name in ["default", "kube-system"] {
            server.cluster().make_namespace(name);
        }
        Ok(server)
    }
}

/// By which clients may call it.
fn names(ip: IpAddr) -> Vec<String> {
    let names = ["localhost", "127.0.0.1", "kubernetes.default.svc"];
    let mut names: Vec<_> = names.into_iter().map(str::to_owned).collect();
    names.push(ip.to_string());
    names
}

/// The life of a server.
impl ApiServer {
    /// Starts a server with http on a free port of this machine.
    ///
    /// # Panics
    /// When it cannot.
    pub fn start() -> Self {
        Settings::default()
            .start()
            .unwrap_or_else(|error| panic!("{error}"))
    }

    /// Starts a server with https.
    ///
    /// # Panics
    /// When it cannot.
    pub fn start_tls() -> Self {
        let settings = Settings {
            tls: true,
            ..Settings::default()
        };
        settings.start().unwrap_or_else(|error| panic!("{error}"))
    }

    /// `http://127.0.0.1:41234`.
    pub fn url(&self) -> String {
        let scheme = if self.authority.is_some() {
            "https"
        } else {
            "http"
        };
        format!("{scheme}://{}", self.listening.address)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.listening.address
    }

    /// PEM of the authority that a client has to trust, with https.
    pub fn certificate_authority(&self) -> Option<&str> {
        self.authority.as_deref()
    }

    /// What the cluster holds.
    pub fn cluster(&self) -> Cluster {
        Cluster::new(Arc::clone(&self.shared))
    }

    /// Writes a kubeconfig for this server, with the newest token if one was set.
    pub fn kubeconfig(&self, path: impl AsRef<Path>) -> io::Result<()> {
        self.with_credentials(|credentials| credentials.write_kubeconfig(path.as_ref()))
    }

    /// Writes `token`, `namespace` and `ca.crt` as a pod finds them.
    pub fn service_account_dir(&self, path: impl AsRef<Path>) -> io::Result<()> {
        self.with_credentials(|credentials| credentials.write_service_account(path.as_ref()))
    }

    fn with_credentials<T>(&self, write: impl FnOnce(Credentials<'_>) -> T) -> T {
        let token = self.token.lock().unwrap_or_else(PoisonError::into_inner);
        write(Credentials {
            url: &self.url(),
            authority: self.authority.as_deref(),
            token: token.as_deref(),
            namespace: "owlk8s",
        })
    }
}

/// Who may ask for what.
impl ApiServer {
    /// Accepts this token, of the agent's service account; requests without a token that is accepted are refused from
    /// now on.
    pub fn accept_token(&self, token: &str) {
        self.shared.access().accept_token(token, SERVICE_ACCOUNT);
        *self.token.lock().unwrap_or_else(PoisonError::into_inner) = Some(token.to_owned());
    }

    /// The token has expired: 401 from now on. Watches that are open stay so, as on a real server.
    pub fn expire_token(&self, token: &str) {
        self.shared.access().revoke_token(token);
    }

    /// Allows this and nothing else: `allow_only([("list", "", "pods"), ("watch", "", "pods")])`.
    pub fn allow_only<R: Into<Rule>>(&self, rules: impl IntoIterator<Item = R>) {
        let rules = rules.into_iter().map(Into::into).collect();
        self.shared.access().set_rules(Some(rules));
    }

    /// Takes a permission away: `forbid("list", "", "nodes")`.
    pub fn forbid(&self, verb: &str, group: &str, resource: &str) {
        self.shared
            .access()
            .forbid(Rule::new(verb, group, resource));
    }

    /// Allows all, as at the start.
    pub fn allow_all(&self) {
        self.shared.access().set_rules(None);
    }
}

/// What goes wrong.
impl ApiServer {
    /// Every request meets this fault until [`Self::heal`].
    pub fn fail(&self, fault: Fault) {
        self.shared.faults().add(fault, None, None);
    }

    /// The next so many requests meet this fault.
    pub fn fail_next(&self, times: usize, fault: Fault) {
        if times > 0 {
            self.shared.faults().add(fault, None, Some(times));
        }
    }

    /// Requests with this verb (or `*`) for this resource meet this fault until [`Self::heal`].
    pub fn fail_on(&self, verb: &str, resource: &str, fault: Fault) {
        self.shared
            .faults()
            .add(fault, Some((verb, resource)), None);
    }

    /// Ends the faults that requests meet.
    pub fn heal(&self) {
        self.shared.faults().heal();
    }

    /// Resets all connections and refuses new ones; has happened when it returns.
    pub fn go_down(&self) {
        self.listening.go_down();
    }

    /// Listens again, on the same port.
    pub fn come_back(&self) {
        self.listening.come_back();
    }

    /// Resets all connections; new ones are accepted.
    pub fn reset_connections(&self) {
        self.listening.reset_connections();
    }

    /// Ends all watches cleanly, as after their timeout.
    pub fn end_watches(&self) {
        self.shared.watches.ends.send_modify(|ends| *ends += 1);
    }

    /// Watches send nothing more, as on a connection that is dead without anyone having noticed.
    pub fn silence_watches(&self) {
        self.shared.watches.silent.send_replace(true);
    }

    /// Watches send again, also what has happened meanwhile.
    pub fn resume_watches(&self) {
        self.shared.watches.silent.send_replace(false);
    }

    /// Sends bookmarks at this interval instead of each minute.
    pub fn bookmark_every(&self, interval: Duration) {
        self.shared.watches.bookmarks.send_replace(interval);
    }

    /// Forgets the history: lists and watches from an older version are told 410.
    pub fn compact(&self) {
        self.shared.store.compact();
    }

    /// Keeps so many events of the past.
    pub fn keep_events(&self, most: usize) {
        self.shared.store.keep_events(most);
    }
}

/// What was asked.
impl ApiServer {
    /// The requests so far, oldest first; also those that are not answered yet.
    pub fn requests(&self) -> Vec<Request> {
        self.shared.log.requests()
    }

    /// How many requests there were, by verb and resource.
    pub fn counts(&self) -> BTreeMap<(String, String), usize> {
        self.shared.log.counts()
    }

    /// How many requests with this verb there were for this resource.
    pub fn count(&self, verb: &str, resource: &str) -> usize {
        self.shared.log.count(verb, resource)
    }

    /// Watches of this resource that are open.
    pub fn open_watches(&self, resource: &str) -> usize {
        self.shared.log.open_watches(resource)
    }

    /// Forgets the requests that are over, and counts from 0.
    pub fn forget_requests(&self) {
        self.shared.log.clear();
    }

    /// Waits until this holds; looked at whenever a request comes, is answered or ends.
    pub async fn until(&self, holds: impl Fn(&Self) -> bool) {
        let mut changes = self.shared.log.subscribe();
        while !holds(self) {
            if changes.changed().await.is_err() {
                return;
            }
        }
    }

    /// Waits until a watch of this resource is open.
    pub async fn watching(&self, resource: &str) {
        self.until(|server| server.open_watches(resource) > 0).await;
    }
}
