//! Whether an interface shows both directions of its pod: pure, from counters to a verdict.
//!
//! Some data paths hand packets straight to the device inside the pod (`bpf_redirect_peer`, which Cilium's host routing
//! uses): then the node's end of the veth shows what the pod sends and nothing, or only what the node itself sends, of
//! what it gets. Such a place counts nothing, and its zeros must not be taken for a quiet pod.
//!
//! Two signs, neither of which a pod gives that only asks others, only sends, only listens, or is flooded with SYNs:
//!
//! * connections are accepted whose SYN was never seen;
//! * many segments with payload go one way, and the interface passes next to nothing the other way: where all pass, each
//!   few segments are acknowledged, with payload or without. A peer may send at will, so where it is the pod that is silent
//!   its peers must also acknowledge what it was not seen to send.

use owlk8s_ebpf_abi::Slot;

use crate::sys::{Passed, Words};

/// Handshakes without their beginning that are no chance: one may be under way as the place is attached.
const UNHEARD: u32 = 3;
/// Acknowledgements of what was not seen that are no chance: a pod may speak first on a connection that is joined late.
const UNSENT: u64 = 3;
/// Segments one way that call for acknowledgements.
const MANY: u64 = 100;
/// One packet back for so many segments is none: a receiver acknowledges each second or so, at the very least one in
/// some ten where segments are merged. And the node's own packets, such as a kubelet's probes, may pass all the same.
const RATIO: u64 = 20;

/// What the kernel program noted of one target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Noted {
    /// Connections accepted after their SYN was seen.
    pub(crate) heard: u32,
    /// Connections accepted whose SYN was not seen.
    pub(crate) unheard: u32,
    /// Segments with payload to the pod; stops at 65,536.
    pub(crate) to_pod: u64,
    /// Segments with payload from the pod; stops at 65,536.
    pub(crate) from_pod: u64,
    /// Acknowledgements of what the pod was not seen to send.
    pub(crate) unsent: u64,
}

impl Noted {
    pub(crate) fn of(slot: Words<'_>) -> Self {
        // `heard` and `unheard` share a word.
        let accepted = slot.get(std::mem::offset_of!(Slot, heard)).to_ne_bytes();
        let [heard, unheard] = [0, 4].map(|at| {
            let bytes = accepted[at..].first_chunk::<4>().copied();
            u32::from_ne_bytes(bytes.unwrap_or_default())
        });
        Self {
            heard,
            unheard,
            to_pod: slot.get(std::mem::offset_of!(Slot, segments_to_pod)),
            from_pod: slot.get(std::mem::offset_of!(Slot, segments_from_pod)),
            unsent: slot.get(std::mem::offset_of!(Slot, unsent)),
        }
    }
}

/// What is known of one place so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Judge {
    /// As the place was attached.
    start: Noted,
    /// As one direction was first found silent.
    suspected: Option<(Noted, Passed)>,
    blind: Option<String>,
}

impl Judge {
    /// For a place that is attached now.
    pub(crate) fn new(start: Noted) -> Self {
        Self {
            start,
            suspected: None,
            blind: None,
        }
    }

    /// Why this place does not show all. It stays so: a few packets of the node itself may pass any time.
    pub(crate) fn blind(&self) -> Option<&str> {
        self.blind.as_deref()
    }

    /// Looks at what came since. `passed` is asked for only where one direction is silent.
    pub(crate) fn look(&mut self, now: Noted, passed: impl FnOnce() -> Option<Passed>) {
        if self.blind.is_none() {
            self.blind = self.handshakes(now).or_else(|| self.silence(now, passed));
        }
    }

    fn handshakes(&self, now: Noted) -> Option<String> {
        let heard = now.heard.wrapping_sub(self.start.heard);
        let unheard = now.unheard.wrapping_sub(self.start.unheard);
        let too_many = unheard >= UNHEARD && u64::from(unheard) * RATIO >= u64::from(heard);
        too_many.then(|| {
            let all = u64::from(heard) + u64::from(unheard);
            format!("{unheard} of {all} connections were opened by packets that did not pass it")
        })
    }

    fn silence(&mut self, now: Noted, passed: impl FnOnce() -> Option<Passed>) -> Option<String> {
        let then = self.suspected.map_or(self.start, |(noted, _)| noted);
        let (to, from) = (now.to_pod - then.to_pod, now.from_pod - then.from_pod);
        if to.min(from) * RATIO > to.max(from) {
            self.suspected = None;
            return None;
        }
        let unsent = now.unsent.wrapping_sub(self.start.unsent);
        if to.max(from) < MANY || from < to && unsent < UNSENT {
            return None;
        }
        let passed = passed()?;
        // What had passed before the first look is not known: the next one tells.
        let (_, passed_then) = self.suspected.replace((now, passed))?;
        let (silent, many, few) = if to < from {
            ("to", from, passed.to_pod.saturating_sub(passed_then.to_pod))
        } else {
            let few = passed.from_pod.saturating_sub(passed_then.from_pod);
            ("from", to, few)
        };
        (few * RATIO <= many)
            .then(|| format!("{few} packets {silent} the pod passed it for {many} the other way"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Looks at each in turn; the verdict in the end.
    fn verdict(looks: &[(Noted, Passed)]) -> Option<String> {
        let mut judge = Judge::default();
        for (noted, passed) in looks {
            judge.look(*noted, || Some(*passed));
        }
        judge.blind().map(str::to_owned)
    }

    fn accepted(heard: u32, unheard: u32) -> (Noted, Passed) {
        let noted = Noted {
            heard,
            unheard,
            ..Noted::default()
        };
        (noted, Passed::default())
    }

    /// Segments with payload, and all packets.
    fn segments(to: u64, from: u64, all_to: u64, all_from: u64) -> (Noted, Passed) {
        let noted = Noted {
            to_pod: to,
            from_pod: from,
            ..Noted::default()
        };
        let passed = Passed {
            to_pod: all_to,
            from_pod: all_from,
        };
        (noted, passed)
    }

    #[test]
    fn connections_that_begin_elsewhere_tell_a_blind_place() {
        let why = verdict(&[accepted(0, 3)]).unwrap();
        assert_eq!(
            why,
            "3 of 3 connections were opened by packets that did not pass it"
        );
    }

    #[test]
    fn probes_of_the_node_do_not_hide_a_blind_place() {
        assert!(verdict(&[accepted(50, 3)]).is_some());
        let probed = segments(10, 5000, 60, 9000);
        let later = segments(12, 9000, 72, 18_000);
        assert!(verdict(&[probed, later]).is_some());
    }

    #[test]
    fn handshake_under_way_as_it_was_attached_is_no_sign() {
        assert_eq!(verdict(&[accepted(0, 2)]), None);
        assert_eq!(verdict(&[accepted(10_000, 40)]), None);
    }

    #[test]
    fn what_was_noted_of_another_place_is_no_sign() {
        let mut judge = Judge::new(accepted(0, 900).0);
        judge.look(accepted(0, 902).0, || None);
        assert_eq!(judge.blind(), None);
        judge.look(accepted(0, 903).0, || None);
        assert!(judge.blind().is_some());
    }

    #[test]
    fn old_connections_that_only_send_tell_a_blind_place() {
        assert_eq!(verdict(&[segments(0, 150, 7, 300)]), None);
        let why = verdict(&[segments(0, 150, 7, 300), segments(0, 350, 8, 700)]).unwrap();
        assert_eq!(why, "1 packets to the pod passed it for 200 the other way");
    }

    #[test]
    fn pod_that_never_answers_is_blind_only_where_its_peers_have_heard_it() {
        let flood = [segments(150, 0, 300, 0), segments(46_000, 0, 46_000, 0)];
        assert_eq!(verdict(&flood), None);
        let heard = flood.map(|(noted, passed)| (Noted { unsent: 3, ..noted }, passed));
        let why = verdict(&heard).unwrap();
        assert_eq!(
            why,
            "0 packets from the pod passed it for 45850 the other way"
        );
    }

    #[test]
    fn pod_that_only_sends_is_acknowledged_and_not_blind() {
        let looks: Vec<_> = (1..50)
            .map(|i| segments(0, 1000 * i, 130 * i, 1000 * i))
            .collect();
        assert_eq!(verdict(&looks), None);
    }

    #[test]
    fn pod_that_only_listens_or_only_asks_is_not_blind() {
        let listens: Vec<_> = (1..50)
            .map(|i| segments(1000 * i, 0, 1000 * i, 500 * i))
            .collect();
        assert_eq!(verdict(&listens), None);
        let asks: Vec<_> = (1..50)
            .map(|i| segments(900 * i, 1000 * i, 2000 * i, 2000 * i))
            .collect();
        assert_eq!(verdict(&asks), None);
    }

    #[test]
    fn quiet_pod_is_not_blind() {
        assert_eq!(
            verdict(&[segments(0, 99, 0, 99), segments(0, 99, 0, 99)]),
            None
        );
    }

    #[test]
    fn counters_that_stopped_say_nothing_any_more() {
        let full = 1 << 16;
        let looks = [
            segments(full, full, 1 << 20, 1 << 20),
            segments(full, full, 1 << 21, 1 << 21),
        ];
        assert_eq!(verdict(&looks), None);
    }

    #[test]
    fn blind_stays_blind() {
        assert!(verdict(&[accepted(0, 3), accepted(5000, 3)]).is_some());
    }
}
