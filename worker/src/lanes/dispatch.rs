//! The entry to the lanes for requests and streams: selects the active bundle and checks the message against it.
//!
//! Guarantees: no await and no I/O.

use std::sync::Arc;

use async_nats::HeaderMap;
use inferbus_pipeline::{Encoding, Identity, Refusal};

use super::lane::Lanes;
use super::ticket::Ticket;
use crate::limits;
use crate::models::bundle::Bundle;
use crate::models::registry::Registry;
use crate::nats::headers;

pub struct Dispatch {
    pub registry: Arc<Registry>,
    pub lanes: Lanes<Ticket>,
    pub lane_count: usize,
}

impl Dispatch {
    /// The active bundle for a message of this size and encoding, or the refusal.
    pub fn admit(
        &self,
        model: &str,
        len: usize,
        headers: Option<&HeaderMap>,
    ) -> Result<(Arc<Bundle>, Encoding), Refusal> {
        let bundle = self.registry.active(model)?;
        let encoding = fits(&bundle, len, headers)?;
        Ok((bundle, encoding))
    }
}

/// Checks a message's length and headers against a bundle, and returns the encoding of its tensors.
pub fn fits(bundle: &Bundle, len: usize, headers: Option<&HeaderMap>) -> Result<Encoding, Refusal> {
    if len > limits::PAYLOAD {
        let Identity { model, version, .. } = bundle.identity.clone();
        return Err(Refusal::TooLarge { model, version, len, limit: limits::PAYLOAD });
    }
    if bundle.takes_tensors() { headers::encoding(&bundle.identity, headers) } else { Ok(Encoding::Frame) }
}
