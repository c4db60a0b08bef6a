//! What the host holds for one call of one guest: an empty WASI context, what it was lent, its limits,
//! and what it said. Lives as long as its `Store`, which is one call.

mod chance;
mod limiter;
mod output;
mod wall_clock;

use std::sync::Arc;

use wasmtime::component::ResourceTable;
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};

use chance::Chance;
pub(crate) use chance::Seed;
pub(crate) use limiter::Limiter;
pub(crate) use output::Output;
pub(crate) use wall_clock::GuestTime;
use wall_clock::Looks;

use crate::bindings::{host, types};
use crate::config::Limits;
use crate::frames::Level;

/// The `T` of a guest's `Store<T>`.
pub(crate) struct Guest {
    wasi: WasiCtx,
    /// Columns that it may read.
    pub(crate) columns: Arc<[String]>,
    /// All resources that it was lent or made.
    pub(crate) table: ResourceTable,
    pub(crate) limiter: Limiter,
    /// What it logged.
    pub(crate) said: Said,
    /// What it wrote to its standard output and error; where a panic's text is.
    pub(crate) output: Output,
    state: Vec<u8>,
    /// Set by the guest in this call.
    pub(crate) new_state: Option<Vec<u8>>,
    state_max: usize,
}

/// What a guest finds around it, as far as its sink allows.
pub(crate) struct World {
    pub(crate) time: GuestTime,
    /// Of all randomness, where time is frozen.
    pub(crate) seed: Seed,
    pub(crate) columns: Arc<[String]>,
}

/// Log lines of one call, cut at the sink's limits.
#[derive(Debug, Default)]
pub(crate) struct Said {
    pub(crate) lines: Vec<(Level, String)>,
    /// Lines over the limit.
    pub(crate) dropped: u64,
    lines_max: usize,
    line_max: usize,
}

impl Guest {
    /// With nothing open: no directory, variable, argument or network.
    pub(crate) fn new(limits: &Limits, state: Vec<u8>, world: World) -> Self {
        let output = Output::default();
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
        Self {
            wasi: wasi.build(),
            columns: world.columns,
            table: ResourceTable::new(),
            limiter: Limiter::new(limits.memory.bytes()),
            said: Said {
                lines_max: limits.log_lines,
                line_max: limits.log_line.bytes(),
                ..Said::default()
            },
            output,
            state,
            new_state: None,
            state_max: limits.state.bytes(),
        }
    }
}

impl WasiView for Guest {
    fn ctx(&mut self) -> WasiCtxView<'_> {
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
