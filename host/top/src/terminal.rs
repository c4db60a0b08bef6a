//! The terminal: taken over and given back, whatever happens in between.

use std::io;
use std::time::{Duration, Instant};

use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event};

use crate::App;
use crate::app::Wish;
use crate::ask::{Ask, Asking};
use crate::draw::draw;

/// A key is answered at once, all else within this time.
const TICK: Duration = Duration::from_millis(200);

/// What cannot be done with the terminal.
#[derive(Debug, thiserror::Error)]
#[error("cannot {step} (`owlk8s top --once` needs no terminal)")]
pub struct TerminalError {
    step: &'static str,
    #[source]
    source: io::Error,
}

fn step(step: &'static str) -> impl FnOnce(io::Error) -> TerminalError {
    move |source| TerminalError { step, source }
}

/// Shows the table until the user quits, or `stopped` says so. A panic gives the terminal back as well.
///
/// # Errors
/// Where the terminal is none, or is gone.
pub fn live(app: &mut App, ask: Ask, stopped: &dyn Fn() -> bool) -> Result<(), TerminalError> {
    let asking = Asking::start(ask, app.interval).map_err(step("start a thread"))?;
    let terminal = ratatui::try_init().map_err(step("take over the terminal"));
    let done = terminal.and_then(|mut terminal| run(&mut terminal, app, &asking, stopped));
    let restored = ratatui::try_restore().map_err(step("give the terminal back"));
    done.and(restored)
}

fn run(
    terminal: &mut DefaultTerminal,
    app: &mut App,
    asking: &Asking,
    stopped: &dyn Fn() -> bool,
) -> Result<(), TerminalError> {
    while !stopped() {
        let now = Instant::now();
        while let Ok(answer) = asking.answers.try_recv() {
            app.take(answer, now);
        }
        let drawn = terminal.draw(|frame| draw(frame, app, now));
        drawn.map_err(step("draw on the terminal"))?;
        // All keys that wait, then one drawing.
        let mut patience = TICK;
        while event::poll(patience).map_err(step("read the keyboard"))? {
            patience = Duration::ZERO;
            let Event::Key(key) = event::read().map_err(step("read the keyboard"))? else {
                continue;
            };
            match key.is_press().then(|| app.key(key)) {
                Some(Wish::Quit) => return Ok(()),
                Some(Wish::Ask) => asking.now(),
                Some(Wish::Nothing) | None => {}
            }
        }
    }
    Ok(())
}
