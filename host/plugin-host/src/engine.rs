//! The one wasmtime engine of the plugin process, and the clock that interrupts its guests.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;
use wasmtime::component::{Component, HasSelf, Linker};
use wasmtime::{Config, Engine};

use crate::bindings;
use crate::config::Limits;
use crate::guest::Guest;

/// How often a running guest yields to the others.
const TICK: Duration = Duration::from_millis(10);

/// Components that are compiled at once: each takes a processor, and tens of MB.
const COMPILES_AT_ONCE: usize = 2;

/// Compiles components and runs them.
#[derive(Clone)]
pub(crate) struct Runtime {
    pub(crate) engine: Engine,
    pub(crate) linker: Arc<Linker<Guest>>,
    /// One that several sinks use is compiled once.
    compiled: Arc<Mutex<BTreeMap<String, Component>>>,
    pub(crate) compiles: Arc<Semaphore>,
    ticker: Arc<Ticker>,
}

impl Runtime {
    /// One for the process.
    pub(crate) fn new() -> wasmtime::Result<Self> {
        let mut config = Config::new();
        config.epoch_interruption(true);
        config.max_wasm_stack(Limits::STACK.bytes());
        let engine = Engine::new(&config)?;
        let mut linker = Linker::new(&engine);
        // Toolchains import all of WASI even for pure code; the context behind it is empty.
        wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
        bindings::formatter::Formatter::add_to_linker::<_, HasSelf<Guest>>(
            &mut linker,
            Guest::called,
        )?;
        let ticker = Ticker::start(engine.clone())?;
        Ok(Self {
            engine,
            linker: Arc::new(linker),
            compiled: Arc::default(),
            compiles: Arc::new(Semaphore::new(COMPILES_AT_ONCE)),
            ticker,
        })
    }

    /// Compile `bytes`, whose digest is given. Blocks for as long as the compiler takes.
    pub(crate) fn compile(&self, digest: &str, bytes: &[u8]) -> wasmtime::Result<Component> {
        let compiled = || self.compiled.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = compiled().get(digest) {
            return Ok(known.clone());
        }
        let component = Component::from_binary(&self.engine, bytes)?;
        compiled().insert(digest.to_owned(), component.clone());
        Ok(component)
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
