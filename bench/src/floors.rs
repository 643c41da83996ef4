//! Lower bounds: the bare model, and the bare transforms around it.

pub mod bare_ort;
pub mod parts;
