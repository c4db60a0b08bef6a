//! Changes by HTTP, so that a test can also use kubectl or a client: create, replace, patch, delete.
//!
//! Not simulated: admission, validation and defaults of a kind, dry runs, server-side apply, JSON patch, patches of
//! lists by merge keys, graceful deletion (an object is gone at once) and finalizers.

use serde_json::{Value, json};

use super::accept::Representation;
use super::body::Source;
use super::{Call, JSON, Reply};
use crate::failure::Failure;
use crate::identity;
use crate::object::{Form, Key, Object};
use crate::resource::{Kind, Resource};
use crate::store::{At, Store};

pub(super) fn answer(call: &Call, resource: &'static Resource) -> Result<Reply, Failure> {
    if call.options.get("dryRun").is_some() {
        return Err(Failure::bad_request("this test server has no dry runs"));
    }
    let change = Write {
        call,
        resource,
        store: &call.shared.store,
        namespace: call.route.ask.namespace_of(resource),
        name: call.route.ask.name.clone(),
    };
    if resource.namespaced && change.namespace.is_empty() {
        return Err(Failure::method_not_allowed());
    }
    match call.route.ask.verb.as_str() {
        "create" if change.name.is_empty() => change.create(),
        "update" if !change.name.is_empty() => change.replace(),
        "patch" if !change.name.is_empty() => change.patch(),
        "delete" => change.delete(),
        "deletecollection" => change.delete_collection(),
        _ => Err(Failure::method_not_allowed()),
    }
}

struct Write<'a> {
    call: &'a Call,
    resource: &'static Resource,
    store: &'a Store,
    namespace: String,
    name: String,
}

impl Write<'_> {
    fn create(&self) -> Result<Reply, Failure> {
        let mut value = self.body()?;
        self.check_type(&value)?;
        let meta = value["metadata"].as_object_mut();
        let meta = meta.ok_or_else(|| Failure::bad_request("the object has no metadata"))?;
        let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned);
        let prefix = text(meta.get("generateName"));
        let name = text(meta.get("name"))
            .or_else(|| Some(prefix? + &identity::suffix(self.store.number(), 5)))
            .ok_or_else(|| {
                let problem = "metadata.name: Required value: name or generateName is required";
                Failure::invalid(self.resource, "", problem)
            })?;
        meta.insert("name".to_owned(), name.as_str().into());
        if self.resource.namespaced {
            self.check_namespace(meta.get("namespace").and_then(Value::as_str))?;
            meta.insert("namespace".to_owned(), self.namespace.as_str().into());
        }
        identity::stamp(&mut value, self.resource.kind, self.store.number());
        let key = Key::new(&self.namespace, &name);
        let changed = self
            .store
            .change(self.resource.kind, &key, |before| match before {
                Some(_) => Err(Failure::already_exists(self.resource, &name)),
                None => Ok(Some(value)),
            })?;
        self.reply(201, changed)
    }

    fn replace(&self) -> Result<Reply, Failure> {
        let value = self.body()?;
        self.check_type(&value)?;
        self.update(move |_| Ok(value))
    }

    fn patch(&self) -> Result<Reply, Failure> {
        let patch = self.body()?;
        let media = self
            .call
            .content_type
            .split(';')
            .next()
            .unwrap_or_default()
            .trim();
        let fits = match media {
            "application/merge-patch+json" => true,
            "application/strategic-merge-patch+json" => !has_lists_or_directives(&patch),
            _ => false,
        };
        if !fits {
            return Err(Failure::unsupported_media_type(media));
        }
        self.update(move |mut value| {
            merge(&mut value, &patch);
            // a patch without a version changes whatever is there
            if patch["metadata"]["resourceVersion"].is_null() {
                value["metadata"]["resourceVersion"] = Value::Null;
            }
            Ok(value)
        })
    }

    fn update(
        &self,
        change: impl FnOnce(Value) -> Result<Value, Failure>,
    ) -> Result<Reply, Failure> {
        let of_status = self.call.route.ask.subresource == "status";
        let key = Key::new(&self.namespace, &self.name);
        let changed = self.store.change(self.resource.kind, &key, |before| {
            let before = before.ok_or_else(|| Failure::not_found(self.resource, &self.name))?;
            let old = before.value();
            let new = change(old.clone())?;
            match new["metadata"]["resourceVersion"].as_str() {
                Some(version) if !version.is_empty() && version != before.version.to_string() => {
                    return Err(Failure::conflict(self.resource, &self.name));
                }
                _ => {}
            }
            if new["metadata"]["name"]
                .as_str()
                .is_some_and(|name| name != self.name)
            {
                return Err(Failure::bad_request(
                    "the name of the object does not match the name on the URL",
                ));
            }
            Ok(Some(merged(old, new, of_status)))
        })?;
        self.reply(200, changed)
    }

    fn delete(&self) -> Result<Reply, Failure> {
        let key = Key::new(&self.namespace, &self.name);
        let kind = self.resource.kind;
        let not_found = || Failure::not_found(self.resource, &self.name);
        let object = self.store.get(kind, &key).ok_or_else(not_found)?;
        self.store.delete(kind, &key).ok_or_else(not_found)?;
        let uid = object.value()["metadata"]["uid"].take();
        let mut status = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success",
            "details": {"name": self.name, "kind": self.resource.plural, "uid": uid}
        });
        if !self.resource.group.is_empty() {
            status["details"]["group"] = self.resource.group.into();
        }
        Ok(Reply::json(200, &status))
    }

    fn delete_collection(&self) -> Result<Reply, Failure> {
        let selector = self
            .call
            .options
            .selector(self.resource, self.namespace.clone())?;
        let kind = self.resource.kind;
        let listed = self.store.list(kind, &selector, At::Latest, None, None);
        let items = listed.map(|page| page.items).unwrap_or_default(); // the latest is always there
        let deleted = items
            .iter()
            .filter(|object| self.store.delete(kind, &object.key).is_some());
        let items: Vec<_> = deleted.map(|object| object.value()).collect();
        let list = json!({
            "kind": format!("{}List", self.resource.name), "apiVersion": self.resource.api_version(),
            "metadata": {"resourceVersion": self.store.version().to_string()}, "items": items
        });
        Ok(Reply::json(200, &list))
    }

    fn body(&self) -> Result<Value, Failure> {
        let value = serde_json::from_slice(&self.call.body)
            .ok()
            .filter(Value::is_object);
        value.ok_or_else(|| Failure::bad_request("the body of the request is no JSON object"))
    }

    fn check_type(&self, value: &Value) -> Result<(), Failure> {
        let (name, version) = (self.resource.name, self.resource.api_version());
        let fits = |member: &str, wanted: &str| value[member].is_null() || value[member] == wanted;
        if fits("kind", name) && fits("apiVersion", &version) {
            return Ok(());
        }
        Err(Failure::bad_request(format!(
            "{} in version {} cannot be handled as a {name}",
            value["kind"].as_str().unwrap_or_default(),
            value["apiVersion"]
        )))
    }

    fn check_namespace(&self, given: Option<&str>) -> Result<(), Failure> {
        if given.is_some_and(|given| !given.is_empty() && given != self.namespace) {
            return Err(Failure::bad_request(
                "the namespace of the provided object does not match the namespace sent on the request",
            ));
        }
        let key = Key::new("", &self.namespace);
        match self.store.get(Kind::Namespace, &key) {
            Some(_) => Ok(()),
            None => Err(Failure::not_found(
                Kind::Namespace.resource(),
                &self.namespace,
            )),
        }
    }

    fn reply(
        &self,
        code: u16,
        changed: Option<(u64, std::sync::Arc<Object>)>,
    ) -> Result<Reply, Failure> {
        let representation = Representation::of_object(&self.call.accept)?;
        let mut text = Vec::new();
        if let Some((version, object)) = changed {
            object.write(&mut text, representation.form(Form::Whole), version);
        }
        Ok(Reply {
            code,
            content_type: JSON,
            source: Source::whole(text),
        })
    }
}

/// What becomes of an object: its own resource changes all but the status, `status` nothing else.
fn merged(mut old: Value, mut new: Value, of_status: bool) -> Value {
    if of_status {
        old["status"] = new["status"].take();
        return old;
    }
    for member in ["uid", "creationTimestamp", "name", "namespace"] {
        if !old["metadata"][member].is_null() {
            new["metadata"][member] = old["metadata"][member].clone();
        }
    }
    if !old["metadata"]["generation"].is_null() {
        let generation = old["metadata"]["generation"].as_u64().unwrap_or_default();
        new["metadata"]["generation"] = (generation + u64::from(old["spec"] != new["spec"])).into();
    }
    match old["status"].take() {
        Value::Null => new,
        status => {
            new["status"] = status;
            new
        }
    }
}

/// RFC 7396.
pub(crate) fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    let Some(members) = target.as_object_mut() else {
        return;
    };
    for (name, value) in patch {
        if value.is_null() {
            members.remove(name);
        } else {
            merge(members.entry(name).or_insert(Value::Null), value);
        }
    }
}

/// What a strategic merge patch reads otherwise than a merge patch.
fn has_lists_or_directives(patch: &Value) -> bool {
    match patch {
        Value::Array(_) => true,
        Value::Object(members) => members
            .iter()
            .any(|(name, value)| name.starts_with('$') || has_lists_or_directives(value)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merge_patch_follows_the_examples_of_its_rfc() {
        for (target, patch, result) in [
            (json!({"a": "b"}), json!({"a": "c"}), json!({"a": "c"})),
            (
                json!({"a": "b"}),
                json!({"b": "c"}),
                json!({"a": "b", "b": "c"}),
            ),
            (
                json!({"a": "b", "b": "c"}),
                json!({"a": null}),
                json!({"b": "c"}),
            ),
            (
                json!({"a": {"b": "c"}}),
                json!({"a": {"b": "d", "c": null}}),
                json!({"a": {"b": "d"}}),
            ),
            (json!({"a": [1]}), json!({"a": "c"}), json!({"a": "c"})),
            (
                json!({}),
                json!({"a": {"bb": {"ccc": null}}}),
                json!({"a": {"bb": {}}}),
            ),
        ] {
            let mut value = target.clone();
            merge(&mut value, &patch);
            assert_eq!(value, result, "{target} {patch}");
        }
    }
}
