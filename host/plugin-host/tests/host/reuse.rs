use crate::support::{Host, start};

fn sink(reuse: bool, more: &str) -> Host {
    start(&format!(
        "[[sinks]]\nname = \"x\"\nplugin = \"{{counts-calls}}\"\nmode = \"every-window\"\nreuse = {reuse}\n{more}\n\
         endpoints.out = {{ kind = \"file\", path = \"{{dir}}/out\" }}\n"
    ))
}

async fn windows(host: &Host, sequences: std::ops::RangeInclusive<u64>) {
    for sequence in sequences {
        host.offer(sequence, 1);
        host.until("x", |status| {
            status.counters.windows_delivered + status.counters.plugin_faults >= sequence
        })
        .await;
    }
}

#[tokio::test]
async fn fresh_instance_a_window_remembers_nothing() {
    let host = sink(false, "");
    windows(&host, 1..=3).await;
    assert_eq!(host.read("out"), "calls=1\ncalls=1\ncalls=1\n");
}

#[tokio::test]
async fn reused_instance_remembers_until_its_first_fault() {
    let host = sink(true, "config = { panic_at = 3 }");
    windows(&host, 1..=5).await;
    assert_eq!(host.read("out"), "calls=1\ncalls=2\ncalls=1\ncalls=2\n");
    assert_eq!(host.sink("x").counters.plugin_faults, 1);
}

/// It takes 1 MiB more in each window.
#[tokio::test]
async fn memory_of_a_reused_instance_is_bounded_and_begins_anew() {
    let host = sink(true, "limits = { memory = \"8MiB\" }");
    windows(&host, 1..=12).await;
    let status = host.sink("x");
    assert!(
        status
            .last_error
            .starts_with("plugin counts-calls wanted more memory than 8MiB (limits.memory)"),
        "{}",
        status.last_error
    );
    let lines = host.read("out");
    let again = lines.lines().filter(|line| *line == "calls=1").count();
    assert!(again >= 2, "{lines}");
    assert_eq!(
        status.limits_exceeded.values().sum::<u64>(),
        status.counters.plugin_faults
    );
}
