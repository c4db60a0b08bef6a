//! The `kubernetes` source against a server that speaks the Kubernetes API, its faults included.

#![allow(clippy::unwrap_used, reason = "a test panics where it fails")]

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use owlk8s_apiserver::{
    ApiServer, Cluster, Fault, cron_job, daemon_set, deployment, endpoint_slice, job, namespace,
    node, pod, replica_set, service, stateful_set,
};
use owlk8s_discover::{Discovery, DiscoveryConfig, Surroundings, discover, examine};
use owlk8s_model::{Target, TargetSet};
use tokio::time::timeout;

/// Everything here happens on one machine; what takes longer does not come.
const PATIENCE: Duration = Duration::from_secs(15);

/// A cluster with the node `n1`, as its agent sees it.
struct Watched {
    server: ApiServer,
    cluster: Cluster,
    discovery: Discovery,
    /// Of its credentials.
    dir: tempfile::TempDir,
}

impl Watched {
    async fn start(server: ApiServer) -> Self {
        Self::with(server, "").await
    }

    /// With `more` in `[discovery.kubernetes]`.
    async fn with(server: ApiServer, more: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let kubeconfig = dir.path().join("kubeconfig");
        server.kubeconfig(&kubeconfig).unwrap();
        let config = format!("[kubernetes]\nkubeconfig = {kubeconfig:?}\n{more}");
        let discovery = discover(&toml::from_str(&config).unwrap(), &on("n1"))
            .await
            .unwrap();
        Self {
            cluster: server.cluster(),
            server,
            discovery,
            dir,
        }
    }

    /// Waits until the targets are as `wanted`, each as `namespace/pod workload services`.
    async fn finds(&mut self, wanted: &[&str]) {
        let mut last = Vec::new();
        let wait = async {
            loop {
                last = self.now().iter().map(|target| line(target)).collect();
                last.sort();
                if last == wanted {
                    return;
                }
                self.discovery.sets.changed().await.unwrap();
            }
        };
        let came = timeout(PATIENCE, wait).await;
        assert!(came.is_ok(), "wanted {wanted:#?}, last {last:#?}");
    }

    fn now(&mut self) -> Vec<Arc<Target>> {
        self.set().targets.clone()
    }

    fn set(&mut self) -> Arc<TargetSet> {
        Arc::clone(&self.discovery.sets.borrow_and_update())
    }

    /// All five watches are open.
    async fn is_watching(&self) {
        let watching = async {
            for resource in ["pods", "services", "namespaces", "nodes", "endpointslices"] {
                self.server.watching(resource).await;
            }
        };
        timeout(PATIENCE, watching).await.expect("five watches");
    }
}

fn on(node: &str) -> Surroundings {
    Surroundings {
        node: node.to_owned(),
        ..Surroundings::default()
    }
}

fn line(target: &Target) -> String {
    let workload = target.workload.as_ref();
    let workload = workload.map_or("-".to_owned(), |w| format!("{}/{}", w.kind, w.name));
    format!(
        "{}/{} {workload} {}",
        target.namespace,
        target.pod,
        target.services.join(",")
    )
}

/// A server with the nodes `n1` and `n2`, and the service `cart` over `app: cart` in namespace `shop`.
fn shop() -> ApiServer {
    let server = ApiServer::start();
    let cluster = server.cluster();
    cluster.add(node("n1"));
    cluster.add(node("n2"));
    cluster.add(service("shop", "cart").selecting([("app", "cart")]));
    server
}

#[tokio::test]
async fn pods_of_this_node_behind_services_are_found_with_their_workloads() {
    let server = shop();
    let cluster = server.cluster();
    let mine = cluster.add(deployment("shop", "cart").pods(2).on("n1"));
    cluster.add(deployment("shop", "cart").pods(3).on("n2"));
    cluster.add(deployment("shop", "worker").on("n1"));
    cluster.add(service("shop", "web").selecting([("tier", "web")]));
    cluster.pod("shop", &mine[0]).label("tier", "web");
    let mut watched = Watched::start(server).await;
    let mut wanted = [
        format!("shop/{} Deployment/cart cart,web", mine[0]),
        format!("shop/{} Deployment/cart cart", mine[1]),
    ];
    wanted.sort();
    watched.finds(&wanted.each_ref().map(String::as_str)).await;
    let targets = watched.now();
    assert!(
        targets
            .iter()
            .all(|target| *target.id.0 == *target.uid && !target.ips.is_empty())
    );
    assert!(targets.iter().all(|target| target.labels["app"] == "cart"));
}

#[tokio::test]
async fn every_kind_of_owner_is_named_as_its_users_know_it() {
    let server = shop();
    let cluster = server.cluster();
    let labelled = ("app", "cart");
    let mut wanted = Vec::new();
    for (workload, name) in [
        (deployment("shop", "a"), "Deployment/a"),
        (replica_set("shop", "b"), "ReplicaSet/b"),
        (stateful_set("shop", "c"), "StatefulSet/c"),
        (daemon_set("shop", "d"), "DaemonSet/d"),
        (job("shop", "e"), "Job/e"),
        (cron_job("shop", "f"), "CronJob/f"),
    ] {
        let pods = cluster.add(workload.labelled(labelled.0, labelled.1).on("n1"));
        wanted.push(format!("shop/{} {name} cart", pods[0]));
    }
    cluster.add(
        pod("shop", "alone")
            .labelled(labelled.0, labelled.1)
            .on("n1"),
    );
    wanted.push("shop/alone Pod/alone cart".to_owned());
    wanted.sort();
    let mut watched = Watched::start(server).await;
    watched
        .finds(&wanted.iter().map(String::as_str).collect::<Vec<_>>())
        .await;
}

#[tokio::test]
async fn pods_and_services_come_change_and_go() {
    let mut watched = Watched::start(shop()).await;
    watched.is_watching().await;
    watched.finds(&[]).await;
    let pods = watched.cluster.add(deployment("shop", "cart").on("n1"));
    let cart = format!("shop/{} Deployment/cart", pods[0]);
    watched.finds(&[&format!("{cart} cart")]).await;
    watched
        .cluster
        .add(service("shop", "web").selecting([("app", "cart")]));
    watched.finds(&[&format!("{cart} cart,web")]).await;
    watched
        .cluster
        .service("shop", "cart")
        .select([("app", "other")]);
    watched.finds(&[&format!("{cart} web")]).await;
    watched.cluster.service("shop", "web").delete();
    watched.finds(&[]).await;
    watched
        .cluster
        .service("shop", "cart")
        .select([("app", "cart")]);
    watched.finds(&[&format!("{cart} cart")]).await;
    watched.cluster.pod("shop", &pods[0]).set_ips(["10.9.9.9"]);
    let moved = async {
        while watched.now()[0].ips != ["10.9.9.9".parse::<std::net::IpAddr>().unwrap()] {
            watched.discovery.sets.changed().await.unwrap();
        }
    };
    timeout(PATIENCE, moved).await.expect("the new address");
    watched
        .cluster
        .pod("shop", &pods[0])
        .set_ready(false)
        .terminate();
    watched.cluster.pod("shop", &pods[0]).label("seen", "yes");
    let labelled = async {
        while !watched
            .now()
            .iter()
            .any(|target| target.labels.contains_key("seen"))
        {
            watched.discovery.sets.changed().await.unwrap();
        }
    };
    timeout(PATIENCE, labelled)
        .await
        .expect("still there while it ends");
    watched.cluster.delete_pod("shop", &pods[0]);
    watched.finds(&[]).await;
}

#[tokio::test]
async fn ignore_is_followed_on_pod_namespace_and_node_both_ways() {
    let server = shop();
    let pods = server.cluster().add(deployment("shop", "cart").on("n1"));
    let mut watched = Watched::start(server).await;
    let cart = format!("shop/{} Deployment/cart cart", pods[0]);
    watched.finds(&[&cart]).await;
    for object in [
        watched.cluster.pod("shop", &pods[0]),
        watched.cluster.namespace("shop"),
        watched.cluster.node("n1"),
    ] {
        object.annotate("owlk8s/ignore", "true");
        watched.finds(&[]).await;
        object.unannotate("owlk8s/ignore");
        watched.finds(&[&cart]).await;
    }
    watched.cluster.node("n2").annotate("owlk8s/ignore", "true");
    watched
        .cluster
        .pod("shop", &pods[0])
        .annotate("owlk8s/ignore", "no");
    watched
        .cluster
        .add(service("shop", "web").selecting([("app", "cart")]));
    watched.finds(&[&format!("{cart},web")]).await;
}

#[tokio::test]
async fn an_ignored_pod_is_never_a_target_even_for_a_moment() {
    let server = shop();
    let cluster = server.cluster();
    cluster.add(deployment("shop", "cart").on("n1"));
    cluster.namespace("shop").annotate("owlk8s/ignore", "true");
    // What decides comes last.
    server.fail_on(
        "list",
        "namespaces",
        Fault::Slow(Duration::from_millis(700)),
    );
    let mut watched = Watched::start(server).await;
    let mut seen = 0;
    let all = async {
        loop {
            seen += watched.now().len();
            if watched.set().confirmed_at.0 != 0 {
                return;
            }
            watched.discovery.sets.changed().await.unwrap();
        }
    };
    timeout(PATIENCE, all).await.expect("a first set");
    assert_eq!(seen, 0);
}

#[tokio::test]
async fn services_without_selectors_lead_by_slices_that_somebody_wrote() {
    let server = shop();
    let cluster = server.cluster();
    let pods = cluster.add(deployment("shop", "legacy").on("n1"));
    cluster.pod("shop", &pods[0]).set_ips(["10.1.2.3"]);
    cluster.add(service("shop", "by-hand"));
    let mut watched = Watched::start(server).await;
    watched.is_watching().await;
    watched.finds(&[]).await;
    watched.cluster.add(
        endpoint_slice("shop", "by-hand")
            .managed_by("ops")
            .address("10.1.2.3"),
    );
    watched
        .finds(&[&format!("shop/{} Deployment/legacy by-hand", pods[0])])
        .await;
    let asked = watched.server.requests();
    let slices = asked
        .iter()
        .find(|request| request.resource == "endpointslices")
        .unwrap();
    assert!(
        format!("{slices:?}")
            .contains("endpointslice.kubernetes.io/managed-by!=endpointslice-controller.k8s.io"),
        "{slices:?}"
    );
}

#[tokio::test]
async fn all_pods_are_found_where_all_are_wanted() {
    let server = shop();
    let cluster = server.cluster();
    cluster.add(pod("shop", "alone").on("n1"));
    cluster.add(pod("shop", "of-the-node").host_network().on("n1"));
    cluster.add(pod("shop", "done").phase("Succeeded").on("n1"));
    cluster.add(
        pod("shop", "both")
            .dual_stack("10.2.0.1", "fd00::1")
            .on("n1"),
    );
    let mut watched = Watched::with(server, "include = \"all\"").await;
    watched
        .finds(&["shop/alone Pod/alone ", "shop/both Pod/both "])
        .await;
    let both = watched
        .now()
        .into_iter()
        .find(|target| target.pod == "both")
        .unwrap();
    assert_eq!(
        both.ips.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["10.2.0.1", "fd00::1"]
    );
}

#[tokio::test]
async fn nothing_that_happens_on_other_nodes_is_sent_here() {
    let server = shop();
    let pods = server.cluster().add(deployment("shop", "cart").on("n1"));
    let mut watched = Watched::start(server).await;
    watched
        .finds(&[&format!("shop/{} Deployment/cart cart", pods[0])])
        .await;
    watched.is_watching().await;
    watched.server.forget_requests();
    watched.cluster.churn_elsewhere(500);
    // What came with it would be before this.
    watched
        .cluster
        .add(service("shop", "web").selecting([("app", "cart")]));
    watched
        .finds(&[&format!("shop/{} Deployment/cart cart,web", pods[0])])
        .await;
    assert_eq!(
        watched.server.counts().values().sum::<usize>(),
        0,
        "{:?}",
        watched.server.counts()
    );
}

#[tokio::test]
async fn owners_are_asked_for_once_and_only_where_names_do_not_tell() {
    let server = shop();
    let cluster = server.cluster();
    for name in ["a", "b"] {
        cluster.add(
            deployment("shop", name)
                .labelled("app", "cart")
                .pods(3)
                .on("n1"),
        );
    }
    cluster.add(
        replica_set("shop", "alone")
            .labelled("app", "cart")
            .pods(3)
            .on("n1"),
    );
    let mut watched = Watched::start(server).await;
    let all = async {
        while watched
            .now()
            .iter()
            .filter(|target| target.workload.is_some())
            .count()
            < 9
        {
            watched.discovery.sets.changed().await.unwrap();
        }
    };
    timeout(PATIENCE, all).await.expect("nine workloads");
    assert_eq!(watched.server.count("get", "replicasets"), 1);
    let counted = watched.discovery.api_requests.as_ref().unwrap().counts();
    let of = |verb: &str, resource: &str| -> u64 {
        let asked = counted
            .iter()
            .filter(|(asked, _)| asked.verb == verb && asked.resource == resource);
        asked.map(|(_, count)| count).sum()
    };
    assert_eq!(
        (
            of("get", "replicasets"),
            of("list", "pods"),
            of("list", "nodes")
        ),
        (1, 1, 1)
    );
}

#[tokio::test]
async fn a_server_that_goes_down_leaves_the_targets_and_stops_their_clock() {
    let server = shop();
    let pods = server.cluster().add(deployment("shop", "cart").on("n1"));
    let mut watched = Watched::start(server).await;
    let cart = format!("shop/{} Deployment/cart cart", pods[0]);
    watched.finds(&[&cart]).await;
    watched.is_watching().await;
    watched.server.go_down();
    watched
        .cluster
        .add(service("shop", "web").selecting([("app", "cart")]));
    // The trouble is noticed, and from then on nothing is confirmed.
    let stands_still = async {
        loop {
            let before = watched.set().confirmed_at;
            tokio::time::sleep(Duration::from_secs(11)).await;
            if watched.set().confirmed_at == before {
                return before;
            }
        }
    };
    let before = timeout(3 * PATIENCE, stands_still)
        .await
        .expect("the clock stands still");
    watched.finds(&[&cart]).await;
    watched.server.come_back();
    let resumed = async {
        loop {
            let set = watched.set();
            let services = set.targets.first().map(|target| target.services.len());
            if services == Some(2) && set.confirmed_at > before {
                return;
            }
            watched.discovery.sets.changed().await.unwrap();
        }
    };
    timeout(4 * PATIENCE, resumed)
        .await
        .expect("all as it is now");
}

#[tokio::test]
async fn a_forgotten_history_is_listed_anew_and_nothing_is_lost() {
    let server = shop();
    let pods = server
        .cluster()
        .add(deployment("shop", "cart").pods(2).on("n1"));
    let mut watched = Watched::start(server).await;
    watched.is_watching().await;
    watched.server.go_down();
    watched.cluster.delete_pod("shop", &pods[0]);
    watched.server.compact();
    watched.server.come_back();
    watched
        .finds(&[&format!("shop/{} Deployment/cart cart", pods[1])])
        .await;
    assert!(watched.server.count("list", "pods") >= 2);
}

#[tokio::test]
async fn a_server_that_says_too_many_requests_is_not_pressed() {
    let server = shop();
    let pods = server.cluster().add(deployment("shop", "cart").on("n1"));
    server.fail(Fault::TooManyRequests { retry_after: 1 });
    let mut watched = Watched::start(server).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    // Five watches with a backoff that begins at 0.8 s and doubles.
    let asked: usize = watched.server.counts().values().sum();
    assert!((5..=25).contains(&asked), "{asked} requests in 3 s");
    watched.server.heal();
    watched
        .finds(&[&format!("shop/{} Deployment/cart cart", pods[0])])
        .await;
}

#[tokio::test]
async fn a_missing_permission_for_what_can_be_done_without_holds_up_nothing() {
    let server = shop();
    let pods = server.cluster().add(deployment("shop", "cart").on("n1"));
    for (group, resource) in [
        ("", "namespaces"),
        ("", "nodes"),
        ("discovery.k8s.io", "endpointslices"),
    ] {
        server.forbid("list", group, resource);
    }
    let mut watched = Watched::start(server).await;
    watched
        .finds(&[&format!("shop/{} Deployment/cart cart", pods[0])])
        .await;
    assert_ne!(watched.set().confirmed_at.0, 0);
}

#[tokio::test]
async fn a_permission_for_pods_that_comes_later_is_enough() {
    let server = shop();
    let pods = server.cluster().add(deployment("shop", "cart").on("n1"));
    server.forbid("list", "", "pods");
    let mut watched = Watched::start(server).await;
    timeout(
        PATIENCE,
        watched
            .server
            .until(|server| server.count("list", "pods") >= 2),
    )
    .await
    .expect("it tries again");
    assert_eq!((watched.now().len(), watched.set().confirmed_at.0), (0, 0));
    watched.server.allow_all();
    watched
        .finds(&[&format!("shop/{} Deployment/cart cart", pods[0])])
        .await;
}

#[tokio::test]
async fn a_pod_of_the_cluster_is_let_in_by_its_service_account() {
    let server = ApiServer::start_tls();
    server.accept_token("first");
    let cluster = server.cluster();
    cluster.add(node("n1"));
    cluster.add(namespace("shop"));
    cluster.add(service("shop", "cart").selecting([("app", "cart")]));
    let pods = cluster.add(deployment("shop", "cart").on("n1"));
    let dir = tempfile::tempdir().unwrap();
    server.service_account_dir(dir.path()).unwrap();
    let config = format!("[kubernetes]\nservice_account = {:?}", dir.path());
    let config: DiscoveryConfig = toml::from_str(&config).unwrap();
    let address = server.url().replace("https://", "");
    let around = Surroundings {
        kubernetes_service: Some(address),
        ..on("n1")
    };
    let discovery = discover(&config, &around).await.unwrap();
    let mut watched = Watched {
        cluster,
        server,
        discovery,
        dir,
    };
    watched
        .finds(&[&format!("shop/{} Deployment/cart cart", pods[0])])
        .await;
}

#[tokio::test]
async fn without_a_way_to_the_server_the_ways_are_named() {
    let config: DiscoveryConfig = toml::from_str("[kubernetes]").unwrap();
    let refused = |around: Surroundings| {
        let config = config.clone();
        async move {
            let error = discover(&config, &around).await.unwrap_err();
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            cause.unwrap_or_default()
        }
    };
    let text = refused(on("n1")).await;
    assert!(
        text.contains("KUBECONFIG") && text.contains("service account"),
        "{text}"
    );
    let gone = Surroundings {
        kubeconfig: Some("/nonexistent/kubeconfig".into()),
        ..on("n1")
    };
    let text = refused(gone).await;
    assert!(text.contains("/nonexistent/kubeconfig"), "{text}");
}

#[tokio::test]
async fn the_doctor_names_the_rule_that_is_missing() {
    let server = shop();
    let dir = tempfile::tempdir().unwrap();
    let kubeconfig = dir.path().join("kubeconfig");
    server.kubeconfig(&kubeconfig).unwrap();
    let config: DiscoveryConfig =
        toml::from_str(&format!("[kubernetes]\nkubeconfig = {kubeconfig:?}")).unwrap();
    let config = config.kubernetes.unwrap();
    // What the chart grants, and no more.
    let watched = [
        ("", "pods"),
        ("", "services"),
        ("", "namespaces"),
        ("", "nodes"),
        ("discovery.k8s.io", "endpointslices"),
    ];
    let watched = watched
        .into_iter()
        .flat_map(|(group, of)| ["get", "list", "watch"].map(|verb| (verb, group, of)));
    let asked = [("get", "apps", "replicasets"), ("get", "batch", "jobs")];
    server.allow_only(watched.chain(asked));
    let checks = examine(&config, &on("n1")).await.unwrap();
    assert!(
        checks.iter().all(|check| check.problem.is_none()),
        "{checks:#?}"
    );
    server.forbid("list", "", "services");
    server.forbid("get", "batch", "jobs");
    let checks = examine(&config, &on("elsewhere")).await.unwrap();
    let of = |what: &str| checks.iter().find(|check| check.what == what).unwrap();
    let services = of("services").problem.as_deref().unwrap();
    assert!(
        services.contains(
            "apiGroups: [\"\"], resources: [\"services\"], verbs: [\"get\", \"list\", \"watch\"]"
        ),
        "{services}"
    );
    let jobs = of("jobs").problem.as_deref().unwrap();
    assert!(
        jobs.contains("apiGroups: [\"batch\"], resources: [\"jobs\"], verbs: [\"get\"]}"),
        "{jobs}"
    );
    assert!(
        of("nodes")
            .problem
            .as_deref()
            .unwrap()
            .contains("NODE_NAME")
    );
    server.go_down();
    let checks = examine(&config, &on("n1")).await.unwrap();
    assert_eq!(checks.len(), 1);
    assert!(checks[0].found.contains(&server.url()), "{checks:?}");
}

/// What a set says of its age is taken from this machine's clock.
#[tokio::test]
async fn a_confirmed_set_is_as_old_as_its_confirmation() {
    let mut watched = Watched::start(shop()).await;
    let confirmed = async {
        while watched.set().confirmed_at.0 == 0 {
            watched.discovery.sets.changed().await.unwrap();
        }
    };
    timeout(PATIENCE, confirmed).await.expect("a first set");
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_nanos();
    let age = Duration::from_nanos(u64::try_from(now).unwrap() - watched.set().confirmed_at.0);
    assert!(age < PATIENCE, "{age:?}");
}

#[tokio::test]
async fn an_expired_token_leaves_the_targets_until_it_is_accepted_again() {
    let server = shop();
    server.accept_token("of-the-agent");
    let pods = server.cluster().add(deployment("shop", "cart").on("n1"));
    let mut watched = Watched::start(server).await;
    let cart = format!("shop/{} Deployment/cart cart", pods[0]);
    watched.finds(&[&cart]).await;
    watched.is_watching().await;
    watched.server.expire_token("of-the-agent");
    watched.server.end_watches();
    let refused = |server: &ApiServer| {
        server
            .requests()
            .iter()
            .any(|request| request.status == Some(401))
    };
    timeout(PATIENCE, watched.server.until(refused))
        .await
        .expect("refused");
    watched
        .cluster
        .add(service("shop", "web").selecting([("app", "cart")]));
    watched.finds(&[&cart]).await;
    watched.server.accept_token("of-the-agent");
    watched.finds(&[&format!("{cart},web")]).await;
}

#[tokio::test]
async fn a_token_that_is_renewed_is_used_as_soon_as_the_old_one_is_refused() {
    let server = ApiServer::start_tls();
    server.accept_token("first");
    let cluster = server.cluster();
    cluster.add(node("n1"));
    cluster.add(service("shop", "cart").selecting([("app", "cart")]));
    let pods = cluster.add(deployment("shop", "cart").on("n1"));
    let dir = tempfile::tempdir().unwrap();
    server.service_account_dir(dir.path()).unwrap();
    let config = format!("[kubernetes]\nservice_account = {:?}", dir.path());
    let config: DiscoveryConfig = toml::from_str(&config).unwrap();
    let around = Surroundings {
        kubernetes_service: Some(server.url().replace("https://", "")),
        ..on("n1")
    };
    let discovery = discover(&config, &around).await.unwrap();
    let mut watched = Watched {
        cluster,
        server,
        discovery,
        dir,
    };
    let cart = format!("shop/{} Deployment/cart cart", pods[0]);
    watched.finds(&[&cart]).await;
    watched.is_watching().await;
    watched.server.accept_token("second");
    let account = watched.dir.path().to_owned();
    watched.server.service_account_dir(&account).unwrap();
    watched.server.expire_token("first");
    watched.server.end_watches();
    let refused = |server: &ApiServer| {
        let requests = server.requests();
        requests
            .iter()
            .filter(|request| request.status == Some(401))
            .count()
    };
    timeout(PATIENCE, watched.server.until(|server| refused(server) > 0))
        .await
        .expect("the old one is refused");
    watched
        .cluster
        .add(service("shop", "web").selecting([("app", "cart")]));
    watched.finds(&[&format!("{cart},web")]).await;
    watched.is_watching().await;
    assert!(refused(&watched.server) <= 5, "once for each watch at most");
}
