//! Requests in the background, one after another, while a test does something else.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::task::{JoinHandle, block_in_place};

use crate::until;

pub struct Background {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Background {
    /// Runs `ask` with the numbers from 0 on; it panics at a wrong answer.
    pub fn start<F>(mut ask: impl FnMut(usize) -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()> + Send,
    {
        let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let task = tokio::spawn({
            let (stop, answered) = (stop.clone(), answered.clone());
            async move {
                while !stop.load(Ordering::Relaxed) {
                    ask(answered.load(Ordering::Relaxed)).await;
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        Self { stop, answered, task }
    }

    /// Waits for one more answer; a wrong answer fails the test.
    pub fn goes_on(&self) {
        let before = self.answered.load(Ordering::Relaxed);
        let more = || self.answered.load(Ordering::Relaxed) > before || self.task.is_finished();
        block_in_place(|| until("a request in the background is answered", more));
        assert!(!self.task.is_finished(), "a request in the background failed");
    }

    /// Ends, and returns the number of answers; a wrong answer fails the test.
    pub async fn finish(self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.expect("every answer is right");
        self.answered.load(Ordering::Relaxed)
    }
}
