//! A second of sound becomes the input of a model for words: the energies of 98 frames in 40 bands, as their logarithms.

use std::sync::OnceLock;

use crate::lanes::Lanes;
use crate::spectrum::{BINS, POINTS, Plan};

const RATE: usize = 16_000;
const FRAME: usize = 400;
const HOP: usize = 160;
const FRAMES: usize = (RATE - FRAME) / HOP + 1;
const BANDS: usize = 40;
/// In Hertz: what the bands cover.
const LOWEST: f64 = 20.0;
const HIGHEST: f64 = 8_000.0;
/// Keeps the logarithm of silence finite.
const SILENCE: f32 = 1e-6;
/// Frames of one transform.
const AT_ONCE: usize = 8;

/// Bytes of one second, and numbers that become of it.
pub const LEN: usize = RATE * 2;
pub const SHAPE: [u64; 4] = [1, 1, FRAMES as u64, BANDS as u64];

pub const WORDS: [&str; 12] =
    ["yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go", "silence", "unknown"];

static TABLES: OnceLock<Tables> = OnceLock::new();

/// What does not depend on the sound.
struct Tables {
    window: Vec<[f32; 4]>,
    plan: Plan,
    bands: Vec<Band>,
}

/// A triangle over some bins.
struct Band {
    first: usize,
    weights: Vec<f32>,
}

/// Makes the tables, which the first call of [`features`] would do otherwise.
pub fn prepare() {
    TABLES.get_or_init(Tables::new);
}

pub fn features(sound: &[u8], features: &mut [f32]) -> Result<(), String> {
    let (samples, rest) = sound.as_chunks();
    if samples.len() != RATE || !rest.is_empty() {
        return Err(format!("one second has {LEN} bytes, this has {}", sound.len()));
    }
    let samples: Vec<f32> = samples.iter().map(|bytes| f32::from(i16::from_le_bytes(*bytes))).collect();
    let (tables, steps) = (TABLES.get_or_init(Tables::new), samples.as_chunks().0);
    let mut powers = [[Lanes::from_array([0.0; 4]); 2]; BINS];
    for (turn, features) in features.chunks_mut(AT_ONCE * BANDS).enumerate() {
        // The last turn has fewer frames than lanes, which repeat the last frame.
        let frame = |lane: usize| (turn * AT_ONCE + lane).min(FRAMES - 1) * HOP / 4;
        let frames = std::array::from_fn(|lane| steps.get(frame(lane)..).unwrap_or_default());
        tables.plan.powers(FRAME / 4, |step| tables.four(&frames, step), &mut powers);
        for (at, band) in tables.bands.iter().enumerate() {
            let energies = band.energies(&powers);
            for (features, energy) in features.chunks_exact_mut(BANDS).zip(energies.as_flattened()) {
                if let Some(feature) = features.get_mut(at) {
                    *feature = ln(energy + SILENCE);
                }
            }
        }
    }
    Ok(())
}

impl Tables {
    fn new() -> Self {
        let turn = |at: usize| std::f64::consts::TAU * at as f64 / FRAME as f64;
        // Samples come as whole numbers; their scale is in the window.
        let window = |at: usize| ((0.5 - 0.5 * turn(at).cos()) / 32_768.0) as f32;
        let window = (0..FRAME / 4).map(|step| std::array::from_fn(|at| window(4 * step + at))).collect();
        Self { window, plan: Plan::new(), bands: (0..BANDS).map(Band::new).collect() }
    }

    /// Four points of each frame, under the window.
    #[inline(always)]
    fn four(&self, frames: &[&[[f32; 4]]; AT_ONCE], step: usize) -> [[Lanes; 4]; 2] {
        let four = |numbers: &[[f32; 4]]| Lanes::from_array(numbers.get(step).copied().unwrap_or_default());
        let window = four(&self.window);
        let [a, b, c, d, e, f, g, h] = frames.map(|frame| four(frame).times(window));
        [[a, b, c, d], [e, f, g, h]]
    }
}

impl Band {
    fn new(band: usize) -> Self {
        let step = (mel(HIGHEST) - mel(LOWEST)) / (BANDS + 1) as f64;
        let centre = mel(LOWEST) + step * (band + 1) as f64;
        let weight = |bin: usize| 1.0 - (mel((bin * RATE) as f64 / POINTS as f64) - centre).abs() / step;
        let inside: Vec<usize> = (0..BINS).filter(|&bin| weight(bin) > 0.0).collect();
        // The plan gives four times the power.
        let weights = inside.iter().map(|&bin| (weight(bin) / 4.0) as f32).collect();
        Self { first: inside.first().copied().unwrap_or_default(), weights }
    }

    fn energies(&self, powers: &[[Lanes; 2]; BINS]) -> [[f32; 4]; 2] {
        let zero = Lanes::from_array([0.0; 4]);
        let sum =
            self.weights.iter().zip(powers.iter().skip(self.first)).fold([zero; 2], |[a, b], (&weight, &[x, y])| {
                let weight = Lanes::from_array([weight; 4]);
                [x.scaled(weight, a), y.scaled(weight, b)]
            });
        sum.map(Lanes::to_array)
    }
}

fn mel(hertz: f64) -> f64 {
    1127.0 * (hertz / 700.0).ln_1p()
}

/// The natural logarithm of a positive number, the same on every machine, to about its last digit.
#[inline(always)]
fn ln(number: f32) -> f32 {
    const ONE: u32 = 1.0f32.to_bits();
    const SQRT_HALF: u32 = std::f32::consts::FRAC_1_SQRT_2.to_bits();
    let bits = number.to_bits().wrapping_sub(SQRT_HALF);
    // A number is 2^exponent times a fraction between the square roots of a half and of two.
    let exponent = (bits as i32 >> 23) as f32;
    let fraction = f32::from_bits((bits & 0x007f_ffff) + SQRT_HALF);
    debug_assert!(fraction.to_bits() < ONE + (1 << 23));
    let s = (fraction - 1.0) / (fraction + 1.0);
    let square = s * s;
    let series = square * (1.0 / 3.0 + square * (1.0 / 5.0 + square * (1.0 / 7.0 + square * (1.0 / 9.0))));
    exponent * std::f32::consts::LN_2 + 2.0 * (s + s * series)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_logarithm_is_the_logarithm() {
        for number in (0..4000).map(|step| 1e-6f32 * 1.01f32.powi(step)) {
            assert!((ln(number) - number.ln()).abs() <= 2e-6 * number.ln().abs().max(0.5), "{number}");
        }
    }

    #[test]
    fn a_tone_is_loudest_in_its_band() {
        let tone = |hertz: f64| -> Vec<u8> {
            let sample = |at| (8000.0 * (std::f64::consts::TAU * hertz * f64::from(at) / RATE as f64).sin()) as i16;
            (0..RATE as u32).flat_map(|at| sample(at).to_le_bytes()).collect()
        };
        for hertz in [200.0, 1000.0, 3500.0] {
            let mut numbers = vec![0.0; FRAMES * BANDS];
            features(&tone(hertz), &mut numbers).unwrap();
            let step = (mel(HIGHEST) - mel(LOWEST)) / (BANDS + 1) as f64;
            let expected = ((mel(hertz) - mel(LOWEST)) / step).round() as usize - 1;
            for frame in numbers.chunks(BANDS) {
                let loudest = (0..BANDS).max_by(|&a, &b| frame[a].total_cmp(&frame[b])).unwrap();
                assert!(loudest.abs_diff(expected) <= 1, "{hertz} Hz is loudest in band {loudest}, not {expected}");
            }
        }
    }

    #[test]
    fn another_length_is_refused() {
        assert!(features(&[0; LEN - 2], &mut vec![0.0; FRAMES * BANDS]).is_err());
    }
}
