//! What plugins cost, as ratios between things measured in turn in one run: `make bench`. Prints a table in
//! Markdown. `OWLK8S_BENCH_NATIVE` names the native half (`plugins/prometheus/benches/native.rs`).

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a benchmark ends where it fails"
)]

mod life;
mod memory;

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use owlk8s_plugin_host::bench::{Guest, Window};
use owlk8s_plugin_host::{HostOptions, PluginsConfig, Program, SinkConfig, node};

/// Each measures all candidates in turn, so that a slow moment of the machine is nobody's alone.
const ROUNDS: usize = 9;
const CALLS: usize = 5;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        println!("| what | time | against | ratio |\n|---|---|---|---|");
        prometheus(Heap::Kept).await;
        owlk8s_plugin_host::keep_heap_small();
        prometheus(Heap::GivenBack).await;
        reuse().await;
        compile();
        life::start_from_the_cache().await;
        life::swap_under_load().await;
        memory::of_ten_plugins().await;
    });
}

/// Nothing but these sinks, with the real plugin process.
fn options(sinks: Vec<SinkConfig>, cache_dir: &Path) -> HostOptions {
    HostOptions {
        plugins: PluginsConfig {
            // Writes into folders that were made here.
            user: rustix::process::geteuid().as_raw(),
            cache_dir: cache_dir.to_owned(),
            ..PluginsConfig::default()
        },
        sinks,
        plugin_dirs: Vec::new(),
        secrets: std::collections::BTreeMap::new(),
        program: Program {
            path: env!("CARGO_BIN_EXE_owlk8s-plugin-process").into(),
            args: Vec::new(),
            compiler_args: vec!["compile".to_owned()],
        },
    }
}

/// By plugin and endpoint, with more fields of its own.
fn sink(
    name: &str,
    plugin: &str,
    endpoint: &serde_json::Value,
    more: serde_json::Value,
) -> SinkConfig {
    let mut sink = serde_json::json!({
        "name": name,
        "plugin": component(plugin),
        "endpoints": {"out": endpoint},
    });
    if let (Some(fields), serde_json::Value::Object(more)) = (sink.as_object_mut(), more) {
        fields.extend(more);
    }
    serde_json::from_value(sink).unwrap()
}

fn row(what: &str, time: Duration, against: &str, ratio: f64) {
    println!("| {what} | {time:.3?} | {against} | {ratio:.2} |");
}

fn component(name: &str) -> PathBuf {
    let plugins = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/plugins");
    let file = format!("{name}.wasm");
    let at = [plugins.join(&file), plugins.join("fixtures").join(&file)];
    let found = at.into_iter().find(|path| path.is_file());
    found.unwrap_or_else(|| panic!("{file} is missing: run `make bench`"))
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// The median of some calls.
async fn time(guest: &mut Guest, window: &Window, gzip: bool, reuse: bool) -> (f64, usize) {
    let (mut times, mut bytes) = (Vec::new(), 0);
    for _ in 0..CALLS {
        let began = Instant::now();
        bytes = guest.call(window, gzip, reuse).await.unwrap();
        times.push(began.elapsed().as_secs_f64());
    }
    (median(times), bytes)
}

/// What becomes of the memory that a page took, in both halves.
#[derive(Clone, Copy, PartialEq)]
enum Heap {
    /// glibc keeps it, as it does where nobody says otherwise: the next page finds it in place.
    Kept,
    /// It goes back to the kernel, as in the agent and the plugin process.
    GivenBack,
}

impl Heap {
    /// What `keep_heap_small` says, to a program that does not link it.
    const GIVEN_BACK: &str = "glibc.malloc.arena_max=1:glibc.malloc.mmap_threshold=262144:glibc.malloc.trim_threshold=262144";

    fn name(self) -> &'static str {
        match self {
            Self::Kept => "memory kept in both",
            Self::GivenBack => "memory given back in both, as they run",
        }
    }
}

async fn prometheus(heap: Heap) {
    let snapshot = node(1_000, 2, 1);
    let file = tempfile::NamedTempFile::new().unwrap();
    serde_json::to_writer(&file, &snapshot).unwrap();
    let mut native = Native::start(file.path(), heap);
    let window = Window::new(&snapshot).unwrap();
    let (mut plugin, _) = Guest::load(&component("prometheus")).unwrap();
    let (mut abi, _) = Guest::load(&component("reads-all")).unwrap();
    for (encoding, gzip) in [("plain", false), ("gzip", true)] {
        let (mut plugins, mut natives, mut ratios, mut abis, mut builds) =
            (Vec::new(), Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let (by_native, native_bytes) = native.time(encoding);
            let (by_plugin, bytes) = time(&mut plugin, &window, gzip, false).await;
            assert_eq!(bytes, native_bytes, "both make the same page");
            ratios.push(by_plugin / by_native);
            plugins.push(by_plugin);
            natives.push(by_native);
            abis.push(time(&mut abi, &window, false, false).await.0);
            let began = Instant::now();
            let _built = Window::new(&snapshot).unwrap();
            builds.push(began.elapsed().as_secs_f64());
        }
        let seconds = |times: &[f64]| Duration::from_secs_f64(median(times.to_vec()));
        let native_time = format!("native Rust, {:.3?}", seconds(&natives));
        row(
            &format!(
                "Prometheus page of 1,000 targets, {encoding}, by the plugin, {}",
                heap.name()
            ),
            seconds(&plugins),
            &native_time,
            median(ratios),
        );
        if gzip || heap == Heap::Kept {
            continue;
        }
        let page = format!("that page, {:.3?}", seconds(&plugins));
        row(
            "of it the interface alone: every part fetched by a guest",
            seconds(&abis),
            &page,
            median(abis) / median(plugins.clone()),
        );
        row(
            "beside it, once a window: the tables that guests read",
            seconds(&builds),
            &page,
            median(builds) / median(plugins),
        );
    }
}

async fn reuse() {
    let window = Window::new(&node(10, 2, 1)).unwrap();
    for name in ["good-echo", "prometheus"] {
        let (mut guest, _) = Guest::load(&component(name)).unwrap();
        let (mut fresh, mut reused) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS * 5 {
            fresh.push(time(&mut guest, &window, false, false).await.0);
            let _warm = time(&mut guest, &window, false, true).await;
            reused.push(time(&mut guest, &window, false, true).await.0);
        }
        let (fresh, reused) = (median(fresh), median(reused));
        row(
            &format!("{name}, 10 targets, a fresh instance each window"),
            Duration::from_secs_f64(fresh),
            &format!("a reused one, {:.3?}", Duration::from_secs_f64(reused)),
            fresh / reused,
        );
    }
}

fn compile() {
    for name in ["good-echo", "prometheus"] {
        let (_, took) = Guest::load(&component(name)).unwrap();
        println!("| {name}, compiled | {took:.3?} | | |");
    }
}

/// The native half, which waits for its turns.
struct Native {
    child: Child,
    answers: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Native {
    fn start(snapshot: &Path, heap: Heap) -> Self {
        let program = std::env::var_os("OWLK8S_BENCH_NATIVE")
            .expect("OWLK8S_BENCH_NATIVE names the native half: run `make bench`");
        let mut command = Command::new(program);
        if heap == Heap::GivenBack {
            command.env("GLIBC_TUNABLES", Heap::GIVEN_BACK);
        }
        let mut child = command
            .arg(snapshot)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let answers = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, answers }
    }

    fn time(&mut self, encoding: &str) -> (f64, usize) {
        let stdin = self.child.stdin.as_mut().unwrap();
        writeln!(stdin, "{encoding} {CALLS}").unwrap();
        let answer = self.answers.next().unwrap().unwrap();
        let (nanos, bytes) = answer.split_once(' ').unwrap();
        (nanos.parse::<f64>().unwrap() / 1e9, bytes.parse().unwrap())
    }
}

impl Drop for Native {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}
