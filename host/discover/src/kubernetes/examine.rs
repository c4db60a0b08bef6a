//! One look at the API server, for a person who wants to know what is missing.

use std::time::Duration;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Namespace, Node};
use kube::api::{Api, ListParams, PartialObjectMeta};
use kube::{Client, Resource};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::access::{self, AccessError};
use super::client::client;
use super::feed::Feed;
use super::health::{ASKED, WATCHED, chain, not_served, rule};
use super::objects::{PodObject, ServiceObject, SliceObject};
use super::traffic::{ApiRequests, Count};
use crate::Surroundings;
use crate::config::KubernetesConfig;

/// For each question.
const PATIENCE: Duration = Duration::from_secs(5);

/// One thing that was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiCheck {
    /// `version`, or a resource.
    pub what: String,
    /// What was answered.
    pub found: String,
    /// What to do; None where all is well.
    pub problem: Option<String>,
    /// The agent works without it.
    pub optional: bool,
}

/// Asks for the version, and for one object of each kind that is read.
///
/// # Errors
/// There is no way to the API server.
pub async fn examine(
    config: &KubernetesConfig,
    around: &Surroundings,
) -> Result<Vec<ApiCheck>, AccessError> {
    let access = access::find(config, around).await?;
    let url = access.cluster_url.to_string();
    // What is asked here is counted for nobody.
    let (answers, _) = mpsc::unbounded_channel();
    let count = Count {
        requests: ApiRequests::default(),
        answers,
    };
    let client = client(access, count)?;
    let version = version(&client, &url).await;
    let reached = version.problem.is_none();
    let mut checks = vec![version];
    if !reached {
        return Ok(checks);
    }
    let one = || ListParams::default().limit(1);
    let mine = one().fields(&format!("spec.nodeName={}", around.node));
    let by_name = one().fields(&format!("metadata.name={}", around.node));
    let feeds = [
        (Feed::Pods, list::<PodObject>(&client, mine).await),
        (Feed::Services, list::<ServiceObject>(&client, one()).await),
        (
            Feed::Namespaces,
            list::<PartialObjectMeta<Namespace>>(&client, one()).await,
        ),
        (
            Feed::Nodes,
            list::<PartialObjectMeta<Node>>(&client, by_name).await,
        ),
        (
            Feed::EndpointSlices,
            list::<SliceObject>(&client, one()).await,
        ),
    ];
    for (feed, answer) in feeds {
        checks.push(of_feed(feed, answer, &around.node));
    }
    let owners = [
        ("apps", "replicasets", ask::<ReplicaSet>(&client).await),
        ("batch", "jobs", ask::<Job>(&client).await),
    ];
    for (group, resource, answer) in owners {
        let without = "workloads behind other owners than Deployments and CronJobs are not named";
        checks.push(of(
            group,
            resource,
            ASKED,
            answer.map(|()| "may be read".to_owned()),
            Some(without),
        ));
    }
    Ok(checks)
}

async fn version(client: &Client, url: &str) -> ApiCheck {
    let check = |found, problem| ApiCheck {
        what: "version".to_owned(),
        found,
        problem,
        optional: false,
    };
    match timeout(PATIENCE, client.apiserver_version()).await {
        Ok(Ok(version)) => check(format!("{} at {url}", version.git_version), None),
        Ok(Err(error)) => check(
            format!("{url}: {}", chain(&error)),
            Some(
                "is this the API server's address, and is it reached from this node's network?"
                    .to_owned(),
            ),
        ),
        Err(_) => check(
            format!("{url} does not answer in {} s", PATIENCE.as_secs()),
            Some(
                "is a firewall or a network policy between this node and the API server?"
                    .to_owned(),
            ),
        ),
    }
}

/// How many are told, of the one that is asked for.
async fn list<K>(client: &Client, params: ListParams) -> Result<usize, kube::Error>
where
    K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + serde::de::DeserializeOwned,
{
    let api = Api::<K>::all(client.clone());
    match timeout(PATIENCE, api.list(&params)).await {
        Ok(answer) => Ok(answer?.items.len()),
        Err(_) => Err(kube::Error::Service("no answer in time".into())),
    }
}

/// Whether one may be asked for: there need not be one.
async fn ask<K>(client: &Client) -> Result<(), kube::Error>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    K: Clone + std::fmt::Debug + serde::de::DeserializeOwned,
{
    let api = Api::<K>::namespaced(client.clone(), "default");
    match timeout(PATIENCE, api.get_metadata_opt("owlk8s")).await {
        Ok(answer) => answer.map(drop),
        Err(_) => Err(kube::Error::Service("no answer in time".into())),
    }
}

fn of_feed(feed: Feed, answer: Result<usize, kube::Error>, node: &str) -> ApiCheck {
    if let (Feed::Nodes, Ok(0)) = (feed, &answer) {
        return ApiCheck {
            what: feed.resource().to_owned(),
            found: format!("the cluster has no node {node}"),
            problem: Some(
                "set `node`, or NODE_NAME from spec.nodeName, to this node's name".to_owned(),
            ),
            optional: false,
        };
    }
    let found = answer.map(|_| match feed {
        Feed::Nodes => format!("{node} is there"),
        _ => "may be read".to_owned(),
    });
    of(
        feed.group(),
        feed.resource(),
        WATCHED,
        found,
        feed.without(),
    )
}

fn of(
    group: &str,
    resource: &str,
    verbs: &[&str],
    answer: Result<String, kube::Error>,
    without: Option<&str>,
) -> ApiCheck {
    let (found, problem) = match answer {
        Ok(found) => (found, None),
        Err(kube::Error::Api(status)) if status.code == 403 => {
            let grant = format!("grant {}", rule(group, resource, verbs));
            let remedy = match without {
                Some(without) => format!("{grant}; without it {without}"),
                None => grant,
            };
            (status.message.clone(), Some(remedy))
        }
        Err(kube::Error::Api(status)) if status.code == 404 => {
            let known = not_served(group, resource);
            let remedy = match without {
                Some(without) => format!("{known}; without it {without}"),
                None => known,
            };
            (status.message.clone(), Some(remedy))
        }
        Err(error) => (
            chain(&error),
            Some("try again; see the API server's log".to_owned()),
        ),
    };
    ApiCheck {
        what: resource.to_owned(),
        found,
        problem,
        optional: without.is_some(),
    }
}
