//! List options: the query of a request, with the checks of a real server.

use std::time::Duration;

use crate::failure::Failure;
use crate::object::Key;
use crate::resource::Resource;
use crate::selector::{Fields, Labels, Selector};
use crate::store::At;

/// The query, decoded; of a name that comes twice the first counts.
#[derive(Debug, Default)]
pub(super) struct Options(Vec<(String, String)>);

/// Where a list begins.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Start {
    pub(super) at: At,
    pub(super) from: Option<Key>,
    pub(super) limit: Option<usize>,
}

/// How a watch begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Begin {
    /// With what is there, as ADDED events; and a bookmark behind them.
    State { bookmark: bool },
    /// Behind what is there.
    Now,
    /// Behind this version.
    After(u64),
}

impl Options {
    pub(super) fn parse(query: &str) -> Self {
        let pairs = form_urlencoded::parse(query.as_bytes());
        Self(
            pairs
                .map(|(name, value)| (name.into_owned(), value.into_owned()))
                .collect(),
        )
    }

    /// What is empty is not there.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let pair = self.0.iter().find(|(key, _)| key == name)?;
        Some(pair.1.as_str()).filter(|value| !value.is_empty())
    }

    /// Of a flag, as Kubernetes reads booleans in a query: all but false and 0 is true.
    pub(super) fn is_set(&self, name: &str) -> bool {
        let pair = self.0.iter().find(|(key, _)| key == name);
        pair.is_some_and(|(_, value)| !["false", "0"].contains(&value.to_lowercase().as_str()))
    }

    fn version(&self) -> Result<Option<u64>, Failure> {
        let Some(text) = self.get("resourceVersion") else {
            return Ok(None);
        };
        let version = text.parse().map_err(|_| {
            Failure::bad_request(format!(
                "resourceVersion: Invalid value: \"{text}\": strconv.ParseUint: parsing \"{text}\": invalid syntax"
            ))
        })?;
        Ok(Some(version))
    }

    pub(super) fn selector(
        &self,
        resource: &Resource,
        namespace: String,
    ) -> Result<Selector, Failure> {
        Ok(Selector {
            namespace: Some(namespace).filter(|namespace| !namespace.is_empty()),
            labels: Labels::parse(self.get("labelSelector").unwrap_or_default())?,
            fields: Fields::parse(self.get("fieldSelector").unwrap_or_default(), resource)?,
        })
    }

    /// A list of one by a field selector is about that name, also for permissions.
    pub(super) fn name_that_is_selected(&self) -> Option<String> {
        let selector = self.get("fieldSelector")?;
        let mut names = selector
            .split(',')
            .filter_map(|part| part.strip_prefix("metadata.name="));
        names
            .next()
            .map(|name| name.trim_start_matches('=').to_owned())
    }

    pub(super) fn check_get(&self, current: u64) -> Result<(), Failure> {
        match self.version()? {
            Some(version) if version > current => Err(Failure::version_too_large(version, current)),
            _ => Ok(()),
        }
    }

    /// Of a list.
    pub(super) fn start(&self) -> Result<Start, Failure> {
        let matching = self.get("resourceVersionMatch");
        let version = self.version()?;
        let limit = match self.get("limit").map(str::parse::<usize>) {
            None | Some(Ok(0)) => None,
            Some(Ok(limit)) => Some(limit),
            Some(Err(_)) => return Err(Failure::bad_request("limit is no number")),
        };
        if self.get("sendInitialEvents").is_some() {
            return Err(Failure::invalid_options(
                "sendInitialEvents: Forbidden: sendInitialEvents is forbidden for list",
            ));
        }
        if let Some(token) = self.get("continue") {
            if matching.is_some() {
                return Err(Failure::invalid_options(
                    "resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden when continue is provided",
                ));
            }
            if version.is_some_and(|version| version != 0) {
                return Err(Failure::bad_request(
                    "specifying resource version is not allowed when using continue",
                ));
            }
            let (at, from) = read_token(token)?;
            return Ok(Start {
                at,
                from: Some(from),
                limit,
            });
        }
        let at = match (version, matching) {
            (None, None) | (Some(0), None | Some("NotOlderThan")) => At::Latest,
            (None, Some(_)) => {
                return Err(Failure::invalid_options(
                    "resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden unless resourceVersion is \
                     provided",
                ));
            }
            (Some(0), Some("Exact")) => {
                return Err(Failure::invalid_options(
                    "resourceVersionMatch: Forbidden: resourceVersionMatch \"Exact\" is forbidden for \
                     resourceVersion \"0\"",
                ));
            }
            (Some(version), Some("Exact")) => At::Exactly(version),
            (Some(version), None) if limit.is_some() => At::Exactly(version), // as before resourceVersionMatch
            (Some(version), None | Some("NotOlderThan")) => At::NotOlderThan(version),
            (Some(_), Some(other)) => {
                return Err(Failure::invalid_options(&format!(
                    "resourceVersionMatch: Unsupported value: \"{other}\": supported values: \"\", \"Exact\", \
                     \"NotOlderThan\""
                )));
            }
        };
        // The watch cache, which serves version 0, does not page.
        let limit = limit.filter(|_| version != Some(0));
        Ok(Start {
            at,
            from: None,
            limit,
        })
    }

    /// Of a watch.
    pub(super) fn begin(&self) -> Result<Begin, Failure> {
        let initial = self
            .get("sendInitialEvents")
            .map(|_| self.is_set("sendInitialEvents"));
        let matching = self.get("resourceVersionMatch");
        if initial.is_some() && matching != Some("NotOlderThan") {
            return Err(Failure::invalid_options(
                "resourceVersionMatch: Forbidden: sendInitialEvents requires setting resourceVersionMatch to \
                 NotOlderThan",
            ));
        }
        if initial.is_none() && matching.is_some() {
            return Err(Failure::invalid_options(
                "resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden for watch unless \
                 sendInitialEvents is provided",
            ));
        }
        Ok(match (self.version()?, initial) {
            (_, Some(true)) => Begin::State {
                bookmark: self.is_set("allowWatchBookmarks"),
            },
            (None | Some(0), None) => Begin::State { bookmark: false },
            (None | Some(0), Some(false)) => Begin::Now,
            (Some(version), _) => Begin::After(version),
        })
    }

    /// The end of a watch.
    pub(super) fn timeout(&self) -> Option<Duration> {
        let seconds = self.get("timeoutSeconds")?.parse().ok()?;
        Some(Duration::from_secs(seconds)).filter(|timeout| !timeout.is_zero())
    }
}

/// Where the next page begins; without a version: on the newest objects.
pub(super) fn write_token(version: Option<u64>, key: &Key) -> String {
    let version = version.map_or_else(|| "latest".to_owned(), |version| version.to_string());
    format!("{version}_{}_{}", key.namespace, key.name)
}

fn read_token(token: &str) -> Result<(At, Key), Failure> {
    let wrong =
        || Failure::bad_request("continue key is not valid: encoded continue token is broken");
    let mut parts = token.splitn(3, '_');
    let mut part = || parts.next().ok_or_else(wrong);
    let at = match part()? {
        "latest" => At::Latest,
        version => At::Exactly(version.parse().map_err(|_| wrong())?),
    };
    Ok((at, Key::new(part()?, part()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start(query: &str) -> Start {
        Options::parse(query).start().unwrap()
    }

    #[test]
    fn version_and_match_say_which_state_is_listed() {
        assert_eq!(start("").at, At::Latest);
        assert_eq!(start("resourceVersion=0&limit=5").limit, None);
        assert_eq!(start("resourceVersion=7").at, At::NotOlderThan(7));
        assert_eq!(start("resourceVersion=7&limit=5").at, At::Exactly(7));
        assert_eq!(
            start("resourceVersion=7&limit=5&resourceVersionMatch=NotOlderThan").at,
            At::NotOlderThan(7)
        );
        assert_eq!(
            start("resourceVersion=7&resourceVersionMatch=Exact").at,
            At::Exactly(7)
        );
    }

    #[test]
    fn options_that_contradict_are_refused() {
        for (query, code) in [
            ("resourceVersionMatch=Exact", 422),
            ("resourceVersion=0&resourceVersionMatch=Exact", 422),
            ("resourceVersion=7&resourceVersionMatch=Newest", 422),
            ("resourceVersion=x", 400),
            ("continue=7_shop_a&resourceVersion=7", 400),
            ("continue=7_shop_a&resourceVersionMatch=Exact", 422),
            ("continue=seven", 400),
            ("sendInitialEvents=true", 422),
        ] {
            assert_eq!(
                Options::parse(query).start().unwrap_err().code,
                code,
                "{query}"
            );
        }
        for query in [
            "sendInitialEvents=true",
            "resourceVersionMatch=NotOlderThan",
        ] {
            assert_eq!(
                Options::parse(query).begin().unwrap_err().code,
                422,
                "{query}"
            );
        }
    }

    #[test]
    fn token_leads_to_the_same_key() {
        let key = Key::new("shop", "cart-0.x");
        let query = format!("continue={}", write_token(Some(7), &key));
        let start = start(&query);
        assert_eq!((start.at, start.from), (At::Exactly(7), Some(key)));
    }

    #[test]
    fn watch_begins_as_its_options_say() {
        let begin = |query| Options::parse(query).begin().unwrap();
        assert_eq!(begin("watch=1"), Begin::State { bookmark: false });
        assert_eq!(begin("resourceVersion=0"), Begin::State { bookmark: false });
        assert_eq!(begin("resourceVersion=7"), Begin::After(7));
        let initial =
            "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
        assert_eq!(begin(initial), Begin::State { bookmark: true });
        assert_eq!(
            begin("sendInitialEvents=false&resourceVersionMatch=NotOlderThan"),
            Begin::Now
        );
    }
}
