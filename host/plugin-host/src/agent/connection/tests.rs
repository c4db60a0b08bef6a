use std::collections::BTreeMap;
use std::sync::Arc;

use owlk8s_model::TargetSnapshot;
use tokio::io::AsyncReadExt;

use super::super::memory::Wants;
use super::super::views::Views;
use super::*;
use crate::agent::state::Saved;
use crate::authority::Ceiling;
use crate::config::SinkConfig;
use crate::frames::Base;
use crate::tables::fixtures::{snapshot, target};

/// A target with `mark` in each of its strings.
fn marked(namespace: &str, mark: &str, number: usize) -> TargetSnapshot {
    let mut target = target(&format!("{mark}-{number:04}"), 1);
    target.namespace = namespace.to_owned();
    target.uid = format!("{mark}-uid");
    target.services = vec![format!("{mark}-service")];
    target.interface = format!("{mark}-veth");
    target.reason = format!("{mark}-reason");
    target.hook_reason = format!("{mark}-hook");
    target.labels = BTreeMap::from([("team".to_owned(), mark.to_owned())]);
    target
}

fn sinks(text: &str) -> Vec<SinkConfig> {
    #[derive(serde::Deserialize)]
    struct File {
        sinks: Vec<SinkConfig>,
    }
    toml::from_str::<File>(text).unwrap().sinks
}

/// All frames with windows that a plugin process is sent, each as it is on the wire.
async fn frames_of(sinks: &[SinkConfig], windows: u64) -> Vec<(ToChild, Vec<u8>)> {
    let wants = Wants {
        sinks: sinks.to_vec(),
        dirs: Vec::new(),
        secrets: BTreeMap::new(),
        ceiling: Ceiling::default(),
        user: 65_534,
        look_again: false,
    };
    let memory = Memory::new(wants, Saved::default());
    let (_drain, draining) = watch::channel(None);
    let (ours, theirs) = StdUnixStream::pair().unwrap();
    theirs.set_nonblocking(true).unwrap();
    let connection = Connection {
        memory: &memory,
        drain: draining,
    };
    let child = async {
        let (mut from, mut to) = UnixStream::from_std(theirs).unwrap().into_split();
        frames::read::<ToChild>(&mut from, TO_CHILD_MAX)
            .await
            .unwrap();
        let hello = ToAgent::Hello(Hello::ours());
        frames::write(&mut to, &hello, TO_AGENT_MAX).await.unwrap();
        frames::read::<ToChild>(&mut from, TO_CHILD_MAX)
            .await
            .unwrap();
        let mut frames = Vec::new();
        for sequence in 1..=windows {
            let targets = (0..10)
                .flat_map(|number| [marked("a", "alice", number), marked("b", "bob", number)]);
            let mut targets: Vec<TargetSnapshot> = targets.collect();
            targets.sort_by(|a, b| a.id.cmp(&b.id));
            memory.offer(Arc::new(snapshot(sequence, targets)));
            for _ in sinks {
                let length = from.read_u32_le().await.unwrap() as usize;
                let mut bytes = vec![0; length];
                from.read_exact(&mut bytes).await.unwrap();
                frames.push((postcard::from_bytes(&bytes).unwrap(), bytes));
            }
        }
        frames
    };
    tokio::select! {
        ended = connection.run(ours) => panic!("{ended:?}"),
        frames = child => frames,
    }
}

fn holds(bytes: &[u8], text: &str) -> bool {
    bytes
        .windows(text.len())
        .any(|window| window == text.as_bytes())
}

#[tokio::test]
async fn no_string_of_a_tenant_is_in_a_frame_of_the_others_sink() {
    let sinks = sinks(
        "[[sinks]]\nname = \"one\"\nplugin = \"p\"\nselect.namespaces = [\"a\"]\n\
         [[sinks]]\nname = \"two\"\nplugin = \"p\"\nselect.namespaces = [\"b\"]\ncolumns = [\"label:team\"]\n",
    );
    let frames = frames_of(&sinks, 100).await;
    assert_eq!(frames.len(), 200);
    for (frame, bytes) in frames {
        let ToChild::Snapshot { sinks, snapshot } = frame else {
            panic!("not a window: {frame:?}");
        };
        assert_eq!(snapshot.targets.len(), 10);
        let (own, others) = if sinks == ["one"] {
            ("alice", "bob")
        } else {
            ("bob", "alice")
        };
        assert!(holds(&bytes, own), "the search finds what is there");
        assert!(!holds(&bytes, others), "{sinks:?}: {snapshot:?}");
        assert!(!holds(&bytes, "-veth") && !holds(&bytes, "-hook"));
        assert_eq!(
            holds(&bytes, "team"),
            own == "bob",
            "the label is granted to one"
        );
    }
}

#[tokio::test]
async fn sinks_that_see_the_same_share_a_frame() {
    let sinks = sinks(
        "[[sinks]]\nname = \"one\"\nplugin = \"p\"\n[[sinks]]\nname = \"off\"\nplugin = \"p\"\nenabled = false\n\
         [[sinks]]\nname = \"two\"\nplugin = \"q\"\nmode = \"delta\"\n",
    );
    let views = Views::of(&sinks, &Ceiling::default());
    let shared: Vec<_> = views
        .cut(&snapshot(1, Vec::new()))
        .map(|(sinks, _)| sinks)
        .collect();
    assert_eq!(shared, [["one", "two"]]);
    let base = |sink: &str| Base {
        sink: sink.to_owned(),
        ..Base::default()
    };
    assert!(views.cut_base(base("one")).is_some() && views.cut_base(base("off")).is_none());
}

#[test]
fn what_departed_is_cut_to_what_the_sink_may_see() {
    let sinks = sinks("[[sinks]]\nname = \"one\"\nplugin = \"p\"\nselect.namespaces = [\"a\"]\n");
    let views = Views::of(&sinks, &Ceiling::default());
    let base = Base {
        sink: "one".to_owned(),
        departed: vec![(1, marked("a", "alice", 1)), (2, marked("b", "bob", 1))],
        ..Base::default()
    };
    let cut = views.cut_base(base).unwrap();
    let shown = format!("{cut:?}");
    assert_eq!(cut.departed.len(), 1);
    assert!(
        shown.contains("alice") && !shown.contains("bob") && !shown.contains("-veth"),
        "{shown}"
    );
}

/// What least data costs the agent: `cargo test --release -p owlk8s-plugin-host -- --ignored --nocapture cost_of`.
#[test]
#[ignore = "a measurement"]
fn cost_of_ten_views_of_a_thousand_targets() {
    let many = |number: usize| {
        let mut target = marked(["a", "b"][number % 2], "pod", number);
        let row = target.rows[0].clone();
        target.rows = (0..5)
            .map(|n| owlk8s_model::Row {
                status: 200 + n,
                latency: owlk8s_model::Histogram::trimmed(0, &[7; 24]),
                ..row.clone()
            })
            .collect();
        target
    };
    let snapshot = snapshot(1, (0..1_000).map(many).collect());
    let sinks = |select: &str| {
        let sink = |n: usize| {
            format!(
                "[[sinks]]\nname = \"s{n}\"\nplugin = \"p\"\ncolumns = [\"label:l{n}\"]\n{select}\n"
            )
        };
        sinks(&(0..10).map(sink).collect::<String>())
    };
    let time = |what: &str, run: &dyn Fn() -> usize| {
        let mut times: Vec<Duration> = (0..21)
            .map(|_| {
                let began = std::time::Instant::now();
                std::hint::black_box(run());
                began.elapsed()
            })
            .collect();
        times.sort();
        eprintln!("{what}: {:?} (median of 21), {} bytes", times[10], run());
    };
    let encode = |snapshot: &Arc<owlk8s_model::Snapshot>| {
        let frame = ToChild::Snapshot {
            sinks: vec!["s".to_owned()],
            snapshot: Arc::clone(snapshot),
        };
        postcard::to_allocvec(&frame).unwrap().len()
    };
    let whole = Arc::new(snapshot.clone());
    time("one frame of all", &|| encode(&whole));
    for (what, select) in [
        ("ten sinks, each with a view of all", ""),
        (
            "ten sinks, each with a view of half",
            "select.namespaces = [\"a\"]",
        ),
    ] {
        let views = Views::of(&sinks(select), &Ceiling::default());
        time(what, &|| {
            views
                .cut(&snapshot)
                .map(|(_, snapshot)| encode(&snapshot))
                .sum()
        });
    }
}
