//! The queue in front of the lanes: one line for each bundle, served round-robin.
//!
//! Guarantees: a push never waits. Every bundle with pending messages gets its turn, so a busy model delays another by
//! one turn at most. Urgent messages go before all others. One turn takes messages of one bundle and one urgency, up to
//! the bundle's batch size. A message waits for a larger batch no longer than its bundle's `max_delay`; an urgent one
//! does not wait.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use inferbus_pipeline::batch::BatchPolicy;

use crate::limits;

/// A message in the queue.
pub trait Queued {
    fn same_line(&self, other: &Self) -> bool;
    fn policy(&self) -> BatchPolicy;
    fn is_urgent(&self) -> bool;
    fn bytes(&self) -> usize;
    fn queued_at(&self) -> Instant;
    /// Whether its line may run one more turn in parallel.
    fn may_start(&self) -> bool;
    /// A turn of its line starts. At its end the lane informs the line, and the queue by [`Queue::line_freed`].
    fn start(&self);
}

pub struct Queue<J> {
    state: Mutex<State<J>>,
    wakeup: Condvar,
    capacity: usize,
}

struct State<J> {
    urgent: Lines<J>,
    normal: Lines<J>,
    len: usize,
    idle_lanes: usize,
    /// Messages no longer wait for a larger batch.
    no_delay: bool,
    closed: bool,
}

/// The lines with messages, the next one first.
struct Lines<J> {
    lines: VecDeque<VecDeque<J>>,
    /// The memory of empty lines, for reuse without allocation.
    spare: Vec<VecDeque<J>>,
}

impl<J: Queued> Queue<J> {
    pub fn new(capacity: usize) -> Self {
        let lines = || Lines { lines: VecDeque::new(), spare: Vec::new() };
        let state = State { urgent: lines(), normal: lines(), len: 0, idle_lanes: 0, no_delay: false, closed: false };
        Self { state: Mutex::new(state), wakeup: Condvar::new(), capacity }
    }

    fn state(&self) -> MutexGuard<'_, State<J>> {
        // Every change completes without a panic, so a poisoned lock still holds a consistent state.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a job; returns it if the queue is full or closed.
    pub fn push(&self, job: J) -> Result<(), Box<J>> {
        let mut state = self.state();
        if state.closed || state.len >= self.capacity {
            return Err(Box::new(job));
        }
        state.len += 1;
        if job.is_urgent() {
            state.urgent.push(job)
        } else {
            state.normal.push(job)
        }
        let idle_lanes = state.idle_lanes;
        drop(state);
        if idle_lanes > 0 {
            self.wakeup.notify_one();
        }
        Ok(())
    }

    /// Waits for a turn and takes it. Returns false after the queue is closed and empty.
    pub fn take(&self, turn: &mut Vec<J>) -> bool {
        let mut state = self.state();
        loop {
            let State { urgent, normal, no_delay, .. } = &mut *state;
            let taken = urgent.take(true, turn).or_else(|_| normal.take(*no_delay, turn));
            let due = match taken {
                Ok(taken) => {
                    state.len -= taken;
                    // A sleeping lane may not know the due time of the remaining lines.
                    if state.idle_lanes > 0 && state.len > 0 {
                        self.wakeup.notify_one();
                    }
                    return true;
                }
                Err(due) => due,
            };
            if state.closed && state.len == 0 {
                return false;
            }
            state.idle_lanes += 1;
            state = match due {
                None => self.wakeup.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(due) => {
                    let left = due.saturating_duration_since(Instant::now());
                    self.wakeup.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0
                }
            };
            state.idle_lanes -= 1;
        }
    }

    /// Wakes a lane after a turn, because the line may run another one.
    pub fn line_freed(&self) {
        if self.state().idle_lanes > 0 {
            self.wakeup.notify_one();
        }
    }

    /// From now on no message waits for a larger batch.
    pub fn stop_batching_delay(&self) {
        self.state().no_delay = true;
        self.wakeup.notify_all();
    }

    /// Rejects further jobs. Pending ones are still taken, without a wait for a larger batch.
    pub fn close(&self) {
        self.state().closed = true;
        self.stop_batching_delay();
    }
}

impl<J: Queued> Lines<J> {
    fn push(&mut self, job: J) {
        let line = self.lines.iter_mut().find(|line| line.front().is_some_and(|first| first.same_line(&job)));
        match line {
            Some(line) => line.push_back(job),
            None => {
                let mut line = self.spare.pop().unwrap_or_default();
                line.push_back(job);
                self.lines.push_back(line);
            }
        }
    }

    /// Takes the next line's turn; otherwise returns the earliest due time of the delayed lines, if any.
    fn take(&mut self, no_delay: bool, turn: &mut Vec<J>) -> Result<usize, Option<Instant>> {
        let mut earliest: Option<Instant> = None;
        for at in 0..self.lines.len() {
            if self.lines.get(at).and_then(VecDeque::front).is_some_and(|first| !first.may_start()) {
                continue;
            }
            let Some(due) = self.lines.get(at).and_then(|line| batch_due(line)).filter(|_| !no_delay) else {
                return Ok(self.take_line(at, turn));
            };
            earliest = Some(earliest.map_or(due, |earliest| earliest.min(due)));
        }
        Err(earliest)
    }

    fn take_line(&mut self, at: usize, turn: &mut Vec<J>) -> usize {
        let Some(mut line) = self.lines.remove(at) else { return 0 };
        let most = line.front().map_or(1, |first| {
            first.start();
            first.policy().max
        });
        let (mut taken, mut bytes) = (0, 0);
        while taken < most
            && let Some(job) = line.pop_front_if(|job| taken == 0 || bytes + job.bytes() <= limits::BATCH_BYTES)
        {
            bytes += job.bytes();
            taken += 1;
            turn.push(job);
        }
        match line.is_empty() {
            // The number of places bounds the spare lines.
            true => self.spare.push(line),
            false => self.lines.push_back(line),
        }
        taken
    }
}

/// The end of a line's wait for a larger batch; `None` if it is due now.
fn batch_due<J: Queued>(line: &VecDeque<J>) -> Option<Instant> {
    let first = line.front()?;
    let policy = first.policy();
    if line.len() >= policy.min {
        return None;
    }
    let due = first.queued_at() + policy.max_delay;
    (Instant::now() < due).then_some(due)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use super::*;

    struct Item {
        line: u8,
        number: usize,
        urgent: bool,
        bytes: usize,
        policy: BatchPolicy,
        since: Instant,
        /// The line's remaining turns.
        turns: Arc<AtomicUsize>,
    }

    impl Queued for Item {
        fn same_line(&self, other: &Self) -> bool {
            self.line == other.line
        }
        fn policy(&self) -> BatchPolicy {
            self.policy
        }
        fn is_urgent(&self) -> bool {
            self.urgent
        }
        fn bytes(&self) -> usize {
            self.bytes
        }
        fn queued_at(&self) -> Instant {
            self.since
        }
        fn may_start(&self) -> bool {
            self.turns.load(Ordering::Relaxed) > 0
        }
        fn start(&self) {
            self.turns.fetch_sub(1, Ordering::Relaxed);
        }
    }

    const EIGHT: BatchPolicy = BatchPolicy { max: 8, ..BatchPolicy::SINGLE };
    const FOREVER: Duration = Duration::from_secs(3600);

    fn item(line: u8, number: usize, policy: BatchPolicy) -> Item {
        let turns = Arc::new(AtomicUsize::new(usize::MAX));
        Item { line, number, urgent: false, bytes: 1, policy, since: Instant::now(), turns }
    }

    fn queue(items: impl IntoIterator<Item = Item>) -> Queue<Item> {
        let queue = Queue::new(1024);
        items.into_iter().for_each(|item| assert!(queue.push(item).is_ok()));
        queue
    }

    fn turn(queue: &Queue<Item>) -> Vec<(u8, usize)> {
        let mut turn = Vec::new();
        assert!(queue.take(&mut turn));
        turn.iter().map(|item| (item.line, item.number)).collect()
    }

    #[test]
    fn turns_go_round_and_each_line_keeps_its_order() {
        let queue = queue(
            [(1, 0), (1, 1), (2, 0), (1, 2), (3, 0)].map(|(line, number)| item(line, number, BatchPolicy::SINGLE)),
        );
        let turns: Vec<_> = (0..5).flat_map(|_| turn(&queue)).collect();
        assert_eq!(turns, [(1, 0), (2, 0), (3, 0), (1, 1), (1, 2)]);
    }

    #[test]
    fn a_turn_takes_what_waits_up_to_its_most() {
        let queue = queue((0..11).map(|number| item(1, number, EIGHT)));
        assert_eq!(turn(&queue).len(), 8);
        assert_eq!(turn(&queue), [(1, 8), (1, 9), (1, 10)]);
    }

    #[test]
    fn a_turn_holds_no_more_bytes_than_allowed_but_always_one_message() {
        let large = |number| Item { bytes: limits::BATCH_BYTES / 2 + 1, ..item(1, number, EIGHT) };
        let queue = queue([large(0), large(1)]);
        assert_eq!(turn(&queue), [(1, 0)]);
        assert_eq!(turn(&queue), [(1, 1)]);
    }

    #[test]
    fn what_is_urgent_goes_first_and_by_itself() {
        let urgent = |number| Item { urgent: true, ..item(1, number, EIGHT) };
        let queue = queue([item(1, 0, EIGHT), item(2, 0, EIGHT), urgent(1), urgent(2)]);
        assert_eq!(turn(&queue), [(1, 1), (1, 2)]);
        assert_eq!(turn(&queue), [(1, 0)]);
        assert_eq!(turn(&queue), [(2, 0)]);
    }

    #[test]
    fn a_line_that_waits_for_company_lets_others_go_first() {
        let company = BatchPolicy { max: 8, min: 2, max_delay: FOREVER };
        let queue = queue([item(1, 0, company), item(2, 0, BatchPolicy::SINGLE)]);
        assert_eq!(turn(&queue), [(2, 0)]);
        assert!(queue.push(item(1, 1, company)).is_ok());
        assert_eq!(turn(&queue), [(1, 0), (1, 1)]);
    }

    #[test]
    fn a_line_that_has_all_its_turns_keeps_no_lane() {
        let turns = Arc::new(AtomicUsize::new(1));
        let held = |number| Item { turns: turns.clone(), ..item(1, number, BatchPolicy::SINGLE) };
        let queue = queue([held(0), held(1), item(2, 0, BatchPolicy::SINGLE)]);
        assert_eq!([turn(&queue), turn(&queue)], [[(1, 0)], [(2, 0)]]);
        turns.store(1, Ordering::Relaxed);
        queue.line_freed();
        assert_eq!(turn(&queue), [(1, 1)]);
    }

    #[test]
    fn patience_ends() {
        let company = BatchPolicy { max: 8, min: 8, max_delay: Duration::from_millis(1) };
        assert_eq!(turn(&queue([item(1, 0, company)])), [(1, 0)]);
    }

    #[test]
    fn a_closed_queue_gives_what_it_has_and_takes_nothing() {
        let queue = queue([item(1, 0, BatchPolicy { max: 8, min: 8, max_delay: FOREVER })]);
        queue.close();
        assert!(queue.push(item(1, 1, BatchPolicy::SINGLE)).is_err());
        assert_eq!(turn(&queue), [(1, 0)]);
        assert!(!queue.take(&mut Vec::new()));
    }

    #[test]
    fn a_full_queue_gives_back() {
        let queue = Queue::new(1);
        assert!(queue.push(item(1, 0, BatchPolicy::SINGLE)).is_ok());
        assert_eq!(queue.push(item(1, 1, BatchPolicy::SINGLE)).err().map(|item| item.number), Some(1));
    }

    #[test]
    fn every_message_is_taken_once_by_some_lane() {
        const ALL: usize = 20_000;
        let queue = Arc::new(Queue::<Item>::new(ALL));
        let lane = || {
            let queue = queue.clone();
            std::thread::spawn(move || {
                let (mut turn, mut taken) = (Vec::new(), Vec::new());
                while queue.take(&mut turn) {
                    taken.extend(turn.drain(..).map(|item| item.number));
                }
                taken
            })
        };
        let lanes = [lane(), lane(), lane()];
        for number in 0..ALL {
            let turn = BatchPolicy { max: 1 + number % 5, ..BatchPolicy::SINGLE };
            assert!(queue.push(Item { urgent: number % 7 == 0, ..item((number % 5) as u8, number, turn) }).is_ok());
        }
        queue.close();
        let mut taken: Vec<_> = lanes.into_iter().flat_map(|lane| lane.join().unwrap_or_default()).collect();
        taken.sort_unstable();
        assert!(taken.into_iter().eq(0..ALL));
    }
}
