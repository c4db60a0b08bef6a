use std::io::ErrorKind;

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

/// The next value. Not cancel safe: a reader is a task of its own.
pub(crate) async fn read<T: DeserializeOwned>(
    from: &mut (impl AsyncRead + Unpin),
    max: usize,
) -> Result<T, FrameError> {
    let mut head = [0; HEAD];
    from.read_exact(&mut head).await.map_err(of_read)?;
    let length = u32::from_le_bytes(head) as usize;
    if length > max {
        return Err(FrameError::TooLarge(length, max));
    }
    // Grows with what really comes: the length alone makes nobody allocate.
    let mut body = Vec::new();
    let mut limited = from.take(length as u64);
    limited.read_to_end(&mut body).await.map_err(of_read)?;
    if body.len() < length {
        return Err(FrameError::Closed);
    }
    postcard::from_bytes(&body).map_err(FrameError::Decode)
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
mod tests {
    use super::*;
    use crate::frames::{Configure, Hello, SinkReport, TO_AGENT_MAX, ToAgent, ToChild};
    use crate::{SinkConfig, SinkStatus};
    use proptest::prelude::*;

    fn block_on<F: Future>(future: F) -> F::Output {
        tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap()
            .block_on(future)
    }

    fn decode<T: DeserializeOwned>(mut bytes: &[u8], max: usize) -> Result<T, FrameError> {
        block_on(read(&mut bytes, max))
    }

    fn report() -> ToAgent {
        let sink: SinkConfig =
            serde_json::from_str(r#"{"name": "log", "plugin": "simple-log"}"#).unwrap();
        ToAgent::Report(vec![SinkReport {
            status: SinkStatus::starting(&sink),
            revision: 7,
            attempting: Some(3),
            acknowledged: None,
            states: vec![vec![1, 2], vec![]],
        }])
    }

    #[test]
    fn frames_come_out_as_they_went_in() {
        let frame = encode(&report(), TO_AGENT_MAX).unwrap();
        assert_eq!(decode::<ToAgent>(&frame, TO_AGENT_MAX).unwrap(), report());
        let configure = Configure {
            sinks: "[]".to_owned(),
            ..Configure::default()
        };
        let frame = encode(&ToChild::Configure(Box::new(configure)), 1000).unwrap();
        assert!(
            matches!(decode::<ToChild>(&frame, 1000).unwrap(), ToChild::Configure(c) if c.sinks == "[]")
        );
    }

    #[test]
    fn cut_and_oversized_frames_are_told_apart() {
        let frame = encode(&report(), TO_AGENT_MAX).unwrap();
        assert!(matches!(
            decode::<ToAgent>(&frame[..frame.len() - 1], TO_AGENT_MAX),
            Err(FrameError::Closed)
        ));
        assert!(matches!(
            decode::<ToAgent>(&frame, 8),
            Err(FrameError::TooLarge(_, 8))
        ));
        assert!(matches!(
            encode(&report(), 8),
            Err(FrameError::TooLarge(_, 8))
        ));
        assert!(matches!(decode::<Hello>(&[], 8), Err(FrameError::Closed)));
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic_and_never_allocate_by_their_length_alone(bytes: Vec<u8>) {
            let _ = decode::<ToAgent>(&bytes, TO_AGENT_MAX);
            let _ = decode::<ToChild>(&bytes, crate::frames::TO_CHILD_MAX);
            let mut framed = u32::try_from(bytes.len()).unwrap().to_le_bytes().to_vec();
            framed.extend_from_slice(&bytes);
            let _ = decode::<ToAgent>(&framed, TO_AGENT_MAX);
            let _ = decode::<ToChild>(&framed, crate::frames::TO_CHILD_MAX);
        }

        /// One byte of a real frame is changed: an error or another value, never a panic.
        #[test]
        fn damaged_frames_never_panic(at in 4_usize..200, byte: u8) {
            let mut frame = encode(&report(), TO_AGENT_MAX).unwrap();
            let at = at % frame.len();
            frame[at] = byte;
            let _ = decode::<ToAgent>(&frame, TO_AGENT_MAX);
        }
    }
}
