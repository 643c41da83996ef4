//! Bounds of documents: sizes, counts, and the ranges of options.

use std::time::Duration;

use crate::units::Span;

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;
const GIB: u64 = 1024 * MIB;

/// The maximum size of an entry, pointer or route.
pub const DOCUMENT_BYTES: usize = 64 * KIB as usize;
/// The maximum size of `bundle.toml`.
pub const MANIFEST_BYTES: u64 = 64 * KIB;
pub const ARTIFACT_BYTES: u64 = 2 * GIB;
pub const PLUGIN_BYTES: u64 = 64 * MIB;
pub const SAMPLE_BYTES: u64 = 64 * MIB;
/// The maximum size of a plugin's configuration as canonical JSON.
pub const CONFIG_BYTES: usize = 32 * KIB as usize;
pub const LABELS: usize = 64;
/// The maximum size of a label and of the other free texts.
pub const TEXT_BYTES: usize = 256;
pub const NAME_BYTES: usize = 63;
/// The server uses the stream's name as a folder name.
pub const STREAM_NAME_BYTES: usize = 128;
pub const VERSION_BYTES: usize = 64;
pub const SUBJECT_BYTES: usize = 255;
pub const SUBJECT_TOKENS: usize = 32;
/// The number of listed problems of a document. Further problems are only counted.
pub const PROBLEMS: usize = 50;

/// Allowed ranges of the options in an entry.
pub const ENTRY_MEMORY: std::ops::RangeInclusive<u64> = 64 * KIB..=4 * GIB;
pub const ENTRY_TIME: std::ops::RangeInclusive<Duration> = Duration::from_micros(1)..=Duration::from_secs(60);
pub const ENTRY_OUTPUT: std::ops::RangeInclusive<u64> = 1..=GIB;
pub const ENTRY_EMITS: std::ops::RangeInclusive<u64> = 0..=1024;
pub const ENTRY_EMIT_BYTES: std::ops::RangeInclusive<u64> = 1..=GIB;
pub const ENTRY_LOG_LINES: std::ops::RangeInclusive<u64> = 0..=1024;
pub const ENTRY_LOG_BYTES: std::ops::RangeInclusive<u64> = 1..=16 * MIB;
pub const ENTRY_LANES: std::ops::RangeInclusive<u64> = 1..=1024;
pub const ENTRY_THREADS: std::ops::RangeInclusive<u64> = 1..=1024;
pub const ENTRY_RUN_TIME: std::ops::RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_secs(3600);
pub const ENTRY_BATCH: std::ops::RangeInclusive<u64> = 1..=65_536;
pub const ENTRY_BATCH_DELAY: std::ops::RangeInclusive<Duration> = Duration::from_micros(1)..=Duration::from_secs(60);

/// Allowed ranges and defaults of the options of a route with mode `stream`.
pub const ROUTE_ACK_WAIT: std::ops::RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(3600);
pub const ROUTE_DEADLINE: std::ops::RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(24 * 3600);
pub const ROUTE_DELIVERIES: std::ops::RangeInclusive<u64> = 2..=1000;
pub const ACK_WAIT: Span = Span::from_micros(30_000_000);
pub const DEADLINE: Span = Span::from_micros(300_000_000);
pub const DELIVERIES: u64 = 20;

const _: () = {
    assert!(PLUGIN_BYTES <= ARTIFACT_BYTES);
    assert!(CONFIG_BYTES < DOCUMENT_BYTES);
};
