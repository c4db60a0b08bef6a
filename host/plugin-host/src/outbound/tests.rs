use std::io;
use std::net::{IpAddr, TcpListener};
use std::pin::Pin;

use http_body_util::Empty;

use super::*;
use crate::desk::desks;
use crate::frames::SinkReport;
use crate::status::SinkStatus;

#[test]
fn dots_are_seen_however_they_are_written() {
    for (segment, dots) in [
        (".", true),
        ("..", true),
        ("%2e%2E", true),
        (".%2e", true),
        ("...", false),
        ("a.", false),
        ("", false),
    ] {
        assert_eq!(is_dots(segment), dots, "{segment}");
    }
}

/// Answers every name with these addresses, one list for each time that it is asked.
struct Answers(Mutex<Vec<Vec<&'static str>>>);

impl Resolve for Answers {
    fn resolve(
        &self,
        host: String,
    ) -> Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send>> {
        assert_eq!(host, "api.example.com");
        let list = self.0.lock().unwrap().remove(0);
        let addresses = list.iter().map(|text| text.parse().unwrap()).collect();
        Box::pin(async move { Ok(addresses) })
    }
}

/// A network whose names resolve as told, for a plugin that may go to `api.example.com` by http on any port.
fn network(grant: &str, answers: Vec<Vec<&'static str>>) -> Network {
    let mut grant: Grant = toml::from_str(grant).unwrap();
    let pattern: OriginPattern = "http://api.example.com:*".parse().unwrap();
    grant.http = vec![pattern.clone().into()];
    let authority = Authority {
        http: vec![pattern],
        ..Authority::default()
    };
    let sink = serde_json::from_str(r#"{"name": "x", "plugin": "x"}"#).unwrap();
    let (desks, _outbox) = desks();
    let desk = desks.open(SinkReport {
        revision: 0,
        status: SinkStatus::starting(&sink),
        attempting: None,
        acknowledged: None,
        states: Vec::new(),
    });
    let outbound = Outbound::resolving(
        "x",
        PluginKind::Exporter,
        &authority,
        &grant,
        &Secrets::new(),
        desk,
        Arc::new(Answers(Mutex::new(answers))),
    );
    Network::new(&Arc::new(outbound.unwrap()), true)
}

async fn send(network: &mut Network, port: u16) -> Result<u16, Error> {
    let body = Empty::new().map_err(|never| match never {}).boxed_unsync();
    let request = Request::get(format!("http://api.example.com:{port}/")).body(body);
    let sent = network.send_request(request.unwrap(), None, Box::new(async { Ok(()) }));
    Pin::from(sent)
        .await
        .map(|(response, _)| response.status().as_u16())
}

/// A name that the grant allows, and its owner points inwards. The listener is on every address of a
/// network that has nothing but loopback: whatever is let through would arrive.
#[test]
fn allowed_name_that_points_inwards_connects_to_nothing() {
    let run = || async {
        let listener = TcpListener::bind("[::]:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let port = listener.local_addr().unwrap().port();
        let all = "private = true\nlink_local = true\ntranslated = true";
        for (address, grant) in [
            ("127.0.0.1", ""),
            ("127.8.8.8", "private = true"),
            ("::1", ""),
            ("::ffff:127.0.0.1", ""),
            ("::ffff:127.0.0.1", all),
            ("::ffff:127.0.0.1", "loopback = true"),
            ("::127.0.0.1", all),
            ("64:ff9b::127.0.0.1", all),
            ("2002:7f00:1::", all),
            ("10.0.0.1", ""),
            ("fd00::1", ""),
            ("169.254.1.1", ""),
            ("169.254.169.254", all),
            ("fd00:ec2::254", all),
            ("::ffff:169.254.169.254", all),
            ("64:ff9b::a9fe:a9fe", all),
            ("0.0.0.0", all),
            ("::", all),
            ("224.0.0.1", all),
        ] {
            let sent = send(&mut network(grant, vec![vec![address]]), port).await;
            assert!(
                matches!(sent, Err(Error::DestinationIpProhibited)),
                "{address} with {grant:?}: {sent:?}"
            );
        }
        let accepted = listener.accept().map_err(|error| error.kind());
        assert!(
            matches!(accepted, Err(io::ErrorKind::WouldBlock)),
            "{accepted:?}"
        );
    };
    alone(run);
}

/// A name that is public when it is first asked, and this node's afterwards: what was judged is connected to.
#[test]
fn name_is_judged_for_every_connection_and_only_what_was_judged_is_connected_to() {
    let run = || async {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let port = listener.local_addr().unwrap().port();
        let answers = vec![vec!["93.184.216.34", "127.0.0.1"], vec!["127.0.0.1"]];
        let mut network = network("", answers);
        // There is no way to it from here; the one beside it, to which there is, is not taken.
        let first = send(&mut network, port).await;
        assert!(
            matches!(first, Err(Error::DestinationIpUnroutable)),
            "{first:?}"
        );
        let second = send(&mut network, port).await;
        assert!(
            matches!(second, Err(Error::DestinationIpProhibited)),
            "{second:?}"
        );
        let accepted = listener.accept().map_err(|error| error.kind());
        assert!(
            matches!(accepted, Err(io::ErrorKind::WouldBlock)),
            "{accepted:?}"
        );
    };
    alone(run);
}

/// In a network namespace of its own, whose loopback is up.
fn alone<F: Future<Output = ()>>(test: impl FnOnce() -> F + Send) {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            // SAFETY: this thread alone changes its network namespace; it has opened nothing of the old one.
            let unshared = unsafe { libc::unshare(libc::CLONE_NEWNET) };
            let error = io::Error::last_os_error();
            assert_eq!(
                unshared, 0,
                "cannot make a network namespace: {error} (run as root)"
            );
            let up = std::process::Command::new("ip")
                .args(["link", "set", "lo", "up"])
                .status()
                .expect("`ip` of Debian's package iproute2");
            assert!(up.success());
            tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap()
                .block_on(test());
        });
        if let Err(panic) = thread.join() {
            std::panic::resume_unwind(panic);
        }
    });
}
