//! Pods that answer, and clients that ask them: a server and a client each, over real connections, with a manner of its own.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::common::Lab;
use crate::redirect::redirect;

const PORT: u16 = 8080;
const SERVICES: [&str; 25] = [
    "cart", "checkout", "search", "catalog", "payments", "ledger", "users", "sessions", "mail",
    "push", "images", "reviews", "stock", "prices", "orders", "invoices", "shipping", "routes",
    "geo", "tax", "fraud", "offers", "coupons", "feeds", "reports",
];
const NAMESPACES: [&str; 5] = ["shop", "money", "media", "logistics", "core"];

pub(crate) struct City {
    pub(crate) lab: Lab,
    pods: usize,
    services: usize,
    /// It and its client reach each other past the node.
    bypassed: Option<usize>,
}

/// Clients at work; dropped, they end.
pub(crate) struct Traffic {
    over: Arc<AtomicBool>,
    clients: Vec<JoinHandle<()>>,
}

impl City {
    /// Five pods a service where there are many.
    pub(crate) fn new(pods: usize) -> Self {
        let city = Self {
            // One more, for a client of its own.
            lab: Lab::new(pods + 1),
            pods,
            services: pods.div_ceil(5).max(pods.min(10)),
            bypassed: None,
        };
        (0..pods).for_each(|pod| city.serve(pod));
        city
    }

    /// The packets of this pod never pass the node's end of its veth.
    pub(crate) fn bypass(&mut self, pod: usize) {
        self.bypassed = Some(pod);
        let ends = [self.client(pod), Self::host(pod)].map(|host| self.lab.interface(&host));
        let bypass = move || {
            redirect(&ends[0], &ends[1])?;
            redirect(&ends[1], &ends[0])
        };
        self.lab.inside("node", bypass).unwrap().unwrap();
    }

    fn client(&self, pod: usize) -> String {
        match self.bypassed == Some(pod) {
            true => Self::host(self.pods),
            false => "c1".to_owned(),
        }
    }

    fn host(pod: usize) -> String {
        format!("p{}", pod + 1)
    }

    fn service(&self, pod: usize) -> usize {
        pod % self.services
    }

    pub(crate) fn targets(&self) -> Vec<String> {
        (0..self.pods).map(|pod| self.target(pod)).collect()
    }

    fn target(&self, pod: usize) -> String {
        let (at, host) = (self.service(pod), Self::host(pod));
        let suffix = if at < SERVICES.len() { "" } else { "-api" };
        let service = format!("{}{suffix}", SERVICES[at % SERVICES.len()]);
        // As a ReplicaSet names its pods.
        let hash = |n: usize| format!("{:05x}", n.wrapping_mul(0x9e37_79b1) >> 7 & 0xf_ffff);
        let name = format!("{service}-{}-{}", hash(at + 7), hash(pod + 1));
        format!(
            "{{ pod = \"{name}\", namespace = \"{}\", workload = \"Deployment/{service}\", services = [\"{service}\"], \
             ips = [\"{}\"], interface = \"{}\" }}",
            NAMESPACES[at % NAMESPACES.len()],
            self.lab.ip(&host),
            self.lab.interface(&host)
        )
    }

    /// Ends with the process.
    fn serve(&self, pod: usize) {
        let at = format!("0.0.0.0:{PORT}").parse().unwrap();
        let listener = self.lab.listen(&Self::host(pod), at);
        let service = self.service(pod);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                // A client that goes away in the middle is no failure.
                std::thread::spawn(move || stream.and_then(|stream| answer(&stream, service)));
            }
        });
    }

    fn connect(&self, pod: usize) -> TcpStream {
        let to = format!("{}:{PORT}", self.lab.ip(&Self::host(pod)));
        let stream = self.lab.connect(&self.client(pod), to.parse().unwrap());
        stream.unwrap()
    }

    /// A client a pod.
    pub(crate) fn traffic(&self) -> Traffic {
        let over = Arc::new(AtomicBool::new(false));
        if let Some(pod) = self.bypassed {
            // So many answers without a question are no chance.
            (0..5).for_each(|_| drop(self.connect(pod)));
        }
        let client = |pod| {
            let stream = self.connect(pod);
            let (over, service) = (Arc::clone(&over), self.service(pod));
            let busy = if self.pods == 1 { 60.0 } else { 40.0 };
            std::thread::spawn(move || ask(&stream, busy, service, &over).unwrap())
        };
        let clients = (0..self.pods).map(client).collect();
        Traffic { over, clients }
    }
}

impl Drop for Traffic {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        for client in self.clients.drain(..) {
            let _ = client.join();
        }
    }
}

/// From a third of a millisecond to some fifty, the later services slower; every 37th answer six times as slow.
fn answer(stream: &TcpStream, service: usize) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut lines = BufReader::new(stream).lines();
    let base = Duration::from_micros(300).mul_f64(1.11_f64.powi((service % 47) as i32));
    for n in 1_usize.. {
        loop {
            match lines.next().transpose()? {
                None => return Ok(()),
                Some(line) if line.is_empty() => break,
                Some(_) => {}
            }
        }
        let slow = if n.is_multiple_of(37) { 6.0 } else { 1.0 };
        std::thread::sleep(base.mul_f64(slow * (0.7 + (n * 13 % 10) as f64 / 15.0)));
        let status = match service % 7 {
            4 if n.is_multiple_of(23) => "503 Service Unavailable",
            2 if n.is_multiple_of(11) => "404 Not Found",
            _ => "200 OK",
        };
        write!(&*stream, "HTTP/1.1 {status}\r\ncontent-length: 2\r\n\r\nok")?;
    }
    Ok(())
}

/// Services have their own rates, which rise and fall.
fn ask(stream: &TcpStream, busy: f64, service: usize, over: &AtomicBool) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut lines = BufReader::new(stream);
    let begin = Instant::now();
    let mean = busy / (1.0 + (service * 7 % 23) as f64);
    while !over.load(Ordering::Relaxed) {
        let phase = begin.elapsed().as_secs_f64() / (3.0 + (service % 5) as f64) + service as f64;
        std::thread::sleep(Duration::from_secs_f64(
            1.0 / (mean * (1.0 + 0.6 * phase.sin())),
        ));
        write!(&*stream, "GET /items HTTP/1.1\r\nhost: pod\r\n\r\n")?;
        let mut line = String::new();
        while line != "\r\n" {
            line.clear();
            lines.read_line(&mut line)?;
        }
        std::io::Read::read_exact(&mut lines, &mut [0; 2])?;
    }
    Ok(())
}
