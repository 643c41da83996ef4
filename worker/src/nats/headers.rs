//! The headers of replies, results and requests.
//!
//! Guarantees: every header name of the message path is in this file, in `stream/names.rs` for stored messages, or in
//! the pipeline's `encoding.rs` for tensors.

use std::time::Instant;

use async_nats::{HeaderMap, HeaderName};
use inferbus_catalog::{Span as TimeSpan, UnitFault};
use inferbus_pipeline::encoding::HEADER_LENGTH;
use inferbus_pipeline::{Encoding, Identity, MessageTimes, Plan, Refusal, ResultEncoding, encoding};

use opentelemetry::propagation::{Extractor, Injector, TextMapPropagator};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use crate::limits;

/// The error headers of the NATS services protocol.
pub const ERROR_CODE: &str = "Nats-Service-Error-Code";
pub const ERROR: &str = "Nats-Service-Error";

/// The sender's timeout for a request.
pub const TIMEOUT: &str = "Inferbus-Timeout";
/// `none` on the reply of a message without a result.
pub const RESULT: &str = "Inferbus-Result";

// Static names are not copied for every message.
pub const MODEL: HeaderName = HeaderName::from_static("Inferbus-Model");
pub const VERSION: HeaderName = HeaderName::from_static("Inferbus-Version");
pub const DIGEST: HeaderName = HeaderName::from_static("Inferbus-Digest");
/// The step that failed.
pub const STAGE: HeaderName = HeaderName::from_static("Inferbus-Stage");
const STAGE_MICROS: HeaderName = HeaderName::from_static("Inferbus-Stage-Micros");
const CONTENT_TYPE: &str = "Content-Type";

fn text<'a>(headers: Option<&'a HeaderMap>, name: &str) -> Option<&'a str> {
    headers.and_then(|headers| headers.get(name)).map(|value| value.as_str())
}

/// The encoding of a message's tensors, for a model without a pre plugin.
pub fn encoding(identity: &Identity, headers: Option<&HeaderMap>) -> Result<Encoding, Refusal> {
    let named = Encoding::of(text(headers, CONTENT_TYPE), text(headers, HEADER_LENGTH));
    named.map_err(|fault| Refusal::of_headers(identity, fault))
}

/// The time after which the sender discards the result. It counts from arrival, so clocks need not agree.
pub fn deadline(received: Instant, headers: Option<&HeaderMap>) -> Result<Option<Instant>, Refusal> {
    let Some(given) = text(headers, TIMEOUT) else {
        return Ok(None);
    };
    let span: Result<TimeSpan, UnitFault> = given.parse();
    let unreadable = |why: UnitFault| Refusal::Timeout { given: excerpt(given), why: why.to_string() };
    span.map(|span| received.checked_add(span.duration())).map_err(unreadable)
}

fn excerpt(text: &str) -> String {
    text.chars().take(limits::EXCERPT).collect()
}

/// The identity headers: equal for every message of a bundle.
pub fn of_identity(identity: &Identity) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(MODEL, identity.model.as_str());
    headers.insert(VERSION, identity.version.to_string());
    headers.insert(DIGEST, identity.digest.to_string());
    // Each message inserts its own value; every copy of the map then has capacity for it.
    headers.insert(STAGE_MICROS, "");
    headers
}

/// A bundle's headers completed for one message.
pub fn of_message(
    bundle: &HeaderMap,
    plan: &Plan,
    times: &MessageTimes,
    span: &Span,
    incoming: Option<&HeaderMap>,
) -> HeaderMap {
    let mut headers = bundle.clone();
    write_trace(&mut headers, span, incoming);
    headers.insert(STAGE_MICROS, stage_micros(plan, times));
    headers
}

fn stage_micros(plan: &Plan, times: &MessageTimes) -> String {
    const USUAL_LEN: usize = 48;
    let mut text = String::with_capacity(USUAL_LEN);
    for (stage, name) in plan.steps() {
        if !text.is_empty() {
            text.push(',');
        }
        text.push_str(name);
        text.push('=');
        push_number(&mut text, times.step(stage).as_micros());
    }
    text
}

/// Appends decimal digits. The formatting machinery of the standard library costs several times as much.
fn push_number(text: &mut String, number: u128) {
    const DIGITS: usize = 20;
    let mut number = u64::try_from(number).unwrap_or(u64::MAX);
    let mut digits = [b'0'; DIGITS];
    let mut first = DIGITS;
    loop {
        first -= 1;
        digits[first] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    text.extend(digits[first..].iter().map(|digit| char::from(*digit)));
}

/// Writes the encoding of a result.
pub fn write_encoding(headers: &mut HeaderMap, encoding: ResultEncoding) {
    if let Some(content_type) = encoding.content_type() {
        headers.insert(CONTENT_TYPE, content_type);
    }
    if let Some(len) = encoding.header_len() {
        headers.insert(HEADER_LENGTH, len.to_string());
    }
}

/// Writes an error and returns the body of its reply, in the encoding of the request.
pub fn write_error(headers: &mut HeaderMap, request: Option<&HeaderMap>, code: u16, text_line: String) -> Vec<u8> {
    let body = encoding::error_body(text(request, CONTENT_TYPE), &text_line);
    headers.insert(ERROR_CODE, code.to_string());
    headers.insert(ERROR, text_line);
    body.map_or_else(Vec::new, |(content_type, body)| {
        headers.insert(CONTENT_TYPE, content_type);
        body
    })
}

/// Writes trace headers into a reply: this worker's span if recorded, else the sender's headers.
pub fn write_trace(headers: &mut HeaderMap, span: &Span, incoming: Option<&HeaderMap>) {
    if !span.is_disabled() {
        TraceContextPropagator::new().inject_context(&span.context(), &mut Outgoing(headers));
        return;
    }
    for name in ["traceparent", "tracestate"] {
        if let Some(value) = incoming.and_then(|incoming| incoming.get(name)) {
            Outgoing(headers).set(name, value.to_string());
        }
    }
}

pub struct Incoming<'a>(pub &'a HeaderMap);

impl Extractor for Incoming<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(|value| value.as_str())
    }

    fn keys(&self) -> Vec<&str> {
        self.0.iter().map(|(name, _)| name.as_ref()).collect()
    }
}

struct Outgoing<'a>(&'a mut HeaderMap);

impl Injector for Outgoing<'_> {
    /// The sender chooses the length of its trace state. Longer values are dropped, so the reply always fits.
    fn set(&mut self, key: &str, value: String) {
        if value.len() <= limits::TRACE_HEADER {
            self.0.insert(key, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn every_step_of_the_plan_has_its_time() {
        let plan = Plan::chain(true, true);
        let mut times = MessageTimes::default();
        times.set_step(plan.model(), Duration::from_micros(345));
        assert_eq!(stage_micros(&plan, &times), "pre=0,model=345,post=0");
        assert_eq!(stage_micros(&Plan::chain(false, false), &MessageTimes::default()), "model=0");
        times.set_step(plan.last(), Duration::MAX);
        assert_eq!(stage_micros(&plan, &times), format!("pre=0,model=345,post={}", u64::MAX));
    }
}
