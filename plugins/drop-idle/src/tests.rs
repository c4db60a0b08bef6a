use owlk8s_plugin::records::Temporality;
use owlk8s_plugin::testing::SnapshotData;
use owlk8s_plugin::{Filter, Snapshot, state};
use owlk8s_plugin_golden::{snapshot, ten_thousand_rows};

use super::{Config, DropIdle, Since};

const WINDOW: Config = Config {
    without_requests: Since::Window,
};
const EVER: Config = Config {
    without_requests: Since::Ever,
};

/// Names of the pods that the filter keeps.
fn kept(config: &Config, data: &SnapshotData) -> Vec<String> {
    let verdict = DropIdle::filter(config, &Snapshot::new(data)).unwrap();
    assert_eq!((&verdict.rows, verdict.renames.len()), (&None, 0));
    verdict
        .targets
        .unwrap()
        .into_iter()
        .map(|index| data.targets[index as usize].pod.clone())
        .collect()
}

/// The snapshot of the shop, with `seen` and `in_flight` of its pods as given.
fn shop(temporality: Temporality, totals: [(u64, u64); 4]) -> SnapshotData {
    let mut data = snapshot("shop");
    data.temporality = temporality;
    assert_eq!(data.totals.len(), totals.len());
    for (total, (seen, in_flight)) in data.totals.iter_mut().zip(totals) {
        (total.seen, total.in_flight) = (seen, in_flight);
    }
    data
}

#[test]
fn a_delta_window_says_itself_who_was_idle() {
    let window = shop(Temporality::Delta, [(3, 0), (0, 0), (0, 1), (0, 0)]);
    assert_eq!(kept(&WINDOW, &window), ["cart-0", "pay-1"]);
    assert_eq!(
        kept(&WINDOW, &window),
        ["cart-0", "pay-1"],
        "the same again is no less alive"
    );
}

#[test]
fn cumulative_counts_are_compared_with_the_last_window() {
    let names = |totals| kept(&WINDOW, &shop(Temporality::Cumulative, totals));
    assert_eq!(
        names([(3, 0), (0, 0), (5, 0), (0, 0)]),
        ["cart-0", "pay-1"],
        "the first window keeps who ever had one"
    );
    assert_eq!(
        names([(3, 0), (0, 0), (6, 0), (1, 1)]),
        ["pay-1", "search-2"]
    );
    assert_eq!(
        names([(3, 0), (0, 0), (6, 0), (1, 1)]),
        ["search-2"],
        "who waits for an answer is not idle"
    );
    assert_eq!(names([(3, 0), (0, 0), (6, 0), (1, 0)]), [""; 0]);
}

#[test]
fn ever_keeps_a_target_once_it_had_a_request() {
    for temporality in [Temporality::Cumulative, Temporality::Delta] {
        state::set(&[]).unwrap();
        assert_eq!(
            kept(&EVER, &shop(temporality, [(3, 0), (0, 0), (0, 0), (0, 0)])),
            ["cart-0"]
        );
        let later = match temporality {
            Temporality::Cumulative => [(3, 0), (2, 0), (0, 0), (0, 0)],
            Temporality::Delta => [(0, 0), (2, 0), (0, 0), (0, 0)],
        };
        assert_eq!(kept(&EVER, &shop(temporality, later)), ["cart-0", "cart-1"]);
    }
}

#[test]
fn an_empty_snapshot_keeps_nothing() {
    assert_eq!(kept(&WINDOW, &snapshot("empty")), [""; 0]);
}

#[test]
fn a_node_of_hundred_pods_fits_the_state() {
    assert_eq!(kept(&WINDOW, &ten_thousand_rows()).len(), 100);
    assert_eq!(state::get().len(), 1600);
    assert_eq!(kept(&WINDOW, &ten_thousand_rows()).len(), 0);
}
