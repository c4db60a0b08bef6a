//! The thread that asks the agent again and again, so that an agent that hangs never holds up a key.

use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::Duration;

use crate::Seen;

/// Asks an agent once; the error is for a person.
pub type Ask = Box<dyn FnMut() -> Result<Seen, String> + Send>;

/// After a failure; twice as long after each further one.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// An agent that is back is seen within this time.
const LONGEST_PAUSE: Duration = Duration::from_secs(15);

/// What came of asking once.
pub struct Answer {
    /// What was said, or why nothing.
    pub said: Result<Box<Seen>, String>,
    /// Until the next time.
    pub pause: Duration,
}

/// Held by who looks: dropped, it ends the thread after its current question.
pub(crate) struct Asking {
    pub(crate) answers: Receiver<Answer>,
    now: Sender<()>,
}

impl Asking {
    pub(crate) fn start(mut ask: Ask, interval: Duration) -> std::io::Result<Self> {
        let (answer, answers) = mpsc::channel();
        let (now, asked) = mpsc::channel::<()>();
        let life = move || {
            let mut failures = 0;
            loop {
                let said = ask().map(Box::new);
                failures = if said.is_ok() { 0 } else { failures + 1 };
                let pause = pause(failures, interval);
                if answer.send(Answer { said, pause }).is_err() {
                    return;
                }
                if asked.recv_timeout(pause) == Err(mpsc::RecvTimeoutError::Disconnected) {
                    return;
                }
            }
        };
        thread::Builder::new().name("ask".to_owned()).spawn(life)?;
        Ok(Self { answers, now })
    }

    /// Without waiting for the next time.
    pub(crate) fn now(&self) {
        // A thread that ended has said so by its last answer.
        let _ = self.now.send(());
    }
}

fn pause(failures: u32, interval: Duration) -> Duration {
    match failures {
        0 => interval,
        _ => (FIRST_PAUSE * 2_u32.saturating_pow(failures - 1)).min(LONGEST_PAUSE),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_with_failures_up_to_a_bound() {
        let interval = Duration::from_secs(2);
        let seconds = [0, 1, 2, 3, 4, 5, 40].map(|failures| pause(failures, interval).as_secs());
        assert_eq!(seconds, [2, 1, 2, 4, 8, 15, 15]);
    }

    #[test]
    fn asks_again_after_a_failure_and_ends_when_nobody_listens() {
        let (ended, end) = mpsc::channel::<()>();
        let ask: Ask = Box::new(move || {
            let _ = &ended;
            Err("gone".to_owned())
        });
        let asking = Asking::start(ask, Duration::from_secs(1)).unwrap();
        assert_eq!(asking.answers.recv().unwrap().said.unwrap_err(), "gone");
        asking.now();
        assert_eq!(asking.answers.recv().unwrap().pause.as_secs(), 2);
        drop(asking);
        assert!(end.recv().is_err(), "the thread has let go of it");
    }
}
