//! The pipeline: one message through the steps of its bundle.
//!
//! Guarantees: everything here is synchronous policy. The crate depends on neither async-nats nor tokio and reads no
//! clock except the one in its [`Context`], so every outcome is tested without a broker.
//!
//! Reading order: `plan.rs` (the steps), `single.rs` (one message), `batch.rs` (several messages in one run),
//! `outcome.rs` (the meaning of each failure).
#![forbid(unsafe_code)]

pub mod batch;
mod context;
pub mod encoding;
mod end;
mod identity;
pub mod limits;
pub mod outcome;
mod plan;
pub mod single;
mod transform;

pub use context::{Context, SPAN_TARGET};
pub use encoding::{Encoding, ResultEncoding};
pub use end::{Done, Ended, Failure, FailureCause, lacks_outputs};
pub use identity::Identity;
pub use outcome::{Refusal, Verdict};
pub use plan::{MessageTimes, Plan, Stage};
pub use single::Payload;
pub use transform::{Parts, Transform};
