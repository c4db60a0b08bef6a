//! Content negotiation: JSON of whole objects, or of their metadata only. No protobuf, CBOR, YAML or Table.

use crate::failure::Failure;
use crate::object::Form;

/// How objects are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Representation {
    Whole,
    Metadata,
}

impl Representation {
    pub(super) fn of_object(accept: &str) -> Result<Self, Failure> {
        match read(accept)? {
            Some("PartialObjectMetadataList") => Err(Failure::not_acceptable(
                "you requested PartialObjectMetadataList, but the requested object is not a list",
            )),
            Some(_) => Ok(Self::Metadata),
            None => Ok(Self::Whole),
        }
    }

    pub(super) fn of_list(accept: &str) -> Result<Self, Failure> {
        match read(accept)? {
            Some("PartialObjectMetadata") => Err(Failure::not_acceptable(
                "you requested PartialObjectMetadata, but the requested object is a list",
            )),
            Some(_) => Ok(Self::Metadata),
            None => Ok(Self::Whole),
        }
    }

    /// The form of an object that is otherwise written as `whole`.
    pub(super) fn form(self, whole: Form) -> Form {
        match self {
            Self::Whole => whole,
            Self::Metadata => Form::Metadata,
        }
    }
}

/// The first clause that can be served: what it converts to, if anything.
fn read(accept: &str) -> Result<Option<&str>, Failure> {
    if accept.is_empty() {
        return Ok(None);
    }
    for clause in accept.split(',') {
        let mut parts = clause.split(';').map(str::trim);
        let media = parts.next().unwrap_or_default();
        let parameters: Vec<_> = parts.filter_map(|part| part.split_once('=')).collect();
        let parameter = |name: &str| {
            let found = parameters.iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| *value)
        };
        if !["application/json", "application/*", "*/*"].contains(&media) {
            continue;
        }
        let Some(kind) = parameter("as") else {
            return Ok(None);
        };
        let version = (parameter("g"), parameter("v"));
        if kind.starts_with("PartialObjectMetadata") && version == (Some("meta.k8s.io"), Some("v1"))
        {
            return Ok(Some(kind));
        }
    }
    Err(Failure::not_acceptable(
        "only the following media types are accepted: application/json",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_is_given_to_who_asks_for_it() {
        let meta = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";
        let list = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";
        assert_eq!(
            Representation::of_object(meta).unwrap(),
            Representation::Metadata
        );
        assert_eq!(
            Representation::of_list(list).unwrap(),
            Representation::Metadata
        );
        assert_eq!(Representation::of_list(meta).unwrap_err().code, 406);
        assert_eq!(Representation::of_object(list).unwrap_err().code, 406);
    }

    #[test]
    fn what_is_not_served_is_passed_over() {
        let kubectl = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
        assert_eq!(
            Representation::of_list(kubectl).unwrap(),
            Representation::Whole
        );
        assert_eq!(
            Representation::of_list("*/*").unwrap(),
            Representation::Whole
        );
        let protobuf = "application/vnd.kubernetes.protobuf";
        assert_eq!(Representation::of_list(protobuf).unwrap_err().code, 406);
    }
}
