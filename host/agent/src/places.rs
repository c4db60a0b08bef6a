//! Follows the target set and looks up each target's interface, all targets at once, so that one which
//! does not answer delays no other. What failed is asked again with backoff, and soon after the links of this
//! namespace have changed. What was found is looked at again now and then, and when it could not be attached: an
//! interface may be replaced under the same name.
//!
//! The kernel's tables are listed once for all that are looked up at the same time, so look-ups wait for common ticks:
//! see [`tick`].
//!
//! Where an interface is bypassed, or none is found, it is also asked where else the target can be read; and once one
//! was bypassed on this node, for each target that comes later, so that it is read there from its first request.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;
use std::time::Duration;

use owlk8s_discover::{Elsewhere, ElsewhereError, Interface, Interfaces, LinkEvents, ResolveError};
use owlk8s_model::{Hook, Snapshot, Target, TargetId, TargetSet};
use owlk8s_probe::{Beyond, Place};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use crate::plan::Plan;

/// First wait after a failed look-up; doubles up to [`SLOWEST`].
const FIRST: Duration = Duration::from_millis(250);
/// At most between look-ups that fail: a pod that comes late makes an event.
const SLOWEST: Duration = Duration::from_secs(60);
/// As many failures are remembered when links change: the pod's address may come a moment after its link, so the next
/// look-ups are a second apart, then two, ...
const REMEMBERED: u32 = 2;
/// Between look-ups of what was found.
const ROUND: Duration = Duration::from_secs(10);
/// Look-ups that failed more than a second ago wait for a tick of this.
const TICK: Duration = Duration::from_secs(1);

/// Runs until nobody wants plans. Should the source of targets end, its last set stays.
pub(crate) async fn follow(
    interfaces: Interfaces,
    links: LinkEvents,
    mut sets: watch::Receiver<Arc<TargetSet>>,
    mut latest: watch::Receiver<Option<Arc<Snapshot>>>,
    plans: watch::Sender<Arc<Plan>>,
) {
    let interfaces = Arc::new(interfaces);
    let mut known = Known::new(Instant::now());
    let (told, mut changes) = watch::channel(());
    // A task of its own: what waits for an event to settle must not be dropped when something else comes first.
    let mut listening = JoinSet::new();
    listening.spawn(listen(links, told));
    let mut asked: JoinSet<Answer> = JoinSet::new();
    let mut source_lives = true;
    known.adopt(&sets.borrow_and_update().clone(), Instant::now());
    loop {
        for (target, bypassed) in known.due(Instant::now()) {
            let interfaces = Arc::clone(&interfaces);
            asked.spawn(async move { ask(&interfaces, target, bypassed).await });
        }
        plans.send_if_modified(|plan| {
            let next = known.plan();
            let changed = **plan != next;
            if changed {
                *plan = Arc::new(next);
            }
            changed
        });
        tokio::select! {
            changed = sets.changed(), if source_lives => match changed {
                Ok(()) => known.adopt(&sets.borrow_and_update().clone(), Instant::now()),
                Err(_) => {
                    tracing::error!("the source of targets ended: going on with those known");
                    source_lives = false;
                }
            },
            Some(answer) = asked.join_next() => {
                for answer in std::iter::once(answer).chain(std::iter::from_fn(|| asked.try_join_next())).flatten() {
                    known.learn(answer, Instant::now());
                }
            }
            Ok(()) = latest.changed() => {
                if let Some(snapshot) = &*latest.borrow_and_update() {
                    known.doubt(snapshot, Instant::now());
                }
            }
            Ok(()) = changes.changed() => known.links_changed(Instant::now()),
            () = sleep_until(known.next_due(Instant::now())) => {}
            () = plans.closed() => return,
        }
    }
}

async fn listen(mut links: LinkEvents, told: watch::Sender<()>) {
    loop {
        links.settled().await;
        told.send_replace(());
    }
}

struct Answer {
    target: Arc<Target>,
    found: Result<Interface, ResolveError>,
    /// None: was not asked for.
    beyond: Option<Vec<Result<Beyond, String>>>,
}

async fn ask(interfaces: &Interfaces, target: Arc<Target>, bypassed: bool) -> Answer {
    let found = interfaces.resolve(&target).await;
    let missing = matches!(&found, Err(error) if !error.is_permanent());
    let beyond = if bypassed || missing {
        let places = interfaces.elsewhere(&target, found.as_ref().ok()).await;
        Some(places.map(beyond).to_vec())
    } else {
        None
    };
    Answer {
        target,
        found,
        beyond,
    }
}

fn beyond(place: Result<Elsewhere, ElsewhereError>) -> Result<Beyond, String> {
    match place {
        Ok(Elsewhere::Inside {
            interface,
            path,
            inode,
        }) => Ok(Beyond::Inside(owlk8s_probe::Inside {
            interface: known_to_probe(interface),
            path,
            inode,
        })),
        Ok(Elsewhere::Cgroup { path }) => Ok(Beyond::Cgroup(owlk8s_probe::Cgroup { path })),
        Err(error) => Err(chain(&error)),
    }
}

fn known_to_probe(interface: Interface) -> owlk8s_probe::Interface {
    owlk8s_probe::Interface {
        name: interface.name.into(),
        index: interface.index,
    }
}

struct Known {
    /// From where ticks are counted.
    began: Instant,
    set: Arc<TargetSet>,
    entries: BTreeMap<TargetId, Entry>,
    /// An interface of this node was found bypassed.
    bypassed: bool,
}

struct Entry {
    target: Arc<Target>,
    place: Option<Place>,
    beyond: Vec<Result<Beyond, String>>,
    /// Its packets bypass its interface, or may.
    bypassed: bool,
    /// Look-ups that failed in a row.
    failed: u32,
    /// None while an answer is awaited.
    due: Option<Instant>,
}

impl Known {
    fn new(now: Instant) -> Self {
        Self {
            began: now,
            set: Arc::default(),
            entries: BTreeMap::new(),
            bypassed: false,
        }
    }

    fn adopt(&mut self, set: &Arc<TargetSet>, now: Instant) {
        let ids: BTreeSet<_> = set.targets.iter().map(|t| &t.id).collect();
        self.entries.retain(|id, _| ids.contains(id));
        for target in &set.targets {
            let entry = self
                .entries
                .entry(target.id.clone())
                .or_insert_with(|| Entry {
                    target: Arc::clone(target),
                    place: None,
                    beyond: Vec::new(),
                    bypassed: self.bypassed,
                    failed: 0,
                    due: Some(now),
                });
            if (&entry.target.ips, &entry.target.interface) != (&target.ips, &target.interface) {
                (entry.failed, entry.due) = (0, Some(now));
            }
            entry.target = Arc::clone(target);
        }
        self.set = Arc::clone(set);
    }

    /// Those to be asked about now, and whether their interface may be bypassed; they are not due again before their
    /// answer.
    fn due(&mut self, now: Instant) -> Vec<(Arc<Target>, bool)> {
        let due = self
            .entries
            .values_mut()
            .filter(|e| e.due.is_some_and(|due| due <= now));
        due.map(|entry| {
            entry.due = None;
            (Arc::clone(&entry.target), entry.bypassed)
        })
        .collect()
    }

    fn next_due(&self, now: Instant) -> Instant {
        self.entries
            .values()
            .filter_map(|e| e.due)
            .min()
            .unwrap_or_else(|| now + SLOWEST)
    }

    /// The links are others than they were: what was not found may be there.
    fn links_changed(&mut self, now: Instant) {
        let missing = |entry: &&mut Entry| !matches!(entry.place, None | Some(Place::On(_)));
        for entry in self.entries.values_mut().filter(missing) {
            // One that is being asked about may have been answered from before.
            entry.failed = entry.failed.min(REMEMBERED);
            entry.due = entry.due.map(|due| due.min(now));
        }
    }

    fn learn(&mut self, answer: Answer, now: Instant) {
        let Answer {
            target,
            found,
            beyond,
        } = answer;
        let Some(entry) = self.entries.get_mut(&target.id) else {
            return;
        };
        if (&entry.target.ips, &entry.target.interface) != (&target.ips, &target.interface) {
            // An answer about what it was before.
            entry.due = Some(now);
            return;
        }
        // Where it was not asked for, what was known still serves: the probe finds out when a place has ended.
        entry.beyond = beyond.unwrap_or_else(|| std::mem::take(&mut entry.beyond));
        entry.place = Some(match found {
            Ok(interface) => {
                entry.failed = 0;
                entry.due = Some(tick(self.began, now, ROUND));
                Place::On(known_to_probe(interface))
            }
            Err(error) => {
                let wait = backoff(&target.id, entry.failed);
                entry.due = Some(if wait < TICK {
                    now + wait
                } else {
                    tick(self.began, now + wait, TICK)
                });
                entry.failed += 1;
                let why = chain(&error);
                if error.is_permanent() {
                    Place::Failed(why)
                } else {
                    Place::Waiting(why)
                }
            }
        });
    }

    /// Those that have a place and are not attached there: it may not be theirs any more. And those that are attached
    /// at a blind one: where else they can be read is asked for.
    fn doubt(&mut self, snapshot: &Snapshot, now: Instant) {
        for target in &snapshot.targets {
            let Some(entry) = self.entries.get_mut(&target.id) else {
                continue;
            };
            let elsewhere = target.hook.is_some_and(|hook| hook != Hook::HostVeth);
            self.bypassed |= target.blind;
            let unasked = target.blind && entry.beyond.is_empty();
            // Once it is read elsewhere there is nothing to ask; should it have to leave, it is asked anew.
            entry.bypassed = target.blind || (self.bypassed && !elsewhere);
            let lost = target.hook.is_none()
                && (matches!(entry.place, Some(Place::On(_)))
                    || entry.beyond.iter().any(Result::is_ok));
            if lost || unasked {
                entry.due = entry.due.map(|due| due.min(now));
            }
        }
    }

    fn plan(&self) -> Plan {
        let places = self
            .entries
            .iter()
            .filter_map(|(id, e)| Some((id.clone(), e.place.clone()?)));
        let beyond = self
            .entries
            .iter()
            .filter(|(_, e)| !e.beyond.is_empty())
            .map(|(id, e)| (id.clone(), e.beyond.clone()));
        Plan {
            set: Arc::clone(&self.set),
            places: places.collect(),
            beyond: beyond.collect(),
        }
    }
}

/// The first tick after `at`: those that share it share the kernel's tables.
fn tick(began: Instant, at: Instant, of: Duration) -> Instant {
    let ticks = at.saturating_duration_since(began).as_nanos() / of.as_nanos() + 1;
    began + of.saturating_mul(u32::try_from(ticks).unwrap_or(u32::MAX))
}

/// Doubles with each failure, and differs by a fifth from target to target: what failed together is not asked about
/// together for ever.
fn backoff(target: &TargetId, failed: u32) -> Duration {
    let mut hasher = DefaultHasher::new();
    (target, failed).hash(&mut hasher);
    let percent = u32::try_from(hasher.finish() % 41).unwrap_or_default() + 80;
    let whole = FIRST.saturating_mul(2u32.saturating_pow(failed));
    (whole.min(SLOWEST) * percent / 100).min(SLOWEST)
}

/// An error in one line, with its causes.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(": ")
}

#[cfg(test)]
mod tests;
