use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::timeout;

/// Compiles that have just begun: each takes a processor, and tens of MB.
const QUICK: usize = 2;
/// Compiles that turned out to be long.
const LONG: usize = 2;
/// How long is long: Rust, C and Go components take less, Python's take more.
const SOON: Duration = Duration::from_secs(5);

/// Who compiles when. A long compile makes room for those behind it: it goes on beside them while there is
/// place, and otherwise begins again when there is. So a few components that never end delay the others by
/// seconds, and never more than four compile at once.
#[derive(Debug)]
pub(super) struct Lanes {
    quick: Semaphore,
    long: Semaphore,
}

impl Default for Lanes {
    fn default() -> Self {
        Self {
            quick: Semaphore::new(QUICK),
            long: Semaphore::new(LONG),
        }
    }
}

impl Lanes {
    /// Run what `begin` makes; twice, if the first run was ended to make room.
    pub(super) async fn run<F: Future>(&self, begin: impl Fn() -> F) -> F::Output {
        // Neither semaphore is ever closed; were it, running at once would be right.
        let quick = self.quick.acquire().await;
        let mut first = Box::pin(begin());
        if let Ok(done) = timeout(SOON, &mut first).await {
            return done;
        }
        if let Ok(_long) = self.long.try_acquire() {
            drop(quick);
            return first.await;
        }
        drop(first);
        drop(quick);
        let _long = self.long.acquire().await;
        begin().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// Time is tokio's own here, and stands still but for its timers.
    #[tokio::test(start_paused = true)]
    async fn endless_ones_delay_the_others_by_seconds_and_take_no_more_than_their_places() {
        let lanes = std::sync::Arc::new(Lanes::default());
        let (running, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let counted = |takes: Duration| {
            let (running, most) = (&running, &most);
            async move {
                let now = running.fetch_add(1, Ordering::Relaxed) + 1;
                most.fetch_max(now, Ordering::Relaxed);
                struct Left<'a>(&'a AtomicUsize);
                impl Drop for Left<'_> {
                    fn drop(&mut self) {
                        self.0.fetch_sub(1, Ordering::Relaxed);
                    }
                }
                let _left = Left(running);
                tokio::time::sleep(takes).await;
            }
        };
        let began = tokio::time::Instant::now();
        let hour = Duration::from_secs(3600);
        let endless = async {
            tokio::join!(
                lanes.run(|| counted(hour)),
                lanes.run(|| counted(hour)),
                lanes.run(|| counted(hour)),
                lanes.run(|| counted(hour)),
                lanes.run(|| counted(hour)),
                lanes.run(|| counted(hour)),
            );
        };
        let good = async {
            tokio::task::yield_now().await;
            lanes.run(|| counted(Duration::from_secs(1))).await;
            began.elapsed()
        };
        tokio::pin!(endless);
        tokio::select! {
            biased;
            () = &mut endless => panic!("they end in an hour"),
            elapsed = good => assert!(elapsed < Duration::from_secs(20), "{elapsed:?}"),
        }
        endless.await;
        assert_eq!(most.load(Ordering::Relaxed), QUICK + LONG);
        assert_eq!(running.load(Ordering::Relaxed), 0);
    }
}
