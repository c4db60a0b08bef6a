//! Watches: a stream of events, one line of JSON each.
//!
//! One task for each, that reads the store's events behind its position whenever there are new ones; nothing is queued
//! for a slow client. One that falls behind the history ends, as the real server ends it, and is told 410 when it
//! comes back. Not simulated: the bookmark shortly before a timeout, and compression.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::accept::Representation;
use super::body::Source;
use super::options::Begin;
use super::{Call, JSON, Reply, Shared};
use crate::failure::Failure;
use crate::object::{Form, Object};
use crate::resource::Resource;
use crate::selector::Selector;
use crate::store::{At, VersionProblem};

/// Bytes of a piece, about.
const PIECE: usize = 64 << 10;
/// Events that are taken from the store at once.
const BATCH: usize = 512;

pub(super) fn answer(call: Call, resource: &'static Resource) -> Result<Reply, Failure> {
    let representation = Representation::of_object(&call.accept)?;
    let namespace = call.route.ask.namespace_of(resource);
    let mut selector = call.options.selector(resource, namespace)?;
    let name = &call.route.ask.name;
    if selector.fields.wanted("metadata.name").is_none() && !name.is_empty() {
        // a watch of one object by its path
        let field = format!("metadata.name={name}");
        selector.fields = crate::selector::Fields::parse(&field, resource)?;
    }
    let begin = call.options.begin()?;
    let bookmarks = call.options.is_set("allowWatchBookmarks");
    let timeout = call.options.timeout();
    let (sender, receiver) = mpsc::channel(1);
    let watcher = Watcher {
        shared: call.shared,
        resource,
        selector,
        form: representation.form(Form::Whole),
        position: 0,
        sender,
    };
    tokio::spawn(watcher.run(begin, bookmarks, timeout));
    Ok(Reply {
        code: 200,
        content_type: JSON,
        source: Source::Live(receiver),
    })
}

struct Watcher {
    shared: Arc<Shared>,
    resource: &'static Resource,
    selector: Selector,
    form: Form,
    /// All events up to this version are sent, or were not for this watcher.
    position: u64,
    sender: mpsc::Sender<Bytes>,
}

/// The stream is over: the client has gone, or has fallen behind.
struct Over;

impl Watcher {
    async fn run(mut self, begin: Begin, bookmarks: bool, timeout: Option<Duration>) {
        let settings = &self.shared.watches;
        let mut ends = settings.ends.subscribe();
        let mut silent = settings.silent.subscribe();
        let mut interval = settings.bookmarks.subscribe();
        let mut versions = self.shared.store.subscribe();
        let end = timeout.map(|timeout| Instant::now() + timeout);
        let mut marked = Instant::now();
        if self.begin(begin).await.is_err() {
            return;
        }
        loop {
            let quiet = *silent.borrow_and_update();
            if !quiet && self.send_news().await.is_err() {
                return;
            }
            let mark = marked + *interval.borrow_and_update();
            let client = self.sender.clone();
            tokio::select! {
                _ = versions.changed() => {}
                _ = silent.changed() => {}
                _ = interval.changed() => {}
                () = tokio::time::sleep_until(mark), if bookmarks && !quiet => {
                    marked = Instant::now();
                    if self.send_bookmark(false).await.is_err() {
                        return;
                    }
                }
                () = sleep_until_end(end) => return,
                _ = ends.changed() => return,
                () = client.closed() => return,
            }
        }
    }

    async fn begin(&mut self, begin: Begin) -> Result<(), Over> {
        match begin {
            Begin::After(version) => {
                self.position = version;
                let problem = self.shared.store.may_watch_from(version).err();
                if let Some(VersionProblem::Expired { floor }) = problem {
                    let message = format!("too old resource version: {version} ({floor})");
                    let status = Failure::expired(message).status();
                    self.send(line("ERROR", |out| write_value(out, &status)))
                        .await?;
                    return Err(Over);
                }
                Ok(())
            }
            Begin::Now => {
                self.position = self.shared.store.version();
                Ok(())
            }
            Begin::State { bookmark } => {
                self.send_state().await?;
                if bookmark {
                    self.send_bookmark(true).await?;
                }
                Ok(())
            }
        }
    }

    async fn send_state(&mut self) -> Result<(), Over> {
        let kind = self.resource.kind;
        let listed = self
            .shared
            .store
            .list(kind, &self.selector, At::Latest, None, None);
        let page = listed.map_err(|_| Over)?; // the latest is always there
        self.position = page.version;
        let mut piece = Vec::new();
        for object in page.items {
            self.append(&mut piece, "ADDED", &object, object.version);
            self.flush(&mut piece, PIECE).await?;
        }
        self.flush(&mut piece, 1).await
    }

    async fn send_news(&mut self) -> Result<(), Over> {
        loop {
            let events = self.shared.store.events_after(self.position, BATCH);
            let (events, upto) = events.ok_or(Over)?;
            if events.is_empty() {
                return Ok(());
            }
            let mut piece = Vec::new();
            for event in events {
                if event.kind == self.resource.kind
                    && let Some((change, object)) = event.seen_by(&self.selector)
                {
                    self.append(&mut piece, change.name(), object, event.version);
                    self.flush(&mut piece, PIECE).await?;
                }
            }
            self.flush(&mut piece, 1).await?;
            self.position = upto;
        }
    }

    async fn send_bookmark(&self, initial: bool) -> Result<(), Over> {
        let (kind, version) = match self.form {
            Form::Metadata => ("PartialObjectMetadata", "meta.k8s.io/v1".to_owned()),
            Form::Item | Form::Whole => (self.resource.name, self.resource.api_version()),
        };
        let mut metadata =
            json!({"resourceVersion": self.position.to_string(), "creationTimestamp": null});
        if initial {
            metadata["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        let object = json!({"kind": kind, "apiVersion": version, "metadata": metadata});
        self.send(line("BOOKMARK", |out| write_value(out, &object)))
            .await
    }

    fn append(&self, piece: &mut Vec<u8>, change: &str, object: &Object, version: u64) {
        piece.extend(line(change, |out| object.write(out, self.form, version)));
    }

    /// Sends a piece that has so many bytes.
    async fn flush(&self, piece: &mut Vec<u8>, least: usize) -> Result<(), Over> {
        if piece.len() < least {
            return Ok(());
        }
        self.send(std::mem::take(piece)).await
    }

    async fn send(&self, piece: Vec<u8>) -> Result<(), Over> {
        self.sender.send(piece.into()).await.map_err(|_| Over)
    }
}

async fn sleep_until_end(end: Option<Instant>) {
    match end {
        Some(end) => tokio::time::sleep_until(end).await,
        None => std::future::pending().await,
    }
}

fn line(change: &str, write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = format!("{{\"type\":\"{change}\",\"object\":").into_bytes();
    write(&mut out);
    out.extend_from_slice(b"}\n");
    out
}

fn write_value(out: &mut Vec<u8>, value: &Value) {
    out.extend_from_slice(value.to_string().as_bytes());
}
