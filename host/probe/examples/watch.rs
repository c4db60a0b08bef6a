//! Rate, errors and duration of what passes one interface, each second: `watch veth1a2b3c`.
//!
//! For a Docker container, give the host's end of its veth (`ip link` lists them): what goes out there is on its way to
//! the container. Needs root.

use std::thread::sleep;
use std::time::Duration;

use owlk8s_model::{TargetReading, UnixNanos};
use owlk8s_probe::{Interface, Probe, ProbeError};

fn main() {
    let interface = std::env::args()
        .nth(1)
        .unwrap_or_else(|| "docker0".to_owned());
    if let Err(error) = watch(&interface) {
        eprintln!("{error}");
    }
}

#[expect(clippy::print_stdout, reason = "what it is for")]
fn watch(interface: &str) -> Result<(), ProbeError> {
    let mut probe = Probe::load()?;
    probe.attach("it".into(), Interface::named(interface)?)?;
    let mut before = 0;
    loop {
        sleep(Duration::from_secs(1));
        let reading = probe.read(UnixNanos(0))?;
        if let Some(TargetReading::Active { rows, counters, .. }) = reading.of(&"it".into()) {
            let requests: u64 = rows.iter().map(|row| row.count).sum();
            let errors: u64 = rows
                .iter()
                .filter(|row| row.status >= 400)
                .map(|row| row.count)
                .sum();
            let last = Duration::from_nanos(counters.duration_last_ns);
            println!(
                "{} requests/s, {requests} in all, {errors} errors, the last took {last:?}",
                requests - before
            );
            before = requests;
        }
    }
}
