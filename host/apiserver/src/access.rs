//! Who may ask for what: bearer tokens, and rules like those of RBAC.
//!
//! Without tokens everyone is the service account of the agent; with tokens, a request without one is anonymous and a
//! wrong one is refused with 401. Without rules everything is allowed. Not simulated: client certificates, groups,
//! `resourceNames`, roles bound in one namespace only.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::failure::Failure;
use crate::resource::qualified;

/// The service account of the agent, unless a token says otherwise.
pub const SERVICE_ACCOUNT: &str = "system:serviceaccount:owlk8s:owlk8s";
const ANONYMOUS: &str = "system:anonymous";

/// One permission: a verb on a resource of a group; `*` stands for any.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// `get`, `list`, `watch`, ...
    pub verb: String,
    /// Empty: core.
    pub group: String,
    /// Plural.
    pub resource: String,
}

/// What is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ask {
    pub(crate) verb: String,
    pub(crate) group: String,
    pub(crate) resource: String,
    pub(crate) subresource: String,
    pub(crate) namespace: String,
    pub(crate) name: String,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Access {
    /// User by token.
    tokens: Option<BTreeMap<String, String>>,
    /// `None`: all is allowed.
    rules: Option<Vec<Rule>>,
    /// Taken away from what the rules give.
    denied: Vec<Rule>,
}

impl Rule {
    /// `Rule::new("list", "", "pods")`.
    pub fn new(verb: &str, group: &str, resource: &str) -> Self {
        Self {
            verb: verb.to_owned(),
            group: group.to_owned(),
            resource: resource.to_owned(),
        }
    }

    fn permits(&self, verb: &str, group: &str, resource: &str) -> bool {
        let is = |pattern: &str, text: &str| pattern == "*" || pattern == text;
        is(&self.verb, verb) && is(&self.group, group) && is(&self.resource, resource)
    }
}

impl<'a> From<(&'a str, &'a str, &'a str)> for Rule {
    fn from((verb, group, resource): (&'a str, &'a str, &'a str)) -> Self {
        Self::new(verb, group, resource)
    }
}

impl Access {
    pub(crate) fn accept_token(&mut self, token: &str, user: &str) {
        let tokens = self.tokens.get_or_insert_default();
        tokens.insert(token.to_owned(), user.to_owned());
    }

    /// From now on a token is needed, even if none is left.
    pub(crate) fn revoke_token(&mut self, token: &str) {
        self.tokens.get_or_insert_default().remove(token);
    }

    /// Also ends what was forbidden.
    pub(crate) fn set_rules(&mut self, rules: Option<Vec<Rule>>) {
        self.rules = rules;
        self.denied.clear();
    }

    /// Takes this permission away.
    pub(crate) fn forbid(&mut self, rule: Rule) {
        self.denied.push(rule);
    }

    /// The user of a request with this `Authorization` header.
    pub(crate) fn user(&self, authorization: Option<&str>) -> Result<String, Failure> {
        let Some(tokens) = &self.tokens else {
            return Ok(SERVICE_ACCOUNT.to_owned());
        };
        let Some(authorization) = authorization else {
            return Ok(ANONYMOUS.to_owned());
        };
        authorization
            .strip_prefix("Bearer ")
            .and_then(|token| tokens.get(token.trim()))
            .cloned()
            .ok_or_else(Failure::unauthorized)
    }

    pub(crate) fn permits(&self, user: &str, ask: &Ask) -> bool {
        let resource = if ask.subresource.is_empty() {
            ask.resource.clone()
        } else {
            format!("{}/{}", ask.resource, ask.subresource)
        };
        // system:basic-user, which every authenticated user has
        let own = ask.group == "authorization.k8s.io" && ask.resource.starts_with("selfsubject");
        user != ANONYMOUS && (own || self.allows(&ask.verb, &ask.group, &resource))
    }

    fn allows(&self, verb: &str, group: &str, resource: &str) -> bool {
        let among = |rules: &[Rule]| rules.iter().any(|rule| rule.permits(verb, group, resource));
        self.rules.as_deref().is_none_or(among) && !among(&self.denied)
    }

    pub(crate) fn authorize(&self, user: &str, ask: &Ask) -> Result<(), Failure> {
        if self.permits(user, ask) {
            return Ok(());
        }
        let place = if ask.namespace.is_empty() {
            "at the cluster scope".to_owned()
        } else {
            format!("in the namespace \"{}\"", ask.namespace)
        };
        let name = if ask.name.is_empty() {
            String::new()
        } else {
            format!(" \"{}\"", ask.name)
        };
        let resource = if ask.subresource.is_empty() {
            ask.resource.clone()
        } else {
            format!("{}/{}", ask.resource, ask.subresource)
        };
        let message = format!(
            "{}{name} is forbidden: User \"{user}\" cannot {} resource \"{resource}\" in API group \"{}\" {place}",
            qualified(&ask.group, &ask.resource),
            ask.verb,
            ask.group
        );
        Err(Failure::new(403, "Forbidden", message).about_any(&ask.group, &ask.resource, &ask.name))
    }

    /// A path that is no resource: `/version` and the checks are public, the rest is for who is known.
    pub(crate) fn authorize_path(
        &self,
        user: &str,
        path: &str,
        public: bool,
    ) -> Result<(), Failure> {
        if public || user != ANONYMOUS {
            return Ok(());
        }
        let message = format!("forbidden: User \"{user}\" cannot get path \"{path}\"");
        Err(Failure {
            details: json!({}),
            ..Failure::new(403, "Forbidden", message)
        })
    }

    /// `resourceRules` of a SelfSubjectRulesReview.
    pub(crate) fn resource_rules(&self) -> Value {
        let rule = |rule: &Rule| json!({"verbs": [rule.verb], "apiGroups": [rule.group], "resources": [rule.resource]});
        let allowed =
            everything().filter(|rule| self.allows(&rule.verb, &rule.group, &rule.resource));
        let mut rules: Vec<_> = allowed.map(|allowed| rule(&allowed)).collect();
        rules.push(json!({
            "verbs": ["create"], "apiGroups": ["authorization.k8s.io"],
            "resources": ["selfsubjectaccessreviews", "selfsubjectrulesreviews"]
        }));
        rules.into()
    }
}

/// Every verb on every resource, one by one.
fn everything() -> impl Iterator<Item = Rule> {
    const VERBS: [&str; 8] = [
        "get",
        "list",
        "watch",
        "create",
        "update",
        "patch",
        "delete",
        "deletecollection",
    ];
    crate::resource::RESOURCES
        .iter()
        .flat_map(|resource| VERBS.map(|verb| Rule::new(verb, resource.group, resource.plural)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(verb: &str, group: &str, resource: &str, namespace: &str, name: &str) -> Ask {
        Ask {
            verb: verb.into(),
            group: group.into(),
            resource: resource.into(),
            namespace: namespace.into(),
            name: name.into(),
            ..Ask::default()
        }
    }

    #[test]
    fn missing_permission_is_refused_in_the_words_of_a_real_server() {
        let mut access = Access::default();
        access.set_rules(Some(vec![Rule::new("watch", "", "pods")]));
        let refused = |ask| access.authorize(SERVICE_ACCOUNT, &ask).unwrap_err().message;
        assert_eq!(
            refused(ask("list", "", "pods", "", "")),
            "pods is forbidden: User \"system:serviceaccount:owlk8s:owlk8s\" cannot list resource \"pods\" in API \
             group \"\" at the cluster scope"
        );
        assert_eq!(
            refused(ask("get", "apps", "deployments", "shop", "cart")),
            "deployments.apps \"cart\" is forbidden: User \"system:serviceaccount:owlk8s:owlk8s\" cannot get \
             resource \"deployments\" in API group \"apps\" in the namespace \"shop\""
        );
        assert!(access.permits(SERVICE_ACCOUNT, &ask("watch", "", "pods", "", "")));
    }

    #[test]
    fn one_forbidden_permission_leaves_the_others() {
        let mut access = Access::default();
        access.set_rules(Some(vec![Rule::new("*", "", "*")]));
        access.forbid(Rule::new("*", "", "nodes"));
        assert!(!access.permits(SERVICE_ACCOUNT, &ask("list", "", "nodes", "", "")));
        assert!(!access.permits(SERVICE_ACCOUNT, &ask("watch", "", "nodes", "", "")));
        assert!(access.permits(SERVICE_ACCOUNT, &ask("list", "", "pods", "", "")));
    }

    #[test]
    fn token_tells_the_user() {
        let mut access = Access::default();
        assert_eq!(access.user(None).unwrap(), SERVICE_ACCOUNT);
        access.accept_token("secret", "me");
        assert_eq!(access.user(Some("Bearer secret")).unwrap(), "me");
        assert_eq!(access.user(Some("Bearer wrong")).unwrap_err().code, 401);
        assert_eq!(access.user(None).unwrap(), ANONYMOUS);
        access.revoke_token("secret");
        assert_eq!(access.user(Some("Bearer secret")).unwrap_err().code, 401);
    }
}
