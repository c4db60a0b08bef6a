use owlk8s_model::Status;

use super::*;
use crate::testing::{answer, target};

fn model() -> Model {
    let mut model = Model::new(answer(10, targets(0)));
    model.take(answer(20, targets(1)));
    model
}

/// In ten seconds cart answers 100 requests, pay 20 of which half fail, idle none, hidden unknown ones.
fn targets(times: u64) -> Vec<crate::testing::Pod> {
    vec![
        target("cart").requests(1000 + 100 * times),
        target("pay")
            .requests(50 + 10 * times)
            .failures(10 * times)
            .services(&["pay", "till"])
            .namespace("money")
            .lost(2),
        target("idle").services(&[]),
        target("hidden").blind(),
        target("late").status(Status::Waiting, "its interface is not there yet"),
    ]
}

fn shown(order: &Order) -> Vec<String> {
    let (rows, _) = rows(&model(), order);
    rows.into_iter().map(|row| row.name).collect()
}

fn by(group: Group, sort: Column, falling: bool, filter: &str) -> Order {
    Order {
        group,
        sort,
        falling,
        filter: filter.to_owned(),
    }
}

#[test]
fn each_group_has_its_rows() {
    let names = |group| shown(&by(group, Column::Name, false, ""));
    assert_eq!(
        names(Group::Services),
        ["cart", "hidden", "idle-0", "late", "pay", "till"],
        "a pod without a service stays alone"
    );
    assert_eq!(
        names(Group::Workloads),
        [
            "Deployment/cart",
            "Deployment/hidden",
            "Deployment/idle",
            "Deployment/late",
            "Deployment/pay"
        ]
    );
    assert_eq!(
        names(Group::Pods),
        ["cart-0", "hidden-0", "idle-0", "late-0", "pay-0"]
    );
    assert_eq!(names(Group::Namespaces), ["money", "shop"]);
}

#[test]
fn rows_sort_by_each_column_and_what_has_no_value_is_last_either_way() {
    let order = |sort, falling| shown(&by(Group::Pods, sort, falling, ""));
    assert_eq!(
        order(Column::Rate, true),
        ["cart-0", "pay-0", "idle-0", "hidden-0", "late-0"]
    );
    assert_eq!(
        order(Column::Rate, false),
        ["idle-0", "pay-0", "cart-0", "hidden-0", "late-0"]
    );
    assert_eq!(order(Column::P99, true)[..2], ["pay-0", "cart-0"]);
    assert_eq!(order(Column::P99, false)[..2], ["cart-0", "pay-0"]);
    assert_eq!(order(Column::Errors, true)[0], "pay-0");
    assert_eq!(order(Column::Coverage, false)[..2], ["hidden-0", "pay-0"]);
    assert_eq!(order(Column::Status, true)[..2], ["hidden-0", "late-0"]);
    assert_eq!(order(Column::Name, true)[0], "pay-0");
}

#[test]
fn a_filter_s_words_must_all_be_somewhere_in_a_row() {
    let found = |filter| shown(&by(Group::Pods, Column::Name, false, filter));
    assert_eq!(found("CART"), ["cart-0"]);
    assert_eq!(found("money"), ["pay-0"]);
    assert_eq!(found("till"), ["pay-0"], "a service");
    assert_eq!(found("blind"), ["hidden-0"], "a status");
    assert_eq!(found("shop late"), ["late-0"]);
    assert_eq!(found("money late"), [""; 0]);
    assert_eq!(
        rows(&model(), &by(Group::Pods, Column::Name, false, "cart")).1,
        5
    );
}

#[test]
fn cells_say_what_there_is() {
    let (rows, _) = rows(&model(), &by(Group::Pods, Column::Name, false, ""));
    let cells = |at: usize| Column::ALL.map(|column| rows[at].cell(column));
    assert_eq!(
        cells(0),
        [
            "cart-0", "10.0", "0%", "0%", "4.08ms", "4.22ms", "4.26ms", "0", "100%", "active"
        ]
    );
    assert_eq!(
        cells(1),
        [
            "hidden-0", "-", "-", "-", "-", "-", "-", "-", "0.00%", "blind"
        ],
        "the zeros of a blind target mean nothing"
    );
    assert_eq!(cells(3)[1..3], ["-", "-"], "nor those of one that waits");
    assert_eq!(cells(3)[8..], ["-", "waiting"]);
    let pay = cells(4);
    assert_eq!(pay[1..4], ["2.00", "50.0%", "0%"]);
    assert_eq!(pay[8], "97.22%", "2 of 72 lost");
}

#[test]
fn a_group_has_the_worst_status_of_its_pods_with_their_number() {
    let (rows, _) = rows(&model(), &by(Group::Namespaces, Column::Name, false, ""));
    assert_eq!(rows[1].name, "shop");
    assert_eq!(rows[1].cell(Column::Status), "1 blind");
    assert!(
        rows[1].reason.starts_with("blind: vh1"),
        "{}",
        rows[1].reason
    );
    assert_eq!(rows[1].cell(Column::Rate), "10.0", "of those that are read");
}

#[test]
fn the_same_column_again_turns_the_order() {
    let mut order = Order::default();
    order.sort_by(Column::P99);
    assert_eq!((order.sort, order.falling), (Column::P99, true));
    order.sort_by(Column::P99);
    assert!(!order.falling);
    order.sort_by(Column::Name);
    assert!(!order.falling, "names begin with A");
}

#[test]
fn what_is_typed_is_a_name_of_the_list_or_the_list_is_named() {
    assert_eq!("pods".parse::<Group>(), Ok(Group::Pods));
    assert_eq!("5xx".parse::<Column>(), Ok(Column::Errors));
    assert_eq!(
        "pod".parse::<Group>().unwrap_err(),
        "it is one of services, workloads, pods, namespaces"
    );
}
