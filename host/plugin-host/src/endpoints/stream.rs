use std::io::{self, Write};

use super::Delivery;

/// The process's standard output or error, which it has from the agent.
#[derive(Clone, Copy)]
pub(crate) enum Stream {
    Stdout,
    Stderr,
}

impl Stream {
    /// Whole: payloads of several sinks do not mix. A reader that stops reading stops this sink alone.
    pub(super) async fn deliver(self, body: Vec<u8>) -> Delivery {
        let written = tokio::task::spawn_blocking(move || match self {
            Self::Stdout => write(&mut io::stdout().lock(), &body),
            Self::Stderr => write(&mut io::stderr().lock(), &body),
        });
        match written.await {
            Ok(Ok(())) => Delivery::Arrived,
            Ok(Err(error)) => Delivery::Retry(format!("cannot write: {error}"), None),
            Err(_) => Delivery::Retry("the write was given up".to_owned(), None),
        }
    }
}

fn write(to: &mut impl Write, body: &[u8]) -> io::Result<()> {
    to.write_all(body)?;
    to.flush()
}
