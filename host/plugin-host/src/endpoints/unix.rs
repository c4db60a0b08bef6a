use std::io;
use std::path::Path;

use tokio::net::{UnixDatagram, UnixStream};
use tokio::time::timeout;

use super::tcp::{Connection, Kept};
use super::{Delivery, Progress, datagram};
use crate::bindings::types::Payload;
use crate::config::{SocketKind, UnixEndpoint};

/// A socket of this host.
pub(crate) struct Unix {
    config: UnixEndpoint,
    kept: Kept,
    socket: Option<UnixDatagram>,
}

impl Unix {
    pub(super) fn new(config: &UnixEndpoint) -> Self {
        Self {
            kept: Kept::new(config.timeout),
            config: config.clone(),
            socket: None,
        }
    }

    pub(super) async fn deliver(&mut self, payload: &Payload, progress: &mut Progress) -> Delivery {
        let path = self.config.path.clone();
        let name = path.display().to_string();
        match self.config.socket {
            SocketKind::Stream => {
                let connect = async {
                    let stream = UnixStream::connect(&path).await?;
                    Ok(Box::new(stream) as Box<dyn Connection>)
                };
                self.kept.deliver(payload, &name, connect).await
            }
            SocketKind::Datagram => self.datagrams(payload, progress, &name).await,
        }
    }

    async fn datagrams(
        &mut self,
        payload: &Payload,
        progress: &mut Progress,
        name: &str,
    ) -> Delivery {
        let socket = match self
            .socket
            .take()
            .map_or_else(|| connect(&self.config.path), Ok)
        {
            Ok(socket) => socket,
            Err(error) => return Delivery::Retry(format!("cannot reach {name}: {error}"), None),
        };
        let send = async |datagram: Vec<u8>| socket.send(&datagram).await.map(|_| ());
        let sent = datagram::send_all(payload, progress, self.config.datagram, send);
        match timeout(self.config.timeout, sent).await {
            Ok(Ok(delivery)) => {
                self.socket = Some(socket);
                delivery
            }
            Ok(Err(error)) => Delivery::Retry(format!("cannot send to {name}: {error}"), None),
            Err(_) => Delivery::Retry(
                format!(
                    "{name} did not take a datagram in {:?}",
                    self.config.timeout
                ),
                None,
            ),
        }
    }
}

fn connect(path: &Path) -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    socket.connect(path)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;
    use tokio::net::UnixListener;

    use super::*;

    fn payload(body: &str) -> Payload {
        Payload {
            endpoint: "x".to_owned(),
            content_type: "text/plain".to_owned(),
            body: body.as_bytes().to_vec(),
        }
    }

    fn unix(path: &Path, socket: &str) -> Unix {
        let config = serde_json::json!({ "path": path, "socket": socket, "timeout": "5s" });
        Unix::new(&serde_json::from_value(config).unwrap())
    }

    #[tokio::test]
    async fn stream_and_datagram_sockets_take_payloads_and_are_found_again() {
        let dir = tempfile::tempdir().unwrap();
        let mut progress = Progress::default();
        let path = dir.path().join("stream");
        let mut to = unix(&path, "stream");
        for body in ["a\n", "b\n"] {
            let listener = UnixListener::bind(&path).unwrap();
            assert!(matches!(
                to.deliver(&payload(body), &mut progress).await,
                Delivery::Arrived
            ));
            let mut read = [0; 2];
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.read_exact(&mut read).await.unwrap();
            assert_eq!(read, body.as_bytes());
            std::fs::remove_file(&path).unwrap();
        }
        let path = dir.path().join("datagram");
        let mut to = unix(&path, "datagram");
        let missing = to.deliver(&payload("a"), &mut progress).await;
        assert!(matches!(&missing, Delivery::Retry(why, None) if why.contains("No such file")));
        let server = UnixDatagram::bind(&path).unwrap();
        assert!(matches!(
            to.deliver(&payload("a"), &mut progress).await,
            Delivery::Arrived
        ));
        let mut read = [0; 9];
        assert_eq!(server.recv(&mut read).await.unwrap(), 1);
    }
}
