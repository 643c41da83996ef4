//! Requests before they are sent: due time, target and payload.

pub mod arrivals;
pub mod payload;
pub mod picker;
pub mod zeros;
