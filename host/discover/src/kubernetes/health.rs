//! How it stands with the API server, and what is said about it: a line when something changes, not one for each try.

use std::collections::BTreeMap;
use std::time::Duration;

use kube::runtime::watcher;

use super::client;
use super::feed::Feed;
use super::traffic::Asked;

/// Why a watch does not go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// A verb is not granted.
    Forbidden(String),
    /// The API server does not know the resource.
    NotServed(String),
    /// The token is not accepted.
    Unauthorized(String),
    /// It is away, slow, or says no for now.
    Away(String),
    /// Its connection ended, as some load balancers end each after a minute; whether the next one can be made will be
    /// seen at once. No line is worth it, but what it would tell is not known meanwhile.
    Interrupted,
}

/// The watches that are in trouble.
#[derive(Debug, Default)]
pub(super) struct Health {
    troubles: BTreeMap<Feed, Trouble>,
    /// It was said that the server is away, or does not know us.
    told_away: bool,
}

impl Health {
    /// A watch failed. How long nothing had been heard of it, where that was not noticed before.
    pub(super) fn failed(&mut self, feed: Feed, error: &watcher::Error) -> Option<Duration> {
        let Some(trouble) = trouble(error) else {
            tracing::debug!(resource = feed.resource(), %error, "watching anew");
            return None;
        };
        self.tell(feed, trouble);
        match error {
            watcher::Error::WatchFailed(error) => client::silence(error),
            _ => None,
        }
    }

    fn tell(&mut self, feed: Feed, trouble: Trouble) {
        let before = self.troubles.insert(feed, trouble.clone());
        match &trouble {
            Trouble::Forbidden(said) if !matches!(before, Some(Trouble::Forbidden(_))) => {
                let without = feed.without().unwrap_or("nothing can be watched");
                tracing::error!(
                    said,
                    rule = rule(feed.group(), feed.resource(), WATCHED),
                    "{without}: a permission is missing"
                );
            }
            Trouble::NotServed(said) if !matches!(before, Some(Trouble::NotServed(_))) => {
                let without = feed.without().unwrap_or("nothing can be watched");
                tracing::error!(
                    said,
                    resource = feed.resource(),
                    "{without}: {}",
                    not_served(feed.group(), feed.resource())
                );
            }
            Trouble::Unauthorized(said) if !self.told_away => {
                self.told_away = true;
                tracing::error!(
                    said,
                    "the Kubernetes API server does not accept our token: going on with the last targets"
                );
            }
            Trouble::Away(said) if !self.told_away => {
                self.told_away = true;
                tracing::warn!(
                    said,
                    "the Kubernetes API server does not answer: going on with the last targets"
                );
            }
            _ => {}
        }
    }

    /// A request was answered. True when that ended a trouble.
    pub(super) fn answered(&mut self, asked: &Asked) -> bool {
        if asked.status != 200 || !matches!(asked.verb, "list" | "watch") {
            return false;
        }
        let feed = Feed::ALL
            .into_iter()
            .find(|feed| feed.resource() == asked.resource);
        let Some(ended) = feed.and_then(|feed| self.troubles.remove(&feed)) else {
            return false;
        };
        if matches!(ended, Trouble::Forbidden(_)) {
            tracing::info!(resource = asked.resource, "permission granted");
        }
        let away =
            |trouble: &Trouble| matches!(trouble, Trouble::Away(_) | Trouble::Unauthorized(_));
        if self.told_away && !self.troubles.values().any(away) {
            self.told_away = false;
            tracing::info!("the Kubernetes API server answers again");
        }
        true
    }

    /// Whether it cannot be had: the permission is missing, or the server has no such thing.
    pub(super) fn is_denied(&self, feed: Feed) -> bool {
        self.troubles.get(&feed).is_some_and(Trouble::is_denial)
    }

    /// Whether all is being followed that may be, and what must be.
    pub(super) fn is_good(&self) -> bool {
        self.troubles
            .iter()
            .all(|(feed, trouble)| feed.without().is_some() && trouble.is_denial())
    }
}

impl Trouble {
    fn is_denial(&self) -> bool {
        matches!(self, Self::Forbidden(_) | Self::NotServed(_))
    }
}

/// What it takes to follow a resource.
pub(super) const WATCHED: &[&str] = &["get", "list", "watch"];
/// What it takes to ask for one object.
pub(super) const ASKED: &[&str] = &["get"];

/// The rule that grants `verbs` of a resource.
pub(super) fn rule(group: &str, resource: &str, verbs: &[&str]) -> String {
    format!(
        "{{apiGroups: [\"{group}\"], resources: [\"{resource}\"], verbs: {verbs:?}}} in the ClusterRole"
    )
}

/// What to do where the server does not know a resource.
pub(super) fn not_served(group: &str, resource: &str) -> String {
    match group {
        "" => format!("the server has no {resource}: is this the URL of a Kubernetes API server?"),
        _ => format!("the server has no {resource} of {group}/v1: Kubernetes 1.21 and newer have"),
    }
}

/// None for what heals by itself at once: a place in the history that is gone, a stream that ended.
fn trouble(error: &watcher::Error) -> Option<Trouble> {
    match error {
        watcher::Error::InitialListFailed(error) | watcher::Error::WatchStartFailed(error) => {
            of_client(error)
        }
        watcher::Error::WatchFailed(error) => Some(match client::silence(error) {
            Some(silence) if silence == client::GONE_AFTER => Trouble::Away(format!(
                "nothing was heard of it for {} s",
                silence.as_secs()
            )),
            // A server without bookmarks in a quiet cluster is as silent as a load balancer before a dead one: see `Interrupted`.
            _ => Trouble::Interrupted,
        }),
        watcher::Error::WatchError(status) => of_status(status),
        watcher::Error::NoResourceVersion => Some(Trouble::Away(error.to_string())),
    }
}

fn of_client(error: &kube::Error) -> Option<Trouble> {
    match error {
        kube::Error::Api(status) => of_status(status),
        other => Some(Trouble::Away(chain(other))),
    }
}

fn of_status(status: &kube::core::Status) -> Option<Trouble> {
    let said = status.message.clone();
    match status.code {
        410 => None,
        401 => Some(Trouble::Unauthorized(said)),
        403 => Some(Trouble::Forbidden(said)),
        404 => Some(Trouble::NotServed(said)),
        code => Some(Trouble::Away(format!("{code}: {said}"))),
    }
}

/// An error with its causes, each once: those of the client repeat what is below them.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let said = error.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    fn broken(io: io::Error) -> watcher::Error {
        watcher::Error::WatchFailed(kube::Error::Service(Box::new(io)))
    }

    fn asked(resource: &str, status: u16) -> Asked {
        Asked {
            verb: "watch",
            resource: resource.to_owned(),
            status,
        }
    }

    #[test]
    fn nothing_is_confirmed_between_a_connection_and_the_next() {
        let mut health = Health::default();
        let reset = broken(io::ErrorKind::ConnectionReset.into());
        assert_eq!(health.failed(Feed::Nodes, &reset), None);
        assert!(!health.is_good());
        assert!(!health.told_away, "no line is worth it");
        assert!(!health.answered(&asked("nodes", 503)));
        assert!(health.answered(&asked("nodes", 200)));
        assert!(health.is_good());
    }

    #[test]
    fn a_server_that_is_silent_has_been_away_for_as_long() {
        let mut health = Health::default();
        let gone = broken(rustix::io::Errno::TIMEDOUT.into());
        assert_eq!(health.failed(Feed::Pods, &gone), Some(client::GONE_AFTER));
        assert!(health.told_away && !health.is_good());
        assert!(health.answered(&asked("pods", 200)));
        assert!(!health.told_away && health.is_good());
    }

    #[test]
    fn a_watch_that_hears_nothing_is_asked_for_anew_and_not_worth_a_line() {
        let mut health = Health::default();
        let quiet = broken(io::Error::new(io::ErrorKind::TimedOut, ""));
        assert_eq!(
            health.failed(Feed::Namespaces, &quiet),
            Some(client::SILENT_AFTER)
        );
        assert!(!health.told_away && !health.is_good());
        assert!(health.answered(&asked("namespaces", 200)));
        assert!(health.is_good());
    }

    #[test]
    fn what_can_be_done_without_is_missed_only_where_it_is_denied() {
        let mut health = Health::default();
        let status = |code| {
            let status = kube::core::Status::failure("no", "No").with_code(code);
            watcher::Error::WatchStartFailed(kube::Error::Api(Box::new(status)))
        };
        for code in [403, 404] {
            health.failed(Feed::EndpointSlices, &status(code));
            assert!(health.is_good() && health.is_denied(Feed::EndpointSlices));
            assert!(!health.told_away, "the server is there");
            health.failed(Feed::EndpointSlices, &status(503));
            assert!(!health.is_good() && !health.is_denied(Feed::EndpointSlices));
            health.told_away = false;
        }
        health.failed(Feed::EndpointSlices, &status(404));
        health.failed(Feed::Pods, &status(404));
        assert!(!health.is_good(), "nothing goes on without pods");
    }
}
