//! Bounds a guest's call in processor time and in wall time.
//!
//! The guest yields at every epoch tick, so each poll is short and runs on one thread: the thread's
//! processor clock before and after it is what the guest used. Wall time ends what uses no processor:
//! a sleep, or a call that hangs.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use crate::config::Limits;

/// Why a call was stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stopped {
    /// It used the processor for so long.
    Cpu(Duration),
    /// It took so long.
    Wall(Duration),
}

/// What a call cost.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Used {
    pub(crate) cpu: Duration,
}

/// Run `call` within `limits.cpu` and `wall`; with its processor time.
pub(crate) async fn bounded<F: Future>(
    limits: &Limits,
    wall: Duration,
    call: F,
) -> (Result<F::Output, Stopped>, Used) {
    let mut used = Used::default();
    let metered = Metered {
        call: Box::pin(call),
        used: &mut used,
        max: limits.cpu,
    };
    let result = match tokio::time::timeout(wall, metered).await {
        Ok(result) => result,
        Err(_) => Err(Stopped::Wall(wall)),
    };
    (result, used)
}

struct Metered<'a, F> {
    call: Pin<Box<F>>,
    used: &'a mut Used,
    max: Duration,
}

impl<F: Future> Future for Metered<'_, F> {
    type Output = Result<F::Output, Stopped>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let before = thread_cpu();
        let polled = self.call.as_mut().poll(context);
        self.used.cpu += thread_cpu().saturating_sub(before);
        match polled {
            Poll::Ready(output) => Poll::Ready(Ok(output)),
            Poll::Pending if self.used.cpu > self.max => Poll::Ready(Err(Stopped::Cpu(self.max))),
            Poll::Pending => Poll::Pending,
        }
    }
}

fn thread_cpu() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(
        u64::try_from(now.tv_sec).unwrap_or(0),
        u32::try_from(now.tv_nsec).unwrap_or(0),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(cpu: Duration) -> Limits {
        Limits {
            cpu,
            ..Limits::default()
        }
    }

    #[tokio::test]
    async fn spinning_call_is_stopped_by_its_processor_time() {
        let spin = async {
            loop {
                let until = std::time::Instant::now() + Duration::from_millis(5);
                while std::time::Instant::now() < until {}
                tokio::task::yield_now().await;
            }
        };
        let cpu = Duration::from_millis(50);
        let (result, used): (Result<(), _>, _) =
            bounded(&limits(cpu), Duration::from_secs(60), spin).await;
        assert_eq!(result, Err(Stopped::Cpu(cpu)));
        assert!(
            used.cpu > cpu && used.cpu < Duration::from_secs(1),
            "{used:?}"
        );
    }

    #[tokio::test]
    async fn hanging_call_is_stopped_by_wall_time() {
        let wall = Duration::from_millis(20);
        let (result, _) = bounded(
            &limits(Duration::from_secs(1)),
            wall,
            std::future::pending::<()>(),
        )
        .await;
        assert_eq!(result, Err(Stopped::Wall(wall)));
    }
}
