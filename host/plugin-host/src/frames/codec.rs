use std::io::{ErrorKind, Read as _};

use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Why a frame did not come or go.
#[derive(Debug, Error)]
pub(crate) enum FrameError {
    #[error("the other side closed the connection")]
    Closed,
    #[error("cannot read from the other side")]
    Read(#[source] std::io::Error),
    #[error("cannot write to the other side")]
    Write(#[source] std::io::Error),
    #[error("a frame of {0} bytes is over the limit of {1}")]
    TooLarge(usize, usize),
    #[error("a frame does not decode")]
    Decode(#[source] postcard::Error),
    #[error("a value does not encode")]
    Encode(#[source] postcard::Error),
}

/// Bytes of the length in front of a frame.
const HEAD: usize = 4;

/// `value` as a frame.
fn encode<T: Serialize>(value: &T, max: usize) -> Result<Vec<u8>, FrameError> {
    let mut frame = postcard::to_extend(value, vec![0; HEAD]).map_err(FrameError::Encode)?;
    let length = frame.len() - HEAD;
    let head = u32::try_from(length)
        .ok()
        .filter(|_| length <= max)
        .ok_or(FrameError::TooLarge(length, max))?;
    frame[..HEAD].copy_from_slice(&head.to_le_bytes());
    Ok(frame)
}

/// Send `value`. An error of encoding leaves the connection as it was.
pub(crate) async fn write<T: Serialize>(
    to: &mut (impl AsyncWrite + Unpin),
    value: &T,
    max: usize,
) -> Result<(), FrameError> {
    to.write_all(&encode(value, max)?).await.map_err(of_write)
}

/// As [`write`], for a process that has no runtime yet.
pub(crate) fn write_blocking<T: Serialize>(
    to: &mut impl std::io::Write,
    value: &T,
    max: usize,
) -> Result<(), FrameError> {
    to.write_all(&encode(value, max)?).map_err(of_write)
}

/// As [`read`], for a process that has no runtime yet.
pub(crate) fn read_blocking<T: DeserializeOwned>(
    from: &mut impl std::io::Read,
    max: usize,
) -> Result<T, FrameError> {
    let mut head = [0; HEAD];
    from.read_exact(&mut head).map_err(of_read)?;
    let length = length(head, max)?;
    let mut body = Vec::new();
    from.take(length as u64)
        .read_to_end(&mut body)
        .map_err(of_read)?;
    decode(&body, length)
}

/// The next value. Not cancel safe: a reader is a task of its own.
pub(crate) async fn read<T: DeserializeOwned>(
    from: &mut (impl AsyncRead + Unpin),
    max: usize,
) -> Result<T, FrameError> {
    let mut head = [0; HEAD];
    from.read_exact(&mut head).await.map_err(of_read)?;
    let length = length(head, max)?;
    // Grows with what really comes: the length alone makes nobody allocate.
    let mut body = Vec::new();
    let mut limited = from.take(length as u64);
    limited.read_to_end(&mut body).await.map_err(of_read)?;
    decode(&body, length)
}

fn length(head: [u8; HEAD], max: usize) -> Result<usize, FrameError> {
    let length = u32::from_le_bytes(head) as usize;
    if length > max {
        return Err(FrameError::TooLarge(length, max));
    }
    Ok(length)
}

fn decode<T: DeserializeOwned>(body: &[u8], length: usize) -> Result<T, FrameError> {
    if body.len() < length {
        return Err(FrameError::Closed);
    }
    postcard::from_bytes(body).map_err(FrameError::Decode)
}

/// A peer that ends with something unread resets the connection; it is as gone as one that closed it.
fn of_read(error: std::io::Error) -> FrameError {
    match error.kind() {
        ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset => FrameError::Closed,
        _ => FrameError::Read(error),
    }
}

fn of_write(error: std::io::Error) -> FrameError {
    match error.kind() {
        ErrorKind::BrokenPipe | ErrorKind::ConnectionReset => FrameError::Closed,
        _ => FrameError::Write(error),
    }
}

#[cfg(test)]
mod tests;
