//! A JPEG of 224 by 224 pixels becomes three planes of numbers.

#![forbid(unsafe_code)]

use bench_kernels::{image, jpeg};
use inferbus_plugin::Output;

#[inferbus_plugin::transform]
fn planes(file: &[u8]) -> Result<Output, String> {
    let pixels = jpeg::pixels(file)?;
    let mut done = Err(image::Misfit);
    let output = Output::tensor("image", &image::SHAPE, |planes| done = image::normalise(&pixels, planes))?;
    done.map_err(|misfit| misfit.to_string())?;
    Ok(output)
}
