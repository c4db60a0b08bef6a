//! One generation of a sink: its plugins, compiled and found good, and its endpoints, open.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use owlk8s_model::Snapshot;
use owlk8s_pipeline::Attempt;
use tokio::net::TcpListener;

use super::Shared;
use crate::authority::Ceiling;
use crate::chain::{Bounds, Chain};
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
    /// Those that its endpoints and grants name.
    pub(crate) secrets: Secrets,
    pub(crate) ceiling: Arc<Ceiling>,
    /// Whether it ran under an earlier process: then nothing comes before it.
    pub(crate) ran: bool,
    /// What it is tried on first. What ran before, or starts with the agent, is not: its breaker deals
    /// with it.
    pub(crate) sample: Option<Arc<Snapshot>>,
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
        if let Some(window) = &order.sample {
            rehearse(order, window, &chain).await?;
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
        let order = Arc::clone(order);
        let load = move || {
            let bounds = Bounds {
                ceiling: &order.ceiling,
                secrets: &order.secrets,
            };
            Chain::load(runtime, &order.config, &states, bounds, desk)
        };
        tokio::task::spawn_blocking(load).await.unwrap_or_else(|_| {
            Err("its plugin could not be loaded: wasmtime panicked (report this with the component)".to_owned())
        })
    }

    async fn listen(&self, config: &SinkConfig) -> Result<Vec<Listener>, String> {
        let mut listeners = Vec::new();
        for (name, endpoint) in &config.endpoints {
            if let Endpoint::Serve(serve) = endpoint {
                let open = self
                    .current()
                    .as_ref()
                    .and_then(|current| current.socket(name, serve.listen));
                let listener = match open {
                    Some(socket) => Listener::on(name, serve, socket),
                    None => Listener::bind(name, serve).await,
                };
                listeners.push(listener.map_err(|why| format!("endpoints.{name}: {why}"))?);
            }
        }
        Ok(listeners)
    }
}

/// Call the plugins with the last window, and throw away what they give.
async fn rehearse(order: &Order, window: &Arc<Snapshot>, chain: &Chain) -> Result<(), String> {
    let config = &order.config;
    let attempt = Attempt::rehearsal(config.mode, Arc::clone(window));
    let tables = Arc::new(Tables::build(&attempt, &config.columns));
    let rehearsed = chain.rehearse(tables, &config.endpoints).await;
    rehearsed.map_err(|fault| {
        let sequence = window.window.sequence;
        format!("dry run on window {sequence}: {fault}")
    })
}

/// Endpoints that the kind of plugin cannot use, or lacks.
fn check_endpoints(sink: &SinkConfig, chain: &Chain) -> Result<(), String> {
    let (kind, plugin) = (chain.kind(), chain.plugin());
    let serves = |endpoint: &Endpoint| matches!(endpoint, Endpoint::Serve(_));
    let wrong = sink.endpoints.iter().find(|(_, endpoint)| match kind {
        PluginKind::Responder => !serves(endpoint),
        PluginKind::Exporter => true,
        PluginKind::Formatter | PluginKind::Filter => serves(endpoint),
    });
    let fits = match kind {
        PluginKind::Responder => "is answered through endpoints of kind serve",
        PluginKind::Exporter => "sends by itself and takes no endpoints",
        PluginKind::Formatter | PluginKind::Filter => {
            "delivers to endpoints of kind stdout, stderr, file, http, udp, tcp or unix"
        }
    };
    if let Some((name, endpoint)) = wrong {
        return Err(format!(
            "endpoints.{name}: kind {} does not fit: plugin {plugin} is {} and {fits}",
            endpoint.kind(),
            kind.with_article()
        ));
    }
    if sink.endpoints.is_empty() && kind != PluginKind::Exporter {
        return Err(format!(
            "endpoints: there is none: plugin {plugin} is {} and {fits} (add one, such as `endpoints.{}`)",
            kind.with_article(),
            match kind {
                PluginKind::Responder => "http = { kind = \"serve\", listen = \"127.0.0.1:9466\" }",
                _ => "out = { kind = \"stdout\" }",
            }
        ));
    }
    Ok(())
}
