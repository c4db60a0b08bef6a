//! `owlk8s top`: the live table of what an agent counts, asked of its admin endpoints. What it looks like: `owlk8s_top`.

use std::io::{IsTerminal as _, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::anyhow;
use owlk8s_top::{App, Ask, Document, Order, Seen, plain, troubles};

use crate::Stop;
use crate::cli::Top;
use crate::client;
use crate::config::process_env;

/// The table, live where there is a terminal to show it on.
pub(crate) fn top(typed: Top) -> anyhow::Result<()> {
    let mut order = Order {
        group: typed.group,
        filter: typed.filter,
        ..Order::default()
    };
    if typed.sort != order.sort {
        order.sort_by(typed.sort);
    }
    let (url, interval) = (typed.url, typed.interval);
    let mut ask: Ask = Box::new(move || seen(&url).map_err(|error| format!("{error:#}")));
    if !(typed.once || typed.json) && is_screen() {
        let stopped = stopped()?;
        let mut app = App::new(order, interval);
        owlk8s_top::live(&mut app, ask, &|| stopped.load(Ordering::Relaxed))?;
        return Ok(());
    }
    let model =
        owlk8s_top::once(&mut ask, || thread::sleep(interval)).map_err(|why| anyhow!(why))?;
    if typed.json {
        let document = serde_json::to_string_pretty(&Document::new(&model, &order))?;
        return crate::print(&(document + "\n"));
    }
    crate::print(&plain(&model, &order))?;
    for trouble in troubles(&model) {
        // With nowhere to complain to there is still the table.
        let (word, name, reason) = (trouble.word, trouble.name, trouble.reason);
        let _ = writeln!(std::io::stderr(), "{word} {name}: {reason}");
    }
    Ok(())
}

/// Whether a table can be drawn, and keys can be read.
fn is_screen() -> bool {
    let dumb = process_env("TERM").is_none_or(|term| term.is_empty() || term == "dumb");
    !dumb && std::io::stdout().is_terminal() && std::io::stdin().is_terminal()
}

fn seen(url: &str) -> anyhow::Result<Seen> {
    Ok(Seen {
        snapshot: client::read(url, "/snapshot")?,
        sinks: client::read(url, "/plugins")?,
    })
}

/// Set by SIGTERM and SIGINT, so that the terminal is given back. Ctrl-C is a key here.
fn stopped() -> anyhow::Result<Arc<AtomicBool>> {
    let runtime = client::runtime()?;
    let mut stop = runtime.block_on(async { Stop::listen() })?;
    let stopped = Arc::new(AtomicBool::new(false));
    let stops = Arc::clone(&stopped);
    let wait = move || {
        runtime.block_on(stop.asked());
        stops.store(true, Ordering::Relaxed);
    };
    thread::Builder::new().name("stop".to_owned()).spawn(wait)?;
    Ok(stopped)
}
