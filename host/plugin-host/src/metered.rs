//! Bounds a guest's call in processor time and in wall time.
//!
//! The guest yields at every epoch tick, so each poll is short and runs on one thread: the thread's
//! processor clock before and after it is what the guest used. A loop is ended at a tick by the [`Meter`],
//! which the guest's store reads there, so the trap tells where the loop is. Wall time ends what uses no
//! processor: a sleep, or a call that hangs.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// Over the limit, before a call that has not met a tick since is dropped where it waits.
const GRACE: Duration = Duration::from_millis(50);

/// Why a call was dropped. It leaves no trap behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stopped {
    /// It used too much processor time.
    Cpu,
    /// It took too long.
    Wall,
}

/// What a call cost.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Used {
    pub(crate) cpu: Duration,
    pub(crate) wall: Duration,
    /// Bytes of all linear memories at its end; they never shrink.
    pub(crate) memory: u64,
    pub(crate) host_calls: u64,
}

/// The processor time of one call; read while the call runs.
#[derive(Clone, Debug)]
pub(crate) struct Meter(Arc<Clock>);

#[derive(Debug)]
struct Clock {
    max: Duration,
    /// Nanoseconds of the polls that ended.
    spent: AtomicU64,
    /// The thread's clock when the running poll began.
    began: AtomicU64,
}

impl Meter {
    pub(crate) fn new(max: Duration) -> Self {
        Self(Arc::new(Clock {
            max,
            spent: AtomicU64::new(0),
            began: AtomicU64::new(0),
        }))
    }

    /// Whether the call is over its time. Only within its poll, on the thread that polls.
    pub(crate) fn is_over(&self) -> bool {
        let now = thread_cpu().saturating_sub(self.0.began.load(Relaxed));
        Duration::from_nanos(self.0.spent.load(Relaxed) + now) > self.0.max
    }

    fn spent(&self) -> Duration {
        Duration::from_nanos(self.0.spent.load(Relaxed))
    }
}

/// Run `call` within the meter's time and `wall`; with what it used of both.
pub(crate) async fn bounded<F: Future>(
    meter: &Meter,
    wall: Duration,
    call: F,
) -> (Result<F::Output, Stopped>, Used) {
    let began = Instant::now();
    let metered = Metered {
        call: Box::pin(call),
        meter,
    };
    let result = match tokio::time::timeout(wall, metered).await {
        Ok(result) => result,
        Err(_) => Err(Stopped::Wall),
    };
    let used = Used {
        cpu: meter.spent(),
        wall: began.elapsed(),
        ..Used::default()
    };
    (result, used)
}

struct Metered<'a, F> {
    call: Pin<Box<F>>,
    meter: &'a Meter,
}

impl<F: Future> Future for Metered<'_, F> {
    type Output = Result<F::Output, Stopped>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let clock = Arc::clone(&self.meter.0);
        let before = thread_cpu();
        clock.began.store(before, Relaxed);
        let polled = self.call.as_mut().poll(context);
        clock
            .spent
            .fetch_add(thread_cpu().saturating_sub(before), Relaxed);
        match polled {
            Poll::Ready(output) => Poll::Ready(Ok(output)),
            Poll::Pending if self.meter.spent() > clock.max + GRACE => {
                Poll::Ready(Err(Stopped::Cpu))
            }
            Poll::Pending => Poll::Pending,
        }
    }
}

/// Nanoseconds.
fn thread_cpu() -> u64 {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    seconds * 1_000_000_000 + u64::try_from(now.tv_nsec).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn spinning_call_is_stopped_by_its_processor_time() {
        let spin = async {
            loop {
                let until = Instant::now() + Duration::from_millis(5);
                while Instant::now() < until {}
                tokio::task::yield_now().await;
            }
        };
        let cpu = Duration::from_millis(50);
        let meter = Meter::new(cpu);
        let (result, used): (Result<(), _>, _) =
            bounded(&meter, Duration::from_secs(60), spin).await;
        assert_eq!(result, Err(Stopped::Cpu));
        assert!(
            used.cpu > cpu && used.cpu < Duration::from_secs(1),
            "{used:?}"
        );
    }

    #[tokio::test]
    async fn running_poll_knows_what_it_has_used() {
        let meter = Meter::new(Duration::from_millis(20));
        let inside = meter.clone();
        let spin = async move {
            while !inside.is_over() {
                std::hint::spin_loop();
            }
        };
        let (result, used) = bounded(&meter, Duration::from_secs(60), spin).await;
        assert_eq!(result, Ok(()));
        assert!(used.cpu > Duration::from_millis(20), "{used:?}");
    }

    #[tokio::test]
    async fn hanging_call_is_stopped_by_wall_time() {
        let meter = Meter::new(Duration::from_secs(1));
        let hang = std::future::pending::<()>();
        let (result, _) = bounded(&meter, Duration::from_millis(20), hang).await;
        assert_eq!(result, Err(Stopped::Wall));
    }
}
