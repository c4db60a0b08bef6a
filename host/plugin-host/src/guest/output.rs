use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};

/// Offered for each write: bounds what the host allocates for one.
const PERMIT: usize = 4 << 10;

/// The first bytes of what a guest writes to its standard streams. The rest is swallowed and counted: a
/// guest that floods is not stopped for it, and costs no memory.
#[derive(Clone, Debug)]
pub(crate) struct Output(Arc<Mutex<Kept>>);

#[derive(Debug)]
struct Kept {
    bytes: Vec<u8>,
    max: usize,
    dropped: u64,
}

impl Output {
    /// Keeps `max` bytes.
    pub(crate) fn new(max: usize) -> Self {
        Self(Arc::new(Mutex::new(Kept {
            bytes: Vec::new(),
            max,
            dropped: 0,
        })))
    }

    /// What was kept, as text, and how many bytes were not; begins anew.
    pub(crate) fn take(&self) -> (String, u64) {
        let mut kept = self.kept();
        let text = String::from_utf8_lossy(&kept.bytes).into_owned();
        kept.bytes.clear();
        (text, std::mem::take(&mut kept.dropped))
    }

    fn keep(&self, bytes: &[u8]) {
        let mut kept = self.kept();
        let room = bytes.len().min(kept.max - kept.bytes.len());
        kept.bytes.extend_from_slice(&bytes[..room]);
        kept.dropped += (bytes.len() - room) as u64;
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl IsTerminal for Output {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Output {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(tokio::io::sink())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Output {
    async fn ready(&mut self) {}
}

impl OutputStream for Output {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.keep(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(PERMIT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_bytes_are_kept_and_the_rest_is_counted() {
        let output = Output::new(5);
        output.keep(b"abc");
        output.keep(b"defgh");
        output.keep(b"i");
        assert_eq!(output.take(), ("abcde".to_owned(), 4));
        output.keep(b"next");
        assert_eq!(output.take(), ("next".to_owned(), 0));
    }
}
