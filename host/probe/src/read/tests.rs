//! The reader against maps that the test fills itself, with the kernel program loaded and idle.

use std::mem::offset_of;
use std::time::{Duration, Instant};

use owlk8s_ebpf_abi::{
    LINE_BUCKETS, Loss, ROW_GRPC, ROW_PROBE, RowKey, RowLine, Slot, SlotShard, bucket_of,
};
use owlk8s_model::{Direction, Protocol, Reading, TargetId, TargetReading, UnixNanos};

use crate::{Interface, Options, Probe};

/// A probe with `targets` targets named by their interface indexes, from 1 on.
fn probe(targets: u32, client: bool) -> Probe {
    let options = Options {
        targets,
        rows: targets.max(4) * 4,
        connections: 16,
        count_client: client,
    };
    let mut probe = Probe::load_with(options).expect("loading the kernel program needs root");
    for index in 1..=targets {
        let interface = Interface {
            name: format!("veth{index}").into(),
            index,
        };
        probe
            .attach_without_socket(&index.to_string().as_str().into(), interface)
            .unwrap();
    }
    probe
}

/// As the kernel program counts: `count` requests of 1 ms each.
fn count(probe: &Probe, row: u32, key: RowKey, count: u64) {
    probe.maps.row_index.insert(&key, &row).unwrap();
    let none = probe.maps.slots.element(0);
    none.add(offset_of!(Slot, rows_made), 1);
    let words = probe.maps.rows.element(row);
    let bucket = bucket_of(1_000_000) as usize;
    let line = bucket / LINE_BUCKETS * size_of::<RowLine>();
    let bucket = bucket % LINE_BUCKETS;
    words.add(
        line + offset_of!(RowLine, duration_sum_ns),
        count * 1_000_000,
    );
    words.add(
        line + offset_of!(RowLine, buckets) + 4 * (bucket & !1),
        count << (32 * (bucket & 1)),
    );
    probe.maps.slots.element(key.slot).add(
        offset_of!(Slot, shards) + offset_of!(SlotShard, started),
        count,
    );
}

fn key(slot: u32, protocol: u8, method: u8, status: u16) -> RowKey {
    RowKey {
        slot,
        protocol,
        method,
        status,
    }
}

#[test]
fn every_kind_of_row_has_its_name() {
    let mut probe = probe(1, true);
    count(&probe, 5, key(1, 11, 1, 200), 7);
    count(&probe, 6, key(1, 11 | ROW_PROBE, 1, 200), 3);
    count(&probe, 7, key(1, 20, 3, 503), 2);
    count(&probe, 8, key(1, 10, 0, 404), 1);
    count(&probe, 9, key(1, ROW_GRPC, 0, 14), 4);
    count(&probe, 10, key(2, 11, 40, 201), 9);
    probe
        .maps
        .slots
        .element(1)
        .add(super::loss_offset(Loss::Desync), 2);
    probe
        .maps
        .slots
        .element(1)
        .add(super::loss_offset(Loss::Hole), 5);
    let reading = probe.read(UnixNanos(5)).unwrap();
    assert_eq!(reading.at, UnixNanos(5));
    let Some(TargetReading::Active {
        interface,
        counters,
        rows,
        grpc,
        ..
    }) = reading.of(&"1".into()).cloned()
    else {
        panic!("{reading:?}")
    };
    assert_eq!(&*interface, "veth1");
    let names: Vec<_> = rows
        .iter()
        .map(|row| {
            (
                row.direction,
                row.protocol,
                &*row.method.0,
                row.status,
                row.probe,
                row.count,
            )
        })
        .collect();
    assert_eq!(
        names,
        [
            (Direction::Server, Protocol::Http10, "_OTHER", 404, false, 1),
            (Direction::Server, Protocol::Http11, "GET", 200, false, 7),
            (Direction::Server, Protocol::Http11, "GET", 200, true, 3),
            (Direction::Server, Protocol::Http2, "POST", 503, false, 2),
            (Direction::Client, Protocol::Http11, "PURGE", 201, false, 9),
        ]
    );
    assert_eq!((grpc.len(), grpc[0].status, grpc[0].count), (1, 14, 4));
    assert_eq!(rows[1].duration_sum_ns, 7_000_000);
    // 1 ms is in (2^(-80/8), 2^(-79/8)] seconds.
    assert_eq!(
        (rows[1].latency.offset, &*rows[1].latency.counts),
        (-80, &[7][..])
    );
    assert_eq!(counters.lost, 2);
    assert_eq!(
        counters.losses.into_iter().collect::<Vec<_>>(),
        [("desync".into(), 2), ("hole".into(), 5)]
    );
}

#[test]
fn detached_target_takes_its_rows_along() {
    let mut probe = probe(2, false);
    // The queue of free rows is full, and only the kernel program takes from it.
    probe.maps.free_rows.pop().unwrap();
    probe.maps.free_rows.pop().unwrap();
    count(&probe, 1, key(1, 11, 1, 200), 7);
    count(&probe, 2, key(2, 11, 1, 200), 8);
    probe.detach(&"1".into()).unwrap();
    let left = probe.maps.row_index.get(&key(1, 11, 1, 200)).unwrap();
    assert_eq!(left, None);
    assert_eq!(
        probe
            .maps
            .rows
            .element(1)
            .lines::<1>()
            .flatten()
            .sum::<u64>(),
        0
    );
    assert_eq!(
        probe
            .maps
            .slots
            .element(1)
            .lines::<1>()
            .flatten()
            .sum::<u64>(),
        0
    );
    let reading = probe.read(UnixNanos(0)).unwrap();
    let left: Vec<_> = reading.targets.iter().map(|(target, _)| target).collect();
    assert_eq!(left, [&TargetId::from("2")]);
}

#[test]
fn nothing_of_an_earlier_reading_is_left_in_its_memory() {
    let mut probe = probe(3, true);
    count(&probe, 1, key(1, 11, 1, 200), 7);
    count(&probe, 2, key(1, 11, 1, 404), 8);
    count(&probe, 3, key(3, ROW_GRPC, 0, 14), 4);
    count(&probe, 4, key(5, 20, 1, 500), 1);
    let mut reading = probe.read(UnixNanos(1)).unwrap();
    // Each now stands where another stood, with other rows.
    for _ in 0..2 {
        probe.maps.free_rows.pop().unwrap();
    }
    probe.detach(&"1".into()).unwrap();
    count(&probe, 3, key(5, 11, 1, 200), 2);
    probe.read_into(UnixNanos(2), &mut reading).unwrap();
    assert_eq!(reading, probe.read(UnixNanos(2)).unwrap());
    assert_eq!(reading.targets.len(), 2);
}

#[test]
fn five_thousand_targets_are_read_at_once() {
    for targets in [500, 5000] {
        read_at_once(targets);
    }
}

fn read_at_once(targets: u32) {
    let mut probe = probe(targets, false);
    for slot in 1..=targets {
        count(&probe, slot, key(slot, 11, 1, 200), u64::from(slot));
    }
    let mut best = [Duration::MAX; 2];
    let mut reading = Reading::default();
    for _ in 0..50 {
        let start = Instant::now();
        probe.reader.refresh(&probe.maps).unwrap();
        best[0] = best[0].min(start.elapsed());
        let start = Instant::now();
        probe.read_into(UnixNanos(0), &mut reading).unwrap();
        best[1] = best[1].min(start.elapsed());
        let all = u64::from(targets) * u64::from(targets + 1) / 2;
        assert_eq!(requests(&reading), all);
    }
    eprintln!(
        "{targets} targets are read in {:?}, of which their index, unchanged, {:?}",
        best[1], best[0]
    );
}

fn requests(reading: &Reading) -> u64 {
    let of = |(_, target): &(TargetId, TargetReading)| match target {
        TargetReading::Active { rows, .. } => rows.iter().map(|row| row.count).sum::<u64>(),
        other => panic!("{other:?}"),
    };
    reading.targets.iter().map(of).sum()
}
