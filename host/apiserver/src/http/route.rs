//! What a method and a path ask for.

use hyper::Method;

use super::options::Options;
use crate::access::Ask;
use crate::requests::Request;
use crate::resource::{Kind, Resource};

/// Where a request leads.
#[derive(Debug)]
pub(super) struct Route {
    pub(super) target: Target,
    pub(super) ask: Ask,
    pub(super) path: String,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Target {
    /// Objects.
    Resource(&'static Resource),
    /// A question about one's own permissions.
    Review,
    /// A resource that this server has not.
    Unknown,
    /// No resource.
    Path {
        /// Also for who is not known.
        public: bool,
    },
}

/// Paths that everyone may read, and those below them.
const PUBLIC: [&str; 4] = ["/version", "/healthz", "/livez", "/readyz"];

impl Route {
    pub(super) fn parse(method: &Method, path: &str, options: &Options) -> Self {
        let parts: Vec<_> = path.split('/').filter(|part| !part.is_empty()).collect();
        let resource = match parts.as_slice() {
            ["api", "v1", rest @ ..] if !rest.is_empty() => Some(("", rest)),
            ["apis", group, _, rest @ ..] if !rest.is_empty() => Some((*group, rest)),
            _ => None,
        };
        let Some((group, rest)) = resource else {
            return Self {
                target: Target::Path {
                    public: PUBLIC.iter().any(|public| path.starts_with(public)),
                },
                ask: Ask {
                    verb: method.as_str().to_lowercase(),
                    ..Ask::default()
                },
                path: path.to_owned(),
            };
        };
        let ask = ask(method, group, rest, options);
        let known = Resource::find(&ask.group, &ask.resource)
            .filter(|_| parts[0] == "api" || parts[2] == "v1");
        let target = match known {
            _ if group == "authorization.k8s.io" => Target::Review,
            Some(resource) if ["", "status"].contains(&ask.subresource.as_str()) => {
                Target::Resource(resource)
            }
            _ => Target::Unknown,
        };
        Self {
            target,
            ask,
            path: path.to_owned(),
        }
    }

    /// As the log has it.
    pub(super) fn logged(&self, options: &Options) -> Request {
        let ask = &self.ask;
        let option = |name: &str| options.get(name).unwrap_or_default().to_owned();
        Request {
            verb: ask.verb.clone(),
            group: ask.group.clone(),
            resource: ask.resource.clone(),
            namespace: ask.namespace.clone(),
            name: ask.name.clone(),
            label_selector: option("labelSelector"),
            field_selector: option("fieldSelector"),
            resource_version: option("resourceVersion"),
            limit: options.get("limit").and_then(|limit| limit.parse().ok()),
            continued: options.get("continue").is_some(),
            initial_events: options.is_set("sendInitialEvents"),
            ..Request::default()
        }
    }
}

/// As Kubernetes reads it: the namespace of a namespace is itself.
fn ask(method: &Method, group: &str, rest: &[&str], options: &Options) -> Ask {
    let (namespace, rest) = match rest {
        ["namespaces", namespace, rest @ ..]
            if !rest.is_empty() && !["status", "finalize"].contains(&rest[0]) =>
        {
            (*namespace, rest)
        }
        ["namespaces", name, ..] => (*name, rest),
        _ => ("", rest),
    };
    let part = |at: usize| rest.get(at).copied().unwrap_or_default().to_owned();
    let mut ask = Ask {
        verb: String::new(),
        group: group.to_owned(),
        resource: part(0),
        subresource: part(2),
        namespace: namespace.to_owned(),
        name: part(1),
    };
    let one = !ask.name.is_empty();
    let verb = match *method {
        Method::GET if options.is_set("watch") => "watch",
        Method::GET if one => "get",
        Method::GET => "list",
        Method::POST => "create",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE if one => "delete",
        Method::DELETE => "deletecollection",
        _ => "",
    };
    ask.verb = verb.to_owned();
    if ask.name.is_empty()
        && let Some(name) = options.name_that_is_selected()
    {
        ask.name = name;
    }
    ask
}

impl Ask {
    /// The namespace in which the object lies.
    pub(super) fn namespace_of(&self, resource: &Resource) -> String {
        if resource.kind == Kind::Namespace {
            String::new()
        } else {
            self.namespace.clone()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(method: &Method, path: &str, query: &str) -> (String, String, String, String) {
        let route = Route::parse(method, path, &Options::parse(query));
        let ask = route.ask;
        (ask.verb, ask.resource, ask.namespace, ask.name)
    }

    fn are(parts: [&str; 4]) -> (String, String, String, String) {
        let [verb, resource, namespace, name] = parts.map(str::to_owned);
        (verb, resource, namespace, name)
    }

    #[test]
    fn paths_are_read_as_kubernetes_reads_them() {
        let get = &Method::GET;
        assert_eq!(
            route(get, "/api/v1/pods", ""),
            are(["list", "pods", "", ""])
        );
        assert_eq!(
            route(get, "/api/v1/pods", "watch=true"),
            are(["watch", "pods", "", ""])
        );
        assert_eq!(
            route(get, "/api/v1/namespaces/shop/pods/a", ""),
            are(["get", "pods", "shop", "a"])
        );
        assert_eq!(
            route(get, "/api/v1/namespaces/shop", ""),
            are(["get", "namespaces", "shop", "shop"])
        );
        assert_eq!(
            route(get, "/api/v1/nodes", "fieldSelector=metadata.name%3Dn1"),
            are(["list", "nodes", "", "n1"])
        );
        assert_eq!(
            route(
                &Method::DELETE,
                "/apis/apps/v1/namespaces/shop/deployments",
                ""
            ),
            are(["deletecollection", "deployments", "shop", ""])
        );
        assert_eq!(route(get, "/apis/apps/v1", ""), are(["get", "", "", ""]));
    }

    #[test]
    fn what_is_not_here_is_unknown() {
        let of = |path| Route::parse(&Method::GET, path, &Options::parse("")).target;
        assert!(matches!(of("/api/v1/secrets"), Target::Unknown));
        assert!(matches!(
            of("/apis/apps/v1beta1/deployments"),
            Target::Unknown
        ));
        assert!(matches!(
            of("/api/v1/namespaces/shop/pods/a/log"),
            Target::Unknown
        ));
        assert!(matches!(of("/version"), Target::Path { public: true }));
        assert!(matches!(of("/api"), Target::Path { public: false }));
    }
}
