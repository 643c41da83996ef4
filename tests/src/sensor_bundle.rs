//! The bundle of the chaos tests, and payloads with their expected end.

use bytes::Bytes;

use crate::BundleFolder;
use crate::plugin::{DATA, EMIT, SENSOR_BYTES, TENSOR_DATA, sensor_post, sensor_pre};

pub const SENSOR: &str = "sensor";

/// The topic of the bundle's event; it has the bytes of the result.
pub const TOPIC: &str = "seen";

/// The first byte of a filtered payload.
const FILTERED: u8 = 0xff;

/// A bundle with one event and one result for the sensor's 16 bytes. It filters some, and refuses any other length.
pub fn sensor(version: &str) -> BundleFolder {
    let filter =
        format!("(if (i32.eq (i32.load8_u (local.get $ptr)) (i32.const {FILTERED})) (then (return (i64.const 0))))");
    let emit = format!(
        "(drop (call $emit (i32.const {DATA}) (i32.const {}) \
         (i32.add (local.get $ptr) (i32.const {TENSOR_DATA})) (i32.const {SENSOR_BYTES})))",
        TOPIC.len()
    );
    BundleFolder::new(SENSOR, version).plugin("pre", &sensor_pre("", b"", &filter), "").plugin(
        "post",
        &sensor_post(EMIT, TOPIC.as_bytes(), &emit),
        "grants = [\"emit\"]",
    )
}

/// How a message must end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Result,
    NoResult,
    /// A dead letter, because the plugin refuses it.
    Refused,
}

/// The payload with a number. Of any sixteen in a row, one is filtered out and one is refused.
pub fn payload(number: u64) -> Bytes {
    let first = if number % 16 == 5 { FILTERED } else { 0 };
    let mut bytes = [[first, 0, 0, 0, 0, 0, 0, 0], number.to_le_bytes()].concat();
    if number % 16 == 11 {
        bytes.push(0);
    }
    bytes.into()
}

/// The number in a payload.
pub fn number(payload: &[u8]) -> Option<u64> {
    let number = payload.get(8..SENSOR_BYTES)?;
    Some(u64::from_le_bytes(number.try_into().ok()?))
}

pub fn end(payload: &[u8]) -> End {
    match payload {
        payload if payload.len() != SENSOR_BYTES => End::Refused,
        [FILTERED, ..] => End::NoResult,
        _ => End::Result,
    }
}
