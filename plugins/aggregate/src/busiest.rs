//! Which groups keep their name where only some do.

use std::collections::{BTreeMap, BTreeSet};

use crate::group::Groups;

/// Weight of the past in a group's score: it halves in some seven windows.
const MEMORY: f64 = 0.9;
/// How many times busier than the least of those with a name one must be to take its place: two that are as busy
/// as each other would change places with every window.
const AHEAD: f64 = 1.25;
/// Below it a score is forgotten.
const LEAST: f64 = 0.01;

/// All, or the `top` with the most requests of this window; of equals, the first by name.
pub(crate) fn of_window(top: usize, window: &Groups) -> BTreeSet<String> {
    if top == 0 {
        return window.0.keys().cloned().collect();
    }
    let mut ranked: Vec<_> = window
        .0
        .iter()
        .map(|(id, group)| (std::cmp::Reverse(group.requests()), id))
        .collect();
    ranked.sort();
    let names = ranked.into_iter().take(top);
    names.map(|(_, id)| id.clone()).collect()
}

/// Adds a window to the scores.
pub(crate) fn score(scores: &mut BTreeMap<String, f64>, window: &Groups) {
    for score in scores.values_mut() {
        *score *= MEMORY;
    }
    for (id, group) in &window.0 {
        *scores.entry(id.clone()).or_default() += group.requests() as f64;
    }
    scores.retain(|id, score| *score >= LEAST || window.0.contains_key(id));
}

/// The names of the next window: those of the last, but for those that are gone or were overtaken.
pub(crate) fn next(
    top: usize,
    scores: &BTreeMap<String, f64>,
    last: &BTreeSet<String>,
) -> BTreeSet<String> {
    let of = |id: &String| scores.get(id).copied().unwrap_or(0.0);
    let by_score = |a: &&String, b: &&String| of(b).total_cmp(&of(a)).then(a.cmp(b));
    let mut names: Vec<&String> = last.iter().filter(|id| scores.contains_key(*id)).collect();
    names.sort_by(by_score);
    names.truncate(top);
    let mut others: Vec<&String> = scores.keys().filter(|id| !names.contains(id)).collect();
    others.sort_by(by_score);
    for id in others {
        if names.len() < top {
            names.push(id);
            continue;
        }
        let Some(least) = names.iter().copied().max_by(|a, b| by_score(a, b)) else {
            break;
        };
        if of(id) <= of(least) * AHEAD {
            break;
        }
        names.retain(|name| *name != least);
        names.push(id);
    }
    names.into_iter().cloned().collect()
}
