//! The end of a stream message: stores its result or its dead letter, then acknowledges it.
//!
//! Guarantees: events and the result are published in order, each after the server's confirmation of the one before. An
//! acknowledgement counts only after the server's answer. Retries end at the message's deadline. The server then
//! redelivers the message.

use std::collections::HashSet;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use async_nats::{HeaderMap, Subject};
use bytes::Bytes;
use inferbus_pipeline::{Done, Failure, MessageTimes, Refusal, outcome};

use super::ack_subject::StoredMessage;
use super::in_flight::{Delivery, InFlight};
use super::store::{self, StoreFault};
use super::{acks, dead_letter, names, stored_results};
use crate::failpoint;
use crate::lanes::lane::Finished;
use crate::lanes::ticket::{StoredTicket, Ticket};
use crate::limits;
use crate::models::bundle::Bundle;
use crate::nats::{backoff, headers};
use crate::observe::metrics::End;
use crate::observe::telemetry::mark_failed;

/// The ticket of a delivery on its way through the lanes.
pub fn ticket(delivery: Box<Delivery>) -> Ticket {
    Ticket::Stored(delivery)
}

impl StoredTicket for Delivery {
    fn finish(self: Box<Self>, finished: Finished<()>) {
        tokio::spawn(settle(finished, self));
    }
}

/// Ends a message after its lane.
async fn settle(finished: Finished<()>, delivery: Box<Delivery>) {
    let Finished { bundle, result, times, span, .. } = finished;
    let incoming = delivery.headers.as_ref();
    let mut headers = headers::of_message(&bundle.headers, &bundle.plan, &times, &span, incoming);
    let limit = delivery.in_flight.cx.client.max_payload();
    let whole = delivery.received.elapsed();
    match result.and_then(|done| bundle.fits_server(limit, done)) {
        Ok(done) => {
            bundle.metrics.succeeded(done.output.is_some(), done.emits.len(), &times, whole);
            let InFlight { name, options, .. } = &*delivery.in_flight;
            names::origin(&mut headers, Some(name.as_str()), options.stream.as_str(), delivery.stored.sequence);
            succeeded(&bundle, done, headers, &delivery).await;
        }
        Err(failure) => {
            mark_failed(&span, failure.verdict().code);
            failed(&bundle, &failure, &times, whole, &delivery).await;
        }
    }
}

/// Ends a message without a run.
pub async fn refused(delivery: Box<Delivery>, refusal: Refusal) {
    let verdict = refusal.verdict();
    let text = outcome::header_text(&refusal.to_string());
    delivery.in_flight.cx.metrics.refusal(verdict, &text);
    if refusal.is_transient() {
        let pause = backoff::pause(delivery.stored.deliveries);
        let (route, sequence) = (&delivery.in_flight.name, delivery.stored.sequence);
        tracing::debug!(%route, sequence, ?pause, "rejected for now, redelivered after the pause: {text}");
        if !delivery.in_flight.is_retired() {
            acks::nak(&delivery.in_flight.cx.client, newest_ack(&delivery), pause).await;
        }
        delivery.in_flight.metrics.ended(End::Retried);
        return;
    }
    dead_letter_and_term(&delivery, dead_letter::Cause { verdict, text, step: None, bundle: None }).await;
}

async fn failed(bundle: &Bundle, failure: &Failure, times: &MessageTimes, whole: Duration, delivery: &Delivery) {
    let (verdict, step) = (failure.verdict(), bundle.plan.name(failure.stage));
    let text = failure.sentence(&bundle.identity, step);
    bundle.metrics.failed(verdict, &text, times, whole);
    dead_letter_and_term(delivery, dead_letter::Cause { verdict, text, step: Some(step), bundle: Some(bundle) }).await;
}

async fn succeeded(bundle: &Bundle, done: Done, headers: HeaderMap, delivery: &Delivery) {
    let id = &*delivery.id;
    let Some(earlier) = earlier(delivery, id).await else { return given_up(delivery, NOT_LOOKED_UP) };
    match earlier {
        Earlier::DeadLetter => return confirm(delivery, End::DeadLetter).await,
        Earlier::Published(ids, _) if ids.contains(id) => return confirm(delivery, End::Result).await,
        Earlier::Published(stored, since) => {
            let publication = Publication { headers, id, stored, since };
            match publication.store(done, delivery).await {
                Ok(end) => confirm(delivery, end).await,
                Err(StoreFault::TooLarge(text)) => {
                    let verdict = outcome::OVER_LIMIT;
                    let cause = dead_letter::Cause { verdict, text, step: None, bundle: Some(bundle) };
                    dead_letter_and_term(delivery, cause).await;
                }
                Err(fault) => given_up(delivery, &fault.to_string()),
            }
        }
    }
}

/// The events and the result of one message.
struct Publication<'a> {
    headers: HeaderMap,
    id: &'a str,
    /// The ids known to be stored.
    stored: HashSet<String>,
    /// Further ids may be stored since this time, after the Unix epoch.
    since: Duration,
}

impl Publication<'_> {
    /// Stores the emitted events one after the other, then the result.
    async fn store(mut self, done: Done, delivery: &Delivery) -> Result<End, StoreFault> {
        for (index, emit) in done.emits.into_iter().enumerate() {
            let id = format!("{}/{}", self.id, index + 1);
            let subject = format!("{}.{}", delivery.output, emit.topic);
            self.one(id, subject, self.headers.clone(), emit.payload.into(), delivery).await?;
        }
        let Some(output) = done.output else { return Ok(End::NoResult) };
        headers::write_encoding(&mut self.headers, done.encoding);
        let (id, headers) = (self.id.to_owned(), std::mem::take(&mut self.headers));
        self.one(id, delivery.output.clone(), headers, output, delivery).await?;
        Ok(End::Result)
    }

    async fn one(
        &mut self,
        id: String,
        subject: String,
        mut headers: HeaderMap,
        payload: Bytes,
        delivery: &Delivery,
    ) -> Result<(), StoreFault> {
        headers.insert(async_nats::header::NATS_MESSAGE_ID, id.as_str());
        let subject = Subject::from(subject);
        loop {
            self.refresh(delivery).await?;
            if self.stored.contains(&id) {
                return Ok(());
            }
            match store::confirmed(delivery, &delivery.in_flight.results, &subject, &headers, &payload).await {
                Ok(duplicate) => {
                    if duplicate {
                        delivery.in_flight.metrics.duplicates.inc();
                    }
                    return Ok(());
                }
                // An attempt without an answer may be stored: look it up.
                Err(StoreFault::Forgotten(_)) => {}
                Err(fault) => return Err(fault),
            }
        }
    }

    /// Looks up the message's stored ids if the duplicate check no longer covers all of them.
    async fn refresh(&mut self, delivery: &Delivery) -> Result<(), StoreFault> {
        let now = unix_time();
        if now.saturating_sub(self.since) >= delivery.in_flight.window {
            let since = self.since.saturating_sub(limits::CLOCK_SKEW);
            let stored = published(delivery, self.id, since).await;
            let unknown = || StoreFault::OutOfTime(NOT_LOOKED_UP.into());
            self.stored.extend(stored.ok_or_else(unknown)?);
            self.since = now;
        }
        Ok(())
    }
}

/// Stores a dead letter, then ends redelivery of the message.
async fn dead_letter_and_term(delivery: &Delivery, cause: dead_letter::Cause<'_>) {
    let id = &*delivery.id;
    // An earlier delivery may have ended it: on another version, before a crash, or during a pause of this worker.
    let since = (delivery.stored.deliveries > 1 || forgotten(delivery)).then(|| unseen_since(delivery));
    if let Some(since) = since {
        match (published(delivery, id, since).await, is_dead(delivery, id).await) {
            (Some(ids), _) if ids.contains(id) => return confirm(delivery, End::Result).await,
            (Some(_), Some(true)) => return confirm(delivery, End::DeadLetter).await,
            (Some(_), Some(false)) => {}
            _ => return given_up(delivery, NOT_LOOKED_UP),
        }
    }
    let (route, sequence) = (&delivery.in_flight.name, delivery.stored.sequence);
    delivery.in_flight.log_dead_letter(sequence, cause.verdict.label, &cause.text);
    let mut form = dead_letter::Form::Whole;
    loop {
        let (headers, payload) = dead_letter::write(delivery, id, &cause, form);
        let subject = Subject::from(names::dead_letter_subject(route, sequence));
        match store::confirmed(delivery, names::DEAD_LETTERS, &subject, &headers, &payload).await {
            Ok(_) => return confirm(delivery, End::DeadLetter).await,
            Err(StoreFault::Forgotten(_)) => match is_dead(delivery, id).await {
                Some(true) => return confirm(delivery, End::DeadLetter).await,
                Some(false) => {}
                None => return given_up(delivery, NOT_LOOKED_UP),
            },
            Err(StoreFault::TooLarge(_)) if form == dead_letter::Form::Whole => form = dead_letter::Form::Bare,
            Err(fault) => return given_up(delivery, &fault.to_string()),
        }
    }
}

const NOT_LOOKED_UP: &str = "the lookup of earlier results failed";

/// The stored end of earlier deliveries.
enum Earlier {
    DeadLetter,
    /// These ids, and possibly more since this time.
    Published(HashSet<String>, Duration),
}

/// Looks up earlier deliveries; `None` if the lookup fails until the deadline.
///
/// The state of the server's duplicate check, and the lookups for it:
///
/// | delivery | age           | duplicate check         | before a result           | before a dead letter |
/// |----------|---------------|-------------------------|---------------------------|----------------------|
/// | first    | within window | complete                | no lookup                 | no lookup            |
/// | later    | within window | complete in each stream | dead letter               | both streams         |
/// | any      | beyond window | incomplete              | dead letter, then results | both streams         |
///
/// The age counts from the pull request for a first delivery, and from storage for a later one.
async fn earlier(delivery: &Delivery, id: &str) -> Option<Earlier> {
    let forgotten = forgotten(delivery);
    if (delivery.stored.deliveries > 1 || forgotten) && is_dead(delivery, id).await? {
        return Some(Earlier::DeadLetter);
    }
    let (now, since) = (unix_time(), unseen_since(delivery));
    if forgotten {
        return published(delivery, id, since).await.map(|ids| Earlier::Published(ids, now));
    }
    // The duplicate check still covers all earlier results.
    Some(Earlier::Published(HashSet::new(), since))
}

/// The earliest possible publication for this message, after the Unix epoch.
fn unseen_since(delivery: &Delivery) -> Duration {
    let StoredMessage { deliveries, at, .. } = delivery.stored;
    // A first delivery happens after its request. Redeliveries to other workers may have followed.
    let requested = unix_time().saturating_sub(delivery.requested_at.elapsed() + limits::CLOCK_SKEW);
    if deliveries > 1 { at } else { at.max(requested) }
}

/// Whether the earliest possible publication is outside the duplicate window.
fn forgotten(delivery: &Delivery) -> bool {
    let StoredMessage { deliveries, at, .. } = delivery.stored;
    let age = if deliveries > 1 { unix_time().saturating_sub(at) } else { delivery.requested_at.elapsed() };
    age >= delivery.in_flight.window
}

fn unix_time() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

async fn is_dead(delivery: &Delivery, id: &str) -> Option<bool> {
    let in_flight = &delivery.in_flight;
    store::ask(delivery, || stored_results::is_dead(&in_flight.context, id, &in_flight.name, delivery.stored.sequence))
        .await
}

async fn published(delivery: &Delivery, id: &str, since: Duration) -> Option<HashSet<String>> {
    let in_flight = &delivery.in_flight;
    let ask = || stored_results::published(&in_flight.context, &in_flight.results, &delivery.output, id, since);
    store::ask(delivery, ask).await
}

/// Acknowledges with retries: a settled message must not be redelivered because of one lost answer.
async fn confirm(delivery: &Delivery, end: End) {
    let client = &delivery.in_flight.cx.client;
    let mut pause = limits::RETRY_FIRST;
    loop {
        if delivery.in_flight.is_retired() {
            return given_up(delivery, "its stream or consumer was recreated");
        }
        let ack = newest_ack(delivery);
        let answered = match end {
            End::DeadLetter => acks::term(client, ack).await,
            _ if delivery.in_flight.cx.confirmations.acknowledged => acks::ack(client, ack).await,
            _ => acks::ack_unconfirmed(client, ack).await,
        };
        let Err(why) = answered else { break };
        if Instant::now() + pause >= delivery.deadline() {
            return given_up(delivery, &why);
        }
        tracing::debug!(sequence = delivery.stored.sequence, why, "not acknowledged yet");
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(limits::RETRY_LONGEST);
    }
    failpoint::pass(failpoint::ACKED, &delivery.payload);
    delivery.in_flight.metrics.ended(end);
}

fn given_up(delivery: &Delivery, why: &str) {
    let (route, sequence) = (&delivery.in_flight.name, delivery.stored.sequence);
    tracing::error!(%route, sequence, "the message is not settled, and the server redelivers it: {why}");
    delivery.in_flight.metrics.ended(End::Retried);
}

fn newest_ack(delivery: &Delivery) -> Subject {
    delivery.in_flight.newest_ack(delivery.stored.sequence).unwrap_or_else(|| delivery.ack.clone())
}
