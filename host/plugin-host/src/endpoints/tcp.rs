use std::future::poll_fn;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::{Delivery, is_text, root_cause, tls};
use crate::bindings::types::Payload;
use crate::config::TcpEndpoint;

/// Answers that are read and thrown away before a payload; with more the connection is closed.
const ANSWERS_MAX: usize = 64 << 10;

/// A connection of any kind.
pub(super) trait Connection: AsyncRead + AsyncWrite + Send + Unpin {
    fn socket(&self) -> BorrowedFd<'_>;
}

impl Connection for TcpStream {
    fn socket(&self) -> BorrowedFd<'_> {
        self.as_fd()
    }
}

impl Connection for UnixStream {
    fn socket(&self) -> BorrowedFd<'_> {
        self.as_fd()
    }
}

impl Connection for TlsStream<TcpStream> {
    fn socket(&self) -> BorrowedFd<'_> {
        self.get_ref().0.as_fd()
    }
}

/// A connection that is kept from payload to payload, and made anew when it is lost.
pub(super) struct Kept {
    connection: Option<Box<dyn Connection>>,
    timeout: Duration,
}

impl Kept {
    pub(super) fn new(timeout: Duration) -> Self {
        Self {
            connection: None,
            timeout,
        }
    }

    /// Writes all of the payload, a text with a newline at its end. After an error the connection is
    /// closed: a new one begins with a whole payload.
    pub(super) async fn deliver(
        &mut self,
        payload: &Payload,
        name: &str,
        connect: impl Future<Output = io::Result<Box<dyn Connection>>>,
    ) -> Delivery {
        let mut kept = self.connection.take();
        if let Some(connection) = &mut kept
            && !is_open(connection).await
        {
            kept = None;
        }
        let mut connection = match kept {
            Some(kept) => kept,
            None => match tokio::time::timeout(self.timeout, connect).await {
                Ok(Ok(connection)) => connection,
                Ok(Err(error)) => {
                    let why = root_cause(&error);
                    return Delivery::Retry(format!("cannot reach {name}: {why}"), None);
                }
                Err(_) => {
                    let why = format!("cannot reach {name} in {:?}", self.timeout);
                    return Delivery::Retry(why, None);
                }
            },
        };
        match tokio::time::timeout(self.timeout, write(&mut connection, payload)).await {
            Ok(Ok(())) => {
                self.connection = Some(connection);
                Delivery::Arrived
            }
            Ok(Err(error)) => Delivery::Retry(
                format!("cannot write to {name}: {}", root_cause(&error)),
                None,
            ),
            Err(_) => Delivery::Retry(
                format!(
                    "{name} did not take {} bytes in {:?}",
                    payload.body.len(),
                    self.timeout
                ),
                None,
            ),
        }
    }
}

async fn write(connection: &mut Box<dyn Connection>, payload: &Payload) -> io::Result<()> {
    connection.write_all(&payload.body).await?;
    if is_text(payload) && !payload.body.ends_with(b"\n") {
        connection.write_all(b"\n").await?;
    }
    connection.flush().await
}

/// Whether the other side has not closed it, as far as is known by now: the kernel takes the first
/// write into a closed connection. What the other side says is read and thrown away.
async fn is_open(connection: &mut Box<dyn Connection>) -> bool {
    // The kernel is asked: the runtime may not have been told yet.
    let mut polled = [PollFd::from_borrowed_fd(
        connection.socket(),
        PollFlags::RDHUP,
    )];
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    if poll(&mut polled, Some(&now)) != Ok(0) {
        return false;
    }
    let mut read = 0;
    let mut buffer = [0; 4096];
    loop {
        let mut buffer = ReadBuf::new(&mut buffer);
        let polled = poll_fn(|context| {
            Poll::Ready(Pin::new(&mut *connection).poll_read(context, &mut buffer))
        });
        match polled.await {
            Poll::Pending => return true,
            Poll::Ready(Ok(())) if !buffer.filled().is_empty() => read += buffer.filled().len(),
            Poll::Ready(_) => return false,
        }
        if read > ANSWERS_MAX {
            return false;
        }
    }
}

/// A host and port that payloads are written to.
pub(crate) struct Tcp {
    config: TcpEndpoint,
    tls: Option<tls::Client>,
    kept: Kept,
}

impl Tcp {
    pub(super) fn new(config: &TcpEndpoint) -> Result<Self, String> {
        let files = tls::ClientFiles {
            ca: config.ca_file.clone(),
            cert_and_key: config
                .client_cert_file
                .clone()
                .zip(config.client_key_file.clone()),
        };
        Ok(Self {
            tls: match config.tls {
                true => Some(tls::Client::new(files, "tls")?),
                false => None,
            },
            kept: Kept::new(config.timeout),
            config: config.clone(),
        })
    }

    pub(super) async fn deliver(&mut self, payload: &Payload) -> Delivery {
        let address = &self.config.address;
        let tls = self.tls.as_mut().map(tls::Client::current);
        let connect = async {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            match tls {
                None => Ok(Box::new(stream) as Box<dyn Connection>),
                Some(tls) => over_tls(stream, address, tls).await,
            }
        };
        self.kept.deliver(payload, address, connect).await
    }
}

async fn over_tls(
    stream: TcpStream,
    address: &str,
    tls: Arc<rustls::ClientConfig>,
) -> io::Result<Box<dyn Connection>> {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
    let stream = TlsConnector::from(tls).connect(name, stream).await?;
    Ok(Box::new(stream))
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncBufReadExt, BufReader};
    use tokio::net::TcpListener;

    use super::*;

    fn payload(body: &str) -> Payload {
        Payload {
            endpoint: "x".to_owned(),
            content_type: "text/plain".to_owned(),
            body: body.as_bytes().to_vec(),
        }
    }

    fn tcp(fields: serde_json::Value) -> Tcp {
        Tcp::new(&serde_json::from_value(fields).unwrap()).unwrap()
    }

    #[tokio::test]
    async fn payloads_share_a_connection_and_end_with_a_newline_each() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let mut tcp = tcp(serde_json::json!({ "address": address }));
        assert!(matches!(
            tcp.deliver(&payload("a\n")).await,
            Delivery::Arrived
        ));
        assert!(matches!(
            tcp.deliver(&payload("b")).await,
            Delivery::Arrived
        ));
        let (stream, _) = listener.accept().await.unwrap();
        let mut lines = BufReader::new(stream).lines();
        assert_eq!(lines.next_line().await.unwrap().unwrap(), "a");
        assert_eq!(lines.next_line().await.unwrap().unwrap(), "b");
    }

    #[tokio::test]
    async fn connection_that_the_other_side_closed_is_made_anew_before_a_byte_is_lost() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let mut tcp = tcp(serde_json::json!({ "address": address }));
        for body in ["a", "b", "c"] {
            assert!(matches!(
                tcp.deliver(&payload(body)).await,
                Delivery::Arrived
            ));
            let (stream, _) = listener.accept().await.unwrap();
            let mut lines = BufReader::new(stream).lines();
            assert_eq!(lines.next_line().await.unwrap().unwrap(), body);
        }
    }

    #[tokio::test]
    async fn server_that_is_away_or_does_not_read_is_tried_again() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let mut silent = tcp(serde_json::json!({ "address": address, "timeout": "50ms" }));
        // More than all buffers between them hold.
        let much = payload(&"x\n".repeat(16 << 20));
        let delivery = silent.deliver(&much).await;
        assert!(
            matches!(&delivery, Delivery::Retry(why, None) if why.ends_with("did not take 33554432 bytes in 50ms")),
            "{delivery:?}"
        );
        drop(listener);
        let delivery = silent.deliver(&payload("a")).await;
        assert!(
            matches!(&delivery, Delivery::Retry(why, None) if why.contains("refused")),
            "{delivery:?}"
        );
    }
}
