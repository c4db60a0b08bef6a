//! Reviews of one's own permissions, as `kubectl auth can-i` asks for them.

use serde_json::{Value, json};

use super::{Call, Reply};
use crate::access::{Ask, SERVICE_ACCOUNT};
use crate::failure::Failure;

/// Who comes here is known: what may be asked does not depend on who.
pub(super) fn answer(call: &Call) -> Result<Reply, Failure> {
    let mut review: Value = serde_json::from_slice(&call.body)
        .map_err(|_| Failure::bad_request("the body of the request is no JSON object"))?;
    let access = call.shared.access();
    let status = match call.route.ask.resource.as_str() {
        "selfsubjectaccessreviews" => {
            let spec = &review["spec"]["resourceAttributes"];
            let part = |name: &str| spec[name].as_str().unwrap_or_default().to_owned();
            let ask = Ask {
                verb: part("verb"),
                group: part("group"),
                resource: part("resource"),
                subresource: part("subresource"),
                namespace: part("namespace"),
                name: part("name"),
            };
            json!({"allowed": spec.is_object() && access.permits(SERVICE_ACCOUNT, &ask)})
        }
        "selfsubjectrulesreviews" => json!({
            "resourceRules": access.resource_rules(),
            "nonResourceRules": [{"verbs": ["get"], "nonResourceURLs": ["/api", "/apis", "/readyz", "/version"]}],
            "incomplete": false
        }),
        _ => return Ok(super::not_found()),
    };
    review["status"] = status;
    Ok(Reply::json(201, &review))
}
