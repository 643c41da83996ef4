//! Decodes and checks the digit camera's format (see `plugins/examples/digits/README.md`), and scales images for the
//! model.

use crate::SIDE;
use crate::crc::crc32;
use std::fmt;
use std::ops::RangeInclusive;

const MAGIC: [u8; 4] = *b"DCAM";
const VERSION: u8 = 1;
const INVERTED: u8 = 1;
const SIZES: RangeInclusive<usize> = 8..=64;

// A cell of the model's square covers at least one pixel.
const _: () = assert!(*SIZES.start() >= SIDE);

/// A checked image of the camera.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Image<'a> {
    pub width: usize,
    pub height: usize,
    /// Counts the camera's images; restarts after 65,535.
    pub sequence: u16,
    /// Dark on light. The model was trained on light on dark.
    pub inverted: bool,
    pixels: &'a [u8],
}

/// A payload is not an image of the camera.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImageFault {
    HeaderCut { found: usize },
    NotTheCamera { found: [u8; 4] },
    UnknownVersion { found: u8 },
    UnknownFlags { found: u8 },
    Size { width: usize, height: usize },
    PixelCount { expected: usize, found: usize },
    Checksum { expected: u32, found: u32 },
}

impl fmt::Display for ImageFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::HeaderCut { found } => {
                write!(f, "an image starts with a header of 16 bytes, the payload has {found}")
            }
            Self::NotTheCamera { found } => {
                write!(f, "the payload starts with \"{}\" instead of the camera's \"DCAM\"", found.escape_ascii())
            }
            Self::UnknownVersion { found } => {
                write!(f, "version {found} of the camera's format is not known, only {VERSION} is")
            }
            Self::UnknownFlags { found } => write!(f, "the flags {found:#04x} are not known, only 0x01 (inverted) is"),
            Self::Size { width, height } => {
                let (min, max) = (SIZES.start(), SIZES.end());
                write!(f, "an image has {min} to {max} pixels a side, this one is {width}x{height}")
            }
            Self::PixelCount { expected, found } => write!(f, "the header announces {expected} pixels, {found} follow"),
            Self::Checksum { expected, found } => {
                write!(
                    f,
                    "the pixels were damaged on the way: their CRC-32 is {found:08x}, the header says {expected:08x}"
                )
            }
        }
    }
}

impl std::error::Error for ImageFault {}

impl<'a> Image<'a> {
    /// Decodes an image and checks all of it, including the checksum of the pixels.
    pub fn parse(payload: &'a [u8]) -> Result<Self, ImageFault> {
        let (header, pixels) = payload.split_first_chunk().ok_or(ImageFault::HeaderCut { found: payload.len() })?;
        let [m0, m1, m2, m3, version, flags, w0, w1, h0, h1, s0, s1, c0, c1, c2, c3] = *header;
        let magic = [m0, m1, m2, m3];
        if magic != MAGIC {
            return Err(ImageFault::NotTheCamera { found: magic });
        }
        if version != VERSION {
            return Err(ImageFault::UnknownVersion { found: version });
        }
        if flags & !INVERTED != 0 {
            return Err(ImageFault::UnknownFlags { found: flags });
        }
        let (width, height) = (usize::from(u16::from_le_bytes([w0, w1])), usize::from(u16::from_le_bytes([h0, h1])));
        if !SIZES.contains(&width) || !SIZES.contains(&height) {
            return Err(ImageFault::Size { width, height });
        }
        if pixels.len() != width * height {
            return Err(ImageFault::PixelCount { expected: width * height, found: pixels.len() });
        }
        let (expected, found) = (u32::from_le_bytes([c0, c1, c2, c3]), crc32(pixels));
        if expected != found {
            return Err(ImageFault::Checksum { expected, found });
        }
        Ok(Self { width, height, sequence: u16::from_le_bytes([s0, s1]), inverted: flags & INVERTED != 0, pixels })
    }

    /// The model's input: a square of cells from 0 to 1, each the mean of its pixels. Images of 8 × 8 pixels are kept
    /// exactly.
    #[must_use]
    pub fn cells(&self) -> Vec<f32> {
        (0..SIDE * SIDE).map(|cell| self.mean(cell % SIDE, cell / SIDE) / f32::from(u8::MAX)).collect()
    }

    fn mean(&self, column: usize, row: usize) -> f32 {
        let rows = self.pixels.chunks_exact(self.width);
        let sum: u32 = covered(row, self.height, rows)
            .map(|(height, pixels)| {
                height
                    * covered(column, self.width, pixels.iter())
                        .map(|(width, &pixel)| width * u32::from(pixel))
                        .sum::<u32>()
            })
            .sum();
        // Both numbers are below 2^24, so the conversions are exact.
        sum as f32 / (self.width * self.height) as f32
    }
}

/// The pixels covered by one cell along one side, each with its covered part in eighths of a pixel.
fn covered<T>(cell: usize, extent: usize, along: impl Iterator<Item = T>) -> impl Iterator<Item = (u32, T)> {
    let (start, end) = (cell * extent, (cell + 1) * extent);
    let (first, last) = (start / SIDE, end.div_ceil(SIDE));
    let part = move |pixel: usize| end.min((pixel + 1) * SIDE) - start.max(pixel * SIDE);
    along.enumerate().take(last).skip(first).map(move |(pixel, item)| (part(pixel) as u32, item))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payload(width: u16, height: u16, pixels: &[u8]) -> Vec<u8> {
        let mut payload = b"DCAM\x01\x00".to_vec();
        for number in [width, height, 7] {
            payload.extend(number.to_le_bytes());
        }
        payload.extend(crc32(pixels).to_le_bytes());
        payload.extend(pixels);
        payload
    }

    #[test]
    fn eight_by_eight_pixels_are_kept_exactly() {
        let pixels: Vec<u8> = (0..64).map(|pixel| pixel * 4).collect();
        let payload = payload(8, 8, &pixels);
        let image = Image::parse(&payload).unwrap();
        assert_eq!((image.sequence, image.inverted), (7, false));
        let exact: Vec<f32> = pixels.iter().map(|&pixel| f32::from(pixel) / 255.0).collect();
        assert_eq!(image.cells(), exact);
    }

    #[test]
    fn every_size_keeps_a_plain_area_plain() {
        for side in [8, 9, 11, 16, 63, 64] {
            let pixels = vec![51; usize::from(side) * 8];
            let payload = payload(side, 8, &pixels);
            assert_eq!(Image::parse(&payload).unwrap().cells(), [0.2f32; 64], "{side}x8");
        }
    }

    #[test]
    fn a_cell_is_the_mean_of_its_pixels() {
        // Twelve columns: a cell covers one and a half. Cell 0 has the first pixel and half of the second one.
        let mut pixels = [0; 12 * 8];
        (pixels[0], pixels[1]) = (255, 255);
        let payload = payload(12, 8, &pixels);
        let cells = Image::parse(&payload).unwrap().cells();
        assert_eq!(cells[..3], [1.0, 1.0 / 3.0, 0.0]);
    }

    #[test]
    fn each_flaw_is_named() {
        let good = payload(8, 8, &[9; 64]);
        let fault = |change: fn(&mut Vec<u8>)| {
            let mut payload = good.clone();
            change(&mut payload);
            Image::parse(&payload).unwrap_err()
        };
        assert_eq!(fault(|p| p.truncate(15)), ImageFault::HeaderCut { found: 15 });
        assert_eq!(fault(|p| p[0] = b'X'), ImageFault::NotTheCamera { found: *b"XCAM" });
        assert_eq!(fault(|p| p[4] = 2), ImageFault::UnknownVersion { found: 2 });
        assert_eq!(fault(|p| p[5] = 3), ImageFault::UnknownFlags { found: 3 });
        assert_eq!(fault(|p| p[6] = 7), ImageFault::Size { width: 7, height: 8 });
        assert_eq!(fault(|p| p[8] = 65), ImageFault::Size { width: 8, height: 65 });
        assert_eq!(fault(|p| p.truncate(79)), ImageFault::PixelCount { expected: 64, found: 63 });
        assert_eq!(fault(|p| p.push(0)), ImageFault::PixelCount { expected: 64, found: 65 });
        assert!(matches!(fault(|p| p[79] = 8), ImageFault::Checksum { .. }));
    }
}
