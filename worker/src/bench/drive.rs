//! Sending and hearing: one thread keeps the beat of an open loop, one task for each subscription hears what comes.
//!
//! Promises: there is no task for a request. A closed loop's next request is sent by whoever has heard the end of one.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_nats::jetstream::publish::PublishAck;
use async_nats::jetstream::response::Response;
use async_nats::{HeaderMap, Message, StatusCode, Subscriber};
use futures_util::StreamExt as _;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::arrivals::Schedule;
use super::book::{Book, Fate, Heard, News};
use super::fault::BenchFault;
use super::ledger::{Due, Ledger};
use super::mix::Picker;
use super::run::{Bench, Length, Load, Stint, Stream};
use super::tally::{End, Tally};
use crate::limits;
use crate::nats::connect::round_trip;
use crate::requests::reply::{ERROR, ERROR_CODE};
use crate::stream::names;

/// What a subscription hears.
pub(super) enum Ear {
    /// Replies, or a stream's word that a message is stored.
    Inbox(Subscriber),
    Results(Subscriber),
    DeadLetters(Subscriber),
}

/// Subscribes to all that a run has to hear, and waits until the servers know.
pub(super) async fn subscribe(bench: &Bench, inboxes: &[String]) -> Result<Vec<Ear>, BenchFault> {
    let mut ears = Vec::new();
    for (client, inbox) in bench.clients.iter().zip(inboxes) {
        ears.push(Ear::Inbox(to(client, format!("{inbox}.*")).await?));
    }
    if let (Some(stream), Some(client)) = (&bench.stream, bench.clients.first()) {
        ears.push(Ear::Results(to(client, stream.results.clone()).await?));
        let letters = match &stream.route {
            Some(route) => format!("inferbus.dlq.{route}.*"),
            None => names::DEAD_LETTER_SUBJECTS.to_owned(),
        };
        ears.push(Ear::DeadLetters(to(client, letters).await?));
    }
    for client in &bench.clients {
        if !round_trip(client, limits::SUBSCRIBE).await {
            return Err(BenchFault::Silent);
        }
    }
    Ok(ears)
}

async fn to(client: &async_nats::Client, subject: String) -> Result<Subscriber, BenchFault> {
    let fault = |fault: async_nats::SubscribeError| fault.to_string();
    client.subscribe(subject.clone()).await.map_err(|error| BenchFault::Subscribe { subject, reason: fault(error) })
}

pub(super) struct Drive {
    bench: Arc<Bench>,
    inboxes: Vec<String>,
    stint: Stint,
    start: Instant,
    ledger: Mutex<Ledger>,
    book: Option<Mutex<Book>>,
    turn: Mutex<Turn>,
    /// Why nothing more can be sent.
    fault: Mutex<Option<BenchFault>>,
    remarks: Mutex<Vec<String>>,
    /// Something may be over.
    wake: Notify,
}

/// Whose turn it is, and how much is still to be sent.
struct Turn {
    picker: Picker,
    counted: u64,
    over: bool,
}

/// What a run leaves.
pub(super) struct Closed {
    pub tallies: Vec<Tally>,
    pub late: u64,
    pub twice: u64,
    pub foreign: u64,
    pub remarks: Vec<String>,
    pub last_end: Duration,
}

impl Drive {
    pub fn new(bench: Arc<Bench>, inboxes: Vec<String>, stint: Stint, tallies: Vec<Tally>) -> Self {
        let targets = bench.targets.iter().map(|target| (target.weight, target.payloads.len()));
        Self {
            turn: Mutex::new(Turn { picker: Picker::new(targets, bench.seed), counted: 0, over: false }),
            ledger: Mutex::new(Ledger::new(bench.outstanding, bench.wait, tallies)),
            book: bench.stream.as_ref().map(|stream| Mutex::new(Book::new(stream.results_per_message))),
            start: Instant::now(),
            inboxes,
            stint,
            fault: Mutex::default(),
            remarks: Mutex::default(),
            wake: Notify::new(),
            bench,
        }
    }

    pub fn now(&self) -> Duration {
        self.start.elapsed()
    }

    /// Sends the first requests of a closed loop, or starts the thread that sends those of an open one.
    pub async fn begin(self: Arc<Self>, stop: &CancellationToken) -> Result<(), BenchFault> {
        match self.stint.load {
            Load::Closed { in_flight } => {
                for _ in 0..in_flight {
                    self.more().await;
                }
            }
            Load::Open { rate, arrivals } => {
                let schedule = Schedule::new(arrivals, rate, self.bench.seed);
                let (handle, stop) = (Handle::current(), stop.clone());
                let beat = move || handle.block_on(self.beat(schedule, &stop));
                std::thread::Builder::new().name("bench-beat".into()).spawn(beat).map_err(BenchFault::Thread)?;
            }
        }
        Ok(())
    }

    /// The thread of an open loop: the runtime's own timers tick in milliseconds, which is too coarse.
    async fn beat(&self, schedule: Schedule, stop: &CancellationToken) {
        for intended in schedule {
            let Some(due) = self.next(intended) else { break };
            if !self.sleep_until(intended, stop) {
                break;
            }
            self.send(due).await;
        }
        lock(&self.turn).over = true;
        self.wake.notify_one();
    }

    /// Blocks; false if the run is to end.
    fn sleep_until(&self, time: Duration, stop: &CancellationToken) -> bool {
        loop {
            if stop.is_cancelled() || lock(&self.turn).over {
                return false;
            }
            match time.checked_sub(self.now()) {
                Some(left) if !left.is_zero() => std::thread::sleep(left.min(limits::BENCH_LOOK)),
                _ => return true,
            }
        }
    }

    /// The request that is due at this time; none if enough were.
    fn next(&self, intended: Duration) -> Option<Due> {
        let mut turn = lock(&self.turn);
        let counted = intended >= self.stint.warm_up;
        let enough = match self.stint.length {
            Length::For(length) => intended >= self.stint.warm_up + length,
            Length::Requests(count) => turn.counted >= count,
        };
        let full = self.book.as_ref().is_some_and(|book| lock(book).is_full());
        if enough || full || turn.over {
            turn.over = true;
            return None;
        }
        turn.counted += u64::from(counted);
        Some(Due { intended, choice: turn.picker.pick(), counted })
    }

    /// The next request of a closed loop.
    async fn more(&self) {
        match self.next(self.now()) {
            Some(due) => self.send(due).await,
            None => self.wake.notify_one(),
        }
    }

    async fn send(&self, due: Due) {
        let asked = lock(&self.ledger).ask(due, self.now());
        let Some(number) = asked else { return };
        let line = number as usize % self.bench.clients.len().max(1);
        let (Some(client), Some(inbox)) = (self.bench.clients.get(line), self.inboxes.get(line)) else { return };
        let Some(target) = self.bench.targets.get(due.choice.target) else { return };
        let payload = target.payloads.get(due.choice.payload).cloned().unwrap_or_default();
        let (subject, reply) = (target.subject.clone(), format!("{inbox}.{number}"));
        let sent = match &self.bench.headers {
            None => client.publish_with_reply(subject, reply, payload).await,
            Some(headers) => client.publish_with_reply_and_headers(subject, reply, headers.clone(), payload).await,
        };
        if let Err(fault) = sent {
            let fault = BenchFault::Publish { subject: target.subject.to_string(), reason: fault.to_string() };
            lock(&self.fault).get_or_insert(fault);
            lock(&self.turn).over = true;
            self.wake.notify_one();
        }
    }

    /// Until everything that was sent has its end, or was given up; true if it was ended by hand.
    pub async fn wait(&self, stop: &CancellationToken) -> bool {
        loop {
            tokio::select! {
                () = stop.cancelled() => return true,
                () = self.wake.notified() => {}
                () = tokio::time::sleep(limits::BENCH_LOOK) => {}
            }
            let lost = self.give_up();
            if matches!(self.stint.load, Load::Closed { .. }) {
                for _ in 0..lost {
                    self.more().await;
                }
            }
            if lock(&self.fault).is_some() {
                return true;
            }
            if lock(&self.turn).over && lock(&self.ledger).outstanding() == 0 {
                return false;
            }
        }
    }

    fn give_up(&self) -> usize {
        let mut ledger = lock(&self.ledger);
        let lost = ledger.give_up(self.now());
        for lost in &lost {
            let Some(tally) = ledger.tally(lost.due.choice.target).filter(|_| lost.due.counted) else { continue };
            tally.lost(|| self.tell_of_lost(lost.number));
        }
        lost.len()
    }

    fn tell_of_lost(&self, number: u64) -> String {
        let wait = self.bench.wait;
        match (&self.bench.stream, self.book.as_ref().and_then(|book| lock(book).sequence(number))) {
            (None, _) => format!("request {number}: no reply within {wait:?}"),
            (Some(_), None) => format!("message {number}: no word within {wait:?} that it is stored"),
            (Some(Stream { stream, .. }), Some(sequence)) => {
                format!(
                    "sequence {sequence} of {stream}: stored, and neither all of its results nor a dead letter within {wait:?}"
                )
            }
        }
    }

    pub async fn hear(self: Arc<Self>, ear: Ear) {
        let (hear, mut messages): (fn(&Self, &Message) -> usize, _) = match ear {
            Ear::Inbox(messages) if self.book.is_some() => (Self::stored, messages),
            Ear::Inbox(messages) => (Self::reply, messages),
            Ear::Results(messages) => (Self::result, messages),
            Ear::DeadLetters(messages) => (Self::dead_letter, messages),
        };
        let closed = matches!(self.stint.load, Load::Closed { .. });
        while let Some(message) = messages.next().await {
            let ended = hear(&self, &message);
            if closed {
                for _ in 0..ended {
                    self.more().await;
                }
            } else if ended > 0 && lock(&self.turn).over {
                self.wake.notify_one();
            }
        }
    }

    /// How many requests have their end now.
    fn end(&self, number: u64, at: Duration, end: End) -> usize {
        usize::from(lock(&self.ledger).end(number, at, end))
    }

    fn reply(&self, message: &Message) -> usize {
        let now = self.now();
        let Some(number) = number(message) else { return 0 };
        let due = lock(&self.ledger).due(number);
        let end = match (error(message), due) {
            (Some((code, text)), _) => End::Failed { code, text },
            (None, Some(due)) => self.bench.contents.check(due.choice, 0, &message.payload),
            (None, None) => End::Unchecked,
        };
        self.end(number, now, end)
    }

    /// The stream's word that it has a message, and under which sequence.
    fn stored(&self, message: &Message) -> usize {
        let now = self.now();
        let (Some(number), Some(book), Some(stream)) = (number(message), &self.book, &self.bench.stream) else {
            return 0;
        };
        let failed = |code: String, text: String| self.end(number, now, End::Failed { code, text });
        if let Some((code, text)) = error(message) {
            return failed(code, text);
        }
        match serde_json::from_slice::<Response<PublishAck>>(&message.payload) {
            Ok(Response::Ok(stored)) if stored.stream == stream.stream => {
                let Some(due) = lock(&self.ledger).due(number) else { return 0 };
                let early = lock(book).stored(stored.sequence, number, due.choice);
                early.into_iter().map(|heard| self.came(stored.sequence, heard)).sum()
            }
            Ok(Response::Ok(other)) => failed("other stream".into(), format!("it was stored by {}", other.stream)),
            Ok(Response::Err { error }) => failed(error.code().to_string(), error.to_string()),
            Err(fault) => failed("no stream".into(), format!("somebody else than a stream answered: {fault}")),
        }
    }

    fn result(&self, message: &Message) -> usize {
        let now = self.now();
        let Some((sequence, headers)) = self.origin(message) else { return 0 };
        self.came(sequence, (now, News::Result(part(headers), message.payload.clone())))
    }

    fn dead_letter(&self, message: &Message) -> usize {
        let now = self.now();
        let Some((sequence, headers)) = self.origin(message) else { return 0 };
        let text = |name| headers.get(name).map(ToString::to_string).unwrap_or_default();
        let (reason, text) = (text(names::REASON), text(names::ERROR));
        self.came(sequence, (now, News::DeadLetter { reason, text }))
    }

    /// The sequence of the message that a result or a dead letter is of, if it is one of our stream and route.
    fn origin<'m>(&self, message: &'m Message) -> Option<(u64, &'m HeaderMap)> {
        let (stream, headers) = (self.bench.stream.as_ref()?, message.headers.as_ref()?);
        let text = |name| headers.get(name).map(async_nats::HeaderValue::as_str);
        let route = text(names::ROUTE);
        let ours = text(names::STREAM) == Some(&*stream.stream)
            && stream.route.as_deref().is_none_or(|wanted| route == Some(wanted))
            // What a replay publishes is of no message that is under way.
            && headers.get(names::REPLAY).is_none();
        ours.then_some((text(names::SEQUENCE)?.parse().ok()?, headers))
    }

    fn came(&self, sequence: u64, heard: Heard) -> usize {
        let Some(book) = &self.book else { return 0 };
        let at = heard.0;
        let check = |choice, part, answer: &[u8]| self.bench.contents.check(choice, part, answer);
        let fate = lock(book).heard(sequence, heard, check);
        match fate {
            Fate::Early | Fate::Part => 0,
            Fate::Ended(number, end) => self.end(number, at, end),
            Fate::Twice(text) => {
                lock(&self.ledger).twice += 1;
                let mut remarks = lock(&self.remarks);
                if remarks.len() < limits::BENCH_EXAMPLES {
                    remarks.push(text);
                }
                0
            }
        }
    }

    /// The sum of the run; nobody sends or hears any more, or it does not count.
    pub fn close(&self) -> Result<Closed, BenchFault> {
        lock(&self.turn).over = true;
        if let Some(fault) = lock(&self.fault).take() {
            return Err(fault);
        }
        let mut ledger = lock(&self.ledger);
        let ledger = std::mem::replace(&mut *ledger, Ledger::new(0, Duration::ZERO, Vec::new()));
        Ok(Closed {
            late: ledger.late,
            twice: ledger.twice,
            last_end: ledger.last_end,
            tallies: ledger.close(),
            foreign: self.book.as_ref().map_or(0, |book| lock(book).foreign()),
            remarks: std::mem::take(&mut *lock(&self.remarks)),
        })
    }
}

/// Nothing panics while it holds one of these.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The number that a reply's subject ends with.
fn number(message: &Message) -> Option<u64> {
    message.subject.rsplit('.').next()?.parse().ok()
}

/// The code and the text of an error reply.
fn error(message: &Message) -> Option<(String, String)> {
    if message.status == Some(StatusCode::NO_RESPONDERS) {
        return Some(("503".into(), "nobody listens on the subject".into()));
    }
    let headers = message.headers.as_ref()?;
    let code = headers.get(ERROR_CODE)?;
    Some((code.to_string(), headers.get(ERROR).map(ToString::to_string).unwrap_or_default()))
}

/// The result itself is 0, what was emitted has its number at the end of the message's id: `<stream>/<sequence>/<route>/<n>`.
fn part(headers: &HeaderMap) -> u32 {
    let id = headers.get(async_nats::header::NATS_MESSAGE_ID).map(async_nats::HeaderValue::as_str);
    id.and_then(|id| id.split('/').nth(3)).and_then(|part| part.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::super::arrivals::Arrivals;
    use super::super::contents::{Check, Contents};
    use super::super::run::Target;
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// A second to warm up, on a bench without connections.
    fn drive(length: Length) -> Drive {
        let payloads = vec!["a".into(), "b".into()];
        let bench = Bench {
            clients: Vec::new(),
            targets: vec![Target { name: "digits".into(), subject: "infer.digits".into(), weight: 1, payloads }],
            headers: None,
            contents: Contents::new(Check::Nothing),
            stream: None,
            outstanding: 10,
            wait: SECOND,
            seed: 1,
            troubles: Arc::default(),
        };
        let load = Load::Open { rate: 2.0, arrivals: Arrivals::Even };
        Drive::new(Arc::new(bench), Vec::new(), Stint { load, warm_up: SECOND, length }, Vec::new())
    }

    /// Whether requests that are due every half a second count, until there are no more.
    fn counted(drive: &Drive) -> Vec<bool> {
        let due = (0..100).map_while(|halves| drive.next(halves * SECOND / 2));
        due.map(|due| due.counted).collect()
    }

    #[test]
    fn the_time_to_warm_up_comes_on_top_of_the_length_and_does_not_count() {
        let for_a_time = drive(Length::For(2 * SECOND));
        assert_eq!(counted(&for_a_time), [false, false, true, true, true, true]);
        assert!(for_a_time.next(SECOND).is_none(), "what is over stays over");
        assert_eq!(counted(&drive(Length::Requests(3))), [false, false, true, true, true]);
    }
}
