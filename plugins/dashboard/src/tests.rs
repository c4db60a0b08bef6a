#[allow(
    dead_code,
    reason = "what makes the pictures of the documents uses all of it"
)]
mod browser;
mod server;

use owlk8s_plugin::records::Temporality;
use owlk8s_plugin::testing::SnapshotData;
use owlk8s_plugin::{Request, Responder, Response, Snapshot, config, state};
use owlk8s_plugin_golden::{assert_golden, snapshot, thousand_targets};
use serde_json::Value;

use super::{Config, Dashboard};

fn respond(config: &str, method: &str, target: &str, data: &SnapshotData) -> Response {
    let config = config::parse(config).unwrap();
    Dashboard::validate(&config).unwrap();
    let request = Request {
        method: method.to_owned(),
        target: target.to_owned(),
        headers: Vec::new(),
    };
    Dashboard::respond(&config, &request, &Snapshot::new(data)).unwrap()
}

fn live(target: &str, data: &SnapshotData) -> Value {
    let response = respond("{}", "GET", target, data);
    assert_eq!(response.status, 200);
    serde_json::from_slice(&response.body).unwrap()
}

/// The window after `data`'s, with `requests` more of its first target, all in its first row.
fn next(data: &mut SnapshotData, requests: u64) {
    let window = &mut data.window;
    window.sequence += 1;
    window.start_unix_ns = window.end_unix_ns;
    window.end_unix_ns += 10_000_000_000;
    data.totals[0].requests += requests;
    data.rows[0].count += requests;
    data.latency.counts[0] += requests;
}

#[test]
fn what_the_page_reads_is_golden() {
    for name in ["empty", "shop", "odd-names"] {
        state::set(&[]).unwrap();
        let text = serde_json::to_string_pretty(&live("/api/live?history=1", &snapshot(name)));
        assert_golden(format!("golden/{name}.json"), &(text.unwrap() + "\n"));
    }
    state::set(&[]).unwrap();
    let targets = live("/api/live", &thousand_targets())["targets"].clone();
    assert_eq!(targets.as_array().map(Vec::len), Some(1000));
}

#[test]
fn history_holds_each_window_s_own_counts_once() {
    state::set(&[]).unwrap();
    let mut data = snapshot("shop");
    live("/api/live", &data);
    for requests in [5, 0, 7] {
        next(&mut data, requests);
        live("/api/live", &data);
        live("/api/live", &data);
    }
    let live = live("/api/live?history=1", &data);
    let id = &data.targets[0].id;
    let past = live["history"].as_array().unwrap();
    let requests: Vec<_> = past
        .iter()
        .map(|window| window["targets"][id][0].as_u64())
        .collect();
    assert_eq!(requests, [Some(5), Some(0), Some(7)]);
    assert_eq!(past[2]["seconds"], 10.0);
    assert_eq!(
        past[2]["latency"],
        serde_json::json!({"offset": -64, "counts": [7]})
    );
}

#[test]
fn history_is_bounded_by_the_state_whatever_comes_and_goes() {
    state::set(&[]).unwrap();
    let mut data = thousand_targets();
    for n in 0..200 {
        next(&mut data, 1000);
        for total in &mut data.totals {
            total.requests += 100_000;
        }
        // A tenth of the targets is replaced.
        for target in data.targets.iter_mut().skip(n % 10 * 100).take(100) {
            target.id = format!("{}-{n}", target.pod);
        }
        live("/api/live", &data);
        assert!(state::get().len() < 64 << 10, "{}", state::get().len());
    }
    let past = live("/api/live?history=1", &data)["history"].clone();
    let windows = past.as_array().unwrap().len();
    assert!((3..=60).contains(&windows), "{windows}");
}

#[test]
fn another_life_of_the_agent_begins_another_history() {
    state::set(&[]).unwrap();
    let mut data = snapshot("shop");
    live("/api/live", &data);
    next(&mut data, 5);
    live("/api/live", &data);
    data.window.sequence = 1;
    let live = live("/api/live?history=1", &data);
    assert_eq!(live["history"], serde_json::json!([]));
}

#[test]
fn only_the_page_s_own_files_are_there_and_may_load_nothing_else() {
    let data = snapshot("empty");
    let header = |response: &Response, name: &str| {
        let mut headers = response.headers.iter();
        headers
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.clone())
    };
    for (path, status, content_type) in [
        ("/", 200, "text/html; charset=utf-8"),
        ("/?x=1", 200, "text/html; charset=utf-8"),
        ("/app.js", 200, "text/javascript; charset=utf-8"),
        ("/style.css", 200, "text/css; charset=utf-8"),
        ("/../etc/passwd", 404, "text/plain"),
        ("/index.html", 404, "text/plain"),
        ("/plugins", 204, "text/plain"),
    ] {
        let response = respond("{}", "GET", path, &data);
        assert_eq!(response.status, status, "{path}");
        assert_eq!(
            header(&response, "content-type").as_deref(),
            Some(content_type)
        );
        if status == 200 {
            let policy = header(&response, "content-security-policy").unwrap();
            assert!(policy.starts_with("default-src 'none'"), "{policy}");
        }
    }
    let below = r#"{"path": "/node/"}"#;
    let moved = respond(below, "GET", "/node", &data);
    assert_eq!(
        (moved.status, header(&moved, "location").as_deref()),
        (308, Some("/node/"))
    );
    assert_eq!(respond(below, "GET", "/node/app.js", &data).status, 200);
    assert_eq!(respond(below, "GET", "/", &data).status, 404);
    assert_eq!(respond("{}", "POST", "/", &data).status, 405);
}

#[test]
fn differences_are_refused_with_the_remedy() {
    let data = SnapshotData {
        temporality: Temporality::Delta,
        ..snapshot("shop")
    };
    let request = Request {
        method: "GET".to_owned(),
        target: "/api/live".to_owned(),
        headers: Vec::new(),
    };
    let error =
        Dashboard::respond(&Config::default(), &request, &Snapshot::new(&data)).unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("set the sink's `mode` to \"latest\""),
        "{error}"
    );
}

#[test]
fn a_bad_config_names_the_key() {
    let config = config::parse::<Config>(r#"{"path": "/node"}"#).unwrap();
    assert_eq!(
        Dashboard::validate(&config).unwrap_err().to_string(),
        "config key `path` must begin and end with a slash, and is \"/node\""
    );
}

use browser::Browser;
use server::{Scene, Server};

#[test]
fn the_page_shows_what_came_in_the_last_window() {
    let server = Server::start(Scene::Shop);
    let mut page = Browser::open(&server.url(), 1280, 900);
    page.until("state.windows.length >= 2", "two windows are there");
    // A hundred requests each second: ten are answered 500, the rest 200.
    let cell = |column: &str| {
        format!(
            "[...document.querySelectorAll('tr.row')].find((row) => row.innerText.startsWith('cart\\n') || \
             row.querySelector('.name').textContent === 'cart').querySelector('[data-column={column}]').textContent"
        )
    };
    assert_eq!(page.value(&cell("rate")), "100");
    assert_eq!(page.value(&cell("errors")), "10.0 %");
    assert_eq!(page.value(&cell("p50")), "4.10 ms");
    assert_eq!(page.value(&cell("coverage")), "100 %");
    // What cannot be read is told first, and its zeros are not shown.
    let unseen = page.value("document.getElementById('unseen').innerText");
    let unseen = unseen.as_str().unwrap();
    assert!(
        unseen.starts_with("Not whole: 1 blind, 1 failed, 1 degraded"),
        "{unseen}"
    );
    assert!(unseen.contains("blind: its packets bypass"), "{unseen}");
    page.key("3");
    let blind = "[...document.querySelectorAll('tr.row')].find((row) => row.innerText.includes('hidden-0'))";
    page.until(blind, "pods are listed");
    assert_eq!(
        page.value(&format!(
            "{blind}.querySelector('[data-column=rate]').textContent"
        )),
        "–"
    );
    let text = page.value("document.getElementById('heat-text').textContent");
    assert!(
        text.as_str()
            .unwrap()
            .contains("in the last one p50 31.3 ms"),
        "{text}"
    );
    page.dark();
    assert_eq!(page.complaints(), [""; 0]);
}

#[test]
fn how_it_stands_with_the_sinks_is_shown_where_the_host_tells_it() {
    let server = Server::start(Scene::Shop);
    let mut page = Browser::open(&server.url(), 1280, 900);
    page.until("state.windows.length >= 1", "a window is there");
    assert_eq!(
        page.value("document.getElementById('plugins').hidden"),
        true,
        "nobody told"
    );
    assert_eq!(page.complaints(), [""; 0]);

    let server = Server::start(Scene::Ailing);
    let mut page = Browser::open(&server.url(), 1280, 900);
    page.until("state.windows.length >= 1", "a window is there");
    let text = page.value("document.getElementById('plugins').innerText");
    let text = text.as_str().unwrap();
    for part in [
        "Plugins: 1 of 3 active, 2 in trouble",
        "prometheus 0.1.0 · 1,200 windows delivered",
        "quarantined",
        "3 faults of the plugin",
        "panicked at <img src=x>",
        "The newest configuration is refused, and the one before it runs: no such column",
        "Last error, over since: connection refused",
    ] {
        assert!(text.contains(part), "{part:?} is not in {text}");
    }
    let above =
        "document.getElementById('plugins').offsetTop < document.getElementById('heat').offsetTop";
    assert_eq!(page.value(above), true, "trouble is above the numbers");
    assert_eq!(page.complaints(), [""; 0]);
}

#[test]
fn the_page_is_worked_by_keys_alone() {
    let server = Server::start(Scene::Many);
    let mut page = Browser::open(&server.url(), 1280, 900);
    page.until("state.windows.length >= 2", "two windows are there");
    let rows = "document.querySelectorAll('tr.row').length";
    assert_eq!(page.value(rows), 50, "services");
    page.key("3");
    assert_eq!(page.value(rows), 100, "of 250 pods");
    page.value("document.getElementById('more').click()");
    assert_eq!(page.value(rows), 250);
    page.key("/");
    page.typed("team-1 app-11-");
    assert_eq!(page.value(rows), 5);
    page.key("Escape");
    assert_eq!(page.value(rows), 250);
    page.key("j");
    page.key("j");
    let second = "document.querySelectorAll('button.name')[1] === document.activeElement";
    assert_eq!(page.value(second), true);
    page.key("Enter");
    page.until(
        "document.querySelectorAll('tr.detail').length === 1",
        "a row is open",
    );
    let windows = page.value("state.windows.length").as_u64().unwrap();
    page.until(
        &format!("state.windows.length > {}", windows + 1),
        "more windows come",
    );
    assert_eq!(
        page.value("document.querySelectorAll('tr.detail').length"),
        1,
        "it stays open"
    );
    assert_eq!(
        page.value("document.activeElement.className"),
        "name",
        "focus stays"
    );
    page.key("s");
    page.key("r");
    assert_eq!(
        page.value("document.querySelector('th[aria-sort]').getAttribute('aria-sort')"),
        "ascending"
    );
    page.key("?");
    assert_eq!(page.value("document.getElementById('keys').open"), true);
    assert_eq!(page.complaints(), [""; 0]);
}

#[test]
fn the_page_fits_a_telephone_and_has_a_past_when_it_is_opened_again() {
    let server = Server::start(Scene::Shop);
    let mut first = Browser::open(&server.url(), 1280, 900);
    first.until("state.windows.length >= 3", "windows are there");
    drop(first);
    let mut page = Browser::open(&server.url(), 390, 844);
    page.until("state.windows.length >= 3", "the past is there");
    assert_eq!(page.value("innerWidth"), 390);
    assert_eq!(
        page.value("document.documentElement.scrollWidth"),
        390,
        "nothing sticks out"
    );
    page.key("2");
    page.value("document.querySelector('button.name').click()");
    assert_eq!(
        page.value("document.documentElement.scrollWidth"),
        390,
        "with a row open, neither"
    );
    assert_eq!(page.complaints(), [""; 0]);
}

#[test]
fn the_page_says_when_it_is_old_and_odd_names_are_text() {
    let server = Server::start(Scene::Odd);
    let mut page = Browser::open(&server.url(), 800, 600);
    page.until("state.windows.length >= 2", "windows are there");
    page.key("3");
    let names = page.value("document.getElementById('body').innerText");
    assert!(
        names
            .as_str()
            .unwrap()
            .contains("<img src=x onerror=\"document.title='harm'\">"),
        "{names}"
    );
    assert_eq!(
        page.value("document.querySelectorAll('#body img').length"),
        0
    );
    drop(server);
    page.until(
        "!document.getElementById('trouble').hidden",
        "it says that nobody answers",
    );
    let trouble = page.value("document.getElementById('trouble').textContent");
    assert!(
        trouble.as_str().unwrap().contains("What is below is old"),
        "{trouble}"
    );
}
