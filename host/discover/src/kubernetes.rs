//! The `kubernetes` source: the pods of this node that lie behind services, under the names of the cluster.
//!
//! Watches come in as [`feed::Change`]s and make a [`Cluster`]; what follows from it are the targets. The API server may
//! be away, slow or forbid something: the last targets stay, and [`Found::confirmed_at`] stands still. Costs it five
//! watches from each node, and one small request for each owner whose name does not tell the workload.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::{BoxStream, SelectAll};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{Api, Client};
use owlk8s_model::UnixNanos;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::Surroundings;
use crate::config::{Include, KubernetesConfig};
use crate::watch::{Found, unix_now};

pub use access::AccessError;
use cluster::{Cluster, Findings};
pub use examine::{ApiCheck, examine};
use feed::{Change, Feed};
use health::{Health, chain};
use objects::Owner;
pub(crate) use objects::STATIC_POD_UID;
pub use traffic::{ApiRequests, Asked};
use workload::{Question, Workloads};

mod access;
mod client;
mod cluster;
mod examine;
mod feed;
mod health;
mod objects;
mod token;
mod traffic;
mod workload;

/// Changes come in flocks: a rollout's are taken together.
const CALM: Duration = Duration::from_millis(50);
/// How often the targets are confirmed while nothing changes.
const CONFIRM: Duration = Duration::from_secs(10);
/// Questions to the API server at once.
const AT_ONCE: usize = 4;
/// Before a question that failed is asked again.
const ASK_AGAIN: Duration = Duration::from_secs(30);

/// The API server as this node sees it.
pub(crate) struct Kubernetes {
    client: Client,
    node: String,
    include: Include,
    changes: SelectAll<BoxStream<'static, Change>>,
    answers: mpsc::UnboundedReceiver<Asked>,
    cluster: Cluster,
    workloads: Workloads,
    health: Health,
    questions: JoinSet<(Question, Result<Option<Owner>, kube::Error>)>,
    asked: BTreeSet<Question>,
    /// Questions that could not be answered wait until then.
    ask_again: Option<Instant>,
    /// It was said that questions fail.
    told_refused: bool,
    findings: Findings,
    confirmed_at: UnixNanos,
}

impl Kubernetes {
    /// Prepares the watches; asks nothing yet, so that an API server that is away holds up nobody.
    pub(crate) async fn new(
        config: &KubernetesConfig,
        around: &Surroundings,
    ) -> Result<(Self, ApiRequests), AccessError> {
        let access = access::find(config, around).await?;
        let url = access.cluster_url.to_string();
        let requests = ApiRequests::default();
        let (told, answers) = mpsc::unbounded_channel();
        let count = traffic::Count {
            requests: requests.clone(),
            answers: told,
        };
        let client = client::client(access, count)?;
        tracing::info!(url, node = around.node, "watching Kubernetes");
        let source = Self {
            changes: feed::changes(&client, &around.node),
            client,
            node: around.node.clone(),
            include: config.include,
            answers,
            cluster: Cluster::default(),
            workloads: Workloads::default(),
            health: Health::default(),
            questions: JoinSet::new(),
            asked: BTreeSet::new(),
            ask_again: None,
            told_refused: false,
            findings: Findings::default(),
            confirmed_at: UnixNanos::default(),
        };
        Ok((source, requests))
    }

    /// Publishes what is found until nobody listens.
    pub(crate) async fn publish(mut self, sender: watch::Sender<Found>) {
        let mut confirm = tokio::time::interval(CONFIRM);
        loop {
            tokio::select! {
                () = sender.closed() => return,
                Some(change) = self.changes.next() => {
                    if self.take(change) {
                        self.flock().await;
                        self.conclude();
                    }
                }
                Some(asked) = self.answers.recv() => {
                    if !self.health.answered(&asked) {
                        continue;
                    }
                }
                Some(answer) = self.questions.join_next() => {
                    if let Ok((question, owner)) = answer {
                        self.learn(question, owner);
                    }
                    self.conclude();
                }
                () = until(self.ask_again) => {
                    self.ask_again = None;
                    self.conclude();
                }
                _ = confirm.tick() => {}
            }
            self.confirm();
            let found = Found {
                targets: self.findings.targets.clone(),
                confirmed_at: self.confirmed_at,
            };
            sender.send_if_modified(|now| {
                let changed = *now != found;
                *now = found;
                changed
            });
        }
    }

    /// Takes what else comes at the same time.
    async fn flock(&mut self) {
        let calm = sleep(CALM);
        tokio::pin!(calm);
        loop {
            tokio::select! {
                () = &mut calm => return,
                Some(change) = self.changes.next() => {
                    self.take(change);
                }
            }
        }
    }

    /// Whether other conclusions may follow now.
    fn take(&mut self, change: Change) -> bool {
        let cluster = &mut self.cluster;
        match change {
            Change::Pod(step) => cluster.pods.take(step),
            Change::Service(step) => cluster.services.take(step),
            Change::Namespace(step) => cluster.namespaces.take(step),
            Change::Node(step) => {
                let first = !cluster.node.complete;
                let changed = cluster.node.take(step);
                if first && cluster.node.complete && cluster.node.len() == 0 {
                    tracing::warn!(
                        node = self.node,
                        "the cluster has no node of this name, so no pods on it: set `node`, or NODE_NAME from spec.nodeName"
                    );
                }
                changed
            }
            Change::Slice(step) => cluster.slices.take(step),
            Change::Failed(feed, error) => {
                if let Some(silence) = self.health.failed(feed, &error) {
                    self.was_silent(silence);
                }
                // What is denied is not waited for.
                true
            }
        }
    }

    /// Draws the conclusions of what is known: nothing before all that may take a pod out is known.
    fn conclude(&mut self) {
        if !self.is_ready() {
            return;
        }
        self.workloads.retain(self.cluster.pods());
        self.ask();
        let before = std::mem::take(&mut self.findings);
        self.findings = self.cluster.findings(self.include, &self.workloads);
        for pod in self.findings.host_network.difference(&before.host_network) {
            tracing::info!(
                pod,
                "not watched: it shares the node's network (hostNetwork), so its packets cannot be told from the node's"
            );
        }
    }

    /// Whether each table is complete, or known to stay empty.
    fn is_ready(&self) -> bool {
        let cluster = &self.cluster;
        let complete = [
            (Feed::Pods, cluster.pods.complete),
            (Feed::Services, cluster.services.complete),
            (Feed::Namespaces, cluster.namespaces.complete),
            (Feed::Nodes, cluster.node.complete),
            (Feed::EndpointSlices, cluster.slices.complete),
        ];
        complete.into_iter().all(|(feed, complete)| {
            complete || self.health.is_denied(feed) && feed.without().is_some()
        })
    }

    /// What is followed and whole is so now.
    fn confirm(&mut self) {
        if self.health.is_good() && self.is_ready() {
            self.confirmed_at = unix_now();
        }
    }

    /// What was confirmed meanwhile was not so.
    fn was_silent(&mut self, silence: Duration) {
        let silence = u64::try_from(silence.as_nanos()).unwrap_or(u64::MAX);
        let heard = UnixNanos(unix_now().0.saturating_sub(silence));
        self.confirmed_at = self.confirmed_at.min(heard);
    }

    /// Asks for owners that the names do not tell.
    fn ask(&mut self) {
        if self.ask_again.is_some() {
            return;
        }
        for question in self.workloads.questions(self.cluster.pods()) {
            if self.questions.len() >= AT_ONCE {
                // The next answer comes back here.
                return;
            }
            if self.asked.insert(question.clone()) {
                let client = self.client.clone();
                self.questions.spawn(async move {
                    let owner = owner(client, &question).await;
                    (question, owner)
                });
            }
        }
    }

    fn learn(&mut self, question: Question, owner: Result<Option<Owner>, kube::Error>) {
        self.asked.remove(&question);
        match owner {
            Ok(owner) => self.workloads.learn(question.uid, owner),
            Err(error) if is_refusal(&error) => {
                if !std::mem::replace(&mut self.told_refused, true) {
                    tracing::warn!(
                        said = chain(&error),
                        rule = question.kind.rule(),
                        "workloads behind some owners are not known: a permission is missing"
                    );
                }
                // The owner itself will do.
                self.workloads.learn(question.uid, None);
            }
            Err(error) => {
                tracing::debug!(error = chain(&error), "an owner is asked for again later");
                self.ask_again = Some(Instant::now() + ASK_AGAIN);
            }
        }
    }
}

/// The controller of an object; None where it has none, or is gone.
async fn owner(client: Client, question: &Question) -> Result<Option<Owner>, kube::Error> {
    let answer = match question.kind {
        workload::Asked::ReplicaSet => {
            timeout(ASK_AGAIN, metadata::<ReplicaSet>(client, question)).await
        }
        workload::Asked::Job => timeout(ASK_AGAIN, metadata::<Job>(client, question)).await,
    };
    let Ok(answer) = answer else {
        return Err(kube::Error::Service("no answer in time".into()));
    };
    Ok(answer?.and_then(|meta| Owner::controller(&meta)))
}

async fn metadata<K>(client: Client, question: &Question) -> Result<Option<ObjectMeta>, kube::Error>
where
    K: kube::Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    K: Clone + std::fmt::Debug + serde::de::DeserializeOwned,
{
    let api = Api::<K>::namespaced(client, &question.namespace);
    let found = api.get_metadata_opt(&question.name).await?;
    Ok(found.map(|object| object.metadata))
}

fn is_refusal(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 403)
}

async fn until(when: Option<Instant>) {
    match when {
        Some(when) => sleep_until(when).await,
        None => std::future::pending().await,
    }
}
