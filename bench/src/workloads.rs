//! Models, payloads and expected answers of the measurements.

pub mod burn;
pub mod kinds;
pub mod models;
pub mod networks;
pub mod payloads;
pub mod picture;
pub mod variants;
