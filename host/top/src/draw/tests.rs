use std::time::{Duration, Instant};

use owlk8s_model::Status;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::KeyCode;

use super::draw;
use crate::ask::Answer;
use crate::testing::{answer, sink, target};
use crate::{App, Order, Seen};

fn seen(second: u64) -> Seen {
    let targets = vec![
        target("cart").requests(100 * second),
        target("pay")
            .requests(10 * second)
            .failures(5 * second)
            .namespace("money"),
        target("hidden").blind(),
        target("late").status(Status::Waiting, "its interface is not there yet"),
    ];
    let mut seen = answer(second, targets);
    seen.sinks
        .push(sink("influx", "failed", "no database \u{1b}[31mowlk8s"));
    seen
}

fn said(said: Result<Seen, &str>) -> Answer {
    Answer {
        said: said.map(Box::new).map_err(str::to_owned),
        pause: Duration::from_secs(4),
    }
}

fn app(now: Instant) -> App {
    let mut app = App::new(Order::default(), Duration::from_secs(2));
    for second in [10, 12, 14] {
        app.take(said(Ok(seen(second))), now);
    }
    app
}

fn screen(app: &mut App, width: u16, height: u16, now: Instant) -> Vec<String> {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw(frame, app, now)).unwrap();
    let buffer = terminal.backend().buffer();
    let line = |y: u16| {
        let cells = (0..width).map(|x| buffer[(x, y)].symbol());
        cells.collect::<String>().trim_end().to_owned()
    };
    (0..height).map(line).collect()
}

fn press(app: &mut App, keys: &str) {
    for key in keys.chars() {
        app.key(KeyCode::Char(key).into());
    }
}

fn assert_has(screen: &[String], text: &str) {
    assert!(
        screen.iter().any(|line| line.contains(text)),
        "no {text:?} in\n{}",
        screen.join("\n")
    );
}

#[test]
fn a_screen_has_what_is_wrong_before_the_numbers() {
    let now = Instant::now();
    let shown = screen(&mut app(now), 140, 16, now + Duration::from_secs(1));
    let wanted = [
        "owlk8s top  worker-1   LIVE  1s ago, rates of the last 2.0s",
        "targets 2/4  blind 1  req/s 115  5xx 4.35%  p50 4.09ms  p90 4.24ms  p99 66.8ms  in flight 0  coverage 100%  sinks 2, 1 failing",
        " blind    shop/hidden-0 vh1 is bypassed: CAP_SYS_ADMIN is missing",
        " sink     influx failed: no database  [31mowlk8s",
        " waiting  shop/late-0 its interface is not there yet",
    ];
    assert_eq!(shown[..5], wanted, "{}", shown.join("\n"));
    assert!(shown[5].starts_with("SERVICES (4)"), "{}", shown[5]);
    assert!(shown[5].contains("REQ/S▼"), "{}", shown[5]);
    let row = |at: usize| shown[at].split_whitespace().collect::<Vec<_>>();
    assert_eq!(
        row(6)[..12],
        [
            "cart", "shop", "1", "100", "0%", "0%", "4.08ms", "4.22ms", "4.26ms", "0", "100%",
            "active"
        ]
    );
    assert_eq!(row(6)[12], "██");
    assert_eq!(row(8)[..4], ["hidden", "shop", "1", "-"]);
    assert_eq!(row(8).last(), Some(&"blind"), "no trend of zeros");
    assert!(
        shown[15].starts_with(" q quit  ? help  / filter"),
        "{}",
        shown[15]
    );
}

#[test]
fn a_narrow_screen_keeps_name_rate_errors_and_status() {
    let now = Instant::now();
    for width in [40, 60, 80, 100, 200] {
        let shown = screen(&mut app(now), width, 20, now);
        for title in ["SERVICES (4", "REQ/S▼", "5XX", "STATUS"] {
            assert_has(&shown, title);
        }
        assert_has(&shown, "blind");
    }
    let shown = screen(&mut app(now), 80, 20, now);
    assert_has(&shown, "P99");
    // As small as it gets, it does not panic.
    for (width, height) in [(1, 1), (5, 3), (20, 4), (10, 50)] {
        let mut app = app(now);
        screen(&mut app, width, height, now);
        press(&mut app, "?");
        screen(&mut app, width, height, now);
    }
}

#[test]
fn an_agent_that_is_gone_is_said_with_the_age_of_what_is_shown() {
    let now = Instant::now();
    let mut app = app(now);
    app.take(
        said(Err("no agent answers on http://127.0.0.1:1")),
        now + Duration::from_secs(2),
    );
    let shown = screen(&mut app, 130, 16, now + Duration::from_secs(5));
    assert_has(&shown, " OLD  5s ago");
    assert_has(
        &shown,
        " No answer for 3s: what is below is old; asked again in 1s. no agent answers on http://127.0.0.1:1",
    );
    assert!(!shown.join("").contains("LIVE"));
    assert_has(&shown, "cart");

    let mut never = App::new(Order::default(), Duration::from_secs(2));
    assert_has(
        &screen(&mut never, 80, 8, now),
        "waiting for the agent's first answer",
    );
    never.take(said(Err("no agent answers")), now);
    assert_has(
        &screen(&mut never, 80, 8, now),
        " No answer for 0s: asked again in 4s. no agent answers",
    );
}

#[test]
fn a_paused_screen_says_so() {
    let now = Instant::now();
    let mut app = app(now);
    press(&mut app, "p");
    assert_has(
        &screen(&mut app, 100, 12, now + Duration::from_secs(150)),
        " PAUSED  2m ago",
    );
}

#[test]
fn help_filter_and_details_are_over_the_table() {
    let now = Instant::now();
    let mut app = app(now);
    press(&mut app, "?");
    let shown = screen(&mut app, 100, 30, now);
    assert_has(&shown, "rows are services, workloads, pods, namespaces");
    app.key(KeyCode::Esc.into());
    press(&mut app, "/money");
    let shown = screen(&mut app, 100, 30, now);
    assert_has(&shown, "filter: money");
    assert_has(&shown, "SERVICES (1 of 4)");
    app.key(KeyCode::Enter.into());
    assert_has(&screen(&mut app, 100, 30, now), " filter: money (Esc) ");
    press(&mut app, "j");
    app.key(KeyCode::Enter.into());
    let shown = screen(&mut app, 100, 40, now);
    assert_has(&shown, "money/pay-0  active");
    assert_has(&shown, "Deployment/pay");
    assert_has(
        &shown,
        "210 answered, 0 aborted, 0 in flight, 0 lost of 210 seen",
    );
    assert_has(&shown, "140  GET      200  HTTP/1.1  answered");
    assert_has(&shown, "70  GET      500  HTTP/1.1  answered");
    // However often it is scrolled, the end stays in sight.
    press(&mut app, &"j".repeat(50));
    screen(&mut app, 100, 12, now);
    press(&mut app, "k");
    assert_has(&screen(&mut app, 100, 12, now), "HTTP/1.1  answered");
}

#[test]
fn a_filter_without_a_row_says_so_and_no_target_as_well() {
    let now = Instant::now();
    let mut filtered = app(now);
    press(&mut filtered, "/nothing");
    assert_has(
        &screen(&mut filtered, 100, 20, now),
        "None of 4 has what the filter asks for",
    );
    let mut bare = App::new(Order::default(), Duration::from_secs(2));
    bare.take(said(Ok(answer(3, Vec::new()))), now);
    assert_has(
        &screen(&mut bare, 100, 20, now),
        "The agent has no target yet.",
    );
}

#[test]
fn sinks_are_a_table_of_their_own() {
    let now = Instant::now();
    let mut app = app(now);
    press(&mut app, "5");
    let shown = screen(&mut app, 120, 20, now);
    assert_has(&shown, "WHAT IS WRONG");
    assert_has(&shown, "no database  [31mowlk8s");
    assert_has(&shown, "prometheus");
    press(&mut app, "/influx");
    assert!(
        !screen(&mut app, 120, 20, now)
            .join("")
            .contains("prometheus")
    );
}

#[test]
fn more_troubles_than_there_is_room_for_are_counted() {
    let now = Instant::now();
    let names: Vec<String> = (0..30).map(|n| format!("pod{n:02}")).collect();
    let targets = names.iter().map(|name| target(name).blind()).collect();
    let mut app = App::new(Order::default(), Duration::from_secs(2));
    app.take(said(Ok(answer(3, targets))), now);
    let shown = screen(&mut app, 100, 24, now);
    assert_has(&shown, " and 25 more: filter by /");
    assert_has(&shown, "SERVICES (30)");
}
