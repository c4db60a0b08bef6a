//! A stored object: JSON text with the few fields beside it that selectors ask for.
//!
//! Kept as text, since a cluster of 100,000 pods is to fit into memory and a `serde_json::Value` takes several times
//! the room. The resource version is no part of the text: a DELETED event carries the old object under a new version.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde_json::{Map, Value};

use crate::resource::{Kind, Resource};

/// Namespace (empty for what has none) and name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Key {
    pub(crate) namespace: Arc<str>,
    pub(crate) name: Arc<str>,
}

/// One version of an object; never changes.
pub(crate) struct Object {
    pub(crate) kind: Kind,
    pub(crate) key: Key,
    pub(crate) version: u64,
    pub(crate) labels: Box<[(Box<str>, Box<str>)]>,
    pub(crate) node: Option<Box<str>>,
    pub(crate) phase: Option<Box<str>>,
    /// What follows `{"metadata":{"resourceVersion":"1",`.
    body: Box<[u8]>,
    /// Bytes of the body up to the end of the metadata.
    metadata: usize,
}

/// How much of an object is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// An item of a list: without kind and apiVersion, as real servers write it.
    Item,
    /// With kind and apiVersion.
    Whole,
    /// As PartialObjectMetadata.
    Metadata,
}

impl Key {
    pub(crate) fn new(namespace: &str, name: &str) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() {
            f.write_str(&self.name)
        } else {
            write!(f, "{}/{}", self.namespace, self.name)
        }
    }
}

impl Object {
    /// From JSON whose `metadata.name` (and namespace) the caller has made sure of.
    pub(crate) fn new(kind: Kind, version: u64, value: &Value) -> Self {
        let empty = Map::new();
        let meta = value["metadata"].as_object().unwrap_or(&empty);
        let text = |value: &Value| value.as_str().map(Box::<str>::from);
        let mut body = Vec::new();
        write_members(&mut body, meta, &["resourceVersion"]);
        body.push(b'}');
        let metadata = body.len();
        if let Some(value) = value.as_object()
            && value
                .keys()
                .any(|name| !TYPE_AND_METADATA.contains(&name.as_str()))
        {
            body.push(b',');
            write_members(&mut body, value, &TYPE_AND_METADATA);
        }
        body.push(b'}');
        let labels: BTreeMap<_, _> = meta
            .get("labels")
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
            .map(|(name, value)| (name.as_str().into(), text(value).unwrap_or_default()))
            .collect();
        let part = |name: &str| meta.get(name).and_then(Value::as_str).unwrap_or_default();
        Self {
            kind,
            key: Key::new(part("namespace"), part("name")),
            version,
            labels: labels.into_iter().collect(),
            node: text(&value["spec"]["nodeName"]),
            phase: text(&value["status"]["phase"]),
            body: body.into_boxed_slice(),
            metadata,
        }
    }

    /// Writes it under this version.
    pub(crate) fn write(&self, out: &mut Vec<u8>, form: Form, version: u64) {
        let head = match form {
            Form::Item => "{".to_owned(),
            Form::Whole => type_members(self.kind.resource()),
            Form::Metadata => {
                r#"{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1","#.to_owned()
            }
        };
        out.extend_from_slice(head.as_bytes());
        out.extend_from_slice(format!(r#""metadata":{{"resourceVersion":"{version}","#).as_bytes());
        if form == Form::Metadata {
            out.extend_from_slice(&self.body[..self.metadata]);
            out.push(b'}');
        } else {
            out.extend_from_slice(&self.body);
        }
    }

    /// The whole object, to be changed.
    pub(crate) fn value(&self) -> Value {
        let mut text = Vec::with_capacity(self.body.len() + 128);
        self.write(&mut text, Form::Whole, self.version);
        serde_json::from_slice(&text).unwrap_or_default() // this module wrote it
    }

    /// Value of a label.
    pub(crate) fn label(&self, name: &str) -> Option<&str> {
        self.labels
            .binary_search_by(|(key, _)| (**key).cmp(name))
            .ok()
            .map(|at| &*self.labels[at].1)
    }

    /// Whether nothing but the version differs.
    pub(crate) fn says_the_same(&self, other: &Self) -> bool {
        self.body == other.body
    }

    /// Bytes of its text.
    pub(crate) fn size(&self) -> usize {
        self.body.len()
    }
}

const TYPE_AND_METADATA: [&str; 3] = ["apiVersion", "kind", "metadata"];

fn type_members(resource: &Resource) -> String {
    format!(
        r#"{{"kind":"{}","apiVersion":"{}","#,
        resource.name,
        resource.api_version()
    )
}

/// `"a":1,"b":2`, without braces.
fn write_members(out: &mut Vec<u8>, members: &Map<String, Value>, except: &[&str]) {
    let mut comma = false;
    for (name, value) in members {
        if except.contains(&name.as_str()) {
            continue;
        }
        if comma {
            out.push(b',');
        }
        comma = true;
        out.extend_from_slice(Value::from(name.as_str()).to_string().as_bytes());
        out.push(b':');
        out.extend_from_slice(value.to_string().as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod() -> Value {
        json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "cart-0", "namespace": "shop", "resourceVersion": "3", "labels": {"app": "cart"}},
            "spec": {"nodeName": "n1", "text": "a \"quoted\"\nline"}, "status": {"phase": "Running"}
        })
    }

    #[test]
    fn whole_object_reads_back_as_it_was() {
        let object = Object::new(Kind::Pod, 3, &pod());
        assert_eq!(object.value(), pod());
        assert_eq!(object.label("app"), Some("cart"));
        assert_eq!(object.label("ap"), None);
        assert_eq!(
            (object.node.as_deref(), object.phase.as_deref()),
            (Some("n1"), Some("Running"))
        );
    }

    #[test]
    fn item_has_no_type_and_metadata_has_nothing_else() {
        let object = Object::new(Kind::Pod, 3, &pod());
        let written = |form| {
            let mut out = Vec::new();
            object.write(&mut out, form, 9);
            serde_json::from_slice::<Value>(&out).unwrap()
        };
        let item = written(Form::Item);
        assert!(item.get("kind").is_none() && item.get("apiVersion").is_none());
        assert_eq!(item["spec"], pod()["spec"]);
        let metadata = written(Form::Metadata);
        assert_eq!(metadata["kind"], "PartialObjectMetadata");
        assert_eq!(metadata["metadata"]["resourceVersion"], "9");
        assert_eq!(metadata["metadata"]["labels"]["app"], "cart");
        assert!(metadata.get("spec").is_none() && metadata.get("status").is_none());
    }
}
