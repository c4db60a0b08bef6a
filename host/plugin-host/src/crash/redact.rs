//! Other names for what a cluster calls its things. Equal names get equal ones, and each keeps its shape:
//! length, digits, case, punctuation and what is no ASCII stay where they were, since a plugin that fails
//! on a name mostly fails on its shape. Which letters there were is gone: the key is thrown away.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use aho_corasick::{AhoCorasick, MatchKind};
use owlk8s_model::{Snapshot, TargetId, TargetSnapshot};
use sha2::{Digest as _, Sha256};

/// The shortest name that is looked for in texts, and the shortest value of a `config`: shorter ones are
/// words of the language by chance.
const NAME_MIN: usize = 3;
const VALUE_MIN: usize = 6;
/// Stands for a value of the plugin's `config` in texts.
const VALUE: &str = "(a value of its config)";
/// Tries to find a name that no other one has.
const TRIES: u32 = 64;

/// The names that were met, and what they are called instead.
pub struct Redaction {
    key: [u8; 16],
    names: BTreeMap<String, String>,
    taken: BTreeSet<String>,
    addresses: BTreeMap<IpAddr, IpAddr>,
    values: Vec<String>,
}

impl Redaction {
    /// Under a key that nobody will know.
    #[expect(
        clippy::new_without_default,
        reason = "each one has a key of its own: two are not equal"
    )]
    pub fn new() -> Self {
        Self {
            key: fastrand::u128(..).to_ne_bytes(),
            names: BTreeMap::new(),
            taken: BTreeSet::new(),
            addresses: BTreeMap::new(),
            values: Vec::new(),
        }
    }

    /// A plugin may repeat what its `config` says; a careless one holds a secret.
    pub fn hide_config(&mut self, config: &str) {
        fn texts(value: &serde_json::Value, into: &mut Vec<String>) {
            match value {
                serde_json::Value::String(text) if text.len() >= VALUE_MIN => {
                    into.push(text.clone())
                }
                serde_json::Value::Array(values) => values.iter().for_each(|v| texts(v, into)),
                serde_json::Value::Object(table) => table.values().for_each(|v| texts(v, into)),
                _ => {}
            }
        }
        if let Ok(config) = serde_json::from_str(config) {
            texts(&config, &mut self.values);
        }
    }

    /// The same counts of other targets.
    pub fn snapshot(&mut self, mut snapshot: Snapshot) -> Snapshot {
        snapshot.node = self.name(&snapshot.node);
        for target in &mut snapshot.targets {
            self.target(target);
        }
        // Their names are known only now.
        let texts = self.texts();
        for target in &mut snapshot.targets {
            target.reason = texts.text(&target.reason);
        }
        snapshot
    }

    fn target(&mut self, target: &mut TargetSnapshot) {
        let id = match target.id.0.split_once('/') {
            Some((namespace, pod)) => format!("{}/{}", self.name(namespace), self.name(pod)),
            None => self.name(&target.id.0),
        };
        target.id = TargetId(Arc::from(id));
        for name in [&mut target.pod, &mut target.uid, &mut target.namespace] {
            *name = self.name(name);
        }
        if let Some(workload) = &mut target.workload {
            workload.name = self.name(&workload.name);
        }
        for name in target.services.iter_mut().chain(target.labels.values_mut()) {
            *name = self.name(name);
        }
        for address in &mut target.ips {
            *address = self.address(*address);
        }
    }

    /// Another name of the same shape, the same for the same name.
    pub fn name(&mut self, name: &str) -> String {
        if let Some(known) = self.names.get(name) {
            return known.clone();
        }
        // Of one letter there are 26: the last ones share a name.
        let mut tries = (0..TRIES).map(|round| self.shaped(name, round));
        let free = tries.find(|new| !self.taken.contains(new));
        let new = free.unwrap_or_else(|| self.shaped(name, 0));
        self.taken.insert(new.clone());
        self.names.insert(name.to_owned(), new.clone());
        new
    }

    fn shaped(&self, name: &str, round: u32) -> String {
        // A uid stays a uid.
        let letters = if is_uid(name) { 6 } else { 26 };
        let mut pool = Pool::new(&self.key, name, round);
        let mut shaped = |c: char| match c {
            'a'..='z' => pool.letter(b'a', letters),
            'A'..='Z' => pool.letter(b'A', letters),
            '0'..='9' => pool.letter(b'0', 10),
            other => other,
        };
        name.chars().map(&mut shaped).collect()
    }

    /// From ranges that no cluster has: RFC 2544 and RFC 3849.
    pub fn address(&mut self, address: IpAddr) -> IpAddr {
        if let Some(known) = self.addresses.get(&address) {
            return *known;
        }
        let next = u32::try_from(self.addresses.len()).unwrap_or(u32::MAX) + 1;
        let new = match address {
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::from_bits(0xc612_0000 | (next & 0x1_ffff))),
            IpAddr::V6(_) => {
                IpAddr::V6(Ipv6Addr::from_bits((0x2001_0db8 << 96) | u128::from(next)))
            }
        };
        self.addresses.insert(address, new);
        new
    }

    /// For texts that speak of what was met so far.
    pub fn texts(&self) -> Texts {
        let names = self.names.iter().filter(|(name, _)| name.len() >= NAME_MIN);
        let mut pairs: Vec<(String, String)> = names
            .map(|(name, new)| (name.clone(), new.clone()))
            .collect();
        let addresses = self.addresses.iter();
        pairs.extend(addresses.map(|(address, new)| (address.to_string(), new.to_string())));
        let values = self.values.iter();
        pairs.extend(values.map(|value| (value.clone(), VALUE.to_owned())));
        let (old, new): (Vec<String>, Vec<String>) = pairs.into_iter().unzip();
        let finder = AhoCorasick::builder()
            .match_kind(MatchKind::LeftmostLongest)
            .build(&old);
        Texts {
            finder: finder.ok(),
            new,
        }
    }
}

/// Finds what is to be replaced in texts.
pub struct Texts {
    /// None where there are more names than it can hold.
    finder: Option<AhoCorasick>,
    new: Vec<String>,
}

impl Texts {
    /// `text` with all that was met replaced, and no value of the `config`.
    pub fn text(&self, text: &str) -> String {
        match &self.finder {
            Some(finder) => finder.replace_all(text, &self.new),
            None => "(not shown)".to_owned(),
        }
    }
}

fn is_uid(name: &str) -> bool {
    name.len() == 36
        && name
            .bytes()
            .all(|byte| byte == b'-' || byte.is_ascii_hexdigit())
}

/// Bytes that depend on key, name and round, and tell nothing of the name without the key.
struct Pool {
    seed: Sha256,
    block: Vec<u8>,
    blocks: u32,
}

impl Pool {
    fn new(key: &[u8], name: &str, round: u32) -> Self {
        let seed = Sha256::new_with_prefix(key)
            .chain_update(round.to_ne_bytes())
            .chain_update(name);
        Self {
            seed,
            block: Vec::new(),
            blocks: 0,
        }
    }

    fn letter(&mut self, first: u8, count: u8) -> char {
        if self.block.is_empty() {
            let next = self.seed.clone().chain_update(self.blocks.to_ne_bytes());
            self.block = next.finalize().to_vec();
            self.blocks += 1;
        }
        let byte = self.block.pop().unwrap_or_default();
        char::from(first + byte % count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_keeps_its_shape_and_none_of_its_letters_matter() {
        let mut redaction = Redaction::new();
        for name in ["cart-7f9c-x2x4q", "Änderung \"1\"\n", "", "A.b_9", "日本"] {
            let new = redaction.name(name);
            let class = |c: char| match c {
                'a'..='z' => 'a',
                'A'..='Z' => 'A',
                '0'..='9' => '0',
                other => other,
            };
            let shape = |text: &str| text.chars().map(class).collect::<String>();
            assert_eq!(shape(&new), shape(name));
            assert_eq!(redaction.name(name), new, "the same name again");
        }
        let other = Redaction::new().name("cart-7f9c-x2x4q");
        assert_ne!(
            redaction.name("cart-7f9c-x2x4q"),
            other,
            "each report has its own key"
        );
    }

    #[test]
    fn names_stay_apart_where_there_is_room_and_uids_stay_uids() {
        let mut redaction = Redaction::new();
        let names: BTreeSet<String> = (0..500)
            .map(|n| redaction.name(&format!("pod-{n:03}")))
            .collect();
        assert_eq!(names.len(), 500);
        let uid = redaction.name("9a3cbf1e-4d0a-47b6-8f7e-0123456789ab");
        assert!(is_uid(&uid), "{uid}");
    }

    #[test]
    fn texts_lose_names_addresses_and_values_of_the_config() {
        let mut redaction = Redaction::new();
        redaction.hide_config(r#"{"token": "s3cr3t-token", "list": ["another-one"], "n": 5}"#);
        let pod = redaction.name("cart-0");
        let address = redaction.address("10.1.2.3".parse().unwrap());
        let text = redaction
            .texts()
            .text("cart-0 at 10.1.2.3 with s3cr3t-token and another-one");
        assert_eq!(text, format!("{pod} at {address} with {VALUE} and {VALUE}"));
        assert!(address.to_string().starts_with("198.18."), "{address}");
    }
}
