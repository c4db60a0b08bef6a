//! Places for connections. When all are taken, the one that was idle for the longest is asked to leave;
//! when none is idle, a new one waits in the backlog until an answer is done.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

pub(super) struct Room {
    places: usize,
    taken: Mutex<Taken>,
    /// A place is free, or its holder is idle.
    changed: Notify,
}

#[derive(Default)]
struct Taken {
    next: u64,
    seats: BTreeMap<u64, Arc<Seat>>,
}

struct Seat {
    state: Mutex<State>,
    leave: Notify,
}

struct State {
    /// Requests that are being answered.
    answering: u32,
    /// The last change of it.
    since: Instant,
    leaving: bool,
}

/// A connection's place; free again when it is dropped.
pub(super) struct Place {
    room: Arc<Room>,
    number: u64,
    seat: Arc<Seat>,
}

/// A request is being answered, until this is dropped.
pub(super) struct Answering<'a>(&'a Place);

impl Room {
    pub(super) fn new(places: usize) -> Arc<Self> {
        Arc::new(Self {
            places,
            taken: Mutex::default(),
            changed: Notify::new(),
        })
    }

    /// A place, as soon as there is one.
    pub(super) async fn enter(self: &Arc<Self>) -> Place {
        loop {
            let changed = self.changed.notified();
            if let Some(place) = self.take() {
                return place;
            }
            changed.await;
        }
    }

    fn take(self: &Arc<Self>) -> Option<Place> {
        let mut taken = lock(&self.taken);
        if taken.seats.len() >= self.places {
            let idle = |seat: &&Arc<Seat>| {
                let state = lock(&seat.state);
                state.answering == 0 && !state.leaving
            };
            let longest = taken.seats.values().filter(idle);
            if let Some(seat) = longest.min_by_key(|seat| lock(&seat.state).since) {
                lock(&seat.state).leaving = true;
                seat.leave.notify_one();
            }
            return None;
        }
        let number = taken.next;
        taken.next += 1;
        let seat = Arc::new(Seat {
            state: Mutex::new(State {
                answering: 0,
                since: Instant::now(),
                leaving: false,
            }),
            leave: Notify::new(),
        });
        taken.seats.insert(number, Arc::clone(&seat));
        Some(Place {
            room: Arc::clone(self),
            number,
            seat,
        })
    }
}

impl Place {
    /// The connection is not idle while this is held.
    pub(super) fn answering(&self) -> Answering<'_> {
        self.count(1);
        Answering(self)
    }

    /// Comes back when another connection needs the place. One that came to work meanwhile stays.
    pub(super) async fn asked_to_leave(&self) {
        loop {
            self.seat.leave.notified().await;
            let mut state = lock(&self.seat.state);
            if state.answering == 0 {
                return;
            }
            state.leaving = false;
        }
    }

    /// Comes back when no request was answered for so long.
    pub(super) async fn idle_for(&self, idle: Duration) {
        loop {
            let until = {
                let state = lock(&self.seat.state);
                let from = match state.answering {
                    0 => state.since,
                    _ => Instant::now(),
                };
                from + idle
            };
            if until <= Instant::now() {
                return;
            }
            tokio::time::sleep_until(until.into()).await;
        }
    }

    fn count(&self, by: i32) {
        let mut state = lock(&self.seat.state);
        state.answering = state.answering.saturating_add_signed(by);
        state.since = Instant::now();
    }
}

impl Drop for Answering<'_> {
    fn drop(&mut self) {
        self.0.count(-1);
        self.0.room.changed.notify_one();
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        lock(&self.room.taken).seats.remove(&self.number);
        self.room.changed.notify_one();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
