//! Where an exporter may send: scheme, host and port, as a manifest asks for them, a grant gives them and
//! a ceiling bounds them. All three are written alike, and what is allowed is where they meet.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// `https` unless it is written otherwise: what carries a token should not go in the clear by a slip.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Scheme {
    /// In the clear.
    Http,
    /// Over TLS.
    Https,
}

/// One scheme, host and port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Origin {
    pub(crate) scheme: Scheme,
    /// A name in lower case without the final dot, or an address without brackets.
    pub(crate) host: Host,
    pub(crate) port: u16,
}

/// A name or an address.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Host {
    Name(String),
    Address(IpAddr),
}

/// Origins: `api.example.com` (https, port 443), `http://collector:4318`, `*.example.com`, `https://10.1.2.3:8443`,
/// `*` for every host, `:*` for every port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct OriginPattern {
    scheme: Scheme,
    host: HostPattern,
    /// None: every port.
    port: Option<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum HostPattern {
    Any,
    /// Names that end with this one, dot included.
    Below(String),
    One(Host),
}

impl Scheme {
    fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    fn port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

impl OriginPattern {
    /// Whether it stands for one origin, not for several.
    pub(crate) fn is_one(&self) -> bool {
        matches!(self.host, HostPattern::One(_)) && self.port.is_some()
    }

    /// Whether it goes without TLS.
    pub(crate) fn is_plain(&self) -> bool {
        self.scheme == Scheme::Http
    }

    /// Whether `origin` is one of these.
    pub fn takes(&self, origin: &Origin) -> bool {
        let host = match &self.host {
            HostPattern::Any => true,
            HostPattern::Below(end) => is_below(&origin.host, end),
            HostPattern::One(host) => *host == origin.host,
        };
        host && self.scheme == origin.scheme && self.port.is_none_or(|port| port == origin.port)
    }

    /// The origins that are of both; none where there are none.
    pub fn meet(&self, other: &Self) -> Option<Self> {
        let port = match (self.port, other.port) {
            (Some(one), Some(two)) if one != two => return None,
            (one, two) => one.or(two),
        };
        let host = match (&self.host, &other.host) {
            (HostPattern::Any, host) | (host, HostPattern::Any) => host.clone(),
            (HostPattern::Below(end), HostPattern::One(host))
            | (HostPattern::One(host), HostPattern::Below(end)) => {
                is_below(host, end).then(|| HostPattern::One(host.clone()))?
            }
            (HostPattern::Below(one), HostPattern::Below(two)) => {
                let (long, short) = if one.len() >= two.len() {
                    (one, two)
                } else {
                    (two, one)
                };
                long.ends_with(short.as_str())
                    .then(|| HostPattern::Below(long.clone()))?
            }
            (HostPattern::One(one), HostPattern::One(two)) => {
                (one == two).then(|| HostPattern::One(one.clone()))?
            }
        };
        (self.scheme == other.scheme).then_some(Self {
            scheme: self.scheme,
            host,
            port,
        })
    }
}

fn is_below(host: &Host, end: &str) -> bool {
    matches!(host, Host::Name(name) if name.len() > end.len() && name.ends_with(end))
}

impl From<&Origin> for OriginPattern {
    fn from(origin: &Origin) -> Self {
        Self {
            scheme: origin.scheme,
            host: HostPattern::One(origin.host.clone()),
            port: Some(origin.port),
        }
    }
}

impl Origin {
    /// Of `host` or `host:port`, an address of IPv6 in brackets.
    pub(crate) fn of(scheme: Scheme, authority: &str) -> Result<Self, String> {
        let (host, port) = split(authority)?;
        Ok(Self {
            scheme,
            host: host_of(host)?,
            port: match port {
                None => scheme.port(),
                Some(port) => number(port)?,
            },
        })
    }

    /// Of a URL; its path does not matter.
    pub(crate) fn of_url(url: &str) -> Result<Self, String> {
        let (scheme, rest) = if let Some(rest) = url.strip_prefix("https://") {
            (Scheme::Https, rest)
        } else if let Some(rest) = url.strip_prefix("http://") {
            (Scheme::Http, rest)
        } else {
            return Err("must begin with http:// or https:// and a host".to_owned());
        };
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        Self::of(scheme, &rest[..end])
    }
}

impl FromStr for OriginPattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let explain = |why: String| {
            format!(
                "{text:?} is no origin: {why} (write `api.example.com`, `http://collector:4318`, `*.example.com`, `*`)"
            )
        };
        let (scheme, rest) = match text.split_once("://") {
            None => (Scheme::Https, text),
            Some(("https", rest)) => (Scheme::Https, rest),
            Some(("http", rest)) => (Scheme::Http, rest),
            Some((other, _)) => {
                return Err(explain(format!(
                    "the scheme {other:?} is not http or https"
                )));
            }
        };
        let (host, port) = split(rest).map_err(explain)?;
        let host = if host == "*" {
            HostPattern::Any
        } else if let Some(end) = host.strip_prefix("*.") {
            match host_of(end).map_err(explain)? {
                Host::Name(name) => HostPattern::Below(format!(".{name}")),
                Host::Address(_) => return Err(explain("`*.` stands before a name".to_owned())),
            }
        } else {
            HostPattern::One(host_of(host).map_err(explain)?)
        };
        let port = match port {
            None => Some(scheme.port()),
            Some("*") => None,
            Some(port) => Some(number(port).map_err(explain)?),
        };
        Ok(Self { scheme, host, port })
    }
}

/// Host and port; the colons of a bare address of IPv6 are not taken for a port's.
fn split(text: &str) -> Result<(&str, Option<&str>), String> {
    if let Some(rest) = text.strip_prefix('[') {
        let (host, port) = rest
            .split_once(']')
            .ok_or_else(|| "the bracket is not closed".to_owned())?;
        return match port.strip_prefix(':') {
            None if port.is_empty() => Ok((host, None)),
            Some(port) if !host.is_empty() => Ok((host, Some(port))),
            _ => Err("after the bracket comes `:` and a port, or nothing".to_owned()),
        };
    }
    match text.split_once(':') {
        Some((_, port)) if port.contains(':') => {
            Err("an address of IPv6 stands in brackets".to_owned())
        }
        Some((host, port)) => Ok((host, Some(port))),
        None => Ok((text, None)),
    }
}

fn number(port: &str) -> Result<u16, String> {
    port.bytes()
        .all(|c| c.is_ascii_digit())
        .then(|| port.parse().ok())
        .flatten()
        .filter(|port| *port > 0)
        .ok_or_else(|| format!("{port:?} is no port"))
}

/// RFC 1123's names and the underscores of the real world; users, paths and spaces are none.
fn host_of(text: &str) -> Result<Host, String> {
    if let Ok(address) = text.parse::<Ipv6Addr>() {
        return Ok(Host::Address(address.into()));
    }
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(Host::Address(address));
    }
    let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|c| c.is_ascii_alphanumeric() || c == b'-' || c == b'_')
    };
    if name.len() > 253 || !name.split('.').all(label) {
        return Err(format!("{text:?} is no host"));
    }
    Ok(Host::Name(name))
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Address(IpAddr::V4(address)) => write!(f, "{address}"),
            Self::Address(IpAddr::V6(address)) => write!(f, "[{address}]"),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", OriginPattern::from(self))
    }
}

/// As it can be read again; the port always, so that nobody has to know defaults.
impl fmt::Display for OriginPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://", self.scheme.name())?;
        match &self.host {
            HostPattern::Any => f.write_str("*")?,
            HostPattern::Below(end) => write!(f, "*{end}")?,
            HostPattern::One(host) => write!(f, "{host}")?,
        }
        match self.port {
            Some(port) => write!(f, ":{port}"),
            None => f.write_str(":*"),
        }
    }
}

impl TryFrom<String> for OriginPattern {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<OriginPattern> for String {
    fn from(pattern: OriginPattern) -> Self {
        pattern.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> OriginPattern {
        text.parse().unwrap()
    }

    #[test]
    fn what_is_left_out_is_https_and_its_port() {
        for (text, whole) in [
            ("api.example.com", "https://api.example.com:443"),
            ("API.Example.com.", "https://api.example.com:443"),
            ("api.example.com:8443", "https://api.example.com:8443"),
            ("http://collector", "http://collector:80"),
            ("*.example.com:*", "https://*.example.com:*"),
            ("*", "https://*:443"),
            ("http://*:*", "http://*:*"),
            ("[fd00::1]:4318", "https://[fd00::1]:4318"),
            ("10.1.2.3", "https://10.1.2.3:443"),
        ] {
            assert_eq!(pattern(text).to_string(), whole);
            assert_eq!(pattern(whole), pattern(text));
        }
    }

    #[test]
    fn what_is_no_origin_is_told() {
        for (text, why) in [
            ("", "\"\" is no host"),
            ("ftp://x", "the scheme \"ftp\" is not http or https"),
            ("user@host", "\"user@host\" is no host"),
            ("host/path", "\"host/path\" is no host"),
            ("ho st", "\"ho st\" is no host"),
            ("host:0", "\"0\" is no port"),
            ("host:99999", "\"99999\" is no port"),
            ("host:+80", "\"+80\" is no port"),
            ("fd00::1", "an address of IPv6 stands in brackets"),
            ("[fd00::1", "the bracket is not closed"),
            ("[::1]80", "after the bracket comes"),
            ("*.10.0.0.1", "`*.` stands before a name"),
            ("a.*.com", "\"a.*.com\" is no host"),
            ("a..b", "\"a..b\" is no host"),
        ] {
            let error = text.parse::<OriginPattern>().unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }

    #[test]
    fn origin_is_taken_by_scheme_host_and_port_together() {
        let origin = |url: &str| Origin::of_url(url).unwrap();
        for (text, url, taken) in [
            ("api.example.com", "https://api.example.com/v1?x=1", true),
            ("api.example.com", "https://API.example.com./", true),
            ("api.example.com", "http://api.example.com/", false),
            ("api.example.com", "https://api.example.com:8443", false),
            ("api.example.com", "https://api.example.com.evil.org", false),
            ("*.example.com", "https://a.b.example.com", true),
            ("*.example.com", "https://example.com", false),
            ("*.example.com", "https://evilexample.com", false),
            ("*:*", "https://10.0.0.1:99", true),
            ("10.0.0.1", "https://10.0.0.1", true),
            ("[::1]", "https://[0:0:0:0:0:0:0:1]", true),
        ] {
            assert_eq!(pattern(text).takes(&origin(url)), taken, "{text} {url}");
        }
    }

    #[test]
    fn patterns_meet_in_the_narrower_of_both() {
        for (one, two, both) in [
            ("*", "a.example.com", Some("https://a.example.com:443")),
            (
                "*.example.com",
                "a.example.com",
                Some("https://a.example.com:443"),
            ),
            (
                "*.example.com",
                "*.a.example.com",
                Some("https://*.a.example.com:443"),
            ),
            ("*.example.com", "*.example.org", None),
            ("*.example.com", "example.com", None),
            ("a:*", "a:81", Some("https://a:81")),
            ("a:80", "a:81", None),
            ("http://a", "a", None),
            ("*.example.com", "10.0.0.1", None),
            ("*:*", "*:*", Some("https://*:*")),
        ] {
            let met = pattern(one).meet(&pattern(two)).map(|met| met.to_string());
            assert_eq!(met.as_deref(), both, "{one} {two}");
            assert_eq!(
                pattern(two).meet(&pattern(one)),
                pattern(one).meet(&pattern(two))
            );
        }
    }
}
