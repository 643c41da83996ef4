//! A picture's bytes, pixel by pixel, become an image model's numbers, colour by colour: normalised by mean and deviation.

use crate::lanes::{Lanes, pick};

pub(crate) const SIDE: usize = 224;
const PIXELS: usize = SIDE * SIDE;
const COLOURS: usize = 3;

/// Bytes of a picture, and numbers of its planes.
pub const LEN: usize = PIXELS * COLOURS;
pub const SHAPE: [u64; 4] = [1, COLOURS as u64, SIDE as u64, SIDE as u64];

/// Of the pictures that image models are trained with: mean and standard deviation of red, green and blue.
const MEAN: [f32; COLOURS] = [0.485, 0.456, 0.406];
const DEVIATION: [f32; COLOURS] = [0.229, 0.224, 0.225];

/// `(byte / 255 - mean) / deviation` as one product and one sum.
const SCALE: [f32; COLOURS] =
    [1.0 / (255.0 * DEVIATION[0]), 1.0 / (255.0 * DEVIATION[1]), 1.0 / (255.0 * DEVIATION[2])];
const OFFSET: [f32; COLOURS] = [-MEAN[0] / DEVIATION[0], -MEAN[1] / DEVIATION[1], -MEAN[2] / DEVIATION[2]];

/// Pixels, and bytes of them, that are worked on at once.
const STEP: usize = 16;
const STEP_BYTES: usize = STEP * COLOURS;

const _: () = assert!(PIXELS.is_multiple_of(STEP));

/// The picture does not have [`LEN`] bytes, or there is no room for as many numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Misfit;

impl std::fmt::Display for Misfit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "a picture has {LEN} bytes, this one has not")
    }
}

impl std::error::Error for Misfit {}

pub fn normalise(picture: &[u8], planes: &mut [f32]) -> Result<(), Misfit> {
    if picture.len() != LEN || planes.len() != LEN {
        return Err(Misfit);
    }
    let (red, others) = planes.split_at_mut(PIXELS);
    let (green, blue) = others.split_at_mut(PIXELS);
    let (steps, _) = picture.as_chunks::<STEP_BYTES>();
    let planes = red.as_chunks_mut().0.iter_mut().zip(green.as_chunks_mut().0).zip(blue.as_chunks_mut().0);
    for (step, ((red, green), blue)) in steps.iter().zip(planes) {
        sixteen(step, red, green, blue);
    }
    Ok(())
}

/// Bytes come as red, green, blue, red, …, so the lanes of every third vector have their colours in the same order.
#[inline(always)]
fn sixteen(step: &[u8; STEP_BYTES], red: &mut [f32; STEP], green: &mut [f32; STEP], blue: &mut [f32; STEP]) {
    let scale = in_turn(SCALE);
    let offset = in_turn(OFFSET);
    let (thirds, _) = step.as_chunks::<16>();
    let &[first, second, third] = thirds else { return };
    let [a, b, c, d] = Lanes::widened(first);
    let [e, f, g, h] = Lanes::widened(second);
    let [i, j, k, l] = Lanes::widened(third);
    let four = [[a, b, c], [d, e, f], [g, h, i], [j, k, l]];
    let rooms = red.as_chunks_mut().0.iter_mut().zip(green.as_chunks_mut().0).zip(blue.as_chunks_mut().0);
    for (mixed, ((red, green), blue)) in four.into_iter().zip(rooms) {
        let [x, y, z] = mixed;
        let [scale_x, scale_y, scale_z] = scale;
        let [offset_x, offset_y, offset_z] = offset;
        let sorted = sorted([x.scaled(scale_x, offset_x), y.scaled(scale_y, offset_y), z.scaled(scale_z, offset_z)]);
        let [r, g, b] = sorted.map(Lanes::to_array);
        (*red, *green, *blue) = (r, g, b);
    }
}

/// A value for each colour, repeated along three vectors.
#[inline(always)]
fn in_turn([red, green, blue]: [f32; COLOURS]) -> [Lanes; 3] {
    [[red, green, blue, red], [green, blue, red, green], [blue, red, green, blue]].map(Lanes::from_array)
}

/// Four pixels, `r0 g0 b0 r1 | g1 b1 r2 g2 | b2 r3 g3 b3`, by colour.
#[inline(always)]
fn sorted([x, y, z]: [Lanes; 3]) -> [Lanes; COLOURS] {
    let early = pick!(x[1, 2], y[0, 1]); // g0 b0 g1 b1
    let late = pick!(y[2, 3], z[1, 2]); // r2 g2 r3 g3
    let blues = pick!(z[0, 0], z[3, 3]); // b2 b2 b3 b3
    [pick!(x[0, 3], late[0, 2]), pick!(early[0, 2], late[1, 3]), pick!(early[1, 3], blues[0, 2])]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_is_its_bytes_scaled() {
        let picture: Vec<u8> = (0..LEN).map(|at| (at * 7919 % 251) as u8).collect();
        let mut planes = vec![0.0; LEN];
        normalise(&picture, &mut planes).unwrap();
        for (at, number) in planes.iter().enumerate() {
            let (colour, pixel) = (at / PIXELS, at % PIXELS);
            let byte = picture[pixel * COLOURS + colour];
            assert_eq!(*number, f32::from(byte) * SCALE[colour] + OFFSET[colour], "plane {colour}, pixel {pixel}");
        }
    }

    #[test]
    fn a_picture_of_another_size_is_refused() {
        assert_eq!(normalise(&[0; LEN - 1], &mut vec![0.0; LEN]), Err(Misfit));
    }
}
