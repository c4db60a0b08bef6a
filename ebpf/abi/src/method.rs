//! HTTP methods by number: the position in [`METHODS`].

/// The IANA HTTP Method Registry, the ten of OpenTelemetry first, then `_OTHER` at 0.
/// A token that is not here, or longer than 16 bytes, counts as [`METHOD_OTHER`].
pub const METHODS: [&str; 41] = [
    "_OTHER", "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "QUERY", "ACL",
    "BASELINE-CONTROL", "BIND", "CHECKIN", "CHECKOUT", "COPY", "LABEL", "LINK", "LOCK", "MERGE", "MKACTIVITY",
    "MKCALENDAR", "MKCOL", "MKREDIRECTREF", "MKWORKSPACE", "MOVE", "ORDERPATCH", "PRI", "PROPFIND", "PROPPATCH",
    "REBIND", "REPORT", "SEARCH", "UNBIND", "UNCHECKOUT", "UNLINK", "UNLOCK", "UPDATE", "VERSION-CONTROL", "PURGE",
];

/// Index of `_OTHER`.
pub const METHOD_OTHER: u8 = 0;

/// Key of the `METHODS` map: the token, padded with zeros. None when it is longer than 16 bytes.
pub const fn method_key(token: &str) -> Option<[u8; 16]> {
    let token = token.as_bytes();
    if token.len() > 16 {
        return None;
    }
    let mut key = [0; 16];
    let mut at = 0;
    while at < token.len() {
        key[at] = token[at];
        at += 1;
    }
    Some(key)
}
