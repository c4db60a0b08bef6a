use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::net::{UdpSocket, lookup_host};

use super::{Delivery, Progress, datagram};
use crate::bindings::types::Payload;
use crate::config::UdpEndpoint;

/// A name may come to mean another address, and nothing would tell.
const RESOLVE: Duration = Duration::from_secs(60);

/// A host and port that datagrams are sent to.
pub(crate) struct Udp {
    config: UdpEndpoint,
    socket: Option<(UdpSocket, Instant)>,
}

impl Udp {
    pub(super) fn new(config: &UdpEndpoint) -> Self {
        Self {
            config: config.clone(),
            socket: None,
        }
    }

    pub(super) async fn deliver(&mut self, payload: &Payload, progress: &mut Progress) -> Delivery {
        let address = &self.config.address;
        let (socket, since) = match self.socket.take() {
            Some((socket, since)) if since.elapsed() < RESOLVE => (socket, since),
            _ => match connect(address).await {
                Ok(socket) => (socket, Instant::now()),
                Err(error) => {
                    return Delivery::Retry(format!("cannot reach {address}: {error}"), None);
                }
            },
        };
        let sent = datagram::send_all(payload, progress, self.config.datagram, |datagram| {
            send(&socket, datagram)
        });
        match sent.await {
            Ok(delivery) => {
                self.socket = Some((socket, since));
                delivery
            }
            // The socket goes: the name may mean another address by now.
            Err(error) => Delivery::Retry(format!("cannot send to {address}: {error}"), None),
        }
    }
}

/// A port that nobody listens on is told by ICMP as an error of the socket, on this host before `send`
/// is back: then this datagram was lost, and is sent again.
async fn send(socket: &UdpSocket, datagram: Vec<u8>) -> io::Result<()> {
    socket.send(&datagram).await?;
    match socket.take_error()? {
        Some(error) => Err(error),
        None => Ok(()),
    }
}

async fn connect(address: &str) -> io::Result<UdpSocket> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in lookup_host(address).await? {
        match connect_to(address).await {
            Ok(socket) => return Ok(socket),
            Err(error) => last = error,
        }
    }
    Err(last)
}

async fn connect_to(address: SocketAddr) -> io::Result<UdpSocket> {
    let any: SocketAddr = match address {
        SocketAddr::V4(_) => ([0, 0, 0, 0], 0).into(),
        SocketAddr::V6(_) => ([0_u16; 8], 0).into(),
    };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(address).await?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payload(body: &str) -> Payload {
        Payload {
            endpoint: "x".to_owned(),
            content_type: "text/plain".to_owned(),
            body: body.as_bytes().to_vec(),
        }
    }

    fn udp(address: SocketAddr) -> Udp {
        let config = serde_json::json!({ "address": address.to_string(), "datagram": 64 });
        Udp::new(&serde_json::from_value(config).unwrap())
    }

    async fn received(socket: &UdpSocket) -> String {
        let mut buffer = [0; 100];
        let length = socket.recv(&mut buffer).await.unwrap();
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    }

    #[tokio::test]
    async fn lines_arrive_in_datagrams_under_the_bound() {
        let server = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let mut udp = udp(server.local_addr().unwrap());
        let line = "shop.cart.requests:1|c|#pod:cart-0\n";
        let mut progress = Progress::default();
        let delivery = udp.deliver(&payload(&line.repeat(3)), &mut progress).await;
        assert!(matches!(delivery, Delivery::Arrived));
        for _ in 0..3 {
            assert_eq!(received(&server).await, line.trim_end());
        }
    }

    #[tokio::test]
    async fn port_that_nobody_listens_on_is_tried_again_from_the_datagram_that_was_lost() {
        let server = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = server.local_addr().unwrap();
        drop(server);
        let mut udp = udp(address);
        let (body, mut progress) = (payload("a\nb\n"), Progress::default());
        let delivery = udp.deliver(&body, &mut progress).await;
        assert!(
            matches!(&delivery, Delivery::Retry(why, None) if why.contains("refused")),
            "{delivery:?}"
        );
        assert_eq!(progress, Progress::default());
        let server = UdpSocket::bind(address).await.unwrap();
        assert!(matches!(
            udp.deliver(&body, &mut progress).await,
            Delivery::Arrived
        ));
        assert_eq!(received(&server).await, "a\nb");
    }
}
