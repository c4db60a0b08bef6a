use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize, Serializer};

/// Text that is shown nowhere: not in logs, not in `/plugins`, not by `owlk8s config`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

/// What stands for a secret where one would be shown.
pub(crate) const HIDDEN: &str = "***";

impl Secret {
    /// For the request that carries it.
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HIDDEN)
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(HIDDEN)
    }
}

/// The one way on which secrets travel as they are: from the agent to its own plugin process.
pub(crate) mod exposed {
    use std::collections::BTreeMap;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::Secret;

    pub(crate) fn serialize<S: Serializer>(
        secrets: &BTreeMap<String, Secret>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let exposed: BTreeMap<_, _> = secrets.iter().map(|(k, v)| (k, v.expose())).collect();
        exposed.serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<BTreeMap<String, Secret>, D::Error> {
        let exposed = BTreeMap::<String, String>::deserialize(deserializer)?;
        Ok(exposed.into_iter().map(|(k, v)| (k, v.into())).collect())
    }
}

/// Where a secret is: `{ file = "/run/secrets/token" }` or `{ env = "TOKEN" }`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SecretSource {
    /// A file with nothing else in it but blanks around; read again for every request.
    File(PathBuf),
    /// An environment variable of the agent.
    Env(String),
}

impl SecretSource {
    pub(super) fn file(&self) -> Option<&Path> {
        match self {
            Self::File(path) => Some(path),
            Self::Env(_) => None,
        }
    }

    pub(super) fn env(&self) -> Option<&str> {
        match self {
            Self::Env(name) => Some(name),
            Self::File(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secret_is_shown_nowhere() {
        let secret = Secret::from("hunter2".to_owned());
        assert_eq!(format!("{secret:?} {:?}", Some(&secret)), "*** Some(***)");
        assert_eq!(serde_json::to_string(&secret).unwrap(), "\"***\"");
    }
}
