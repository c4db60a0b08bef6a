//! The server as the client `kube` sees it.

#![allow(clippy::unwrap_used, reason = "a test panics where it fails")]

use std::time::Duration;

use k8s_openapi::api::core::v1::{Namespace, Node, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{
    DeleteParams, ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams,
};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::PartialObjectMeta;
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client, Config, ResourceExt};
use owlk8s_apiserver::{
    ApiServer, Fault, Kind, SERVICE_ACCOUNT, deployment, namespace, node, pod, service,
};

mod support;

use support::{Initial, Next, client, driven, names, soon};

#[tokio::test]
async fn watcher_lists_pods_of_its_node_and_follows_them() {
    let server = ApiServer::start();
    let cluster = server.cluster();
    let carts = cluster.add(deployment("shop", "cart").pods(2).on("n1"));
    cluster.add(deployment("shop", "cart").pods(1).on("n2"));
    let pods: Api<Pod> = Api::all(client(&server).await);
    let config = watcher::Config::default().fields("spec.nodeName=n1");
    let mut events = driven(watcher::watcher(pods, config));
    assert!(matches!(events.next_event().await, Event::Init));
    let mut listed = Vec::new();
    loop {
        match events.next_event().await {
            Event::InitApply(pod) => listed.push(pod.name_any()),
            Event::InitDone => break,
            other => panic!("{other:?}"),
        }
    }
    let mut want = carts.clone();
    want.sort();
    assert_eq!(listed, want);

    cluster.add(pod("shop", "elsewhere").on("n2"));
    cluster.add(pod("shop", "here").on("n1").ip("10.0.0.7"));
    let Event::Apply(here) = events.next_event().await else {
        panic!("no pod came")
    };
    assert_eq!(
        here.status.and_then(|status| status.pod_ip).as_deref(),
        Some("10.0.0.7")
    );
    cluster
        .pod("shop", "here")
        .annotate("owlk8s/ignore", "true");
    let Event::Apply(here) = events.next_event().await else {
        panic!("no pod changed")
    };
    assert_eq!(here.annotations()["owlk8s/ignore"], "true");
    cluster.delete_pod("shop", "here");
    let Event::Delete(here) = events.next_event().await else {
        panic!("no pod went")
    };
    assert_eq!(here.name_any(), "here");
    assert_eq!(here.resource_version(), Some(cluster.version().to_string()));
}

#[tokio::test]
async fn watcher_lists_again_when_its_version_is_too_old() {
    let server = ApiServer::start();
    let cluster = server.cluster();
    cluster.add(service("shop", "cart").selecting([("app", "cart")]));
    let services: Api<Service> = Api::all(client(&server).await);
    let mut events = driven(watcher::watcher(services, watcher::Config::default()));
    events.next_init().await;
    soon(server.watching("services")).await;

    server.silence_watches();
    cluster.add(service("shop", "user"));
    server.compact();
    server.end_watches();
    soon(server.until(|server| server.count("watch", "services") == 2)).await;
    server.resume_watches();
    let error = soon(events.try_next_event()).await.unwrap_err();
    let watcher::Error::WatchError(status) = error else {
        panic!("{error}")
    };
    assert_eq!((status.code, status.reason.as_str()), (410, "Expired"));
    assert!(
        status.message.starts_with("too old resource version: "),
        "{}",
        status.message
    );
    assert_eq!(events.next_init().await, ["cart", "user"]);
    assert_eq!(server.count("list", "services"), 2);
}

#[tokio::test]
async fn watch_that_ends_goes_on_where_it_was() {
    let server = ApiServer::start();
    let cluster = server.cluster();
    let pods: Api<Pod> = Api::all(client(&server).await);
    let mut events = driven(watcher::watcher(pods, watcher::Config::default()));
    events.next_init().await;
    soon(server.watching("pods")).await;
    server.silence_watches();
    cluster.add(pod("shop", "missed"));
    server.end_watches();
    soon(server.until(|server| server.count("watch", "pods") == 2)).await;
    server.resume_watches();
    let Event::Apply(missed) = events.next_event().await else {
        panic!("no pod came")
    };
    assert_eq!(missed.name_any(), "missed");
    assert_eq!(server.count("list", "pods"), 1);
}

#[tokio::test]
async fn streaming_list_ends_with_its_bookmark() {
    let server = ApiServer::start();
    let cluster = server.cluster();
    cluster.add(deployment("shop", "cart").pods(3).on("n1"));
    let pods: Api<Pod> = Api::all(client(&server).await);
    let config = watcher::Config::default().streaming_lists();
    let mut events = driven(watcher::watcher(pods, config));
    assert_eq!(events.next_init().await.len(), 3);
    assert_eq!(server.count("list", "pods"), 0);
    assert!(
        server
            .requests()
            .iter()
            .any(|request| request.initial_events)
    );
    cluster.add(pod("shop", "later"));
    assert!(matches!(events.next_event().await, Event::Apply(pod) if pod.name_any() == "later"));
}

#[tokio::test]
async fn metadata_watcher_gets_nothing_but_metadata() {
    let server = ApiServer::start();
    let cluster = server.cluster();
    cluster.add(namespace("shop").annotated("owlk8s/ignore", "true"));
    let namespaces: Api<PartialObjectMeta<Namespace>> = Api::all(client(&server).await);
    let mut events = driven(watcher::watcher(namespaces, watcher::Config::default()));
    assert_eq!(events.next_init().await, ["default", "kube-system", "shop"]);
    soon(server.watching("namespaces")).await;
    cluster.namespace("shop").unannotate("owlk8s/ignore");
    let Event::Apply(shop) = events.next_event().await else {
        panic!("no namespace changed")
    };
    assert!(shop.annotations().is_empty());
    assert_eq!(shop.labels()["kubernetes.io/metadata.name"], "shop");
    let requests = server.requests();
    assert!(
        requests.iter().all(|request| request.metadata_only),
        "{requests:?}"
    );
}

#[tokio::test]
async fn metadata_of_one_object_has_its_own_type() {
    let server = ApiServer::start();
    server.cluster().add(deployment("shop", "cart").on("n1"));
    let sets: Api<k8s_openapi::api::apps::v1::ReplicaSet> =
        Api::namespaced(client(&server).await, "shop");
    let name = server
        .cluster()
        .names(Kind::ReplicaSet)
        .remove(0)
        .replace("shop/", "");
    let set = sets.get_metadata(&name).await.unwrap();
    assert_eq!(set.types.unwrap().kind, "PartialObjectMetadata");
    assert_eq!(set.metadata.owner_references.unwrap()[0].name, "cart");
}

#[tokio::test]
async fn pages_show_one_state_although_it_changes() {
    let server = ApiServer::start();
    let cluster = server.cluster();
    cluster.add(deployment("shop", "cart").pods(7).on("n1"));
    let pods: Api<Pod> = Api::all(client(&server).await);
    let whole = names(&pods.list(&ListParams::default()).await.unwrap().items);
    let first = pods.list(&ListParams::default().limit(3)).await.unwrap();
    assert_eq!(first.metadata.remaining_item_count, Some(4));
    cluster.delete_pod("shop", &whole[5]);
    cluster.add(pod("shop", "zz").on("n1"));
    let mut paged = names(&first.items);
    let mut token = first.metadata.continue_;
    while let Some(next) = token {
        let page = pods
            .list(&ListParams::default().limit(3).continue_token(&next))
            .await
            .unwrap();
        assert_eq!(
            page.metadata.resource_version,
            first.metadata.resource_version
        );
        paged.extend(names(&page.items));
        token = page.metadata.continue_.filter(|next| !next.is_empty());
    }
    assert_eq!(paged, whole);
}

#[tokio::test]
async fn expired_page_is_gone_and_offers_the_rest_as_it_is_now() {
    let server = ApiServer::start();
    let cluster = server.cluster();
    cluster.add(deployment("shop", "cart").pods(4).on("n1"));
    let pods: Api<Pod> = Api::all(client(&server).await);
    let first = pods.list(&ListParams::default().limit(2)).await.unwrap();
    cluster.add(pod("shop", "zz").on("n1"));
    server.compact();
    let token = first.metadata.continue_.unwrap();
    let next = ListParams::default().continue_token(&token);
    let kube::Error::Api(gone) = pods.list(&next).await.unwrap_err() else {
        panic!("no answer")
    };
    assert_eq!((gone.code, gone.reason.as_str()), (410, "Expired"));
    assert!(gone.message.contains("inconsistent list"));
    let token = gone.metadata.unwrap().continue_.unwrap();
    let rest = pods
        .list(&ListParams::default().continue_token(&token))
        .await
        .unwrap();
    assert_eq!(rest.items.len(), 3);
}

#[tokio::test]
async fn watch_shows_objects_that_begin_and_cease_to_match() {
    let server = ApiServer::start();
    let cluster = server.cluster();
    cluster.add(pod("shop", "a").labelled("color", "blue").on("n1"));
    let pods: Api<Pod> = Api::namespaced(client(&server).await, "shop");
    let params = WatchParams::default()
        .labels("color in (red)")
        .fields("status.phase=Running");
    let start = cluster.version().to_string();
    let mut events = Box::pin(pods.watch(&params, &start).await.unwrap());
    let a = cluster.pod("shop", "a");
    a.label("color", "red")
        .annotate("x", "1")
        .set_phase("Failed");
    a.set_phase("Running").label("color", "blue");
    let mut seen = Vec::new();
    for _ in 0..6 {
        seen.push(match events.next_event().await {
            WatchEvent::Added(pod) => ("added", pod.labels()["color"].clone()),
            WatchEvent::Modified(pod) => ("modified", pod.labels()["color"].clone()),
            WatchEvent::Deleted(pod) => ("deleted", pod.labels()["color"].clone()),
            other => panic!("{other:?}"),
        });
    }
    let want = [
        "added", "modified", "modified", "deleted", "added", "deleted",
    ];
    assert_eq!(seen, want.map(|change| (change, "red".to_owned())));
}

#[tokio::test]
async fn bookmarks_carry_a_quiet_watch_past_the_churn() {
    let server = ApiServer::start();
    let cluster = server.cluster();
    server.bookmark_every(Duration::from_millis(5));
    let pods: Api<Pod> = Api::all(client(&server).await);
    let params = WatchParams::default().fields("spec.nodeName=n1");
    let mut events = Box::pin(
        pods.watch(&params, &cluster.version().to_string())
            .await
            .unwrap(),
    );
    cluster.churn_elsewhere(100);
    loop {
        let WatchEvent::Bookmark(bookmark) = events.next_event().await else {
            panic!("no bookmark")
        };
        if bookmark.metadata.resource_version == cluster.version().to_string() {
            break;
        }
    }
}

#[tokio::test]
async fn watch_ends_cleanly_after_its_timeout() {
    let server = ApiServer::start();
    let pods: Api<Pod> = Api::all(client(&server).await);
    let params = WatchParams::default().timeout(1);
    let mut events = Box::pin(pods.watch(&params, "0").await.unwrap());
    assert!(
        soon(futures_util::StreamExt::next(&mut events))
            .await
            .is_none()
    );
    soon(server.until(|server| server.open_watches("pods") == 0)).await;
}

#[tokio::test]
async fn missing_permission_has_the_text_of_a_real_server() {
    let server = ApiServer::start();
    server.allow_only([("watch", "", "pods")]);
    let client = client(&server).await;
    let pods: Api<Pod> = Api::all(client.clone());
    let kube::Error::Api(status) = pods.list(&ListParams::default()).await.unwrap_err() else {
        panic!("no answer")
    };
    assert_eq!((status.code, status.reason.as_str()), (403, "Forbidden"));
    assert_eq!(
        status.message,
        format!(
            "pods is forbidden: User \"{SERVICE_ACCOUNT}\" cannot list resource \"pods\" in API group \"\" at the cluster scope"
        )
    );
    let slices: Api<EndpointSlice> = Api::namespaced(client, "shop");
    let kube::Error::Api(status) = slices.get("cart-1").await.unwrap_err() else {
        panic!("no answer")
    };
    assert_eq!(
        status.message,
        format!(
            "endpointslices.discovery.k8s.io \"cart-1\" is forbidden: User \"{SERVICE_ACCOUNT}\" cannot get resource \"endpointslices\" in API group \"discovery.k8s.io\" in the namespace \"shop\""
        )
    );
    assert!(pods.watch(&WatchParams::default(), "0").await.is_ok());
}

#[tokio::test]
async fn reviews_tell_what_is_allowed() {
    use k8s_openapi::api::authorization::v1::{
        ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
    };
    let server = ApiServer::start();
    server.forbid("list", "", "nodes");
    let reviews: Api<SelfSubjectAccessReview> = Api::all(client(&server).await);
    for (verb, resource, allowed) in [
        ("list", "nodes", false),
        ("watch", "nodes", true),
        ("list", "pods", true),
    ] {
        let review = SelfSubjectAccessReview {
            spec: SelfSubjectAccessReviewSpec {
                resource_attributes: Some(ResourceAttributes {
                    verb: Some(verb.into()),
                    resource: Some(resource.into()),
                    ..ResourceAttributes::default()
                }),
                ..SelfSubjectAccessReviewSpec::default()
            },
            ..SelfSubjectAccessReview::default()
        };
        let answer = reviews
            .create(&PostParams::default(), &review)
            .await
            .unwrap();
        assert_eq!(answer.status.unwrap().allowed, allowed, "{verb} {resource}");
    }
}

#[tokio::test]
async fn token_is_asked_for_and_expires() {
    let server = ApiServer::start();
    let nobody = client(&server).await;
    server.accept_token("one");
    let pods: Api<Pod> = Api::all(client(&server).await);
    assert!(pods.list(&ListParams::default()).await.is_ok());
    server.expire_token("one");
    let kube::Error::Api(status) = pods.list(&ListParams::default()).await.unwrap_err() else {
        panic!("no answer")
    };
    assert_eq!(
        (status.code, status.message.as_str()),
        (401, "Unauthorized")
    );
    let pods: Api<Pod> = Api::all(nobody);
    let kube::Error::Api(status) = pods.list(&ListParams::default()).await.unwrap_err() else {
        panic!("no answer")
    };
    assert_eq!(status.code, 403);
    assert!(
        status.message.contains("system:anonymous"),
        "{}",
        status.message
    );
}

#[tokio::test]
async fn client_with_the_authority_of_the_server_speaks_tls() {
    let server = ApiServer::start_tls();
    assert!(server.url().starts_with("https://"));
    let node = server.cluster();
    node.add(owlk8s_apiserver::node("n1"));
    let nodes: Api<Node> = Api::all(client(&server).await);
    assert_eq!(nodes.get("n1").await.unwrap().name_any(), "n1");
}

#[tokio::test]
async fn too_many_requests_say_when_to_come_back() {
    let server = ApiServer::start();
    server.fail(Fault::TooManyRequests { retry_after: 7 });
    let (status, headers, body) = support::get(&server, "/api/v1/pods").await;
    assert_eq!((status, headers["retry-after"].as_str()), (429, "7"));
    assert!(body.contains("\"TooManyRequests\""), "{body}");
    server.heal();
    assert_eq!(support::get(&server, "/api/v1/pods").await.0, 200);
}

#[tokio::test]
async fn faults_meet_who_they_are_for() {
    let server = ApiServer::start();
    let client = client(&server).await;
    let pods: Api<Pod> = Api::all(client.clone());
    server.fail_on("list", "pods", Fault::InternalError);
    let kube::Error::Api(status) = pods.list(&ListParams::default()).await.unwrap_err() else {
        panic!("no answer")
    };
    assert_eq!(status.code, 500);
    let services: Api<Service> = Api::all(client);
    assert!(services.list(&ListParams::default()).await.is_ok());
    server.heal();
    server.fail(Fault::Hang);
    let all = ListParams::default();
    let hanging = tokio::time::timeout(Duration::from_millis(50), pods.list(&all));
    assert!(hanging.await.is_err());
    let hung = server.requests().pop().unwrap();
    assert_eq!(hung.status, None);
}

#[tokio::test]
async fn server_comes_back_on_its_port() {
    let server = ApiServer::start();
    let cluster = server.cluster();
    let pods: Api<Pod> = Api::all(client(&server).await);
    let mut events = driven(watcher::watcher(pods, watcher::Config::default()));
    events.next_init().await;
    soon(server.watching("pods")).await;
    server.go_down();
    assert_eq!(server.open_watches("pods"), 0);
    let refused = tokio::net::TcpStream::connect(server.address())
        .await
        .unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    cluster.add(pod("shop", "meanwhile"));
    assert!(soon(events.try_next_event()).await.is_err());
    server.come_back();
    loop {
        match soon(events.try_next_event()).await {
            Ok(Event::Apply(pod)) => break assert_eq!(pod.name_any(), "meanwhile"),
            Ok(other) => panic!("{other:?}"),
            Err(_) => {} // the watcher does not know yet
        }
    }
    assert_eq!(server.count("list", "pods"), 1);
}

#[tokio::test]
async fn changes_by_http_are_seen_like_any_other() {
    let server = ApiServer::start();
    let cluster = server.cluster();
    cluster.add(namespace("shop"));
    let client = client(&server).await;
    let services: Api<Service> = Api::namespaced(client.clone(), "shop");
    let mut made: Service = serde_json::from_value(serde_json::json!({
        "metadata": {"name": "cart"}, "spec": {"selector": {"app": "cart"}}
    }))
    .unwrap();
    let first = services
        .create(&PostParams::default(), &made)
        .await
        .unwrap();
    assert!(first.uid().is_some());
    let kube::Error::Api(status) = services
        .create(&PostParams::default(), &made)
        .await
        .unwrap_err()
    else {
        panic!("no answer")
    };
    assert_eq!(
        (status.code, status.reason.as_str()),
        (409, "AlreadyExists")
    );
    let patch = Patch::Merge(serde_json::json!({"metadata": {"labels": {"a": "b"}}}));
    let patched = services
        .patch("cart", &PatchParams::default(), &patch)
        .await
        .unwrap();
    assert_eq!(patched.labels()["a"], "b");
    made.metadata.resource_version = first.resource_version();
    let kube::Error::Api(status) = services
        .replace("cart", &PostParams::default(), &made)
        .await
        .unwrap_err()
    else {
        panic!("no answer")
    };
    assert_eq!((status.code, status.reason.as_str()), (409, "Conflict"));
    services
        .delete("cart", &DeleteParams::default())
        .await
        .unwrap();
    assert!(services.get_opt("cart").await.unwrap().is_none());
    let pods: Api<Pod> = Api::namespaced(client, "nowhere");
    let stray = serde_json::from_value(serde_json::json!({"metadata": {"name": "a"}})).unwrap();
    let kube::Error::Api(status) = pods
        .create(&PostParams::default(), &stray)
        .await
        .unwrap_err()
    else {
        panic!("no answer")
    };
    assert_eq!(status.message, "namespaces \"nowhere\" not found");
}

#[tokio::test]
async fn unknown_field_selector_is_a_bad_request() {
    let server = ApiServer::start();
    let pods: Api<Pod> = Api::all(client(&server).await);
    let kube::Error::Api(status) = pods
        .list(&ListParams::default().fields("spec.color=red"))
        .await
        .unwrap_err()
    else {
        panic!("no answer")
    };
    assert_eq!(
        (status.code, status.message.as_str()),
        (400, "field label not supported: spec.color")
    );
}

#[tokio::test]
async fn client_finds_version_and_resources() {
    let server = ApiServer::start();
    let client = client(&server).await;
    assert_eq!(client.apiserver_version().await.unwrap().major, "1");
    let groups = client.list_api_groups().await.unwrap();
    assert!(groups.groups.iter().any(|group| group.name == "apps"));
    let core = client.list_core_api_resources("v1").await.unwrap();
    assert!(
        core.resources
            .iter()
            .any(|resource| resource.name == "pods" && resource.namespaced)
    );
}

#[tokio::test]
async fn log_says_what_was_asked_and_what_it_cost() {
    let server = ApiServer::start();
    server.cluster().add(node("n1"));
    let nodes: Api<Node> = Api::all(client(&server).await);
    nodes
        .list(
            &ListParams::default()
                .fields("metadata.name=n1")
                .labels("kubernetes.io/os=linux"),
        )
        .await
        .unwrap();
    let request = server.requests().pop().unwrap();
    assert_eq!(
        (
            request.verb.as_str(),
            request.resource.as_str(),
            request.name.as_str()
        ),
        ("list", "nodes", "n1")
    );
    assert_eq!(request.field_selector, "metadata.name=n1");
    assert_eq!(request.label_selector, "kubernetes.io/os=linux");
    assert_eq!(request.status, Some(200));
    assert!(request.bytes > 1000, "{request:?}");
    assert!(!request.metadata_only && !request.open);
    assert_eq!(
        server.counts().into_iter().collect::<Vec<_>>(),
        [(("list".to_owned(), "nodes".to_owned()), 1)]
    );
}

#[tokio::test]
async fn in_cluster_files_lead_to_the_server() {
    let server = ApiServer::start_tls();
    server.accept_token("mounted");
    let directory = tempfile::tempdir().unwrap();
    server.service_account_dir(directory.path()).unwrap();
    let read = |name| std::fs::read_to_string(directory.path().join(name)).unwrap();
    assert_eq!(
        (read("token").as_str(), read("namespace").as_str()),
        ("mounted", "owlk8s")
    );
    assert_eq!(
        Some(read("ca.crt").as_str()),
        server.certificate_authority()
    );
    let path = directory.path().join("config");
    server.kubeconfig(&path).unwrap();
    let kubeconfig = Kubeconfig::read_from(&path).unwrap();
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
        .await
        .unwrap();
    assert_eq!(config.default_namespace, "owlk8s");
    assert!(
        Client::try_from(config)
            .unwrap()
            .apiserver_version()
            .await
            .is_ok()
    );
}
