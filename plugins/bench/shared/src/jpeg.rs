//! A JPEG of the size that the image model wants becomes pixels.

use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use crate::image::{LEN, SIDE};

pub fn pixels(file: &[u8]) -> Result<Vec<u8>, String> {
    let options = DecoderOptions::default()
        .set_max_width(SIDE)
        .set_max_height(SIDE)
        .set_strict_mode(true)
        .jpeg_set_out_colorspace(ColorSpace::RGB);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(file), options);
    decoder.decode_headers().map_err(|fault| format!("not a JPEG: {fault:?}"))?;
    if decoder.dimensions() != Some((SIDE, SIDE)) {
        return Err(format!("a picture has {SIDE} by {SIDE} pixels, this one has not"));
    }
    let mut pixels = vec![0; LEN];
    decoder.decode_into(&mut pixels).map_err(|fault| format!("a broken JPEG: {fault:?}"))?;
    Ok(pixels)
}
