use std::io::Write;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use hyper::Response;
use hyper::header::{ACCEPT_ENCODING, CONTENT_ENCODING, ETAG, HeaderMap, HeaderValue, VARY};

/// Smaller bodies fit in a packet as they are.
const LEAST: usize = 1 << 10;

/// Whether the client names gzip, or all, and not with a weight of 0 (RFC 9110, section 12.5.3).
pub(super) fn takes_gzip(headers: &HeaderMap) -> bool {
    let named = |wanted: &str| {
        headers
            .get_all(ACCEPT_ENCODING)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .find_map(|coding| {
                let mut parts = coding.split(';').map(str::trim);
                let is_wanted = parts.next()?.eq_ignore_ascii_case(wanted);
                let weight = parts.find_map(|part| part.strip_prefix("q=")?.parse::<f32>().ok());
                is_wanted.then_some(weight.unwrap_or(1.0) > 0.0)
            })
    };
    named("gzip").or_else(|| named("*")).unwrap_or(false)
}

/// Compressed, where the client takes it and the responder has not done it by itself.
pub(super) async fn encode(response: Response<Bytes>, gzip: bool) -> Response<Bytes> {
    let (mut head, body) = response.into_parts();
    if head.headers.contains_key(CONTENT_ENCODING) || body.len() < LEAST {
        return Response::from_parts(head, body);
    }
    head.headers
        .append(VARY, HeaderValue::from_static("accept-encoding"));
    if !gzip {
        return Response::from_parts(head, body);
    }
    let plain = body.clone();
    let zipped = tokio::task::spawn_blocking(move || zip(&plain)).await;
    let Ok(Ok(zipped)) = zipped else {
        return Response::from_parts(head, body);
    };
    // A strong tag names the bytes that the responder made.
    head.headers.remove(ETAG);
    head.headers
        .insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    Response::from_parts(head, zipped.into())
}

/// Fast: a page of metrics becomes a tenth all the same.
fn zip(body: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(body)?;
    encoder.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gzip_is_taken_where_it_is_named_and_not_refused() {
        for (accepts, taken) in [
            ("gzip", true),
            ("br, gzip;q=0.5", true),
            ("GZIP", true),
            ("gzip;q=0", false),
            ("gzip;q=0, *", false),
            ("*", true),
            ("*;q=0", false),
            ("br", false),
            ("", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT_ENCODING, HeaderValue::from_static(accepts));
            assert_eq!(takes_gzip(&headers), taken, "{accepts:?}");
        }
        assert!(!takes_gzip(&HeaderMap::new()));
    }
}
