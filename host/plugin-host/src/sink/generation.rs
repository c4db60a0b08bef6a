//! One generation of a sink: its plugins, compiled and found good, and its endpoints, open.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use owlk8s_pipeline::Attempt;
use tokio::net::TcpListener;

use super::Shared;
use crate::chain::Chain;
use crate::config::{Endpoint, SinkConfig};
use crate::endpoints::serve::Listener;
use crate::endpoints::{Outlet, Secrets};
use crate::status::{PluginKind, PluginStatus};
use crate::tables::Tables;

/// What a sink shall run as.
pub(crate) struct Order {
    /// Of the configuration and of the files that it is made of.
    pub(crate) revision: u64,
    pub(crate) config: SinkConfig,
    pub(crate) dirs: Arc<Vec<PathBuf>>,
    /// Those that its endpoints name.
    pub(crate) secrets: Secrets,
    /// Whether it is tried on the last window first. What ran before the process was started again, or
    /// starts with the agent, is not: its breaker deals with it.
    pub(crate) rehearse: bool,
}

/// Ready to run.
pub(super) struct Generation {
    pub(super) order: Arc<Order>,
    pub(super) chain: Arc<Chain>,
    pub(super) outlets: BTreeMap<String, Outlet>,
    pub(super) listeners: Vec<Listener>,
}

/// What the next generation is compared with, and takes over from.
pub(super) struct Current {
    pub(super) order: Arc<Order>,
    pub(super) chain: Arc<Chain>,
    plugins: Vec<PluginStatus>,
    sockets: Vec<Socket>,
}

#[derive(Clone)]
struct Socket {
    endpoint: String,
    listen: SocketAddr,
    listener: Arc<TcpListener>,
}

/// Why a generation does not run.
pub(super) struct Refusal {
    /// Says what a person has to do.
    pub(super) reason: String,
    /// Whether it may go away by itself, such as an address that another process holds.
    pub(super) passes: bool,
}

impl From<String> for Refusal {
    fn from(reason: String) -> Self {
        Self {
            reason,
            passes: false,
        }
    }
}

impl Current {
    pub(super) fn of(generation: &Generation) -> Self {
        let sockets = generation.listeners.iter().map(|listener| Socket {
            endpoint: listener.endpoint().to_owned(),
            listen: listener.listen(),
            listener: listener.socket(),
        });
        Self {
            order: Arc::clone(&generation.order),
            chain: Arc::clone(&generation.chain),
            plugins: generation.chain.status(),
            sockets: sockets.collect(),
        }
    }

    /// Whether `order` with these plugins would be the same again.
    fn is(&self, order: &Order, plugins: &[PluginStatus]) -> bool {
        self.order.config == order.config
            && self.order.secrets == order.secrets
            && self.plugins == plugins
    }

    /// An open socket for this address: the next generation goes on with it, so that no connection is
    /// refused. Where the system chose the port, the endpoint's name tells which.
    fn socket(&self, endpoint: &str, listen: SocketAddr) -> Option<Arc<TcpListener>> {
        let same = |socket: &&Socket| {
            socket.listen == listen && (listen.port() != 0 || socket.endpoint == endpoint)
        };
        let found = self.sockets.iter().find(same)?;
        Some(Arc::clone(&found.listener))
    }
}

impl Shared {
    /// Make a generation of `order`; none where it would be the one that runs already.
    pub(super) async fn prepare(&self, order: &Arc<Order>) -> Result<Option<Generation>, Refusal> {
        let chain = self.load(order).await?;
        let same = |current: &Option<_>| {
            let current: Option<&Current> = current.as_ref();
            current.is_some_and(|current| current.is(order, &chain.status()))
        };
        if same(&self.current()) {
            return Ok(None);
        }
        if self.current().is_none() {
            self.desk.status(|status| status.chain = chain.status());
        }
        check_endpoints(&order.config, &chain)?;
        chain.validate().await?;
        if order.rehearse {
            self.rehearse(order, &chain).await?;
        }
        let mut outlets = BTreeMap::new();
        if chain.kind() != PluginKind::Responder {
            for (name, endpoint) in &order.config.endpoints {
                let outlet = Outlet::open(endpoint, &order.secrets)
                    .map_err(|why| format!("endpoints.{name}: {why}"))?;
                outlets.insert(name.clone(), outlet);
            }
        }
        let listeners = self.listen(&order.config).await.map_err(|reason| Refusal {
            reason,
            passes: true,
        })?;
        Ok(Some(Generation {
            order: Arc::clone(order),
            chain: Arc::new(chain),
            outlets,
            listeners,
        }))
    }

    async fn load(&self, order: &Arc<Order>) -> Result<Chain, String> {
        let (runtime, desk) = (self.runtime.clone(), self.desk.clone());
        let states = match &*self.current() {
            Some(current) => current.chain.states_for(&order.config),
            None => desk.last_states(),
        };
        let for_load = Arc::clone(order);
        let load = move || Chain::load(runtime, &for_load.config, &for_load.dirs, &states, desk);
        let turn = self.runtime.compiles.acquire().await;
        let chain = tokio::task::spawn_blocking(load).await.unwrap_or_else(|_| {
            Err("its plugin could not be compiled: the compiler panicked (report this with the component)".to_owned())
        });
        drop(turn);
        chain
    }

    /// Call the plugins with the last window, and throw away what they give. Waits for a window where
    /// there was none yet and another generation runs meanwhile.
    async fn rehearse(&self, order: &Order, chain: &Chain) -> Result<(), String> {
        let mut latest = self.latest.clone();
        let runs = self.current().is_some();
        let window = match runs {
            true => latest
                .wait_for(Option::is_some)
                .await
                .map(|window| window.clone()),
            false => Ok(latest.borrow().clone()),
        };
        // The sender's end is the process's.
        let Ok(Some(window)) = window else {
            return Ok(());
        };
        let config = &order.config;
        let sequence = window.window.sequence;
        let attempt = Attempt::rehearsal(config.mode, config.select.apply(&window));
        let tables = Arc::new(Tables::build(&attempt, &config.columns));
        let rehearsed = chain.rehearse(tables, &config.endpoints).await;
        rehearsed.map_err(|fault| format!("dry run on window {sequence}: {fault}"))
    }

    async fn listen(&self, config: &SinkConfig) -> Result<Vec<Listener>, String> {
        let mut listeners = Vec::new();
        for (name, endpoint) in &config.endpoints {
            if let Endpoint::Serve { listen, path } = endpoint {
                let open = self
                    .current()
                    .as_ref()
                    .and_then(|current| current.socket(name, *listen));
                let listener = match open {
                    Some(socket) => Listener::on(name, *listen, socket, path),
                    None => Listener::bind(name, *listen, path).await,
                };
                listeners.push(listener.map_err(|why| format!("endpoints.{name}: {why}"))?);
            }
        }
        Ok(listeners)
    }
}

/// Endpoints that the kind of plugin cannot use, or lacks.
fn check_endpoints(sink: &SinkConfig, chain: &Chain) -> Result<(), String> {
    let (kind, plugin) = (chain.kind(), chain.plugin());
    let serves = |endpoint: &Endpoint| matches!(endpoint, Endpoint::Serve { .. });
    let wrong = sink.endpoints.iter().find(|(_, endpoint)| match kind {
        PluginKind::Responder => !serves(endpoint),
        PluginKind::Exporter => true,
        PluginKind::Formatter | PluginKind::Filter => serves(endpoint),
    });
    let fits = match kind {
        PluginKind::Responder => "is answered through endpoints of kind serve",
        PluginKind::Exporter => "sends by itself and takes no endpoints",
        PluginKind::Formatter | PluginKind::Filter => {
            "delivers to endpoints of kind stdout, stderr, file or http"
        }
    };
    if let Some((name, endpoint)) = wrong {
        return Err(format!(
            "endpoints.{name}: kind {} does not fit: plugin {plugin} is {} and {fits}",
            endpoint.kind(),
            with_article(kind)
        ));
    }
    if sink.endpoints.is_empty() && kind != PluginKind::Exporter {
        return Err(format!(
            "endpoints: there is none: plugin {plugin} is {} and {fits} (add one, such as `endpoints.{}`)",
            with_article(kind),
            match kind {
                PluginKind::Responder => "http = { kind = \"serve\", listen = \"127.0.0.1:9466\" }",
                _ => "out = { kind = \"stdout\" }",
            }
        ));
    }
    Ok(())
}

fn with_article(kind: PluginKind) -> String {
    let article = if kind == PluginKind::Exporter {
        "an"
    } else {
        "a"
    };
    format!("{article} {}", kind.name())
}
