//! What streams hold, and putting more into them.

use async_nats::HeaderMap;
use async_nats::jetstream::{self, stream};
use bytes::Bytes;

use crate::Site;

/// A message of a stream.
#[derive(Clone, Debug)]
pub struct Stored {
    pub sequence: u64,
    pub subject: String,
    pub headers: HeaderMap,
    pub payload: Bytes,
    /// When it was stored, as RFC 3339 has it.
    pub time: String,
}

impl Stored {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.as_str())
    }
}

impl Site {
    pub fn jetstream(&self) -> jetstream::Context {
        jetstream::new(self.client.clone())
    }

    /// Everything that a stream holds.
    pub async fn stored(&self, stream: &str) -> Vec<Stored> {
        let stream = self.jetstream().get_stream(stream).await.expect("the stream");
        let state = stream.cached_info().state.clone();
        let mut messages = Vec::new();
        for sequence in state.first_sequence.max(1)..=state.last_sequence {
            if let Ok(message) = stream.get_raw_message(sequence).await {
                let (subject, time) = (message.subject.to_string(), written(message.time.into()));
                messages.push(Stored { sequence, subject, headers: message.headers, payload: message.payload, time });
            }
        }
        messages
    }

    /// Publishes into a stream; says under which sequence, and whether it was there already.
    pub async fn store(&self, subject: &str, headers: HeaderMap, payload: impl Into<Bytes>) -> (u64, bool) {
        let sent = self.jetstream().publish_with_headers(subject.to_owned(), headers, payload.into()).await;
        let stored = sent.expect("sent").await.unwrap_or_else(|fault| panic!("{subject}: {fault}"));
        (stored.sequence, stored.duplicate)
    }

    /// A stream of a test's own.
    pub async fn keep(&self, name: &str, subjects: &[&str]) {
        let subjects = subjects.iter().map(|subject| (*subject).to_owned()).collect();
        let config = stream::Config { name: name.to_owned(), subjects, ..Default::default() };
        self.jetstream().create_stream(config).await.expect("a stream");
    }
}

/// RFC 3339 to the nanosecond.
fn written(time: std::time::SystemTime) -> String {
    let since = time.duration_since(std::time::UNIX_EPOCH).expect("a time after 1970");
    let (days, clock) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    // Days since 1970 to a date: eras of 400 years that begin in March.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let (day, month) = (day_of_year - (153 * month + 2) / 5 + 1, if month < 10 { month + 3 } else { month - 9 });
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (clock / 3600, clock / 60 % 60, clock % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:09}Z", since.subsec_nanos())
}
