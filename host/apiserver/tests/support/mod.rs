//! A client of the server, and streams that do not keep a test waiting for ever.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::time::Duration;

use futures_util::{Stream, StreamExt};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::runtime::watcher::{self, Event};
use kube::{Client, Config, ResourceExt};
use owlk8s_apiserver::ApiServer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Long enough for a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) async fn client(server: &ApiServer) -> Client {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("config");
    server.kubeconfig(&path).expect("a kubeconfig");
    let kubeconfig = Kubeconfig::read_from(&path).expect("the kubeconfig");
    let options = KubeConfigOptions::default();
    let config = Config::from_custom_kubeconfig(kubeconfig, &options)
        .await
        .expect("a configuration");
    Client::try_from(config).expect("a client")
}

pub(crate) async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future)
        .await
        .expect("it took too long")
}

pub(crate) fn names<K: ResourceExt>(objects: &[K]) -> Vec<String> {
    objects.iter().map(ResourceExt::name_any).collect()
}

/// A stream that goes on also while nobody asks it: a watcher opens its watch only when it is polled.
pub(crate) fn driven<T: Send + 'static>(
    stream: impl Stream<Item = T> + Send + 'static,
) -> impl Stream<Item = T> + Unpin {
    let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(stream.for_each(move |item| {
        let _ = sender.send(item); // the test may be over
        std::future::ready(())
    }));
    futures_util::stream::poll_fn(move |context| receiver.poll_recv(context))
}

/// The next events of a stream.
pub(crate) trait Next<T, E> {
    async fn try_next_event(&mut self) -> Result<T, E>;
    async fn next_event(&mut self) -> T;
}

impl<S, T, E> Next<T, E> for S
where
    S: Stream<Item = Result<T, E>> + Unpin,
    E: Debug,
{
    async fn try_next_event(&mut self) -> Result<T, E> {
        soon(self.next()).await.expect("the stream has ended")
    }

    async fn next_event(&mut self) -> T {
        self.try_next_event().await.expect("an event")
    }
}

/// The initial state of a watcher.
pub(crate) trait Initial {
    async fn next_init(&mut self) -> Vec<String>;
}

impl<S, K> Initial for S
where
    S: Stream<Item = Result<Event<K>, watcher::Error>> + Unpin,
    K: ResourceExt + Debug,
{
    async fn next_init(&mut self) -> Vec<String> {
        assert!(matches!(self.next_event().await, Event::Init));
        let mut names = Vec::new();
        loop {
            match self.next_event().await {
                Event::InitApply(object) => names.push(object.name_any()),
                Event::InitDone => return names,
                other => panic!("{other:?}"),
            }
        }
    }
}

/// Without a client that retries: status, headers and body.
pub(crate) async fn get(server: &ApiServer, path: &str) -> (u16, BTreeMap<String, String>, String) {
    let mut stream = tokio::net::TcpStream::connect(server.address())
        .await
        .expect("a connection");
    let request = format!("GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
    stream
        .write_all(request.as_bytes())
        .await
        .expect("to write");
    let mut text = String::new();
    soon(stream.read_to_string(&mut text))
        .await
        .expect("to read");
    let (head, body) = text.split_once("\r\n\r\n").expect("a head");
    let mut lines = head.lines();
    let status = lines
        .next()
        .and_then(|line| line.split(' ').nth(1))
        .and_then(|code| code.parse().ok());
    let headers = lines.filter_map(|line| line.split_once(": "));
    let headers = headers
        .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
        .collect();
    (status.expect("a status"), headers, body.to_owned())
}
