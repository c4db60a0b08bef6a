//! What goes on elsewhere: pods that come and go on other nodes, and clusters of any size.

use crate::cluster::Cluster;
use crate::fixture::{deployment, pod, service};

/// Where the churn is.
const ELSEWHERE: &str = "elsewhere";
/// Pods of one generated workload.
const PODS_EACH: usize = 10;

impl Cluster {
    /// So many pods come to other nodes and go again, one after the other: each is scheduled, gets an address and is
    /// deleted, in four changes.
    pub fn churn_elsewhere(&self, pods: usize) {
        for index in 0..pods {
            let name = self.add(pod(ELSEWHERE, &format!("churn-{index}")).labelled("app", "churn"));
            self.add_node_of_churn(index);
            let pod = self.pod(ELSEWHERE, &name);
            let node = format!("elsewhere-{}", index % 10);
            pod.patch(&serde_json::json!({"spec": {"nodeName": node}}));
            pod.patch(&serde_json::json!({"status": {
                "phase": "Running", "podIP": "10.127.0.1", "podIPs": [{"ip": "10.127.0.1"}]
            }}));
            pod.delete();
        }
    }

    fn add_node_of_churn(&self, index: usize) {
        if index < 10 {
            self.make_node(&format!("elsewhere-{index}"));
        }
    }

    /// Fills the cluster: nodes `node-0`, `node-1`, ... with so many pods each, in Deployments of ten; services `svc-0`,
    /// `svc-1`, ... of which as many select a Deployment as there are.
    pub fn fill(&self, nodes: usize, pods_per_node: usize, services: usize) {
        let (mut app, mut left) = (0, nodes * pods_per_node);
        let names: Vec<_> = (0..nodes).map(|node| format!("node-{node}")).collect();
        for name in &names {
            self.make_node(name);
        }
        while left > 0 {
            let pods = left.min(PODS_EACH);
            let first = app * PODS_EACH;
            let turn = (0..pods).map(|index| names[(first + index) % nodes].as_str());
            self.add(
                deployment(&space(app), &format!("app-{app}"))
                    .pods(pods)
                    .on_each(turn),
            );
            (app, left) = (app + 1, left - pods);
        }
        for index in 0..services {
            let selected = format!("app-{index}");
            let service = service(&space(index), &format!("svc-{index}"));
            self.add(service.selecting([("app", selected.as_str())]));
        }
    }
}

/// A hundred workloads share a namespace.
fn space(index: usize) -> String {
    format!("space-{}", index / 100)
}
