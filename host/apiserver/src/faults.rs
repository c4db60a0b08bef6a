//! Faults on demand: what a request meets instead of its answer.

use std::time::Duration;

use crate::failure::Failure;

/// What goes wrong with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// 429 with `Retry-After` in whole seconds.
    TooManyRequests {
        /// Seconds.
        retry_after: u64,
    },
    /// 500.
    InternalError,
    /// 503.
    Unavailable,
    /// 401, as of a token that has just expired.
    Unauthorized,
    /// The right answer, later.
    Slow(Duration),
    /// The request is taken and never answered, not even after [`crate::ApiServer::heal`].
    Hang,
}

/// A fault, and which requests meet it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Trouble {
    fault: Fault,
    /// Verb and resource; `None`: any.
    only: Option<(String, String)>,
    /// `None`: until healed.
    left: Option<usize>,
}

/// The faults that are set, the first that fits counts.
#[derive(Debug, Default)]
pub(crate) struct Faults(Vec<Trouble>);

impl Faults {
    pub(crate) fn add(&mut self, fault: Fault, only: Option<(&str, &str)>, times: Option<usize>) {
        self.0.push(Trouble {
            fault,
            only: only.map(|(verb, resource)| (verb.to_owned(), resource.to_owned())),
            left: times,
        });
    }

    pub(crate) fn heal(&mut self) {
        self.0.clear();
    }

    /// What this request meets.
    pub(crate) fn meet(&mut self, verb: &str, resource: &str) -> Option<Fault> {
        let fits = |trouble: &Trouble| {
            let only = trouble.only.as_ref();
            only.is_none_or(|(v, r)| (v == "*" || v == verb) && (r == "*" || r == resource))
        };
        let at = self.0.iter().position(fits)?;
        let fault = self.0[at].fault;
        if let Some(left) = &mut self.0[at].left {
            *left = left.saturating_sub(1);
            if *left == 0 {
                self.0.remove(at);
            }
        }
        Some(fault)
    }
}

impl Fault {
    /// The answer, where it is one.
    pub(crate) fn failure(self) -> Option<Failure> {
        match self {
            Self::TooManyRequests { retry_after } => Some(Failure::too_many_requests(retry_after)),
            Self::InternalError => Some(Failure::internal_error()),
            Self::Unavailable => Some(Failure::unavailable()),
            Self::Unauthorized => Some(Failure::unauthorized()),
            Self::Slow(_) | Self::Hang => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fault_meets_the_requests_it_is_for_so_often_as_it_is_set() {
        let mut faults = Faults::default();
        faults.add(Fault::Hang, Some(("list", "pods")), Some(2));
        faults.add(Fault::Unavailable, Some(("*", "services")), None);
        assert_eq!(faults.meet("watch", "pods"), None);
        assert_eq!(faults.meet("list", "services"), Some(Fault::Unavailable));
        assert_eq!(faults.meet("list", "pods"), Some(Fault::Hang));
        assert_eq!(faults.meet("list", "pods"), Some(Fault::Hang));
        assert_eq!(faults.meet("list", "pods"), None);
        faults.heal();
        assert_eq!(faults.meet("list", "services"), None);
    }
}
