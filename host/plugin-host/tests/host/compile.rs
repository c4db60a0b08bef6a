//! Components on their way to machine code: kept, made again, refused, and never in each other's way.

use std::path::Path;
use std::time::{Duration, Instant};

use owlk8s_plugin_host::{HostOptions, LoadCounters, PluginHost, SinkState, SinkStatus, Size};
use rustix::process::{Pid, Signal, kill_process};

use crate::support::{Host, PATIENCE, component, options};

const GOOD: &str = r#"
[[sinks]]
name = "good"
plugin = "{good-echo}"
endpoints.out = { kind = "file", path = "{dir}/good" }
"#;

/// A host in `dir`; `change` is made to its options.
fn start_in(dir: tempfile::TempDir, sinks: &str, change: impl Fn(&mut HostOptions)) -> Host {
    let mut options = options(sinks, &dir);
    change(&mut options);
    Host {
        host: PluginHost::start(options).unwrap(),
        dir,
    }
}

fn start(sinks: &str, change: impl Fn(&mut HostOptions)) -> Host {
    start_in(tempfile::tempdir().unwrap(), sinks, change)
}

async fn active(host: &Host, name: &str) -> SinkStatus {
    host.until(name, |status| status.state == SinkState::Active)
        .await
}

async fn failed(host: &Host, name: &str) -> String {
    let ended = |status: &SinkStatus| matches!(status.state, SinkState::Failed | SinkState::Active);
    let status = host.until(name, ended).await;
    assert_eq!(status.state, SinkState::Failed, "{status:?}");
    status.reason
}

fn loads(compiled: u64, refused: u64, cached: u64) -> LoadCounters {
    LoadCounters {
        compiled,
        refused,
        cached,
    }
}

/// The files of the cache.
fn kept(dir: &Path) -> Vec<std::path::PathBuf> {
    let files = std::fs::read_dir(dir.join("cache/compiled")).unwrap();
    files.map(|file| file.unwrap().path()).collect()
}

/// A component that means nothing, and of which the compiler makes `functions` functions of so many thousand
/// additions each; `salt` makes it another one.
fn bomb(functions: u32, thousands: u32, salt: i32) -> Vec<u8> {
    use wasm_encoder::{
        CodeSection, Component, Function, FunctionSection, Module, ModuleSection, TypeSection,
        ValType,
    };
    let (mut types, mut declared, mut code) = (
        TypeSection::new(),
        FunctionSection::new(),
        CodeSection::new(),
    );
    types.ty().function([ValType::I32], [ValType::I32]);
    for _ in 0..functions {
        declared.function(0);
        let mut function = Function::new([]);
        let mut body = function.instructions();
        for n in 0..thousands * 1000 {
            // Each addition is another block, which the register allocator has to look at.
            body.local_get(0)
                .i32_const(salt.wrapping_add(n.cast_signed()))
                .i32_add()
                .local_tee(0)
                .local_get(0)
                .br_if(0)
                .drop();
        }
        body.local_get(0).end();
        code.function(&function);
    }
    let mut module = Module::new();
    module.section(&types).section(&declared).section(&code);
    let mut component = Component::new();
    component.section(&ModuleSection(&module));
    component.finish()
}

/// A sink for each of these components, which are written to files.
fn sinks(dir: &Path, components: &[(&str, Vec<u8>)]) -> String {
    let sink = |(name, bytes): &(&str, Vec<u8>)| {
        let path = dir.join(format!("{name}.wasm"));
        std::fs::write(&path, bytes).unwrap();
        format!(
            "[[sinks]]\nname = \"{name}\"\nplugin = {:?}\nendpoints.out = {{ kind = \"stdout\" }}\n",
            path.display().to_string()
        )
    };
    components.iter().map(sink).collect()
}

#[tokio::test]
async fn component_is_compiled_once_and_kept_for_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    let two = format!(
        "{GOOD}{}",
        GOOD.replace("\"good\"", "\"same\"")
            .replace("/good", "/same")
    );
    let host = start_in(dir, &two, |_| ());
    active(&host, "good").await;
    active(&host, "same").await;
    // Two sinks ask for it at once; one of them waits for the other's.
    assert_eq!(host.host.loads(), loads(1, 0, 1));
    let files = kept(host.dir.path());
    assert_eq!(files.len(), 1, "{files:?}");
    let dir = host.dir;
    host.host.drain(Duration::from_secs(2)).await;
    let host = start_in(dir, &two, |_| ());
    active(&host, "good").await;
    active(&host, "same").await;
    assert_eq!(host.host.loads(), loads(0, 0, 2));
    host.offer(1, 5);
    for name in ["good", "same"] {
        host.delivered(name, 1).await;
        assert_eq!(host.read(name), "window=1 targets=1 requests=5\n");
    }
    assert_eq!(kept(host.dir.path()), files);
}

#[tokio::test]
async fn damaged_code_is_never_run_but_made_again() {
    let dir = tempfile::tempdir().unwrap();
    let host = start_in(dir, GOOD, |_| ());
    active(&host, "good").await;
    let dir = host.dir;
    host.host.drain(Duration::from_secs(2)).await;
    let file = kept(dir.path()).remove(0);
    let whole = std::fs::read(&file).unwrap();
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 1;
    let mut dir = Some(dir);
    for damaged in [&flipped[..], &whole[..whole.len() / 2], b""] {
        std::fs::write(&file, damaged).unwrap();
        let host = start_in(dir.take().unwrap(), GOOD, |_| ());
        active(&host, "good").await;
        assert_eq!(host.host.loads().compiled, 1);
        assert_eq!(std::fs::read(&file).unwrap(), whole, "the good one is kept");
        dir = Some(host.dir);
        host.host.drain(Duration::from_secs(2)).await;
    }
    // Named after what it holds, but no code that wasmtime takes.
    let dir = dir.unwrap();
    let planted = b"not code";
    let name = file.file_name().unwrap().to_str().unwrap();
    let (key, _) = name.split_once('.').unwrap();
    std::fs::remove_file(&file).unwrap();
    let digest = "470a06e8985402e63a1ba2c31a47e119fd74b2c39241da8f234a5f6c8a83ad2a";
    std::fs::write(
        file.with_file_name(format!("{key}.{digest}.cwasm")),
        planted,
    )
    .unwrap();
    let host = start_in(dir, GOOD, |_| ());
    active(&host, "good").await;
    assert_eq!(kept(host.dir.path()), [file]);
}

#[tokio::test]
async fn agent_without_a_place_to_keep_code_has_it_until_it_ends() {
    let host = start(GOOD, |options| options.plugins.cache_dir = "".into());
    active(&host, "good").await;
    assert_eq!(host.host.loads(), loads(1, 0, 0));
    let pid = host.host.pid().unwrap();
    kill(pid);
    host.until("good", |status| status.state == SinkState::Starting)
        .await;
    active(&host, "good").await;
    assert_eq!(
        host.host.loads(),
        loads(1, 0, 1),
        "the next process gets what there is"
    );
}

/// The sink whose compiler crosses a limit says which, and the good one beside it runs; whoever asks later hears the
/// same, and nobody compiles it again.
async fn crosses(bomb: Vec<u8>, change: impl Fn(&mut HostOptions), text: &str) {
    let dir = tempfile::tempdir().unwrap();
    let sinks = sinks(dir.path(), &[("bomb", bomb)]);
    let host = start_in(dir, &format!("{GOOD}{sinks}"), change);
    active(&host, "good").await;
    let path = host.dir.path().join("bomb.wasm");
    let text = format!("plugin {} does not compile: {text}", path.display());
    assert_eq!(failed(&host, "bomb").await, text);
    assert_eq!(host.host.loads().refused, 1);
    kill(host.host.pid().unwrap());
    host.until("good", |status| status.state == SinkState::Starting)
        .await;
    assert_eq!(failed(&host, "bomb").await, text);
    assert_eq!(host.host.loads().refused, 1);
    active(&host, "good").await;
    host.offer(1, 3);
    host.delivered("good", 1).await;
}

#[tokio::test]
async fn compile_over_its_processor_time_is_one_sentence_with_its_line() {
    let change = |options: &mut HostOptions| options.plugins.compile_time = Duration::from_secs(2);
    let text = "it takes more than 2s of processor time to compile (plugins.compile_time)";
    crosses(bomb(150, 20, 1), change, text).await;
}

#[tokio::test]
async fn compile_over_its_memory_is_one_sentence_with_its_line() {
    let change = |options: &mut HostOptions| options.plugins.compile_memory = Size(256 << 20);
    let text = "it takes more than 256MiB of memory to compile (plugins.compile_memory)";
    crosses(bomb(1, 250, 2), change, text).await;
}

#[tokio::test]
async fn component_over_its_size_is_refused_before_it_is_read() {
    let host = start(GOOD, |options| {
        options.plugins.component_size = Size(10 << 10)
    });
    let size = std::fs::metadata(component("good-echo")).unwrap().len();
    assert_eq!(
        failed(&host, "good").await,
        format!(
            "cannot read plugin {}: its {size} bytes are over the limit of 10KiB (plugins.component_size) (give a path \
             to a component, or a shipped plugin's name)",
            component("good-echo")
        )
    );
}

/// Five components that would compile for longer than anybody waits, and a good one behind them.
#[tokio::test]
async fn compile_bombs_delay_no_other_sink() {
    let dir = tempfile::tempdir().unwrap();
    let names = ["a", "b", "c", "d", "e"];
    let bombs: Vec<(&str, Vec<u8>)> = names
        .iter()
        .zip(1..)
        .map(|(name, salt)| (*name, bomb(600, 20, salt)))
        .collect();
    let text = format!("{}{GOOD}", sinks(dir.path(), &bombs));
    let host = start_in(dir, &text, |options| {
        options.plugins.compile_time = Duration::from_secs(12);
        options.plugins.component_size = Size(1 << 30);
    });
    active(&host, "good").await;
    for sequence in 1..=3 {
        host.offer(sequence, sequence);
        host.delivered("good", sequence).await;
    }
    let pending = names.map(|name| host.sink(name).state);
    assert_eq!(
        pending,
        [SinkState::Starting; 5],
        "the good one waited for a bomb"
    );
    let drained = Instant::now();
    host.host.drain(Duration::from_secs(1)).await;
    assert!(drained.elapsed() < PATIENCE, "bombs do not hold up the end");
}

fn kill(pid: u32) {
    let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    kill_process(pid, Signal::KILL).unwrap();
}

/// The compile child that has `mark` as its last argument, once there is one; not `before`.
async fn compiler(mark: &str, before: Option<u32>) -> u32 {
    let began = Instant::now();
    let end = format!("\0{mark}\0");
    let marked = |pid: &u32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline"));
        line.is_ok_and(|line| line.ends_with(end.as_bytes()))
    };
    loop {
        let processes = std::fs::read_dir("/proc").unwrap().flatten();
        let mut pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        if let Some(pid) = pids.find(|pid| Some(*pid) != before && marked(pid)) {
            return pid;
        }
        assert!(began.elapsed() < PATIENCE, "no compile child {mark}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// A killed compile child is started again; one that is killed again and again is given up
/// until the next plugin process asks, and nobody else notices.
#[tokio::test]
async fn killed_compile_child_is_started_again_and_given_up_after_three() {
    let dir = tempfile::tempdir().unwrap();
    let text = sinks(dir.path(), &[("slow", bomb(150, 20, 77))]);
    let mark = format!("killed-{}", std::process::id());
    let host = start_in(dir, &format!("{text}{GOOD}"), |options| {
        options.program.compiler_args.push(mark.clone());
    });
    active(&host, "good").await;
    let mut before = None;
    for sequence in 1..=3 {
        let pid = compiler(&mark, before).await;
        kill(pid);
        before = Some(pid);
        host.offer(sequence, sequence);
        host.delivered("good", sequence).await;
    }
    let why = failed(&host, "slow").await;
    assert!(
        why.ends_with("its compiler was killed 3 times (is the node short of memory?)"),
        "{why}"
    );
    assert_eq!(host.host.restarts(), 0);
    // It is not held against the component.
    kill(host.host.pid().unwrap());
    compiler(&mark, before).await;
}
