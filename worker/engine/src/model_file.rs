//! Reads a model's bytes before a runtime does.

mod opsets;
mod protobuf;
mod screen;

pub use opsets::opsets;
pub(crate) use screen::is_ort_format;

use crate::limits::{MAX_MODEL, MAX_THREADS};
use crate::{EngineFault, Options};

/// Checks a model and its options without a runtime.
pub fn examine(bytes: &[u8], options: &Options) -> Result<(), EngineFault> {
    if !(1..=MAX_THREADS).contains(&options.threads) {
        return Err(EngineFault::BadThreads { threads: options.threads });
    }
    if bytes.len() > MAX_MODEL {
        return Err(EngineFault::ModelTooLarge { len: bytes.len() });
    }
    screen::screen(bytes, options.allow)
}
