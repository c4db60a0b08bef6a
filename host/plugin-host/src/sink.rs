//! A sink's life in the plugin process: load, validate, open its endpoints, take windows, drain. Each
//! sink is a task of its own and owns all that it uses; a window reaches it through its [`Mailbox`],
//! and nothing that it does holds up the one that offers.

mod answer;
mod guarded;
mod push;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use owlk8s_model::{Snapshot, Window};
use owlk8s_pipeline::Windows;
use tokio::sync::{Notify, watch};

use crate::authority::Ceiling;
use crate::chain::{Bounds, Chain};
use crate::config::{Endpoint, SinkConfig};
use crate::desk::Desk;
use crate::endpoints::Secrets;
use crate::engine::Runtime;
use crate::frames::{Base, Resume};
use crate::status::{PluginKind, SinkState};

/// Where windows for one sink wait.
pub(crate) struct Mailbox {
    config: SinkConfig,
    windows: Mutex<Windows>,
    notify: Notify,
}

impl Mailbox {
    pub(crate) fn new(config: SinkConfig, resume: &Resume, first: Option<Window>) -> Arc<Self> {
        let mut windows = Windows::new(config.mode, config.queue);
        if let Some(first) = first {
            windows.first(first);
        }
        if let Some(end) = resume.earlier_end {
            windows.after_agent(end);
        }
        if let Some(acknowledged) = resume.acknowledged {
            windows.resume(acknowledged, None);
        }
        if let Some(attempting) = &resume.attempting {
            windows.again(attempting.sequence);
        }
        Arc::new(Self {
            windows: Mutex::new(windows),
            notify: Notify::new(),
            config,
        })
    }

    /// What a `delta` sink goes on from.
    pub(crate) fn base(&self, base: Base) {
        let mut windows = self.windows();
        if let (Some(acknowledged), Some(snapshot)) = (windows.acknowledged(), base.acknowledged) {
            windows.resume(acknowledged, Some(snapshot));
        }
        windows.departed(base.departed, base.until, base.forgotten);
    }

    /// A new window, as the agent cut it for this sink; never waits for the sink.
    pub(crate) fn offer(&self, snapshot: Arc<Snapshot>) {
        self.windows().offer(snapshot);
        self.notify.notify_one();
    }

    fn windows(&self) -> MutexGuard<'_, Windows> {
        self.windows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a sink is started with.
pub(crate) struct Start {
    pub(crate) runtime: Runtime,
    pub(crate) mailbox: Arc<Mailbox>,
    pub(crate) desk: Desk,
    pub(crate) secrets: Arc<Secrets>,
    pub(crate) ceiling: Arc<Ceiling>,
    pub(crate) resume: Resume,
    /// Turns true once: deliver what waits, and end.
    pub(crate) drain: watch::Receiver<bool>,
}

impl Start {
    /// The sink's whole life. A sink that cannot start is a status, and ends.
    pub(crate) async fn run(self) {
        let mut drain = self.drain.clone();
        let chain = tokio::select! {
            chain = self.prepare() => chain,
            _ = drain.wait_for(|drain| *drain) => return,
        };
        let chain = match chain {
            Ok(chain) => Arc::new(chain),
            Err(reason) => return self.desk.state(SinkState::Failed, &reason),
        };
        let result = match chain.kind() {
            PluginKind::Responder => answer::run(&self, chain).await,
            _ => push::run(&self, chain).await,
        };
        if let Err(reason) = result {
            self.desk.state(SinkState::Failed, &reason);
        }
    }

    async fn prepare(&self) -> Result<Chain, String> {
        let (runtime, desk) = (self.runtime.clone(), self.desk.clone());
        let mailbox = Arc::clone(&self.mailbox);
        let states = self.resume.states.clone();
        let (ceiling, secrets) = (Arc::clone(&self.ceiling), Arc::clone(&self.secrets));
        let load = move || {
            let bounds = Bounds {
                ceiling: &ceiling,
                secrets: &secrets,
            };
            Chain::load(runtime, &mailbox.config, &states, bounds, desk)
        };
        let chain = tokio::task::spawn_blocking(load).await.unwrap_or_else(|_| {
            Err("its plugin could not be loaded: wasmtime panicked (report this with the component)".to_owned())
        })?;
        self.desk.status(|status| status.chain = chain.status());
        check_endpoints(self.config(), &chain)?;
        chain.validate().await?;
        Ok(chain)
    }

    fn config(&self) -> &SinkConfig {
        &self.mailbox.config
    }
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
