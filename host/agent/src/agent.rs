//! The agent's life: what is opened first ([`Built`]), what runs then ([`Running`]), how it ends.
//!
//! One window: `reader.window` reads the kernel and folds, the snapshot goes to the plugin host and to
//! the admin endpoints. Neither can hold up the next one.

use std::future::Future;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use owlk8s_discover::{Discovery, Interfaces, LinkEvents, discover};
use owlk8s_model::{Snapshot, Status, TargetId, TargetSnapshot};
use owlk8s_plugin_host::{HostOptions, PluginHost, Program};
use owlk8s_probe::{Options, Probe};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Interval, MissedTickBehavior, interval, interval_at, timeout};

use crate::admin::{self, Admin, Pulse};
use crate::book::Book;
use crate::config::Config;
use crate::places;
use crate::plan::Plan;
use crate::plugins::Plugins;
use crate::reader::{Reader, ReaderGone, now};
use crate::reload::{Change, Changes, Diff, Tally};

/// Connections that ended without a word are looked for this often.
const SWEEP: Duration = Duration::from_secs(30);
/// The first window closes after this, so that targets whose interface is easily found are in it.
const FIRST: Duration = Duration::from_millis(250);
/// For the sinks to deliver the last window; the whole end stays below 5 s.
const DRAIN: Duration = Duration::from_secs(4);

/// All that can fail at the start has been opened.
pub(crate) struct Built {
    config: Config,
    listener: TcpListener,
    probe: Probe,
    discovery: Discovery,
    interfaces: Interfaces,
    links: LinkEvents,
    plugins: PluginHost,
}

impl Built {
    pub(crate) async fn new(config: Config) -> anyhow::Result<Self> {
        let listener = admin::listen(config.admin.listen).await?;
        let probe = Probe::load_with(Options {
            targets: config.probe.targets,
            rows: config.probe.rows,
            connections: config.probe.connections,
            count_client: config.probe.client,
        })?;
        let discovery = discover(&config.discovery, &config.around).await?;
        let interfaces = Interfaces::new()?;
        let links = LinkEvents::open()?;
        let plugins = PluginHost::start(host_options(&config))?;
        Ok(Self {
            config,
            listener,
            probe,
            discovery,
            interfaces,
            links,
            plugins,
        })
    }

    pub(crate) fn spawn(self) -> anyhow::Result<Running> {
        let Self {
            config,
            listener,
            probe,
            discovery,
            interfaces,
            links,
            plugins,
        } = self;
        let address = listener.local_addr()?;
        let book = Book::new(config.node.clone(), config.probe.include_probes, now());
        let (reader, thread) =
            Reader::spawn(probe, book).context("cannot start the reader's thread")?;
        let (plans_in, plans) = watch::channel(Arc::default());
        let (latest_in, latest) = watch::channel(None);
        let plugins = Plugins::new(plugins);
        let reloads = Arc::new(Tally::new());
        let pulse = Arc::new(Pulse::new(config.interval));
        let mut tasks = JoinSet::new();
        tasks.spawn(places::follow(
            interfaces,
            links,
            discovery.sets.clone(),
            latest.clone(),
            plans_in,
        ));
        let shown = Admin {
            reader: reader.clone(),
            plugins: plugins.clone(),
            latest,
            api_requests: discovery.api_requests.clone(),
            reloads: Arc::clone(&reloads),
            started: Instant::now(),
            pulse: Arc::clone(&pulse),
        };
        tasks.spawn(admin::serve(listener, Arc::new(shown)));
        tracing::info!(node = config.node, interval = ?config.interval, admin = %address,
            sinks = config.sinks.len(), "started");
        Ok(Running {
            config,
            discovery,
            changes: None,
            reloads,
            reader,
            thread,
            plans,
            latest: latest_in,
            plugins,
            pulse,
            tasks,
        })
    }
}

/// At work.
pub(crate) struct Running {
    /// What is in effect.
    config: Config,
    discovery: Discovery,
    /// None: nothing is followed.
    changes: Option<Changes>,
    reloads: Arc<Tally>,
    reader: Reader,
    thread: JoinHandle<()>,
    plans: watch::Receiver<Arc<Plan>>,
    latest: watch::Sender<Option<Arc<Snapshot>>>,
    plugins: Plugins,
    pulse: Arc<Pulse>,
    tasks: JoinSet<()>,
}

impl Running {
    /// Closes a window each interval until `stop`, or until the reader fails.
    pub(crate) async fn until(&mut self, stop: impl Future<Output = ()>) -> Result<(), ReaderGone> {
        tokio::pin!(stop);
        let mut every = self.config.interval;
        let mut windows = ticks(FIRST.min(every), every);
        let mut sweeps = interval(SWEEP);
        sweeps.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = &mut stop => return Ok(()),
                Ok(()) = self.plans.changed() => {
                    let plan = Arc::clone(&self.plans.borrow_and_update());
                    self.reader.adopt(plan)?;
                }
                _ = windows.tick() => self.window().await?,
                change = changed(&mut self.changes) => {
                    self.take(change);
                    if self.config.interval != every {
                        every = self.config.interval;
                        windows = ticks(every, every);
                    }
                }
                _ = sweeps.tick() => self.reader.sweep()?,
            }
        }
    }

    /// From here on its configuration and its plugins' files are followed.
    pub(crate) fn follow(&mut self, mut changes: Changes) {
        changes.plugins_are(self.plugins.files());
        self.changes = Some(changes);
    }

    fn take(&mut self, change: Change) {
        match change.config {
            Some(Ok(wanted)) => self.reload(wanted),
            Some(Err(error)) => self.refuse(&anyhow::Error::from(error)),
            None => {}
        }
        if change.plugins {
            self.plugins.look_again();
        }
        if let Some(changes) = &mut self.changes {
            changes.plugins_are(self.plugins.files());
        }
    }

    fn reload(&mut self, wanted: Config) {
        let changed = match Diff::between(&self.config, &wanted) {
            Ok(changed) => changed,
            Err(error) => return self.refuse(&error.into()),
        };
        let mut next = self.config.clone();
        next.adopt(wanted);
        // Both check before they change anything, as the file's reader did already.
        let reloaded = self
            .discovery
            .set_static(&next.discovery)
            .map_err(anyhow::Error::from)
            .and_then(|()| Ok(self.plugins.reload(host_options(&next))?));
        if let Err(error) = reloaded {
            return self.refuse(&error);
        }
        crate::logs::set(next.log);
        self.config = next;
        self.pulse.beat(self.config.interval);
        self.reloads.applied(changed.restart.len());
        let in_effect = changed.live.join(", ");
        if changed.restart.is_empty() {
            tracing::info!(changed = in_effect, "configuration reloaded");
        } else {
            tracing::warn!(
                changed = in_effect,
                needs_restart = changed.restart.join(", "),
                "configuration reloaded, in part: restart owlk8s for the rest"
            );
        }
    }

    /// A configuration that is wrong anywhere changes nothing.
    fn refuse(&self, error: &anyhow::Error) {
        self.reloads.refused();
        tracing::error!(
            error = format!("{error:#}"),
            "new configuration is refused: the one before stays in effect"
        );
    }

    async fn window(&self) -> Result<(), ReaderGone> {
        let snapshot = self.reader.window().await?;
        let before = self.latest.send_replace(Some(Arc::clone(&snapshot)));
        log_changes(before.as_deref(), &snapshot);
        self.plugins.offer(snapshot);
        self.pulse.beat(self.config.interval);
        Ok(())
    }

    /// One last window, what the sinks have goes out, everything is detached.
    pub(crate) async fn drain(self) {
        if let Err(error) = self.window().await {
            tracing::error!(%error, "no last window");
        }
        let Self {
            reader,
            thread,
            plugins,
            mut tasks,
            ..
        } = self;
        plugins.drain(DRAIN).await;
        tasks.shutdown().await;
        drop(reader);
        let detached = tokio::task::spawn_blocking(move || thread.join());
        match timeout(Duration::from_millis(800), detached).await {
            Ok(Ok(Ok(()))) => tracing::info!("stopped"),
            Ok(_) => tracing::error!("the reader's thread panicked"),
            Err(_) => tracing::warn!("still detaching; the kernel does the rest"),
        }
    }
}

fn host_options(config: &Config) -> HostOptions {
    HostOptions {
        plugins: config.plugins.clone(),
        sinks: config.sinks.clone(),
        plugin_dirs: config.plugin_dirs.clone(),
        secrets: config.secrets.clone(),
        program: Program::default(),
    }
}

fn ticks(first: Duration, every: Duration) -> Interval {
    let mut ticks = interval_at((Instant::now() + first).into(), every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

async fn changed(changes: &mut Option<Changes>) -> Change {
    match changes {
        Some(changes) => changes.next().await,
        None => std::future::pending().await,
    }
}

/// A line for each target whose status is another than it was.
fn log_changes(before: Option<&Snapshot>, now: &Snapshot) {
    for target in &now.targets {
        let old = before.and_then(|b| find(b, &target.id));
        if old.is_some_and(|old| old.status == target.status) {
            continue;
        }
        let (id, interface, reason) = (&target.id, &target.interface, &target.reason);
        match target.status {
            Status::Active => tracing::info!(target = %id, interface, "active"),
            Status::Waiting => tracing::info!(target = %id, reason, "waiting"),
            Status::Degraded => tracing::warn!(target = %id, interface, reason, "degraded"),
            Status::Failed => tracing::warn!(target = %id, reason, "failed"),
        }
    }
    for target in before
        .iter()
        .flat_map(|b| &b.targets)
        .filter(|t| find(now, &t.id).is_none())
    {
        tracing::info!(target = %target.id, "gone");
    }
}

fn find<'a>(snapshot: &'a Snapshot, id: &TargetId) -> Option<&'a TargetSnapshot> {
    let at = snapshot.targets.binary_search_by(|t| t.id.cmp(id)).ok()?;
    Some(&snapshot.targets[at])
}
