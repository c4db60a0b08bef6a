//! What the host holds for one guest: an empty WASI context, what it was lent, its limits, and what it
//! said. Lives as long as its `Store`: for one call, or where the sink reuses instances, until a fault.

mod chance;
mod limiter;
mod output;
pub(crate) mod response_body;
mod wall_clock;

use std::sync::Arc;

use wasmtime::component::ResourceTable;
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

use chance::Chance;
pub(crate) use chance::Seed;
pub(crate) use limiter::Limiter;
pub(crate) use output::Output;
pub(crate) use wall_clock::GuestTime;
use wall_clock::Looks;

use crate::bindings::{host, types};
use crate::call::Ask;
use crate::config::Limits;
use crate::frames::Level;
use crate::metered::Meter;
use crate::outbound::Network;

/// The `T` of a guest's `Store<T>`.
pub(crate) struct Guest {
    wasi: WasiCtx,
    http: WasiHttpCtx,
    network: Network,
    /// Columns that it may read.
    pub(crate) columns: Arc<[String]>,
    /// All resources that it was lent or made.
    pub(crate) table: ResourceTable,
    pub(crate) limiter: Limiter,
    /// What it logged.
    pub(crate) said: Said,
    /// What it wrote to its standard output and error; where a panic's text is.
    pub(crate) output: Output,
    /// What it wrote of the response that it is asked for; None while it is asked for something else.
    pub(crate) body: Option<Vec<u8>>,
    output_max: usize,
    /// Its processor time in this call.
    pub(crate) meter: Meter,
    /// How often it called the host in this call.
    pub(crate) host_calls: u64,
    state: Vec<u8>,
    /// Set by the guest in this call.
    pub(crate) new_state: Option<Vec<u8>>,
    /// How often `set-state` was refused in this call.
    pub(crate) states_refused: u64,
    state_max: usize,
}

/// What a guest finds around it, as far as its sink allows.
pub(crate) struct World {
    pub(crate) time: GuestTime,
    /// Of all randomness, where time is frozen.
    pub(crate) seed: Seed,
    pub(crate) network: Network,
    pub(crate) columns: Arc<[String]>,
}

impl World {
    /// Of a call that stands for itself: with all columns that there are, and nothing else from outside.
    pub(crate) fn fixed(ask: &Ask) -> Self {
        let (time, columns) = match ask {
            Ask::Run(tables, _) => (tables.end_unix_ns(), tables.columns().cloned().collect()),
            Ask::Validate => (0, Arc::default()),
        };
        Self {
            time: GuestTime::Frozen(time),
            seed: Seed::default(),
            network: Network::none(),
            columns,
        }
    }
}

/// Log lines of one call, cut at the sink's limits.
#[derive(Debug, Default)]
pub(crate) struct Said {
    pub(crate) lines: Vec<(Level, String)>,
    /// Lines over the limit.
    pub(crate) dropped: u64,
    /// Lines that were cut.
    pub(crate) cut: u64,
    lines_max: usize,
    line_max: usize,
}

impl Guest {
    /// With nothing open: no directory, variable, argument or network.
    pub(crate) fn new(limits: &Limits, state: Vec<u8>, world: World) -> Self {
        let output = Output::new(limits.stdio.bytes());
        let mut table = ResourceTable::new();
        table.set_max_capacity(limits.handles);
        Self {
            wasi: wasi(&output, &world),
            http: WasiHttpCtx::new(),
            network: world.network,
            columns: world.columns,
            table,
            limiter: Limiter::new(limits),
            said: Said::within(limits),
            output,
            body: None,
            output_max: limits.output.bytes(),
            meter: Meter::new(limits.cpu),
            host_calls: 0,
            state,
            new_state: None,
            states_refused: 0,
            state_max: limits.state.bytes(),
        }
    }

    /// Begin one more call: what the last one said, used and set is gone, and the world is another.
    pub(crate) fn begin(&mut self, limits: &Limits, state: Vec<u8>, world: World) {
        self.wasi = wasi(&self.output, &world);
        self.network = world.network;
        self.columns = world.columns;
        self.limiter.refused = None;
        self.said = Said::within(limits);
        self.body = None;
        self.meter = Meter::new(limits.cpu);
        self.host_calls = 0;
        self.state = state;
        self.new_state = None;
        self.states_refused = 0;
    }

    /// The host is called: what every function of `owlk8s:plugin` begins with.
    pub(crate) fn called(&mut self) -> &mut Self {
        self.host_calls += 1;
        self
    }
}

fn wasi(output: &Output, world: &World) -> WasiCtx {
    let mut wasi = WasiCtxBuilder::new();
    wasi.stdout(output.clone())
        .stderr(output.clone())
        .allow_tcp(false)
        .allow_udp(false);
    if let GuestTime::Frozen(_) = world.time {
        wasi.wall_clock(world.time)
            .monotonic_clock(Looks::default())
            .secure_random(Chance::new(&world.seed, 0))
            .insecure_random(Chance::new(&world.seed, 1))
            .insecure_random_seed(u128::from_le_bytes(Chance::new(&world.seed, 2).bytes()));
    }
    wasi.build()
}

/// What every function of WASI begins with.
impl WasiView for Guest {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        self.host_calls += 1;
        WasiCtxView {
            ctx: &mut self.wasi,
            table: &mut self.table,
        }
    }
}

impl WasiHttpView for Guest {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView {
            hooks: &mut self.network,
            table: &mut self.table,
            ctx: &mut self.http,
        }
    }
}

impl types::Host for Guest {}

impl host::Host for Guest {
    fn log(&mut self, level: host::Level, message: String) -> wasmtime::Result<()> {
        let level = match level {
            host::Level::Debug => Level::Debug,
            host::Level::Info => Level::Info,
            host::Level::Warn => Level::Warn,
            host::Level::Error => Level::Error,
        };
        self.said.add(level, &message);
        Ok(())
    }

    fn get_state(&mut self) -> wasmtime::Result<Vec<u8>> {
        Ok(self.new_state.as_ref().unwrap_or(&self.state).clone())
    }

    fn set_state(&mut self, state: Vec<u8>) -> wasmtime::Result<Result<(), String>> {
        if state.len() > self.state_max {
            self.states_refused += 1;
            return Ok(Err(format!(
                "state of {} bytes is over the sink's limit of {} (limits.state); the old one stays",
                state.len(),
                self.state_max
            )));
        }
        self.new_state = Some(state);
        Ok(Ok(()))
    }
}

impl Said {
    fn within(limits: &Limits) -> Self {
        Self {
            lines_max: limits.log_lines,
            line_max: limits.log_line.bytes(),
            ..Self::default()
        }
    }

    fn add(&mut self, level: Level, message: &str) {
        if self.lines.len() >= self.lines_max {
            self.dropped += 1;
            return;
        }
        self.cut += u64::from(message.len() > self.line_max);
        self.lines.push((level, printable(message, self.line_max)));
    }
}

/// At most `max` bytes of `text`, with control characters as spaces: a guest's words must not steer a
/// terminal or forge a line of the log.
pub(crate) fn printable(text: &str, max: usize) -> String {
    let cut = text.floor_char_boundary(max);
    let mut clean: String = text[..cut]
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    if cut < text.len() {
        clean.push('…');
    }
    clean
}
