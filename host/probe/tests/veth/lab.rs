//! Pods of real veths and network namespaces. Each namespace belongs to a thread and goes with it, whatever happens.

#![allow(
    dead_code,
    reason = "each of the tests that share it has use for another part of it"
)]

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

/// Descriptors and timings are of the whole process: one test at a time.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs `test` in a fresh network namespace, as the node.
pub(crate) fn on_a_node<T: Send + 'static>(test: impl FnOnce() -> T + Send + 'static) -> T {
    let node = thread::spawn(|| {
        enter_new_namespace();
        ip("link set lo up");
        test()
    });
    node.join()
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// Moves this thread into a network namespace of its own.
pub(crate) fn enter_new_namespace() {
    // SAFETY: no pointer is passed; only this thread is concerned.
    let result = unsafe { libc::unshare(libc::CLONE_NEWNET) };
    let error = std::io::Error::last_os_error();
    assert_eq!(
        result, 0,
        "these tests make network namespaces and need root: {error}"
    );
}

/// `ip` with these arguments, or with these lines as a batch.
pub(crate) fn ip(lines: &str) {
    let mut command = Command::new("ip");
    let mut child = command
        .args(["-batch", "-"])
        .stdin(Stdio::piped())
        .spawn()
        .expect("these tests need `ip` (apt install iproute2)");
    child
        .stdin
        .take()
        .unwrap()
        .write_all(lines.as_bytes())
        .unwrap();
    assert!(child.wait().unwrap().success(), "ip refuses {lines:?}");
}

/// Index of every pod's own end, in its namespace: on a real node most often 2.
const PEER: u32 = 77;

/// A pod: a namespace behind a veth, with an HTTP server on port 80.
pub(crate) struct Pod {
    /// Name of the node's end of its veth.
    pub(crate) interface: String,
    /// Its server, by IPv4 and IPv6.
    pub(crate) servers: [SocketAddr; 2],
    /// A file that stands for its namespace.
    pub(crate) namespace: PathBuf,
    life: Option<(Sender<()>, JoinHandle<()>)>,
}

impl Pod {
    /// Pod `number` (below 250) of the node that this thread is on.
    pub(crate) fn start(number: u8) -> Self {
        let interface = format!("veth{number}");
        let (told_tid, tid) = channel();
        let (told_ready, ready) = channel();
        let (end, ended) = channel::<()>();
        let name = format!("peer{number}");
        let servers = [
            ([10, 9, number, 2], 80).into(),
            ([0xfd09, 0, 0, number.into(), 0, 0, 0, 2], 80).into(),
        ];
        let peer = name.clone();
        let inside = thread::spawn(move || {
            enter_new_namespace();
            // SAFETY: no pointer is passed.
            told_tid.send(unsafe { libc::gettid() }).unwrap();
            ready.recv().unwrap();
            ip(&format!(
                "link set lo up\nlink set {peer} up\naddr add 10.9.{number}.2/24 dev {peer}\n\
                 addr add fd09:0:0:{number:x}::2/64 dev {peer} nodad\n"
            ));
            for address in servers {
                let listener = TcpListener::bind(address).unwrap();
                thread::spawn(move || serve(listener));
            }
            told_tid.send(0).unwrap();
            let _ = ended.recv();
        });
        let namespace = tid.recv().unwrap();
        ip(&format!(
            "link add {name} index {PEER} type veth peer name {interface}\nlink set {name} netns {namespace}\nlink set {interface} up\n\
             addr add 10.9.{number}.1/24 dev {interface}\naddr add fd09:0:0:{number:x}::1/64 dev {interface} nodad\n"
        ));
        told_ready.send(()).unwrap();
        tid.recv().unwrap();
        Self {
            interface,
            servers,
            namespace: format!("/proc/self/task/{namespace}/ns/net").into(),
            life: Some((end, inside)),
        }
    }
}

impl Pod {
    /// Runs `work` inside it.
    pub(crate) fn within<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let namespace = File::open(&self.namespace).unwrap();
        thread::scope(|scope| {
            let inside = scope.spawn(move || {
                // SAFETY: no pointer is passed; only this thread is concerned.
                let result = unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) };
                assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
                work()
            });
            inside
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        if let Some((end, inside)) = self.life.take() {
            drop(end);
            let _ = inside.join();
        }
    }
}

/// `GET /404` is answered with 404, and so on.
fn serve(listener: TcpListener) {
    for stream in listener.incoming() {
        let stream = stream.unwrap();
        thread::spawn(move || {
            stream.set_nodelay(true).unwrap();
            let mut reader = BufReader::new(&stream);
            let mut line = String::new();
            while reader.read_line(&mut line).unwrap_or(0) > 0 {
                if let Some(status) = line.strip_prefix("GET /").and_then(|rest| rest.get(..3)) {
                    let answer =
                        format!("HTTP/1.1 {status} Said\r\nContent-Length: 5\r\n\r\nhello");
                    if (&stream).write_all(answer.as_bytes()).is_err() {
                        // The client has gone.
                        return;
                    }
                }
                line.clear();
            }
        });
    }
}

/// Asks `count` times at once, reads the beginning of what is answered and goes: with bytes unread that is a reset,
/// amid the answers.
pub(crate) fn ask_and_go(server: SocketAddr, count: usize) {
    let mut stream = TcpStream::connect(server).unwrap();
    write_all_at_once(&mut stream, &"GET /200 HTTP/1.1\r\n\r\n".repeat(count));
    stream.read_exact(&mut [0; 8]).unwrap();
}

/// Keep-alive: all requests on one connection, each after the answer to the one before.
pub(crate) fn get(server: SocketAddr, statuses: impl IntoIterator<Item = u16>) {
    let mut stream = TcpStream::connect(server).unwrap();
    stream.set_nodelay(true).unwrap();
    for status in statuses {
        write_all_at_once(
            &mut stream,
            &format!("GET /{status} HTTP/1.1\r\nHost: pod\r\n\r\n"),
        );
        let mut answer = [0; 45];
        let expected = format!("HTTP/1.1 {status} Said\r\nContent-Length: 5\r\n\r\nhello");
        stream.read_exact(&mut answer[..expected.len()]).unwrap();
        assert_eq!(&answer[..expected.len()], expected.as_bytes());
    }
}

fn write_all_at_once(stream: &mut TcpStream, request: &str) {
    assert_eq!(stream.write(request.as_bytes()).unwrap(), request.len());
}
