//! The one wasmtime engine of the plugin process, and the clock that interrupts its guests.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use wasmtime::component::{Component, HasSelf, Linker};
use wasmtime::{Config, Engine};

use crate::bindings;
use crate::config::Limits;
use crate::frames::{Artifact, Fetch};
use crate::guest::{Guest, response_body};
use crate::plugin::{Fetcher, Machine};
use crate::tables;

/// How often a running guest yields to the others.
const TICK: Duration = Duration::from_millis(10);

/// The engine for which components are compiled, and that runs them: both must agree in all of it.
pub(crate) fn of_plugins() -> wasmtime::Result<Engine> {
    Engine::new(&config())
}

fn config() -> Config {
    let mut config = Config::new();
    config.epoch_interruption(true);
    config.max_wasm_stack(Limits::STACK.bytes());
    config
}

/// As [`of_plugins`], and what it compiles asks of the processor what all servers of a cluster have, and not all that
/// this machine has: x86-64-v3, or arm64 as it was first. Only compiles.
pub(crate) fn of_images() -> wasmtime::Result<Engine> {
    let mut config = config();
    config.target(&format!("{}-unknown-linux-gnu", std::env::consts::ARCH))?;
    if cfg!(target_arch = "x86_64") {
        for flag in V3 {
            // SAFETY: what it compiles is not run here; who loads it compares these flags with its processor.
            unsafe { config.cranelift_flag_enable(flag) };
        }
    }
    Engine::new(&config)
}

/// x86-64-v3 (x86-64 psABI, 3.1.1), in cranelift's names.
const V3: [&str; 12] = [
    "has_cmpxchg16b",
    "has_popcnt",
    "has_sse3",
    "has_ssse3",
    "has_sse41",
    "has_sse42",
    "has_avx",
    "has_avx2",
    "has_bmi1",
    "has_bmi2",
    "has_fma",
    "has_lzcnt",
];

/// Runs components.
#[derive(Clone)]
pub(crate) struct Runtime {
    pub(crate) engine: Engine,
    pub(crate) linker: Arc<Linker<Guest>>,
    fetcher: Fetcher,
    /// The newest of each reference: one that several sinks use is there once.
    components: Arc<Mutex<BTreeMap<String, (Artifact, Component)>>>,
    ticker: Arc<Ticker>,
}

impl Runtime {
    /// One for the process.
    pub(crate) fn new(fetcher: Fetcher) -> wasmtime::Result<Self> {
        let engine = of_plugins()?;
        let mut linker = Linker::new(&engine);
        // Toolchains import all of WASI even for pure code; the context behind it is empty.
        wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
        // An exporter's; the others are refused each request, since toolchains import it for them, too.
        wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker)?;
        bindings::host::add_to_linker::<_, HasSelf<Guest>>(&mut linker, Guest::called)?;
        tables::add_to_linker(&mut linker)?;
        response_body::add_to_linker(&mut linker)?;
        let ticker = Ticker::start(engine.clone())?;
        Ok(Self {
            engine,
            linker: Arc::new(linker),
            fetcher,
            components: Arc::default(),
            ticker,
        })
    }

    /// The component of a reference, with the digest that is wanted, and its bytes. Blocks for as long as the compiler takes.
    /// The error says what a person has to do.
    pub(crate) fn component(
        &self,
        reference: &str,
        digest: Option<&str>,
    ) -> Result<(Artifact, Component, Vec<u8>), String> {
        let mut fetch = Fetch {
            reference: reference.to_owned(),
            digest: digest.map(str::to_owned),
            bad_code: None,
        };
        let mut machine = self.fetcher.fetch(&fetch)?;
        if let Some((artifact, component)) = self.known(reference, &machine.artifact) {
            return Ok((artifact, component, machine.component));
        }
        let mut component = self.load(&machine.code);
        // Damaged, or of another processor: once more, from the component.
        if component.is_err() {
            fetch.bad_code = Some(machine.artifact.code_digest);
            machine = self.fetcher.fetch(&fetch)?;
            component = self.load(&machine.code);
        }
        let Machine {
            artifact,
            component: bytes,
            ..
        } = machine;
        let component = component
            .map_err(|error| format!("plugin {} cannot be loaded: {error:#}", artifact.path))?;
        self.components()
            .insert(reference.to_owned(), (artifact.clone(), component.clone()));
        Ok((artifact, component, bytes))
    }

    fn known(&self, reference: &str, artifact: &Artifact) -> Option<(Artifact, Component)> {
        let components = self.components();
        let known = components.get(reference)?;
        (known.0 == *artifact).then(|| known.clone())
    }

    fn load(&self, code: &[u8]) -> wasmtime::Result<Component> {
        // SAFETY: these bytes are run as they are. They have the digest that the agent named, and cannot
        // change any more. The agent names what a compile child of this same binary wrote, for this very
        // component, into a file that nobody but the agent can open for writing (see `agent::loader::cache`);
        // wasmtime looks at its own version and the engine's configuration in them. A child that was taken
        // over by its component could make them wrong, and with them this process, which runs that component
        // and is sealed against what it may do.
        unsafe { Component::deserialize(&self.engine, code) }
    }

    fn components(&self) -> MutexGuard<'_, BTreeMap<String, (Artifact, Component)>> {
        self.components
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps the epoch rising while a guest runs.
    pub(crate) fn ticking(&self) -> Ticking {
        *self.ticker.guests() += 1;
        self.ticker.wake.notify_one();
        Ticking(Arc::clone(&self.ticker))
    }
}

/// Raises the engine's epoch while guests run, and sleeps while none does: an idle node is not woken
/// a hundred times a second.
struct Ticker {
    guests: Mutex<usize>,
    wake: Condvar,
}

/// A guest runs as long as this lives.
pub(crate) struct Ticking(Arc<Ticker>);

impl Ticker {
    fn start(engine: Engine) -> wasmtime::Result<Arc<Self>> {
        let ticker = Arc::new(Self {
            guests: Mutex::new(0),
            wake: Condvar::new(),
        });
        let for_thread = Arc::clone(&ticker);
        std::thread::Builder::new()
            .name("epoch".to_owned())
            .spawn(move || {
                loop {
                    for_thread.wait_for_guests();
                    std::thread::sleep(TICK);
                    engine.increment_epoch();
                }
            })?;
        Ok(ticker)
    }

    fn guests(&self) -> std::sync::MutexGuard<'_, usize> {
        self.guests.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait_for_guests(&self) {
        let mut guests = self.guests();
        while *guests == 0 {
            guests = self
                .wake
                .wait(guests)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Drop for Ticking {
    fn drop(&mut self) {
        *self.0.guests() -= 1;
    }
}
