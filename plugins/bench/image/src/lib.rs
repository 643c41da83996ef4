//! A camera picture becomes the input of an image model: 224 by 224 pixels of three bytes in, three planes of numbers out.

#![forbid(unsafe_code)]

use bench_kernels::image::{self, Misfit};
use inferbus_plugin::Output;

#[inferbus_plugin::transform]
fn planes(picture: &[u8]) -> Result<Output, String> {
    let mut done = Err(Misfit);
    let output = Output::tensor("image", &image::SHAPE, |planes| done = image::normalise(picture, planes))?;
    done.map_err(|misfit| misfit.to_string())?;
    Ok(output)
}
