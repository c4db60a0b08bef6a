//! HTTP/2 frames by hand (RFC 9113), for the tests of the kernel program.

#![allow(dead_code, reason = "each test crate uses some of them")]

/// Flags of HEADERS.
pub(crate) const END_STREAM: u8 = 0x1;
/// The block is complete.
pub(crate) const END_HEADERS: u8 = 0x4;
/// A request or an answer without a body.
pub(crate) const WHOLE: u8 = END_STREAM | END_HEADERS;

/// Of the kind of frame.
pub(crate) const DATA: u8 = 0;
/// Of the kind of frame.
pub(crate) const HEADERS: u8 = 1;
/// Of the kind of frame.
pub(crate) const RST_STREAM: u8 = 3;
/// Of the kind of frame.
pub(crate) const CONTINUATION: u8 = 9;

/// `:method: GET`, `:scheme: http`, `:path: /`, all in the static table.
pub(crate) const GET: &[u8] = &[0x82, 0x86, 0x84];
/// The same with POST.
pub(crate) const POST: &[u8] = &[0x83, 0x86, 0x84];
/// `:status: 200`.
pub(crate) const OK: &[u8] = &[0x88];
/// `:status: 404`.
pub(crate) const NOT_FOUND: &[u8] = &[0x8d];

/// What a client begins with.
pub(crate) fn preface() -> Vec<u8> {
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    bytes.extend(settings());
    bytes
}

/// What a server begins with.
pub(crate) fn settings() -> Vec<u8> {
    frame(4, 0, 0, b"")
}

/// Any frame.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// A block of one frame.
pub(crate) fn headers(stream: u32, flags: u8, block: &[u8]) -> Vec<u8> {
    frame(HEADERS, flags, stream, block)
}

/// A literal field, neither compressed nor remembered.
pub(crate) fn literal(name: &str, value: &str) -> Vec<u8> {
    field(0x00, name, value)
}

/// A literal field that goes into the dynamic table.
pub(crate) fn inserted(name: &str, value: &str) -> Vec<u8> {
    field(0x40, name, value)
}

fn field(representation: u8, name: &str, value: &str) -> Vec<u8> {
    let mut bytes = vec![representation];
    for text in [name, value] {
        assert!(text.len() < 127, "a length of one byte");
        bytes.push(text.len() as u8);
        bytes.extend(text.as_bytes());
    }
    bytes
}
