//! The emitted messages of one call, within bounds, kept until its end.

use super::fault::Fault;
use super::topic;
use crate::bounds::Bounds;
use crate::limits;
use crate::text::printable;

/// An additional message of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Emit {
    pub topic: String,
    pub payload: Vec<u8>,
}

#[derive(Debug, Default)]
pub(crate) struct EmitBuffer {
    emits: Vec<Emit>,
    bytes: usize,
}

impl EmitBuffer {
    #[inline]
    pub(crate) fn push(&mut self, topic: &[u8], payload: &[u8], bounds: &Bounds) -> Result<(), Fault> {
        if self.emits.len() >= bounds.emits as usize {
            return Err(Fault::EmitTooMany { limit: bounds.emits });
        }
        let valid = if topic::is_valid(topic) { std::str::from_utf8(topic).ok() } else { None };
        let Some(topic) = valid else {
            return Err(Fault::BadEmitTopic(printable(topic, limits::QUOTED_BYTES)));
        };
        let total = self.bytes.saturating_add(topic.len()).saturating_add(payload.len());
        if total > bounds.emit_bytes {
            return Err(Fault::EmitTooLarge { limit: bounds.emit_bytes });
        }
        self.bytes = total;
        self.emits.push(Emit { topic: topic.to_owned(), payload: payload.to_vec() });
        Ok(())
    }

    #[inline]
    pub(crate) fn take(&mut self) -> Vec<Emit> {
        std::mem::take(&mut self.emits)
    }
}
