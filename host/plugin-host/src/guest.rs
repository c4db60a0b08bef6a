//! What the host holds for one guest: an empty WASI context, what it was lent, its limits, and what it
//! said. Lives as long as its `Store`: for one call, or where the sink reuses instances, until a fault.

mod limiter;
mod output;
mod wall_clock;

use wasmtime::component::ResourceTable;
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};

pub(crate) use limiter::Limiter;
pub(crate) use output::Output;
use wall_clock::GuestClock;
pub(crate) use wall_clock::GuestTime;

use crate::bindings::{host, types};
use crate::config::Limits;
use crate::frames::Level;
use crate::metered::Meter;

/// The `T` of a guest's `Store<T>`.
pub(crate) struct Guest {
    wasi: WasiCtx,
    /// All resources that it was lent or made.
    pub(crate) table: ResourceTable,
    pub(crate) limiter: Limiter,
    /// What it logged.
    pub(crate) said: Said,
    /// What it wrote to its standard output and error; where a panic's text is.
    pub(crate) output: Output,
    /// Its processor time in this call.
    pub(crate) meter: Meter,
    /// How often it called the host in this call.
    pub(crate) host_calls: u64,
    clock: GuestClock,
    state: Vec<u8>,
    /// Set by the guest in this call.
    pub(crate) new_state: Option<Vec<u8>>,
    /// How often `set-state` was refused in this call.
    pub(crate) states_refused: u64,
    state_max: usize,
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
    pub(crate) fn new(limits: &Limits) -> Self {
        let output = Output::new(limits.stdio.bytes());
        let clock = GuestClock::new(GuestTime::Real);
        let mut wasi = WasiCtxBuilder::new();
        wasi.stdout(output.clone())
            .stderr(output.clone())
            .allow_tcp(false)
            .allow_udp(false)
            .wall_clock(clock.clone());
        let mut table = ResourceTable::new();
        table.set_max_capacity(limits.handles);
        Self {
            wasi: wasi.build(),
            table,
            limiter: Limiter::new(limits),
            said: Said::default(),
            output,
            meter: Meter::new(limits.cpu),
            host_calls: 0,
            clock,
            state: Vec::new(),
            new_state: None,
            states_refused: 0,
            state_max: limits.state.bytes(),
        }
    }

    /// Begin a call: what the last one said, used and set is gone.
    pub(crate) fn begin(&mut self, limits: &Limits, state: Vec<u8>, time: GuestTime) {
        self.clock.set(time);
        self.limiter.refused = None;
        self.meter = Meter::new(limits.cpu);
        self.host_calls = 0;
        self.said = Said {
            lines_max: limits.log_lines,
            line_max: limits.log_line.bytes(),
            ..Said::default()
        };
        self.state = state;
        self.new_state = None;
        self.states_refused = 0;
    }
}

impl Guest {
    /// The host is called: what every function of `owlk8s:plugin` begins with.
    pub(crate) fn called(&mut self) -> &mut Self {
        self.host_calls += 1;
        self
    }
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
