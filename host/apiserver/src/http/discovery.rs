//! What the server says of itself: its version, its health, its resources. No OpenAPI.

use serde_json::{Value, json};

use super::body::Source;
use super::{JSON, Reply, TEXT};
use crate::resource::{RESOURCES, Resource};

const GROUPS: [&str; 4] = ["apps", "authorization.k8s.io", "batch", "discovery.k8s.io"];
const VERBS: [&str; 8] = [
    "create",
    "delete",
    "deletecollection",
    "get",
    "list",
    "patch",
    "update",
    "watch",
];

pub(super) fn answer(path: &str) -> Option<Reply> {
    let parts: Vec<_> = path.split('/').filter(|part| !part.is_empty()).collect();
    let value = match parts.as_slice() {
        ["readyz" | "livez" | "healthz"] => {
            return Some(Reply {
                code: 200,
                content_type: TEXT,
                source: Source::whole("ok"),
            });
        }
        ["version"] => version(),
        ["api"] => json!({
            "kind": "APIVersions", "versions": ["v1"],
            "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": "127.0.0.1:6443"}]
        }),
        ["apis"] => {
            json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": GROUPS.map(group)})
        }
        ["api", "v1"] => resources("v1", ""),
        ["apis", name] if GROUPS.contains(name) => {
            let mut group = group(name);
            group["kind"] = "APIGroup".into();
            group["apiVersion"] = "v1".into();
            group
        }
        ["apis", name, "v1"] if GROUPS.contains(name) => resources(&format!("{name}/v1"), name),
        _ => return None,
    };
    Some(Reply {
        code: 200,
        content_type: JSON,
        source: Source::whole(value.to_string()),
    })
}

fn version() -> Value {
    json!({
        "major": "1", "minor": "34", "gitVersion": "v1.34.1",
        "gitCommit": "93248f9ae092f571eb870b7664c534bfc7d00f03", "gitTreeState": "clean",
        "buildDate": "2025-09-09T19:37:35Z", "goVersion": "go1.24.6", "compiler": "gc", "platform": "linux/amd64"
    })
}

fn group(name: &str) -> Value {
    let version = json!({"groupVersion": format!("{name}/v1"), "version": "v1"});
    json!({"name": name, "versions": [version], "preferredVersion": version})
}

fn resources(version: &str, group: &str) -> Value {
    let resource = |resource: &Resource| {
        json!({
            "name": resource.plural, "singularName": resource.singular, "namespaced": resource.namespaced,
            "kind": resource.name, "verbs": VERBS, "shortNames": resource.short
        })
    };
    let mut all: Vec<_> = RESOURCES
        .iter()
        .filter(|known| known.group == group)
        .map(resource)
        .collect();
    if group == "authorization.k8s.io" {
        for (name, kind) in [
            ("selfsubjectaccessreviews", "SelfSubjectAccessReview"),
            ("selfsubjectrulesreviews", "SelfSubjectRulesReview"),
        ] {
            let singular = kind.to_lowercase();
            all.push(json!({
                "name": name, "singularName": singular, "namespaced": false, "kind": kind, "verbs": ["create"]
            }));
        }
    }
    json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version, "resources": all})
}
