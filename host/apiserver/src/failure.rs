//! Why a request fails: a `Status` with the texts, reasons and codes of a real server.

use serde_json::{Value, json};

use crate::resource::Resource;

/// An answer that is no success.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Failure {
    pub(crate) code: u16,
    pub(crate) reason: &'static str,
    pub(crate) message: String,
    pub(crate) details: Value,
    /// With 410 to an expired page: where to go on without consistency.
    pub(crate) next: Option<String>,
    /// Header `Retry-After`.
    pub(crate) retry_after: Option<u64>,
}

impl Failure {
    pub(crate) fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            code,
            reason,
            message: message.into(),
            details: Value::Null,
            next: None,
            retry_after: None,
        }
    }

    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message)
    }

    pub(crate) fn unauthorized() -> Self {
        Self::new(401, "Unauthorized", "Unauthorized")
    }

    pub(crate) fn not_found(resource: &Resource, name: &str) -> Self {
        let message = format!("{} {name:?} not found", resource.qualified());
        Self::new(404, "NotFound", message).about(resource, name)
    }

    pub(crate) fn method_not_allowed() -> Self {
        let message = "the server does not allow this method on the requested resource";
        Self {
            details: json!({}),
            ..Self::new(405, "MethodNotAllowed", message)
        }
    }

    pub(crate) fn not_acceptable(message: impl Into<String>) -> Self {
        Self::new(406, "NotAcceptable", message)
    }

    pub(crate) fn already_exists(resource: &Resource, name: &str) -> Self {
        let message = format!("{} {name:?} already exists", resource.qualified());
        Self::new(409, "AlreadyExists", message).about(resource, name)
    }

    pub(crate) fn conflict(resource: &Resource, name: &str) -> Self {
        let message = format!(
            "Operation cannot be fulfilled on {} {name:?}: the object has been modified; please apply your \
             changes to the latest version and try again",
            resource.qualified()
        );
        Self::new(409, "Conflict", message).about(resource, name)
    }

    pub(crate) fn expired(message: impl Into<String>) -> Self {
        Self::new(410, "Expired", message)
    }

    pub(crate) fn unsupported_media_type(given: &str) -> Self {
        let message = format!(
            "the body of the request was in an unknown format - accepted media types include: \
             application/merge-patch+json, application/strategic-merge-patch+json (this server: without lists); \
             got {given}"
        );
        Self::new(415, "UnsupportedMediaType", message)
    }

    /// Of list options.
    pub(crate) fn invalid_options(problem: &str) -> Self {
        let message = format!("ListOptions.meta.k8s.io \"\" is invalid: {problem}");
        Self {
            details: json!({"group": "meta.k8s.io", "kind": "ListOptions"}),
            ..Self::new(422, "Invalid", message)
        }
    }

    /// Of an object.
    pub(crate) fn invalid(resource: &Resource, name: &str, problem: &str) -> Self {
        let group = if resource.group.is_empty() {
            String::new()
        } else {
            format!(".{}", resource.group)
        };
        let message = format!("{}{group} {name:?} is invalid: {problem}", resource.name);
        Self::new(422, "Invalid", message).about(resource, name)
    }

    pub(crate) fn too_many_requests(retry_after: u64) -> Self {
        let message = "Too many requests, please try again later.";
        Self {
            details: json!({"retryAfterSeconds": retry_after}),
            retry_after: Some(retry_after),
            ..Self::new(429, "TooManyRequests", message)
        }
    }

    pub(crate) fn internal_error() -> Self {
        let message = "Internal error occurred: etcdserver: leader changed";
        Self {
            details: json!({"causes": [{"message": "etcdserver: leader changed"}]}),
            ..Self::new(500, "InternalError", message)
        }
    }

    pub(crate) fn unavailable() -> Self {
        let message = "apiserver is shutting down";
        Self::new(503, "ServiceUnavailable", message)
    }

    /// A version that is yet to come.
    pub(crate) fn version_too_large(wanted: u64, current: u64) -> Self {
        let message = format!("Timeout: Too large resource version: {wanted}, current: {current}");
        Self {
            details: json!({
                "causes": [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}],
                "retryAfterSeconds": 1
            }),
            retry_after: Some(1),
            ..Self::new(504, "Timeout", message)
        }
    }

    pub(crate) fn about(self, resource: &Resource, name: &str) -> Self {
        self.about_any(resource.group, resource.plural, name)
    }

    pub(crate) fn about_any(mut self, group: &str, plural: &str, name: &str) -> Self {
        let mut details = json!({"kind": plural});
        for (member, text) in [("name", name), ("group", group)] {
            if !text.is_empty() {
                details[member] = text.into();
            }
        }
        self.details = details;
        self
    }

    /// The `Status` object.
    pub(crate) fn status(&self) -> Value {
        let mut status = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.message, "reason": self.reason, "code": self.code
        });
        if let Some(next) = &self.next {
            status["metadata"]["continue"] = next.as_str().into();
        }
        if !self.details.is_null() {
            status["details"] = self.details.clone();
        }
        status
    }
}
