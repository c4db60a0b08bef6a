use std::fs;

use super::inhabitants::container_id;
use super::*;
use crate::netlink::{Mac, Peer};

const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

fn veth(index: u32, peer_index: u32, nsid: Option<i32>) -> Link {
    Link {
        index,
        name: format!("veth{index}"),
        kind: LinkKind::Single("veth".to_owned()),
        peer: Some(Peer {
            index: peer_index,
            nsid,
        }),
        controller: None,
    }
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn place(nsid: i32, name: &str, inside: Option<Vec<Address>>) -> Place {
    Place {
        nsid,
        who: Inhabitant {
            mounted_as: Some(name.to_owned()),
            ..Inhabitant::default()
        },
        inside,
    }
}

#[test]
fn only_links_with_a_peer_elsewhere_are_targets() {
    let links = [
        veth(3, 2, Some(0)),
        veth(4, 5, None),
        veth(5, 4, None),
        Link {
            kind: LinkKind::Shared("vlan".to_owned()),
            ..veth(6, 2, Some(1))
        },
        Link {
            peer: None,
            ..veth(7, 2, None)
        },
    ];
    let found = targets(&links, &[], &Outside::default());
    let ids: Vec<_> = found
        .iter()
        .map(|t| (t.id.to_string(), t.pod.as_str()))
        .collect();
    assert_eq!(
        ids,
        [("host/3".to_owned(), "veth3")],
        "and without a name it goes by its link"
    );
}

#[test]
fn two_links_into_one_namespace_have_their_own_addresses() {
    let inside = vec![
        Address {
            link: 2,
            ip: ip("fd00::2"),
        },
        Address {
            link: 2,
            ip: ip("10.0.0.2"),
        },
        Address {
            link: 9,
            ip: ip("10.1.0.2"),
        },
    ];
    let links = [veth(3, 2, Some(0)), veth(4, 9, Some(0))];
    let found = targets(
        &links,
        &[place(0, "web", Some(inside))],
        &Outside::default(),
    );
    assert_eq!(found[0].ips, [ip("10.0.0.2"), ip("fd00::2")], "IPv4 first");
    assert_eq!(found[1].ips, [ip("10.1.0.2")]);
    assert!(found.iter().all(|target| target.pod == "web"));
    assert_ne!(found[0].id, found[1].id);
}

#[test]
fn an_id_does_not_change_when_a_name_becomes_known() {
    let links = [veth(3, 2, Some(7))];
    let before = targets(&links, &[], &Outside::default());
    let after = targets(&links, &[place(7, "web", None)], &Outside::default());
    assert_eq!(before[0].id, after[0].id);
    assert_ne!(before[0].pod, after[0].pod);
}

#[test]
fn addresses_from_outside_come_from_host_routes_neighbours_and_forwarding() {
    let mac = Mac(vec![2, 0, 0, 0, 0, 1]);
    let outside = Outside {
        host_routes: vec![
            Address {
                link: 3,
                ip: ip("10.8.0.3"),
            },
            Address {
                link: 99,
                ip: ip("10.8.0.4"),
            },
        ],
        neighbours: vec![
            Neighbour {
                ip: ip("10.8.0.5"),
                link: 3,
                mac: Mac(vec![9]),
            },
            Neighbour {
                ip: ip("10.77.0.6"),
                link: 50,
                mac: mac.clone(),
            },
            Neighbour {
                ip: ip("fe80::1"),
                link: 3,
                mac: Mac(vec![9]),
            },
            Neighbour {
                ip: ip("10.77.0.7"),
                link: 50,
                mac: Mac(vec![8]),
            },
        ]
        .into(),
        forwarding: vec![Forwarding {
            mac,
            port: 3,
            bridge: 50,
        }]
        .into(),
    };
    let found = targets(&[veth(3, 2, Some(0))], &[place(0, "web", None)], &outside);
    assert_eq!(
        found[0].ips,
        [ip("10.8.0.3"), ip("10.8.0.5"), ip("10.77.0.6")]
    );
}

#[test]
fn a_container_has_its_id_as_label_and_is_its_own_workload() {
    let who = Inhabitant {
        container: Some(ID.to_owned()),
        container_name: Some("web".to_owned()),
        ..Inhabitant::default()
    };
    let found = targets(
        &[veth(3, 2, Some(0))],
        &[Place {
            nsid: 0,
            who,
            inside: None,
        }],
        &Outside::default(),
    );
    assert_eq!(
        found[0].workload,
        Some(Workload {
            kind: "Container".to_owned(),
            name: "web".to_owned()
        })
    );
    assert_eq!(found[0].labels["container.id"], ID);
}

#[test]
fn the_best_name_wins() {
    let mut who = Inhabitant {
        process: Some("sleep-42".to_owned()),
        ..Inhabitant::default()
    };
    assert_eq!(who.name().unwrap(), "sleep-42");
    who.container = Some(ID.to_owned());
    assert_eq!(who.name().unwrap(), "0123456789ab");
    who.mounted_as = Some("cni-1".to_owned());
    assert_eq!(who.name().unwrap(), "cni-1");
    who.container_name = Some("web".to_owned());
    assert_eq!(who.name().unwrap(), "web");
}

#[test]
fn container_ids_are_found_in_the_cgroups_of_all_engines() {
    for cgroup in [
        format!("0::/system.slice/docker-{ID}.scope\n"),
        format!("12:memory:/docker/{ID}\n0::/docker/{ID}\n"),
        format!("0::/machine.slice/libpod-{ID}.scope/container\n"),
        format!("0::/kubepods.slice/kubepods-podabc.slice/cri-containerd-{ID}.scope\n"),
    ] {
        assert_eq!(container_id(&cgroup).as_deref(), Some(ID), "{cgroup}");
    }
    assert_eq!(container_id("0::/user.slice/user-1000.slice\n"), None);
    assert_eq!(
        container_id(&format!("0::/x/{ID}0\n")),
        None,
        "65 digits are something else"
    );
}

/// A root directory with processes and the files of an engine.
struct Root(tempfile::TempDir);

impl Root {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn file(&self, path: &str, text: &str) -> &Self {
        let path = self.0.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        self
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<_> = inhabitants(self.0.path())
            .iter()
            .filter_map(|(who, _)| who.name())
            .collect();
        names.sort();
        names
    }
}

#[test]
fn names_come_from_the_files_of_docker_and_podman() {
    let other = ID.replace('0', "f");
    let root = Root::new();
    root.file("proc/41/ns/net", "")
        .file("proc/41/cgroup", &format!("0::/docker-{ID}.scope"));
    root.file(
        &format!("var/lib/docker/containers/{ID}/config.v2.json"),
        r#"{"ID": "x", "Name": "/shop_web_1"}"#,
    );
    root.file("proc/42/ns/net", "")
        .file("proc/42/cgroup", &format!("0::/libpod-{other}.scope"));
    root.file(
        "var/lib/containers/storage/overlay-containers/containers.json",
        &format!(r#"[{{"id": "{other}", "names": ["db"], "image": "x"}}]"#),
    );
    root.file("proc/43/ns/net", "")
        .file("proc/43/comm", "sleep\n")
        .file("proc/self/ns/net", "");
    assert_eq!(root.names(), ["db", "shop_web_1", "sleep-43"]);
}

#[test]
fn a_namespace_is_one_however_many_files_show_it() {
    let root = Root::new();
    root.file("run/netns/web", "")
        .file("proc/7/comm", "nginx\n")
        .file("proc/8/comm", "worker\n");
    for pid in [7, 8] {
        let directory = root.0.path().join(format!("proc/{pid}/ns"));
        fs::create_dir_all(&directory).unwrap();
        fs::hard_link(root.0.path().join("run/netns/web"), directory.join("net")).unwrap();
    }
    let found = inhabitants(root.0.path());
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].0.process.as_deref(), Some("nginx-7"));
    assert_eq!(root.names(), ["web"]);
}

#[test]
fn a_machine_without_any_of_these_files_has_no_inhabitants() {
    assert!(inhabitants(Root::new().0.path()).is_empty());
}
