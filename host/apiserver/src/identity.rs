//! What the API server invents for an object: its uid, the random end of its name, and when it came.
//!
//! From numbers that the store counts up, so that a run of a test is like the one before.

use std::time::SystemTime;

use serde_json::{Value, json};

use crate::resource::Kind;

/// Looks like one of version 4.
pub(crate) fn uid(number: u64) -> String {
    let (high, low) = (mix(number), mix(!number));
    format!(
        "{:08x}-{:04x}-4{:03x}-a{:03x}-{:012x}",
        high >> 32,
        (high >> 16) & 0xffff,
        high & 0xfff,
        low >> 52,
        low & 0xffff_ffff_ffff
    )
}

/// The end of a generated name: letters that Kubernetes uses, since they spell no words.
pub(crate) fn suffix(number: u64, length: usize) -> String {
    const LETTERS: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";
    let mut rest = mix(number);
    let letters = std::iter::repeat_with(|| {
        let letter = LETTERS[(rest % 27) as usize];
        rest /= 27;
        char::from(letter)
    });
    letters.take(length).collect()
}

/// Of the template of a workload: the same name has the same.
pub(crate) fn template_hash(text: &str) -> String {
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3) // FNV-1a
    });
    suffix(hash, 9)
}

/// As `creationTimestamp` is written.
pub(crate) fn now() -> String {
    humantime::format_rfc3339_seconds(SystemTime::now()).to_string()
}

/// What the API server sets in an object that is created.
pub(crate) fn stamp(value: &mut Value, kind: Kind, number: u64) {
    let unborn = value["status"]["phase"].is_null();
    let meta = &mut value["metadata"];
    meta["uid"] = uid(number).into();
    meta["creationTimestamp"] = now().into();
    match kind {
        Kind::Namespace => {
            let name = meta["name"].clone();
            meta["labels"]["kubernetes.io/metadata.name"] = name;
            value["spec"] = json!({"finalizers": ["kubernetes"]});
            value["status"] = json!({"phase": "Active"});
        }
        Kind::Pod if unborn => value["status"]["phase"] = "Pending".into(),
        Kind::Deployment
        | Kind::ReplicaSet
        | Kind::StatefulSet
        | Kind::DaemonSet
        | Kind::Job
        | Kind::CronJob => {
            meta["generation"] = 1.into();
        }
        _ => {}
    }
}

/// The finalizer of splitmix64: neighbours look unlike each other, and none are equal.
fn mix(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn uids_and_suffixes_do_not_repeat() {
        let uids: HashSet<_> = (0..10_000).map(uid).collect();
        assert_eq!(uids.len(), 10_000);
        assert!(uids.iter().all(|uid| uid.len() == 36));
        let suffixes: HashSet<_> = (0..1_000).map(|number| suffix(number, 10)).collect();
        assert_eq!(suffixes.len(), 1_000);
    }
}
