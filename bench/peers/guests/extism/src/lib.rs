//! The benchmark's two functions for Extism's hosts, written with Extism's kit.

use bench_kernels::{image, tiny};
use extism_pdk::{FnResult, Memory, WithReturnCode, plugin_fn};

#[plugin_fn]
pub fn turned(payload: Vec<u8>) -> FnResult<Vec<u8>> {
    let mut output = vec![0; tiny::LEN];
    tiny::turn(payload.as_slice().try_into()?, &mut output);
    Ok(output)
}

#[plugin_fn]
pub fn planes(picture: Vec<u8>) -> FnResult<Memory> {
    let mut planes = vec![0.0_f32; image::LEN];
    image::normalise(&picture, &mut planes)?;
    Ok(Memory::from_bytes(bytemuck::cast_slice::<f32, u8>(&planes)).map_err(WithReturnCode::from)?)
}
