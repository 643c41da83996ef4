//! Payloads of the workloads: generated sounds, pictures and JPEGs, and the held-out digits. All are different.

use std::f32::consts::TAU;

use anyhow::Context as _;
use bytes::Bytes;
use jpeg_encoder::{ColorType, Encoder, SamplingFactor};

use crate::load::Load;
use crate::workloads::models::numbers;

/// Generated payloads of each workload.
const COUNT: u64 = 32;

const RATE: usize = 16_000;
const TONES: usize = 4;

const SIDE: usize = 224;
const COLOURS: usize = 3;
const SHAPES: usize = 12;
/// The usual quality of cameras.
const QUALITY: u8 = 85;

pub fn digits() -> anyhow::Result<Vec<Bytes>> {
    Ok(Load::pictures()?.into_iter().map(|(payload, _)| payload).collect())
}

pub fn sounds() -> anyhow::Result<Vec<Bytes>> {
    Ok((0..COUNT).map(|seed| sound(100 + seed)).collect())
}

pub fn pictures() -> anyhow::Result<Vec<Bytes>> {
    Ok((0..COUNT).map(|seed| picture(200 + seed).into()).collect())
}

pub fn jpegs() -> anyhow::Result<Vec<Bytes>> {
    (0..COUNT).map(|seed| jpeg(&picture(200 + seed))).collect()
}

/// Rising and falling tones over noise, each for a part of the second.
fn sound(seed: u64) -> Bytes {
    let mut random = numbers(seed).map(|number| number.abs());
    let mut draw = |from: f32, to: f32| from + (to - from) * random.next().unwrap_or_default();
    let mut samples = vec![0.0; RATE];
    for _ in 0..TONES {
        let (hertz, slide, loud) = (draw(100.0, 3000.0), draw(-800.0, 800.0), draw(500.0, 6000.0));
        let (begin, len) = (draw(0.0, 0.7), draw(0.1, 0.6));
        for (at, sample) in samples.iter_mut().enumerate() {
            let time = at as f32 / RATE as f32;
            let swell = (1.0 - ((time - begin) / len * 2.0 - 1.0).powi(2)).max(0.0);
            *sample += loud * swell * (TAU * (hertz + slide * time / 2.0) * time).sin();
        }
    }
    let noise = numbers(seed << 16).map(|number| number * 200.0);
    samples.iter().zip(noise).flat_map(|(sample, noise)| ((sample + noise) as i16).to_le_bytes()).collect()
}

/// Plain ellipses before a colour gradient, with sensor noise.
fn picture(seed: u64) -> Vec<u8> {
    let mut random = numbers(seed).map(|number| number.abs());
    let mut draw = |to: f32| random.next().unwrap_or_default() * to;
    let (sky, ground) = ([0; COLOURS].map(|_: u8| draw(255.0)), [0; COLOURS].map(|_: u8| draw(255.0)));
    let side = SIDE as f32;
    let shapes: [_; SHAPES] = std::array::from_fn(|_| {
        let centre = (draw(side), draw(side));
        (centre, (draw(50.0) + 8.0, draw(50.0) + 8.0), [0; COLOURS].map(|_: u8| draw(255.0)))
    });
    let mut noise = numbers(seed << 16).map(|number| number * 4.0);
    let pixel = |at: usize| {
        let (x, y) = ((at % SIDE) as f32, (at / SIDE) as f32);
        let inside = |&&((cx, cy), (w, h), _): &&((f32, f32), (f32, f32), [f32; COLOURS])| {
            ((x - cx) / w).powi(2) + ((y - cy) / h).powi(2) < 1.0
        };
        let fade = |colour: usize| sky[colour] + (ground[colour] - sky[colour]) * y / side;
        shapes.iter().rev().find(inside).map_or([fade(0), fade(1), fade(2)], |(_, _, colours)| *colours)
    };
    (0..SIDE * SIDE).flat_map(pixel).map(|colour| (colour + noise.next().unwrap_or_default()) as u8).collect()
}

fn jpeg(picture: &[u8]) -> anyhow::Result<Bytes> {
    let mut file = Vec::new();
    let mut encoder = Encoder::new(&mut file, QUALITY);
    encoder.set_sampling_factor(SamplingFactor::F_2_2);
    let side = u16::try_from(SIDE)?;
    encoder.encode(picture, side, side, ColorType::Rgb).context("a picture cannot be encoded as JPEG")?;
    Ok(file.into())
}
