//! A second of sound, 16-bit samples at 16 kHz, becomes the energies of 98 frames in 40 bands.

#![forbid(unsafe_code)]

use bench_kernels::sound;
use inferbus_plugin::Output;

#[inferbus_plugin::init]
fn prepare(_: &[u8]) {
    sound::prepare();
}

#[inferbus_plugin::transform]
fn features(sound: &[u8]) -> Result<Output, String> {
    let mut done = Ok(());
    let output = Output::tensor("features", &sound::SHAPE, |numbers| done = sound::features(sound, numbers))?;
    done?;
    Ok(output)
}
