//! The plugin `influxdb` before a real InfluxDB 1.x: what is queried back is what nginx answered, also after the
//! server was away, and after somebody dropped the database.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test panics where it fails, and says what it measured"
)]

mod common;

use std::time::Duration;

use common::agent::config;
use common::grafana::queries;
use common::histogram::{bucket_of, histogram};
use common::{Agent, Influx, Lab, Nginx, shipped, within};

/// A sink that writes to the database of its own name, which nobody made.
fn sink(name: &str, mode: &str, more: &str) -> String {
    format!(
        "[[sinks]]\nname = \"{name}\"\nplugin = \"influxdb\"\nmode = \"{mode}\"\n\
         config = {{ create_database = true{more} }}\n\
         endpoints.write = {{ kind = \"http\", url = \"http://127.0.0.1:8086/write?db={name}\" }}\n\
         endpoints.create = {{ kind = \"http\", url = \"http://127.0.0.1:8086/query?q=CREATE%20DATABASE%20{name}\" }}\n"
    )
}

const COUNTS: &str = "SELECT sum(requests), sum(err4), sum(err5) FROM INT_svcmetrics";
const LAST: &str = "SELECT last(requests), p50, p90, p99 FROM INT_svcmetrics WHERE podname = 'p1' AND owner = 'web'";

#[test]
fn what_influxdb_holds_is_what_nginx_answered_also_after_an_outage() {
    shipped("influxdb");
    let lab = Lab::new(1);
    let nginx = Nginx::start(&lab, "p1");
    let mut influx = Influx::start(&lab);
    let sinks = sink("differences", "delta", "") + &sink("totals", "latest", ", fields = \"all\"");
    let agent = Agent::attached(&lab, &config(&[lab.target("p1")], &sinks));
    let sums_are = |influx: &Influx<'_>, truth: u64, when: &str| {
        within(Duration::from_secs(30), when, || {
            let [requests, err4, err5] = influx.row("differences", COUNTS)?;
            if requests == truth as f64 {
                Ok([err4, err5])
            } else {
                Err(format!(
                    "{requests}, {truth} at nginx; {}",
                    agent.sink("differences")
                ))
            }
        })
    };

    let begin = nginx.requests();
    nginx.load(1);
    let truth = nginx.requests_since(begin);
    sums_are(&influx, truth, "before the outage all is there");

    influx.down();
    nginx.load(2);
    within(Duration::from_secs(10), "the sink notices", || {
        let status = agent.sink("differences");
        if status["state"] == "backoff" {
            Ok(())
        } else {
            Err(status.to_string())
        }
    });
    influx.up();
    let truth = nginx.requests_since(begin);
    let [err4, err5] = sums_are(&influx, truth, "after the outage all is there");

    let [requests, p50, p90, p99] = within(Duration::from_secs(30), "so are totals", || {
        let row = influx.row("totals", LAST)?;
        if row[0] == truth as f64 {
            Ok(row)
        } else {
            Err(format!("{row:?}"))
        }
    });
    println!("{requests} requests, {err4} and {err5} errors, {p50} {p90} {p99} us");
    let histogram = histogram(&agent.pod("p1"));
    for (q, found) in [(0.5, p50), (0.9, p90), (0.99, p99)] {
        let (low, high) = bucket_of(&histogram, q);
        let (low, high) = (low * 1e6, high * 1e6);
        assert!(
            low.floor() <= found && found <= high,
            "quantile {q} is {found} us, its bucket {low} to {high} us"
        );
    }

    let variables = [
        ("$namespace", "(lab)"),
        ("$service", "(web)"),
        ("$timeFilter", "time > now() - 1h"),
        ("$__interval_ms", "10000"),
        ("$__interval", "10s"),
    ];
    for (title, query) in queries("influxdb.json", "query", &variables) {
        let series = influx
            .query("totals", &query)
            .unwrap_or_else(|error| panic!("{title}: {error}"));
        assert_eq!(series.len(), 1, "{title}: {query}: {series:?}");
    }

    influx.query("totals", "DROP DATABASE totals").unwrap();
    within(
        Duration::from_secs(30),
        "a dropped database is made anew",
        || match influx.row::<1>("totals", LAST)? {
            [requests] if requests == truth as f64 => Ok(()),
            [requests] => Err(format!("{requests}")),
        },
    );
    drop(agent);
    let answers = nginx.answers();
    assert_eq!(
        (err4, err5),
        (answers["404"] as f64, answers["500"] as f64),
        "{answers:?}"
    );
}
