//! An open loop: requests are due at a steady rate, whatever became of those before.

use std::thread;
use std::time::{Duration, Instant};

use futures_util::stream::{self, Stream};
use tokio::sync::mpsc;

/// Requests that are due and not yet taken by the load; a round has fewer, so the pace never waits for the load.
const WAITING: usize = 1 << 20;

/// Yields each request's number and the moment when it was due. A thread keeps the pace, because a runtime's timers are too coarse.
pub fn at(rate: f64, requests: usize) -> impl Stream<Item = (usize, Instant)> {
    let requests = requests.min(WAITING);
    let (told, due) = mpsc::channel(requests.max(1));
    thread::spawn(move || {
        let started = Instant::now();
        for number in 0..requests {
            let moment = started + Duration::from_secs_f64(number as f64 / rate);
            thread::sleep(moment.saturating_duration_since(Instant::now()));
            if told.blocking_send((number, moment)).is_err() {
                return;
            }
        }
    });
    stream::unfold(due, |mut due| async { due.recv().await.map(|next| (next, due)) })
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt as _;

    use super::*;

    #[tokio::test]
    async fn requests_are_due_by_the_rate_alone_and_none_comes_before_it_is() {
        let mut paced = std::pin::pin!(at(1000.0, 20));
        let mut first = None;
        for expected in 0..20 {
            let (number, due) = paced.next().await.unwrap();
            assert!(due <= Instant::now(), "request {number} came before it was due");
            let first = *first.get_or_insert(due);
            assert_eq!((number, due - first), (expected, Duration::from_millis(expected as u64)));
        }
        assert!(paced.next().await.is_none(), "there are no more");
    }
}
