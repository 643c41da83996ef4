//! Why a bench cannot be run. What is wrong with a single answer is no fault of this kind.

use std::path::PathBuf;

use crate::limits;

#[derive(Debug, thiserror::Error)]
pub enum BenchFault {
    #[error("{file} cannot be read: {reason}", file = .file.display())]
    Unreadable { file: PathBuf, reason: std::io::Error },
    #[error("the folder {} holds no files", .0.display())]
    NoPayloads(PathBuf),
    #[error(
        "the payloads are more than {} files or {} MiB: send fewer of them",
        limits::BENCH_PAYLOADS,
        limits::BENCH_PAYLOAD_BYTES >> 20
    )]
    TooManyPayloads,
    #[error("there is nothing in {} to expect for the payload {payload}: it needs a file of the same name", .folder.display())]
    NothingExpected { folder: PathBuf, payload: String },
    #[error("no zeros for {model}: {reason}")]
    NoZeros { model: String, reason: String },
    #[error("cannot subscribe to {subject}: {reason}")]
    Subscribe { subject: String, reason: String },
    #[error("the server did not answer within {} s of the subscriptions", limits::SUBSCRIBE.as_secs())]
    Silent,
    #[error("nothing can be published on {subject}: {reason}")]
    Publish { subject: String, reason: String },
    #[error("the thread that sends cannot be started: {0}")]
    Thread(std::io::Error),
    #[error("a histogram cannot be made: {0}")]
    Histogram(#[from] hdrhistogram::CreationError),
}
