//! Failures of a whole load test. Wrong answers are counted instead.

use std::path::PathBuf;

use crate::limits;

#[derive(Debug, thiserror::Error)]
pub enum BenchFault {
    #[error("{file} cannot be read: {reason}", file = .file.display())]
    Unreadable { file: PathBuf, reason: std::io::Error },
    #[error("the folder {} is empty: add payload files", .0.display())]
    NoPayloads(PathBuf),
    #[error(
        "the payloads are more than {} files or {} MiB: send fewer of them",
        limits::PAYLOADS,
        limits::PAYLOAD_BYTES >> 20
    )]
    TooManyPayloads,
    #[error(
        "{} does not hold an answer to the payload {payload}: add a file of the same name",
        .folder.display()
    )]
    NothingExpected { folder: PathBuf, payload: String },
    #[error("zeros cannot be made for {model}: {reason}")]
    NoZeros { model: String, reason: String },
    #[error("cannot subscribe to {subject}: {reason}")]
    Subscribe { subject: String, reason: String },
    #[error("the server did not answer within {} s of the subscriptions", limits::SUBSCRIBE.as_secs())]
    Silent,
    #[error("nothing can be published on {subject}: {reason}")]
    Publish { subject: String, reason: String },
    #[error("the sending thread cannot be started: {0}")]
    Thread(std::io::Error),
    #[error("a histogram cannot be created: {0}")]
    Histogram(#[from] hdrhistogram::CreationError),
}
