//! Needs root, as all that makes network namespaces.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::Interfaces;
use crate::netlink::{Kernel, Netlink};

fn address(text: &str, prefix: u8) -> Prefixed {
    (text.parse().unwrap(), prefix)
}

async fn two_rooms() -> (Room, Room) {
    let node = Room::open("test-node").await.unwrap();
    let pod = Room::open("test-pod").await.unwrap();
    node.bridge("br0", &[address("10.77.0.1", 24), address("fd77::1", 64)])
        .await
        .unwrap();
    node.join(
        "br0",
        "vh1",
        &pod,
        &[address("10.77.0.11", 24), address("fd77::b", 64)],
    )
    .await
    .unwrap();
    (node, pod)
}

#[tokio::test]
async fn rooms_reach_each_other_over_both_families_at_once() {
    let (node, pod) = two_rooms().await;
    for ip in ["10.77.0.11", "[fd77::b]"] {
        let to = format!("{ip}:80");
        let listener = pod
            .run(TcpListener::bind(to.clone()))
            .await
            .unwrap()
            .unwrap();
        let asked = node.run(async move {
            let mut stream = TcpStream::connect(to).await.unwrap();
            stream.write_all(b"hello").await.unwrap();
        });
        let heard = pod.run(async move {
            let mut bytes = Vec::new();
            listener
                .accept()
                .await
                .unwrap()
                .0
                .read_to_end(&mut bytes)
                .await
                .unwrap();
            bytes
        });
        let (asked, heard) = tokio::join!(asked, heard);
        asked.unwrap();
        assert_eq!(heard.unwrap(), b"hello", "{ip}");
    }
}

#[tokio::test]
async fn discovery_works_in_a_room_like_on_a_node() {
    let (node, _pod) = two_rooms().await;
    let resolved = node.run(async {
        let target: crate::StaticTarget =
            toml::from_str("pod = \"a\"\nips = [\"10.77.0.11\"]").unwrap();
        let config = crate::DiscoveryConfig {
            fixed: Some(crate::StaticConfig {
                targets: vec![target],
            }),
            ..crate::DiscoveryConfig::default()
        };
        let targets = config.static_targets().unwrap();
        Interfaces::new()
            .unwrap()
            .resolve(&targets[0])
            .await
            .unwrap()
            .name
    });
    assert_eq!(resolved.await.unwrap(), "vh1");
}

#[tokio::test]
async fn an_ended_room_takes_its_links_along_and_touches_none_of_the_callers() {
    let callers = Kernel::open().unwrap();
    let before = callers.links().await.unwrap();
    let (node, pod) = two_rooms().await;
    assert_eq!(callers.links().await.unwrap(), before);
    tokio::task::spawn_blocking(move || drop(pod))
        .await
        .unwrap();
    let links = node.run(async {
        let kernel = Kernel::open().unwrap();
        // The kernel takes links of an ended namespace down in the background.
        loop {
            let links = kernel.links().await.unwrap();
            if !links.iter().any(|link| link.name == "vh1") {
                return links;
            }
            tokio::task::yield_now().await;
        }
    });
    let names: Vec<_> = links
        .await
        .unwrap()
        .iter()
        .map(|link| link.name.clone())
        .collect();
    assert!(names.contains(&"br0".to_owned()), "{names:?}");
}

#[tokio::test]
async fn work_that_panics_is_told_from_its_result() {
    let room = Room::open("test-room").await.unwrap();
    let error = room.run(async { panic!("on purpose") }).await.unwrap_err();
    assert!(matches!(error, LabError::Ended { .. }), "{error}");
}
