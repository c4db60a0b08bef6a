//! Both directions hold against whatever comes. The gate runs some hundred cases of each property; to go on for
//! as long as you like:
//!
//! ```sh
//! PROPTEST_CASES=100000000 cargo test --release --package owlk8s-plugin-host --lib -- frames
//! ```

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::time::Duration;

use allocation_counter::measure;
use proptest::prelude::*;

use super::*;
use crate::frames::{
    Artifact, Attempting, Base, CompileOrder, Configure, FETCH_MAX, FETCHED_MAX, Fetch, Fetched,
    Hello, Level, ORDER_MAX, PARTS_MAX, REPORTS_MAX, Resume, SinkReport, TO_AGENT_MAX,
    TO_CHILD_MAX, ToAgent, ToChild,
};
use crate::tables::fixtures::{snapshot, target};
use crate::{PluginKind, PluginStatus, SandboxStatus, SinkConfig, SinkStatus};

fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap()
        .block_on(future)
}

/// By both ways to read, which agree.
fn decode<T: DeserializeOwned>(mut bytes: &[u8], max: usize) -> Result<T, FrameError> {
    let blocking = read_blocking::<T>(&mut { bytes }, max);
    let read: Result<T, FrameError> = block_on(read(&mut bytes, max));
    assert_eq!(blocking.is_ok(), read.is_ok());
    read
}

fn report() -> SinkReport {
    let sink: SinkConfig =
        serde_json::from_str(r#"{"name": "log", "plugin": "simple-log"}"#).unwrap();
    SinkReport {
        revision: 7,
        status: SinkStatus {
            chain: vec![plugin(); 2],
            listening: vec!["127.0.0.1:1".to_owned()],
            ..SinkStatus::starting(&sink)
        },
        attempting: Some(Attempting {
            sequence: 3,
            ..Attempting::default()
        }),
        acknowledged: None,
        states: vec![vec![1, 2], vec![]],
    }
}

fn plugin() -> PluginStatus {
    PluginStatus {
        plugin: "simple-log".to_owned(),
        path: "/p/simple-log.wasm".to_owned(),
        kind: PluginKind::Formatter,
        digest: "sha256:00".to_owned(),
        size_bytes: 1 << 20,
        manifest_name: "log".to_owned(),
        version: "1".to_owned(),
        description: "a log".to_owned(),
        authority: crate::Authority::default(),
    }
}

/// One of each that the agent reads.
fn to_agent() -> Vec<ToAgent> {
    vec![
        ToAgent::Hello(Hello::ours()),
        ToAgent::Sealed(SandboxStatus {
            user: 65534,
            landlock: 7,
            reads: vec!["/a".into()],
            writes: vec!["/b".into()],
            weaknesses: vec!["c".to_owned()],
        }),
        ToAgent::Unfit("why".to_owned()),
        ToAgent::Report(vec![report(); 2]),
        ToAgent::Log {
            sink: "log".to_owned(),
            level: Level::Warn,
            message: "text".to_owned(),
        },
        ToAgent::Drained,
    ]
}

/// One of each that the plugin process reads.
fn to_child() -> Vec<ToChild> {
    let configure = Configure {
        sinks: "[]".to_owned(),
        secrets: BTreeMap::from([("TOKEN".to_owned(), "secret".to_owned().into())]),
        resume: BTreeMap::from([("log".to_owned(), Resume::default())]),
        ..Configure::default()
    };
    let targets = vec![target("cart-0", 1), target("cart-1", 2)];
    let snapshot = std::sync::Arc::new(snapshot(1, targets));
    vec![
        ToChild::Hello(Hello::ours()),
        ToChild::Configure(Box::new(configure)),
        ToChild::Snapshot {
            sinks: vec!["log".to_owned()],
            snapshot: std::sync::Arc::clone(&snapshot),
        },
        ToChild::Base(Box::new(Base {
            sink: "log".to_owned(),
            acknowledged: Some(snapshot),
            ..Base::default()
        })),
        ToChild::Drain {
            within: Duration::from_secs(5),
        },
    ]
}

fn fetches() -> Vec<Fetch> {
    vec![Fetch {
        reference: "simple-log".to_owned(),
        digest: Some("sha256:00".to_owned()),
        bad_code: Some("00".to_owned()),
    }]
}

fn fetched() -> Vec<Fetched> {
    vec![
        Fetched::Ready(Artifact {
            path: "/p".to_owned(),
            digest: "sha256:00".to_owned(),
            size_bytes: 7,
            code_digest: "00".to_owned(),
        }),
        Fetched::Refused("why".to_owned()),
    ]
}

fn orders() -> Vec<CompileOrder> {
    vec![CompileOrder {
        user: 65534,
        time: Duration::from_secs(60),
        memory: 1 << 30,
    }]
}

#[test]
fn frames_come_out_as_they_went_in() {
    fn each<T: Serialize + DeserializeOwned + Debug>(frames: Vec<T>, max: usize) {
        for value in frames {
            let frame = encode(&value, max).unwrap();
            let decoded: T = decode(&frame, max).unwrap();
            assert_eq!(format!("{decoded:?}"), format!("{value:?}"));
        }
    }
    each(to_agent(), TO_AGENT_MAX);
    each(to_child(), TO_CHILD_MAX);
    each(fetches(), FETCH_MAX);
    each(fetched(), FETCHED_MAX);
    each(orders(), ORDER_MAX);
}

#[test]
fn cut_and_oversized_frames_are_told_apart() {
    let report = ToAgent::Report(vec![report()]);
    let frame = encode(&report, TO_AGENT_MAX).unwrap();
    assert!(matches!(
        decode::<ToAgent>(&frame[..frame.len() - 1], TO_AGENT_MAX),
        Err(FrameError::Closed)
    ));
    assert!(matches!(
        decode::<ToAgent>(&frame, 8),
        Err(FrameError::TooLarge(_, 8))
    ));
    assert!(matches!(
        encode(&report, 8),
        Err(FrameError::TooLarge(_, 8))
    ));
    assert!(matches!(decode::<Hello>(&[], 8), Err(FrameError::Closed)));
}

#[test]
fn lists_over_their_bound_do_not_decode() {
    let of = |reports: usize, states: usize| {
        let mut report = report();
        report.states = vec![Vec::new(); states];
        let frame = encode(&ToAgent::Report(vec![report; reports]), TO_AGENT_MAX).unwrap();
        decode::<ToAgent>(&frame, TO_AGENT_MAX)
    };
    assert!(of(REPORTS_MAX, PARTS_MAX).is_ok());
    assert!(matches!(of(REPORTS_MAX + 1, 1), Err(FrameError::Decode(_))));
    assert!(matches!(of(1, PARTS_MAX + 1), Err(FrameError::Decode(_))));
}

/// The largest frame that a plugin process may send, made of what grows most: it becomes no more than some times
/// its own size.
#[test]
fn largest_frame_from_the_plugin_process_stays_small_in_memory() {
    let body = [vec![3], vec![0; TO_AGENT_MAX - 1]].concat();
    let mut frame = u32::try_from(body.len()).unwrap().to_le_bytes().to_vec();
    frame.extend(&body);
    for varint in [&[0xff, 0xff, 0xff, 0x7f][..], &[0x01]] {
        frame[HEAD + 1..HEAD + 1 + varint.len()].copy_from_slice(varint);
        let mut from = &frame[..];
        let used = measure(|| {
            let _ = read_blocking::<ToAgent>(&mut from, TO_AGENT_MAX);
        });
        assert!(
            used.bytes_max < 4 * TO_AGENT_MAX as u64,
            "{} bytes for {}",
            used.bytes_max,
            frame.len()
        );
    }
}

/// What is done to a real frame's body before it is sent.
#[derive(Clone, Debug)]
enum Damage {
    Set(usize, u8),
    Insert(usize, Vec<u8>),
    Cut(usize),
    Repeat(usize, usize),
}

fn damage() -> impl Strategy<Value = Vec<Damage>> {
    // Lengths are varints: 0xff asks for more of it.
    let lengths = prop::collection::vec(prop_oneof![Just(0xff_u8), Just(0x7f), any::<u8>()], 1..11);
    let one = prop_oneof![
        (any::<usize>(), any::<u8>()).prop_map(|(at, byte)| Damage::Set(at, byte)),
        (any::<usize>(), lengths).prop_map(|(at, bytes)| Damage::Insert(at, bytes)),
        any::<usize>().prop_map(Damage::Cut),
        (any::<usize>(), 1_usize..64).prop_map(|(at, times)| Damage::Repeat(at, times)),
    ];
    prop::collection::vec(one, 1..6)
}

fn damaged(mut body: Vec<u8>, damages: &[Damage]) -> Vec<u8> {
    for damage in damages {
        let inside = |at: usize| at % (body.len() + 1);
        match damage {
            Damage::Set(at, byte) => {
                let at = inside(*at);
                if let Some(there) = body.get_mut(at) {
                    *there = *byte;
                }
            }
            Damage::Insert(at, bytes) => {
                let at = inside(*at);
                body.splice(at..at, bytes.iter().copied());
            }
            Damage::Cut(at) => body.truncate(inside(*at)),
            Damage::Repeat(at, times) => {
                let at = inside(*at);
                let tail = body[at..].to_vec();
                (1..*times).for_each(|_| body.extend(&tail));
            }
        }
    }
    body
}

/// Whatever `body` is, reading it ends with a value or an error, and takes no more memory than some times its
/// size: beside that, each list begins with room for what serde believes of a length (1 MiB), and they nest.
fn holds<T: DeserializeOwned>(body: &[u8], max: usize) {
    const NESTED: u64 = 4 << 20;
    let mut frame = u32::try_from(body.len()).unwrap().to_le_bytes().to_vec();
    frame.extend(body);
    let _ = decode::<T>(&frame, max);
    let _ = decode::<T>(body, max);
    let used = measure(|| {
        let _ = read_blocking::<T>(&mut &frame[..], max);
    });
    let bound = NESTED + 64 * body.len() as u64;
    assert!(
        used.bytes_max < bound,
        "{} bytes of memory for {}",
        used.bytes_max,
        body.len()
    );
}

fn body<T: Serialize>(value: &T) -> Vec<u8> {
    postcard::to_stdvec(value).unwrap()
}

proptest! {
    #[test]
    fn whatever_comes_is_a_value_or_an_error_in_bounded_memory(bytes: Vec<u8>) {
        holds::<ToAgent>(&bytes, TO_AGENT_MAX);
        holds::<ToChild>(&bytes, TO_CHILD_MAX);
        holds::<Fetch>(&bytes, FETCH_MAX);
        holds::<Fetched>(&bytes, FETCHED_MAX);
        holds::<CompileOrder>(&bytes, ORDER_MAX);
    }

    #[test]
    fn damaged_frames_to_the_agent_hold(which: prop::sample::Index, damages in damage()) {
        holds::<ToAgent>(&damaged(body(which.get(&to_agent())), &damages), TO_AGENT_MAX);
        holds::<Fetch>(&damaged(body(which.get(&fetches())), &damages), FETCH_MAX);
    }

    #[test]
    fn damaged_frames_to_the_plugin_process_hold(which: prop::sample::Index, damages in damage()) {
        holds::<ToChild>(&damaged(body(which.get(&to_child())), &damages), TO_CHILD_MAX);
        holds::<Fetched>(&damaged(body(which.get(&fetched())), &damages), FETCHED_MAX);
        holds::<CompileOrder>(&damaged(body(which.get(&orders())), &damages), ORDER_MAX);
    }

    /// The head of a frame is believed for nothing but the bound.
    #[test]
    fn length_alone_makes_nobody_allocate(length: u32, sent in 0_usize..64) {
        let mut frame = length.to_le_bytes().to_vec();
        frame.resize(HEAD + sent, 0);
        let used = measure(|| {
            let _ = read_blocking::<ToChild>(&mut &frame[..], TO_CHILD_MAX);
        });
        prop_assert!(used.bytes_max < 2 << 20, "{} bytes", used.bytes_max);
    }
}
