//! The smallest useful stage: what it costs is what a sandboxed stage costs.

#![forbid(unsafe_code)]

use bench_kernels::tiny::{LEN, turn};

#[inferbus_plugin::transform]
fn turned(payload: &[u8]) -> Result<Vec<u8>, &'static str> {
    let payload = payload.try_into().map_err(|_| "the payload does not have 16 bytes")?;
    let mut output = vec![0; LEN];
    turn(payload, &mut output);
    Ok(output)
}
