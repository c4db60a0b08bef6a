//! Lists, written piece by piece: a list of 100,000 pods is never in memory as one text.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value;

use super::accept::Representation;
use super::body::Source;
use super::options::write_token;
use super::{Call, JSON, Reply};
use crate::failure::Failure;
use crate::object::{Form, Object};
use crate::resource::Resource;
use crate::store::{At, Page, VersionProblem};

/// Bytes of a piece, about.
const PIECE: usize = 64 << 10;

pub(super) fn answer(call: &Call, resource: &'static Resource) -> Result<Reply, Failure> {
    let representation = Representation::of_list(&call.accept)?;
    let selector = call
        .options
        .selector(resource, call.route.ask.namespace_of(resource))?;
    let start = call.options.start()?;
    let listed = call.shared.store.list(
        resource.kind,
        &selector,
        start.at,
        start.from.as_ref(),
        start.limit,
    );
    let page = listed.map_err(|problem| match (problem, &start.from) {
        (VersionProblem::Expired { .. }, Some(key)) => Failure {
            next: Some(write_token(None, key)),
            ..Failure::expired(
                "The provided continue parameter is too old to display a consistent list result. You can start a \
                 new list without the continue parameter, or use the continue token in this response to retrieve \
                 the remainder of the results. Continuing with the provided token results in an inconsistent list \
                 - objects that were created, modified, or deleted between the time the first chunk was returned \
                 and now may show up in the list.",
            )
        },
        (VersionProblem::Expired { .. }, None) => {
            Failure::expired("The resourceVersion for the provided list is too old.")
        }
        (VersionProblem::Future { current }, _) => {
            let wanted = match start.at {
                At::Exactly(version) | At::NotOlderThan(version) => version,
                At::Latest => current,
            };
            Failure::version_too_large(wanted, current)
        }
    })?;
    let form = representation.form(Form::Item);
    let head = head(resource, form, &page, selector.is_selective());
    let mut pieces = Pieces {
        head: Some(head),
        items: page.items.into_iter(),
        form,
        begun: false,
        ended: false,
    };
    let first = pieces.next().unwrap_or_default();
    let source = if pieces.ended {
        Source::whole(first)
    } else {
        Source::Pieces(Box::new(std::iter::once(first).chain(pieces)))
    };
    Ok(Reply {
        code: 200,
        content_type: JSON,
        source,
    })
}

/// All up to the items.
fn head(resource: &Resource, form: Form, page: &Page, selective: bool) -> String {
    let (kind, version) = match form {
        Form::Metadata => ("PartialObjectMetadata", "meta.k8s.io/v1".to_owned()),
        Form::Item | Form::Whole => (resource.name, resource.api_version()),
    };
    let mut metadata = format!("\"resourceVersion\":\"{}\"", page.version);
    if let Some((next, count)) = &page.rest {
        let token = Value::from(write_token(Some(page.version), next));
        metadata.push_str(&format!(",\"continue\":{token}"));
        if !selective {
            metadata.push_str(&format!(",\"remainingItemCount\":{count}"));
        }
    }
    format!(
        "{{\"kind\":\"{kind}List\",\"apiVersion\":\"{version}\",\"metadata\":{{{metadata}}},\"items\":["
    )
}

struct Pieces {
    head: Option<String>,
    items: std::vec::IntoIter<Arc<Object>>,
    form: Form,
    /// An item is written.
    begun: bool,
    /// All is written.
    ended: bool,
}

impl Iterator for Pieces {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        if self.ended {
            return None;
        }
        let mut piece = self.head.take().unwrap_or_default().into_bytes();
        while piece.len() < PIECE {
            let Some(object) = self.items.next() else {
                piece.extend_from_slice(b"]}\n");
                self.ended = true;
                break;
            };
            if std::mem::replace(&mut self.begun, true) {
                piece.push(b',');
            }
            object.write(&mut piece, self.form, object.version);
        }
        Some(piece.into())
    }
}
