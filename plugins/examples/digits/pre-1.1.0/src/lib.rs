//! Turns an image of the digit camera into the model's input. New in 1.1.0: it also reads inverted images, and it logs
//! every image.

#![forbid(unsafe_code)]

use digits::{Image, ImageFault, SIDE};
use inferbus_plugin::{Tensor, log};

#[inferbus_plugin::transform]
fn pixels(payload: &[u8]) -> Result<Tensor<f32>, ImageFault> {
    let image = Image::parse(payload)?;
    let inverted = if image.inverted { ", inverted" } else { "" };
    log!(Debug, "image {}: {}x{}{inverted}", image.sequence, image.width, image.height);
    let mut cells = image.cells();
    if image.inverted {
        for cell in &mut cells {
            *cell = 1.0 - *cell;
        }
    }
    Ok(Tensor::new("pixels", [1, (SIDE * SIDE) as u64], cells))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_inverted_image_is_turned_back() {
        let mut image = include_bytes!("../../model/heldout.bin")[..80].to_vec();
        let plain = pixels(&image).unwrap().elements;
        image[5] = 1;
        let turned: Vec<f32> = plain.iter().map(|cell| 1.0 - cell).collect();
        assert_eq!(pixels(&image).unwrap().elements, turned);
    }
}
