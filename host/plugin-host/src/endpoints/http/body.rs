use std::io::Write;

use bytes::Bytes;
use flate2::write::GzEncoder;
use ruzstd::encoding::{CompressionLevel, compress_to_vec};

use crate::config::Compression;

/// `Content-Encoding`.
pub(super) fn encoding(compression: Compression) -> Option<&'static str> {
    match compression {
        Compression::None => None,
        Compression::Gzip => Some("gzip"),
        Compression::Zstd => Some("zstd"),
    }
}

/// On a thread of its own: 8 MiB take a tenth of a second.
pub(super) async fn encode(body: Vec<u8>, compression: Compression) -> Result<Bytes, String> {
    if compression == Compression::None {
        return Ok(body.into());
    }
    let encoded = tokio::task::spawn_blocking(move || match compression {
        Compression::None => Ok(body),
        Compression::Gzip => gzip(&body),
        Compression::Zstd => Ok(compress_to_vec(&body[..], CompressionLevel::Fastest)),
    });
    match encoded.await {
        Ok(Ok(encoded)) => Ok(encoded.into()),
        Ok(Err(error)) => Err(format!("cannot compress: {error}")),
        Err(_) => Err("the compression was given up".to_owned()),
    }
}

fn gzip(body: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(body)?;
    encoder.finish()
}
