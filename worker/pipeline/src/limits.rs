//! Every bound of the pipeline.

/// Messages in one run of a model, whatever its entry allows.
pub const BATCH: usize = 128;
/// Bytes in one run: of payloads, and of stacked tensors.
pub const BATCH_BYTES: usize = 32 << 20;

/// Characters of an error message in a reply header. Some clients reject longer header lines.
pub const ERROR_TEXT: usize = 1024;

/// Steps of a plan.
pub const STEPS: usize = 64;
