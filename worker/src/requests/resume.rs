//! The way out of the waiting room: requests continue when the resolver has looked at their model.
//!
//! Guarantees: each request leaves the room, to a lane or with a refusal.

use std::sync::Arc;
use std::time::Instant;

use inferbus_pipeline::Refusal;
use tokio_util::sync::CancellationToken;

use super::admission::Admission;
use super::reply;
use super::waiting_room::Waiting;
use crate::limits;

/// Runs until stopped, then refuses the remaining requests.
pub async fn run(admission: Arc<Admission>, stop: CancellationToken) {
    let mut overdue = tokio::time::interval(limits::LOOK_AROUND);
    let settled = &admission.dispatch.registry.settled;
    loop {
        tokio::select! {
            settled = settled.take() => for (model, bundle) in settled {
                for waiting in admission.waiting.leave(&model) {
                    admission.resume(&model, bundle.clone(), waiting).await;
                }
            },
            _ = overdue.tick() => for (model, waiting) in admission.waiting.overdue() {
                let why = format!("it was not loaded within {} s", limits::LOAD.as_secs());
                let model = model.to_string();
                let refusal = match waiting.deadline {
                    Some(deadline) if deadline <= Instant::now() => Refusal::Late { model },
                    _ => Refusal::NotLoaded { model, why },
                };
                refuse(&admission, waiting, refusal).await;
            },
            () = stop.cancelled() => break,
        }
    }
    for waiting in admission.waiting.close() {
        refuse(&admission, waiting, Refusal::Stopping).await;
    }
}

async fn refuse(admission: &Admission, waiting: Waiting, refusal: Refusal) {
    reply::refusal(&admission.client, &admission.metrics, waiting.request.into(), &refusal).await;
}
