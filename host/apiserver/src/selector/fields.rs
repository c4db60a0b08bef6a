//! Field selectors: `a.b=c`, `==`, `!=`, joined by commas; which fields there are depends on the resource.

use serde_json::Value;

use crate::failure::Failure;
use crate::object::Object;
use crate::resource::{Kind, Resource};

/// Requirements that must all hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Fields(Vec<Requirement>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Requirement {
    field: String,
    equal: bool,
    value: String,
}

impl Fields {
    pub(crate) fn parse(text: &str, resource: &Resource) -> Result<Self, Failure> {
        text.split(',')
            .filter(|part| !part.is_empty())
            .map(|part| Requirement::parse(part, resource))
            .collect::<Result<_, _>>()
            .map(Self)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The value that this field must have.
    pub(crate) fn wanted(&self, field: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|requirement| requirement.equal && requirement.field == field)
            .map(|requirement| requirement.value.as_str())
    }

    pub(crate) fn match_object(&self, object: &Object) -> bool {
        self.0.iter().all(|requirement| requirement.holds(object))
    }
}

impl Requirement {
    fn parse(text: &str, resource: &Resource) -> Result<Self, Failure> {
        let (field, equal, value) = if let Some((field, value)) = text.split_once("!=") {
            (field, false, value)
        } else if let Some((field, value)) = text.split_once("==").or_else(|| text.split_once('='))
        {
            (field, true, value)
        } else {
            return Err(Failure::bad_request(format!(
                "invalid selector: '{text}'; can't understand '{text}'"
            )));
        };
        let known = field == "metadata.name"
            || field == "metadata.namespace"
                && (resource.namespaced || resource.kind != Kind::Node)
            || resource.fields.contains(&field);
        if !known {
            return Err(Failure::bad_request(if resource.fields.is_empty() {
                format!(
                    "{field:?} is not a known field selector: only \"metadata.name\", \"metadata.namespace\""
                )
            } else {
                format!("field label not supported: {field}")
            }));
        }
        Ok(Self {
            field: field.to_owned(),
            equal,
            value: value.to_owned(),
        })
    }

    fn holds(&self, object: &Object) -> bool {
        let is = match self.field.as_str() {
            "metadata.name" => *object.key.name == *self.value,
            "metadata.namespace" => *object.key.namespace == *self.value,
            "spec.nodeName" => object.node.as_deref().unwrap_or_default() == self.value,
            "status.phase" => object.phase.as_deref().unwrap_or_default() == self.value,
            field => look_up(&object.value(), field) == self.value,
        };
        is == self.equal
    }
}

/// A field that is asked for rarely, so that reading the whole object for it does no harm.
fn look_up(object: &Value, field: &str) -> String {
    let field = if field == "status.successful" {
        "status.succeeded"
    } else {
        field
    };
    match object.pointer(&format!("/{}", field.replace('.', "/"))) {
        Some(Value::String(text)) => text.clone(),
        None | Some(Value::Null) => match field {
            "spec.hostNetwork" | "spec.unschedulable" => "false".to_owned(),
            "status.replicas" | "status.succeeded" => "0".to_owned(),
            _ => String::new(),
        },
        Some(other) => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn holds(selector: &str) -> bool {
        let pod = json!({
            "metadata": {"name": "cart-0", "namespace": "shop"},
            "spec": {"nodeName": "n1", "restartPolicy": "Always"}, "status": {"phase": "Running"}
        });
        Fields::parse(selector, Kind::Pod.resource())
            .unwrap()
            .match_object(&Object::new(Kind::Pod, 1, &pod))
    }

    #[test]
    fn each_field_of_a_pod_is_compared() {
        for yes in [
            "",
            "metadata.name=cart-0",
            "metadata.namespace==shop",
            "spec.nodeName=n1",
            "spec.nodeName!=n2",
            "status.phase=Running,spec.nodeName=n1",
            "spec.restartPolicy=Always",
            "spec.hostNetwork=false",
        ] {
            assert!(holds(yes), "{yes}");
        }
        for no in [
            "metadata.name=cart-1",
            "metadata.namespace!=shop",
            "spec.nodeName=n2",
            "spec.nodeName!=n1",
            "status.phase=Running,spec.nodeName=n2",
            "spec.hostNetwork=true",
        ] {
            assert!(!holds(no), "{no}");
        }
    }

    #[test]
    fn unknown_field_is_a_bad_request_in_the_words_of_its_resource() {
        let refused = |text, kind: Kind| Fields::parse(text, kind.resource()).unwrap_err();
        let pod = refused("spec.foo=1", Kind::Pod);
        assert_eq!(
            (pod.code, pod.message.as_str()),
            (400, "field label not supported: spec.foo")
        );
        let slice = refused("spec.nodeName=n1", Kind::EndpointSlice);
        assert!(
            slice
                .message
                .starts_with("\"spec.nodeName\" is not a known field selector")
        );
        assert_eq!(refused("spec.nodeName", Kind::Pod).code, 400);
    }
}
