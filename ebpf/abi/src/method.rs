//! HTTP methods by number: the position in [`METHODS`].

/// The IANA HTTP Method Registry, the ten of OpenTelemetry first, then `_OTHER` at 0.
/// A token that is not here, or longer than 16 bytes, counts as [`METHOD_OTHER`].
pub const METHODS: [&str; 41] = [
    "_OTHER",
    "GET",
    "HEAD",
    "POST",
    "PUT",
    "DELETE",
    "CONNECT",
    "OPTIONS",
    "TRACE",
    "PATCH",
    "QUERY",
    "ACL",
    "BASELINE-CONTROL",
    "BIND",
    "CHECKIN",
    "CHECKOUT",
    "COPY",
    "LABEL",
    "LINK",
    "LOCK",
    "MERGE",
    "MKACTIVITY",
    "MKCALENDAR",
    "MKCOL",
    "MKREDIRECTREF",
    "MKWORKSPACE",
    "MOVE",
    "ORDERPATCH",
    "PRI",
    "PROPFIND",
    "PROPPATCH",
    "REBIND",
    "REPORT",
    "SEARCH",
    "UNBIND",
    "UNCHECKOUT",
    "UNLINK",
    "UNLOCK",
    "UPDATE",
    "VERSION-CONTROL",
    "PURGE",
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

/// Key of the `METHODS` map for the token's Huffman code (RFC 7541, appendix B), in which HTTP/2 sends it. None when
/// that is longer than 16 bytes or the token has other characters than capital letters and `-`.
pub const fn method_key_huffman(token: &str) -> Option<[u8; 16]> {
    let token = token.as_bytes();
    let mut key = [0; 16];
    let mut bits = 0;
    let mut at = 0;
    while at < token.len() {
        let (code, len) = match token[at] {
            b'-' => (0x16, 6),
            b'A' => (0x21, 6),
            b'X' => (0xfc, 8),
            b'Y' => (0x73, 7),
            b'Z' => (0xfd, 8),
            c @ b'B'..=b'W' => (0x5d + (c - b'B') as u32, 7),
            _ => return None,
        };
        let mut bit = len;
        while bit > 0 {
            bit -= 1;
            if bits / 8 >= 16 {
                return None;
            }
            key[bits / 8] |= ((code >> bit & 1) as u8) << (7 - bits % 8);
            bits += 1;
        }
        at += 1;
    }
    // Padded with ones to the byte's end.
    while bits % 8 != 0 {
        key[bits / 8] |= 1 << (7 - bits % 8);
        bits += 1;
    }
    Some(key)
}

const _: () = {
    const PROPFIND: [u8; 7] = [0xd7, 0xb7, 0x56, 0xbc, 0x39, 0x34, 0xdf];
    match method_key_huffman("PROPFIND") {
        Some(key) => {
            let mut at = 0;
            while at < 16 {
                assert!(key[at] == if at < 7 { PROPFIND[at] } else { 0 });
                at += 1;
            }
        }
        None => panic!(),
    }
};
