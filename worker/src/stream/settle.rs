//! The end of a stream's message: its result, nothing, or its dead letter is stored, and only then it is acknowledged.
//!
//! Promises: what is published counts only when the server has confirmed it, in order, and an acknowledgement only when
//! the server has answered. Nothing is given up before the message's deadline, and then it is left to be delivered again.

use std::collections::HashSet;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use async_nats::{HeaderMap, Subject};
use bytes::Bytes;

use super::delivery::{Delivery, Stored};
use super::intake::Intake;
use super::store::{self, StoreFault};
use super::{acks, dead_letter, names, results};
use crate::failpoint;
use crate::job::{Done, Failure, StageTimes};
use crate::lanes::lane::Finished;
use crate::limits;
use crate::models::bundle::Bundle;
use crate::nats::backoff;
use crate::observe::metrics::End;
use crate::observe::telemetry::mark_failed;
use crate::outcome::{self, Refusal, Verdict};
use crate::requests::reply::{fits, result_headers};

/// A message that a lane is done with.
pub async fn finished(message: Finished<()>, delivery: Box<Delivery>) {
    let Finished { bundle, result, times, span, .. } = message;
    let limit = delivery.intake.bus.client.max_payload();
    let whole = delivery.received.elapsed();
    match result.and_then(|done| fits(limit, done)) {
        Ok(done) => {
            bundle.metrics.done(done.output.is_some(), done.emits.len(), times, whole);
            let mut headers = result_headers(&bundle, &span, delivery.headers.as_ref(), times);
            let Intake { name, options, .. } = &*delivery.intake;
            names::origin(&mut headers, Some(name.as_str()), options.stream.as_str(), delivery.stored.sequence);
            succeeded(&bundle, done, headers, &delivery).await;
        }
        Err(failure) => {
            mark_failed(&span, failure.verdict().code);
            failed(&bundle, &failure, times, whole, &delivery).await;
        }
    }
}

/// A message that was not tried.
pub async fn refused(delivery: Box<Delivery>, refusal: Refusal) {
    let verdict = refusal.verdict();
    let text = outcome::header_text(&refusal.to_string());
    delivery.intake.bus.metrics.refusal(verdict, &text);
    if refusal.may_pass() {
        let pause = backoff::pause(delivery.stored.deliveries);
        tracing::debug!(route = %delivery.intake.name, sequence = delivery.stored.sequence, ?pause, "delivered again later: {text}");
        if !delivery.intake.is_retired() {
            acks::again(&delivery.intake.bus.client, newest_ack(&delivery), pause).await;
        }
        delivery.intake.metrics.ended(End::Retried);
        return;
    }
    bury(&delivery, dead_letter::Cause { verdict, text, stage: None, bundle: None }).await;
}

async fn failed(bundle: &Bundle, failure: &Failure, times: StageTimes, whole: Duration, delivery: &Delivery) {
    let (verdict, stage, identity) = (failure.verdict(), failure.stage(), &bundle.identity);
    let text = outcome::sentence(identity.model.as_ref(), &identity.version.to_string(), stage, failure);
    bundle.metrics.failed(verdict, &text, times, whole);
    bury(delivery, dead_letter::Cause { verdict, text, stage: Some(stage), bundle: Some(bundle) }).await;
}

async fn succeeded(bundle: &Bundle, done: Done, headers: HeaderMap, delivery: &Delivery) {
    let id = &*delivery.id;
    let Some(earlier) = earlier(delivery, id).await else { return given_up(delivery, NOT_LOOKED_UP) };
    match earlier {
        Earlier::Buried => return confirm(delivery, End::DeadLetter).await,
        Earlier::Published(ids, _) if ids.contains(id) => return confirm(delivery, End::Result).await,
        Earlier::Published(stored, since) => {
            let publication = Publication { headers, id, stored, since };
            match publication.store(done, delivery).await {
                Ok(end) => confirm(delivery, end).await,
                Err(StoreFault::TooLarge(text)) => {
                    let verdict = Verdict { code: 507, label: "over_limit" };
                    let cause = dead_letter::Cause { verdict, text, stage: None, bundle: Some(bundle) };
                    bury(delivery, cause).await;
                }
                Err(fault) => given_up(delivery, &fault.to_string()),
            }
        }
    }
}

/// What one message publishes.
struct Publication<'a> {
    headers: HeaderMap,
    id: &'a str,
    /// Ids that an earlier delivery has stored.
    stored: HashSet<String>,
    /// Since when more may have been stored, after the Unix epoch.
    since: Duration,
}

impl Publication<'_> {
    /// Emitted events one after the other, and then the result.
    async fn store(mut self, done: Done, delivery: &Delivery) -> Result<End, StoreFault> {
        for (index, emit) in done.emits.into_iter().enumerate() {
            let id = format!("{}/{}", self.id, index + 1);
            let subject = format!("{}.{}", delivery.output, emit.topic);
            self.one(id, subject, self.headers.clone(), emit.payload.into(), delivery).await?;
        }
        let Some(output) = done.output else { return Ok(End::NoResult) };
        done.written.say(&mut self.headers);
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
            match store::confirmed(delivery, &delivery.intake.results, &subject, &headers, &payload).await {
                Ok(duplicate) => {
                    if duplicate {
                        delivery.intake.metrics.duplicates.inc();
                    }
                    return Ok(());
                }
                // A try whose answer was lost may have been stored.
                Err(StoreFault::Forgotten(_)) => {}
                Err(fault) => return Err(fault),
            }
        }
    }

    /// Looks up what is stored of the message, if more may have been stored so long ago that the server has forgotten it.
    async fn refresh(&mut self, delivery: &Delivery) -> Result<(), StoreFault> {
        let now = unix_time();
        if now.saturating_sub(self.since) >= delivery.intake.window {
            let since = self.since.saturating_sub(limits::CLOCK_SKEW);
            let stored = published(delivery, self.id, since).await;
            let unknown = || StoreFault::OutOfTime(NOT_LOOKED_UP.into());
            self.stored.extend(stored.ok_or_else(unknown)?);
            self.since = now;
        }
        Ok(())
    }
}

/// Stores a dead letter, and then tells the server never to deliver the message again.
async fn bury(delivery: &Delivery, cause: dead_letter::Cause<'_>) {
    let id = &*delivery.id;
    // On another version, before a crash, or while this worker stood still, it may have ended already.
    let since = (delivery.stored.deliveries > 1 || forgotten(delivery)).then(|| unseen_since(delivery));
    if let Some(since) = since {
        match (published(delivery, id, since).await, is_dead(delivery, id).await) {
            (Some(ids), _) if ids.contains(id) => return confirm(delivery, End::Result).await,
            (Some(_), Some(true)) => return confirm(delivery, End::DeadLetter).await,
            (Some(_), Some(false)) => {}
            _ => return given_up(delivery, NOT_LOOKED_UP),
        }
    }
    let (route, sequence) = (&delivery.intake.name, delivery.stored.sequence);
    delivery.intake.tell_of_dead_letter(sequence, cause.verdict.label, &cause.text);
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

const NOT_LOOKED_UP: &str = "what is stored already could not be looked up";

/// What earlier deliveries left behind.
enum Earlier {
    Buried,
    /// These ids, and more since that time.
    Published(HashSet<String>, Duration),
}

/// Nothing costs a first delivery anything; `None` where the server could not say before the deadline.
async fn earlier(delivery: &Delivery, id: &str) -> Option<Earlier> {
    let forgotten = forgotten(delivery);
    if (delivery.stored.deliveries > 1 || forgotten) && is_dead(delivery, id).await? {
        return Some(Earlier::Buried);
    }
    let (now, since) = (unix_time(), unseen_since(delivery));
    if forgotten {
        return published(delivery, id, since).await.map(|ids| Earlier::Published(ids, now));
    }
    // Whatever was published of it, the server still knows.
    Some(Earlier::Published(HashSet::new(), since))
}

/// Since when something may have been published of this message, after the Unix epoch.
fn unseen_since(delivery: &Delivery) -> Duration {
    let Stored { deliveries, at, .. } = delivery.stored;
    // Nobody had a first delivery before it was asked for, but others may have had it since.
    let asked = unix_time().saturating_sub(delivery.asked.elapsed() + limits::CLOCK_SKEW);
    if deliveries > 1 { at } else { at.max(asked) }
}

/// Whether that is so long ago that the server may have forgotten what it stored.
fn forgotten(delivery: &Delivery) -> bool {
    let Stored { deliveries, at, .. } = delivery.stored;
    let age = if deliveries > 1 { unix_time().saturating_sub(at) } else { delivery.asked.elapsed() };
    age >= delivery.intake.window
}

fn unix_time() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

async fn is_dead(delivery: &Delivery, id: &str) -> Option<bool> {
    let intake = &delivery.intake;
    store::asked(delivery, || results::is_dead(&intake.context, id, &intake.name, delivery.stored.sequence)).await
}

async fn published(delivery: &Delivery, id: &str, since: Duration) -> Option<HashSet<String>> {
    let intake = &delivery.intake;
    let ask = || results::published(&intake.context, &intake.results, &delivery.output, id, since);
    store::asked(delivery, ask).await
}

/// Acknowledges, again if need be: a message that is settled must not come back for want of an answer.
async fn confirm(delivery: &Delivery, end: End) {
    let client = &delivery.intake.bus.client;
    let mut pause = limits::RETRY_FIRST;
    loop {
        if delivery.intake.is_retired() {
            return given_up(delivery, "its stream or its consumer was made again meanwhile");
        }
        let ack = newest_ack(delivery);
        let answered = match end {
            End::DeadLetter => acks::never_again(client, ack).await,
            _ if delivery.intake.bus.given.promises.acknowledged => acks::done(client, ack).await,
            _ => acks::unheard(client, ack).await,
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
    delivery.intake.metrics.ended(end);
}

fn given_up(delivery: &Delivery, why: &str) {
    let (route, sequence) = (&delivery.intake.name, delivery.stored.sequence);
    tracing::error!(%route, sequence, "given up at its deadline, and left to be delivered again: {why}");
    delivery.intake.metrics.ended(End::Retried);
}

fn newest_ack(delivery: &Delivery) -> Subject {
    delivery.intake.newest_ack(delivery.stored.sequence).unwrap_or_else(|| delivery.ack.clone())
}

/// The publisher's door to this file.
pub fn spawn(message: Finished<()>, delivery: Box<Delivery>) {
    tokio::spawn(finished(message, delivery));
}
