//! Threads that each take whole blocks of images, so that a result does not depend on how many there are.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rayon::{ThreadPool, ThreadPoolBuilder};

/// The threads cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum LaneError {
    /// Nothing could be computed.
    #[error("0 threads were asked for; give at least 1")]
    NoThreads,
    /// The system refuses.
    #[error("cannot start {threads} compute threads ({source}); give fewer with --threads")]
    Start {
        /// How many.
        threads: usize,
        /// What the system says.
        source: rayon::ThreadPoolBuildError,
    },
}

/// One rayon pool of one thread per lane.
///
/// Kernels split their work over rayon's *current* pool. Inside a lane that is the lane's only thread, so a block is
/// computed on one core, its tensors stay in that core's cache, and no lane waits for another.
pub(crate) struct Lanes {
    pools: Vec<ThreadPool>,
}

impl Lanes {
    /// Starts the threads.
    ///
    /// Errors: `NoThreads`, `Start`.
    pub(crate) fn new(threads: usize) -> Result<Self, LaneError> {
        if threads == 0 {
            return Err(LaneError::NoThreads);
        }
        let pool = |lane| {
            ThreadPoolBuilder::new().num_threads(1).thread_name(move |_| format!("lane-{lane}")).build()
        };
        let pools: Result<Vec<_>, _> = (0..threads).map(pool).collect();
        let pools = pools.map_err(|source| LaneError::Start { threads, source })?;
        Ok(Self { pools })
    }

    /// Computes `work(0..blocks)` and returns the results in order; `None` if `stop` became true before the last block.
    ///
    /// Errors: that of the first block that fails, by position and not by time.
    pub(crate) fn map<T: Send, E: Send>(
        &self,
        blocks: usize,
        stop: &AtomicBool,
        work: impl Fn(usize) -> Result<T, E> + Sync,
    ) -> Result<Option<Vec<T>>, E> {
        let queue = Queue {
            blocks,
            next: AtomicUsize::new(0),
            failed: AtomicBool::new(false),
            done: Mutex::new(Vec::with_capacity(blocks)),
        };
        std::thread::scope(|scope| {
            let lanes = self.pools.len().min(blocks);
            for pool in self.pools.iter().take(lanes).skip(1) {
                scope.spawn(|| pool.install(|| queue.drain(stop, &work)));
            }
            if let Some(pool) = self.pools.first() {
                pool.install(|| queue.drain(stop, &work));
            }
        });
        queue.in_order()
    }
}

/// Starts the threads of one pool, for work that is not cut in blocks; the result must not depend on how many there are.
///
/// Errors: `NoThreads`, `Start`.
pub(crate) fn pool(threads: usize) -> Result<ThreadPool, LaneError> {
    if threads == 0 {
        return Err(LaneError::NoThreads);
    }
    let pool = ThreadPoolBuilder::new().num_threads(threads).thread_name(|thread| format!("pool-{thread}"));
    pool.build().map_err(|source| LaneError::Start { threads, source })
}

/// Blocks are taken in order, so every block before a failed one is computed whatever the number of lanes.
struct Queue<T, E> {
    blocks: usize,
    next: AtomicUsize,
    failed: AtomicBool,
    done: Mutex<Vec<(usize, Result<T, E>)>>,
}

impl<T, E> Queue<T, E> {
    fn drain(&self, stop: &AtomicBool, work: &impl Fn(usize) -> Result<T, E>) {
        while !stop.load(Ordering::Relaxed) && !self.failed.load(Ordering::Relaxed) {
            let block = self.next.fetch_add(1, Ordering::Relaxed);
            if block >= self.blocks {
                return;
            }
            let result = work(block);
            if result.is_err() {
                self.failed.store(true, Ordering::Relaxed);
            }
            let mut done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
            done.push((block, result));
        }
    }

    fn in_order(self) -> Result<Option<Vec<T>>, E> {
        let mut done = self.done.into_inner().unwrap_or_else(PoisonError::into_inner);
        done.sort_by_key(|(block, _)| *block);
        let results: Vec<T> = done.into_iter().map(|(_, result)| result).collect::<Result<_, E>>()?;
        Ok((results.len() == self.blocks).then_some(results))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_order_for_any_number_of_lanes() {
        for threads in [1, 2, 5] {
            let lanes = Lanes::new(threads).unwrap();

            let squares = lanes.map(20, &AtomicBool::new(false), |block| Ok::<_, ()>(block * block));

            assert_eq!(squares, Ok(Some((0..20).map(|block| block * block).collect())));
        }
    }

    #[test]
    fn the_first_failing_block_is_reported() {
        let lanes = Lanes::new(3).unwrap();

        let answer =
            lanes.map(50, &AtomicBool::new(false), |block| if block >= 7 { Err(block) } else { Ok(()) });

        assert_eq!(answer, Err(7));
    }

    #[test]
    fn a_stop_between_blocks_gives_nothing() {
        let lanes = Lanes::new(1).unwrap();
        let stop = AtomicBool::new(false);

        let answer = lanes.map(10, &stop, |block| {
            stop.store(block == 3, Ordering::Relaxed);
            Ok::<_, ()>(())
        });

        assert_eq!(answer, Ok(None));
        assert!(matches!(Lanes::new(0), Err(LaneError::NoThreads)));
    }

    #[test]
    fn a_block_sees_a_pool_of_one_thread() {
        let lanes = Lanes::new(2).unwrap();

        let threads = lanes.map(4, &AtomicBool::new(false), |_| Ok::<_, ()>(rayon::current_num_threads()));

        assert_eq!(threads, Ok(Some(vec![1; 4])));
    }
}
