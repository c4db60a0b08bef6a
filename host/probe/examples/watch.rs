//! Rate, errors and duration of what passes one interface, each second: `watch veth1a2b3c`, or `docker0`'s veth of a
//! container (`ip link` names them). Needs root. A host's own `eth0` shows what the host itself serves from inside out:
//! on the host's end of a veth, what goes out is on its way to the container.

use std::thread::sleep;
use std::time::{Duration, UNIX_EPOCH};

use owlk8s_model::{TargetReading, UnixNanos};
use owlk8s_probe::{Interface, Probe, ProbeError};

#[expect(clippy::print_stdout, reason = "what it is for")]
fn main() -> Result<(), ProbeError> {
    let name = std::env::args().nth(1).unwrap_or_else(|| "lo".to_owned());
    let mut probe = Probe::load()?;
    probe.attach(name.as_str().into(), Interface::named(&name)?)?;
    let mut before = 0;
    loop {
        sleep(Duration::from_secs(1));
        let now = UNIX_EPOCH
            .elapsed()
            .map_or(0, |time| time.as_nanos() as u64);
        for (target, reading) in probe.read(UnixNanos(now))?.targets {
            let TargetReading::Active { rows, counters, .. } = reading else {
                continue;
            };
            let total: u64 = rows.iter().map(|row| row.count).sum();
            let errors: u64 = rows
                .iter()
                .filter(|row| row.status >= 400)
                .map(|row| row.count)
                .sum();
            let last = Duration::from_nanos(counters.duration_last_ns);
            println!(
                "{target}: {} requests/s, {total} in all, {errors} errors, last took {last:?}",
                total - before
            );
            before = total;
        }
    }
}
