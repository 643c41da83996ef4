//! Sending and receiving: one thread paces an open loop, one task serves each subscription.
//!
//! Guarantees: no task per request. In a closed loop, the receiver of an answer sends the next request.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_nats::Message;
use async_nats::jetstream::publish::PublishAck;
use async_nats::jetstream::response::Response;
use futures_util::StreamExt as _;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use self::message::{error, number, origin, part};
use self::subscriptions::Subscription;
use super::account::outstanding::{Due, Outstanding};
use super::account::stats::{TargetStats, Verdict};
use super::account::stream_messages::{Arrival, Progress, StreamMessages, TimedArrival};
use super::fault::BenchFault;
use super::generate::arrivals::Schedule;
use super::generate::picker::Picker;
use super::headers::{DEAD_LETTER_ERROR, REASON};
use super::limits;
use super::settings::{Length, Load, RunSettings, Setup, Stream};

mod message;
pub mod subscriptions;

pub struct Driver {
    setup: Arc<Setup>,
    inboxes: Vec<String>,
    settings: RunSettings,
    start: Instant,
    outstanding: Mutex<Outstanding>,
    stored: Option<Mutex<StreamMessages>>,
    sending: Mutex<Sending>,
    /// The first failure to send.
    fault: Mutex<Option<BenchFault>>,
    remarks: Mutex<Vec<String>>,
    /// Wakes `wait`.
    wake: Notify,
}

/// The choice of the next request, and the number of requests so far.
struct Sending {
    picker: Picker,
    counted: u64,
    over: bool,
}

/// The totals of a run.
pub struct Totals {
    pub stats: Vec<TargetStats>,
    pub late: u64,
    pub twice: u64,
    pub foreign: u64,
    pub remarks: Vec<String>,
    pub last_end: Duration,
}

impl Driver {
    pub fn new(setup: Arc<Setup>, inboxes: Vec<String>, settings: RunSettings, stats: Vec<TargetStats>) -> Self {
        let targets = setup.targets.iter().map(|target| (target.weight, target.payloads.len()));
        Self {
            sending: Mutex::new(Sending { picker: Picker::new(targets, setup.seed), counted: 0, over: false }),
            outstanding: Mutex::new(Outstanding::new(setup.max_outstanding, setup.wait, stats)),
            stored: setup.stream.as_ref().map(|stream| Mutex::new(StreamMessages::new(stream.results_per_message))),
            start: Instant::now(),
            inboxes,
            settings,
            fault: Mutex::default(),
            remarks: Mutex::default(),
            wake: Notify::new(),
            setup,
        }
    }

    pub fn now(&self) -> Duration {
        self.start.elapsed()
    }

    /// Sends the first requests of a closed loop, or starts the pacing thread of an open loop.
    pub async fn start(self: Arc<Self>, stop: &CancellationToken) -> Result<(), BenchFault> {
        match self.settings.load {
            Load::Closed { in_flight } => {
                for _ in 0..in_flight {
                    self.send_next().await;
                }
            }
            Load::Open { rate, arrivals } => {
                let schedule = Schedule::new(arrivals, rate, self.setup.seed);
                let (handle, stop) = (Handle::current(), stop.clone());
                let pace = move || handle.block_on(self.pace(schedule, &stop));
                std::thread::Builder::new().name("bench-pace".into()).spawn(pace).map_err(BenchFault::Thread)?;
            }
        }
        Ok(())
    }

    /// Runs on a thread: the runtime's timers tick in milliseconds, too coarse for a pace.
    async fn pace(&self, schedule: Schedule, stop: &CancellationToken) {
        for intended in schedule {
            let Some(due) = self.next(intended) else { break };
            if !self.sleep_until(intended, stop) {
                break;
            }
            self.send(due).await;
        }
        lock(&self.sending).over = true;
        self.wake.notify_one();
    }

    /// Blocks; false if the run ends.
    fn sleep_until(&self, time: Duration, stop: &CancellationToken) -> bool {
        loop {
            if stop.is_cancelled() || lock(&self.sending).over {
                return false;
            }
            match time.checked_sub(self.now()) {
                Some(left) if !left.is_zero() => std::thread::sleep(left.min(limits::CHECK)),
                _ => return true,
            }
        }
    }

    /// The request due at this time; none at the end of the run.
    fn next(&self, intended: Duration) -> Option<Due> {
        let mut sending = lock(&self.sending);
        let counted = intended >= self.settings.warm_up;
        let enough = match self.settings.length {
            Length::For(length) => intended >= self.settings.warm_up + length,
            Length::Requests(count) => sending.counted >= count,
        };
        let full = self.stored.as_ref().is_some_and(|stored| lock(stored).is_full());
        if enough || full || sending.over {
            sending.over = true;
            return None;
        }
        sending.counted += u64::from(counted);
        Some(Due { intended, choice: sending.picker.pick(), counted })
    }

    /// Sends the next request of a closed loop.
    async fn send_next(&self) {
        match self.next(self.now()) {
            Some(due) => self.send(due).await,
            None => self.wake.notify_one(),
        }
    }

    async fn send(&self, due: Due) {
        let registered = lock(&self.outstanding).register(due, self.now());
        let Some(number) = registered else { return };
        let line = number as usize % self.setup.clients.len().max(1);
        let (Some(client), Some(inbox)) = (self.setup.clients.get(line), self.inboxes.get(line)) else { return };
        let Some(target) = self.setup.targets.get(due.choice.target) else { return };
        let payload = target.payloads.get(due.choice.payload).cloned().unwrap_or_default();
        let (subject, reply) = (target.subject.clone(), format!("{inbox}.{number}"));
        let sent = match &self.setup.headers {
            None => client.publish_with_reply(subject, reply, payload).await,
            Some(headers) => client.publish_with_reply_and_headers(subject, reply, headers.clone(), payload).await,
        };
        if let Err(fault) = sent {
            let fault = BenchFault::Publish { subject: target.subject.to_string(), reason: fault.to_string() };
            lock(&self.fault).get_or_insert(fault);
            lock(&self.sending).over = true;
            self.wake.notify_one();
        }
    }

    /// Waits until each sent request has ended or expired. True after an early stop.
    pub async fn wait(&self, stop: &CancellationToken) -> bool {
        loop {
            tokio::select! {
                () = stop.cancelled() => return true,
                () = self.wake.notified() => {}
                () = tokio::time::sleep(limits::CHECK) => {}
            }
            let lost = self.give_up();
            if matches!(self.settings.load, Load::Closed { .. }) {
                for _ in 0..lost {
                    self.send_next().await;
                }
            }
            if lock(&self.fault).is_some() {
                return true;
            }
            if lock(&self.sending).over && lock(&self.outstanding).count() == 0 {
                return false;
            }
        }
    }

    fn give_up(&self) -> usize {
        let mut outstanding = lock(&self.outstanding);
        let lost = outstanding.give_up(self.now());
        for lost in &lost {
            let Some(stats) = outstanding.stats(lost.due.choice.target).filter(|_| lost.due.counted) else { continue };
            stats.lost(|| self.lost_text(lost.number));
        }
        lost.len()
    }

    fn lost_text(&self, number: u64) -> String {
        let wait = self.setup.wait;
        match (&self.setup.stream, self.stored.as_ref().and_then(|stored| lock(stored).sequence(number))) {
            (None, _) => format!("request {number}: no reply within {wait:?}"),
            (Some(_), None) => format!("message {number}: no publish ack within {wait:?}"),
            (Some(Stream { stream, .. }), Some(sequence)) => format!(
                "sequence {sequence} of {stream}: stored, and neither all results nor a dead letter within {wait:?}"
            ),
        }
    }

    pub async fn receive(self: Arc<Self>, subscription: Subscription) {
        let (handle, mut messages): (fn(&Self, &Message) -> usize, _) = match subscription {
            Subscription::Inbox(messages) if self.stored.is_some() => (Self::publish_ack, messages),
            Subscription::Inbox(messages) => (Self::reply, messages),
            Subscription::Results(messages) => (Self::result, messages),
            Subscription::DeadLetters(messages) => (Self::dead_letter, messages),
        };
        let closed = matches!(self.settings.load, Load::Closed { .. });
        while let Some(message) = messages.next().await {
            let ended = handle(&self, &message);
            if closed {
                for _ in 0..ended {
                    self.send_next().await;
                }
            } else if ended > 0 && lock(&self.sending).over {
                self.wake.notify_one();
            }
        }
    }

    /// Returns the number of requests ended by this verdict, 0 or 1.
    fn end(&self, number: u64, at: Duration, verdict: Verdict) -> usize {
        usize::from(lock(&self.outstanding).end(number, at, verdict))
    }

    fn reply(&self, message: &Message) -> usize {
        let now = self.now();
        let Some(number) = number(message) else { return 0 };
        let due = lock(&self.outstanding).due(number);
        let verdict = match (error(message), due) {
            (Some((code, text)), _) => Verdict::Failed { code, text },
            (None, Some(due)) => self.setup.answers.check(due.choice, 0, &message.payload),
            (None, None) => Verdict::Unchecked,
        };
        self.end(number, now, verdict)
    }

    /// The stream's confirmation of a stored message, with its sequence.
    fn publish_ack(&self, message: &Message) -> usize {
        let now = self.now();
        let (Some(number), Some(messages), Some(stream)) = (number(message), &self.stored, &self.setup.stream) else {
            return 0;
        };
        let failed = |code: String, text: String| self.end(number, now, Verdict::Failed { code, text });
        if let Some((code, text)) = error(message) {
            return failed(code, text);
        }
        match serde_json::from_slice::<Response<PublishAck>>(&message.payload) {
            Ok(Response::Ok(ack)) if ack.stream == stream.stream => {
                let Some(due) = lock(&self.outstanding).due(number) else { return 0 };
                let early = lock(messages).stored(ack.sequence, number, due.choice);
                early.into_iter().map(|arrival| self.arrived(ack.sequence, arrival)).sum()
            }
            Ok(Response::Ok(other)) => failed("other stream".into(), format!("it was stored by {}", other.stream)),
            Ok(Response::Err { error }) => failed(error.code().to_string(), error.to_string()),
            Err(fault) => failed("no stream".into(), format!("the answer is not a publish ack: {fault}")),
        }
    }

    fn result(&self, message: &Message) -> usize {
        let now = self.now();
        let origin = self.setup.stream.as_ref().and_then(|stream| origin(message, stream));
        let Some((sequence, headers)) = origin else { return 0 };
        self.arrived(sequence, (now, Arrival::Result(part(headers), message.payload.clone())))
    }

    fn dead_letter(&self, message: &Message) -> usize {
        let now = self.now();
        let origin = self.setup.stream.as_ref().and_then(|stream| origin(message, stream));
        let Some((sequence, headers)) = origin else { return 0 };
        let text = |name| headers.get(name).map(ToString::to_string).unwrap_or_default();
        let (reason, text) = (text(REASON), text(DEAD_LETTER_ERROR));
        self.arrived(sequence, (now, Arrival::DeadLetter { reason, text }))
    }

    fn arrived(&self, sequence: u64, arrival: TimedArrival) -> usize {
        let Some(stored) = &self.stored else { return 0 };
        let at = arrival.0;
        let check = |choice, part, answer: &[u8]| self.setup.answers.check(choice, part, answer);
        let progress = lock(stored).arrived(sequence, arrival, check);
        match progress {
            Progress::Early | Progress::Part => 0,
            Progress::Ended(number, verdict) => self.end(number, at, verdict),
            Progress::Twice(text) => {
                lock(&self.outstanding).twice += 1;
                let mut remarks = lock(&self.remarks);
                if remarks.len() < limits::EXAMPLES {
                    remarks.push(text);
                }
                0
            }
        }
    }

    /// Ends the run and returns its totals. Later messages do not count.
    pub fn close(&self) -> Result<Totals, BenchFault> {
        lock(&self.sending).over = true;
        if let Some(fault) = lock(&self.fault).take() {
            return Err(fault);
        }
        let mut outstanding = lock(&self.outstanding);
        let outstanding = std::mem::replace(&mut *outstanding, Outstanding::new(0, Duration::ZERO, Vec::new()));
        Ok(Totals {
            late: outstanding.late,
            twice: outstanding.twice,
            last_end: outstanding.last_end,
            stats: outstanding.close(),
            foreign: self.stored.as_ref().map_or(0, |stored| lock(stored).foreign()),
            remarks: std::mem::take(&mut *lock(&self.remarks)),
        })
    }
}

/// A panic never leaves these values inconsistent.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::super::account::answers::{AnswerCheck, Expectation};
    use super::super::generate::arrivals::Arrivals;
    use super::super::settings::Target;
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// A driver without connections, with a warm-up of one second.
    fn driver(length: Length) -> Driver {
        let payloads = vec!["a".into(), "b".into()];
        let setup = Setup {
            clients: Vec::new(),
            targets: vec![Target { name: "digits".into(), subject: "infer.digits".into(), weight: 1, payloads }],
            headers: None,
            answers: AnswerCheck::new(Expectation::Nothing),
            stream: None,
            max_outstanding: 10,
            wait: SECOND,
            seed: 1,
            events: Arc::default(),
        };
        let load = Load::Open { rate: 2.0, arrivals: Arrivals::Even };
        Driver::new(Arc::new(setup), Vec::new(), RunSettings { load, warm_up: SECOND, length }, Vec::new())
    }

    /// Whether requests count that are due every half second, until the end of the run.
    fn counted(driver: &Driver) -> Vec<bool> {
        let due = (0..100).map_while(|halves| driver.next(halves * SECOND / 2));
        due.map(|due| due.counted).collect()
    }

    #[test]
    fn the_warm_up_precedes_the_length_and_does_not_count() {
        let for_a_time = driver(Length::For(2 * SECOND));
        assert_eq!(counted(&for_a_time), [false, false, true, true, true, true]);
        assert!(for_a_time.next(SECOND).is_none(), "an ended run does not resume");
        assert_eq!(counted(&driver(Length::Requests(3))), [false, false, true, true, true]);
    }
}
