//! Turns an image of the digit camera into the model's input: 8 × 8 brightness values from 0 to 1.

#![forbid(unsafe_code)]

use digits::{Image, SIDE};
use inferbus_plugin::Tensor;

#[inferbus_plugin::transform]
fn pixels(payload: &[u8]) -> Result<Tensor<f32>, String> {
    let image = Image::parse(payload).map_err(|fault| fault.to_string())?;
    if image.inverted {
        return Err("inverted images are read from version 1.1.0 on".into());
    }
    Ok(Tensor::new("pixels", [1, (SIDE * SIDE) as u64], image.cells()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const IMAGES: &[u8] = include_bytes!("../../model/heldout.bin");
    const IMAGE: usize = 80;

    #[test]
    fn every_image_of_the_held_out_split_becomes_the_models_input() {
        let (images, rest) = IMAGES.as_chunks::<IMAGE>();
        assert!(images.len() > 100 && rest.is_empty());
        for image in images {
            let tensor = pixels(image).unwrap();
            assert_eq!((tensor.name.as_str(), tensor.shape.as_slice()), ("pixels", [1, 64].as_slice()));
            let exact: Vec<f32> = image[16..].iter().map(|&pixel| f32::from(pixel) / 255.0).collect();
            assert_eq!(tensor.elements, exact);
        }
    }

    #[test]
    fn an_inverted_image_needs_the_next_version() {
        let mut image = IMAGES[..IMAGE].to_vec();
        image[5] = 1;
        assert!(pixels(&image).unwrap_err().contains("1.1.0"));
    }
}
