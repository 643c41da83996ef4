//! The payload of most measurements: a held-out picture of the digit camera, enlarged to 784 bytes.

use anyhow::Context as _;
use digits::crc32;

/// Bytes of one record of the held-out file: a header and eight by eight pixels.
pub const RECORD: usize = 80;
const HEADER: usize = 16;
const SIDE: usize = 8;

/// The enlargement of a pixel, to a picture of 24 by 32 pixels. The model's cells undo it exactly.
const ACROSS: usize = 3;
const DOWN: usize = 4;

pub fn enlarged(record: &[u8]) -> anyhow::Result<Vec<u8>> {
    let (header, pixels) = record.split_at_checked(HEADER).context("a record without a header")?;
    let mut large = Vec::with_capacity(SIDE * SIDE * ACROSS * DOWN);
    for row in pixels.chunks(SIDE) {
        let row: Vec<u8> = row.iter().flat_map(|&pixel| [pixel; ACROSS]).collect();
        (0..DOWN).for_each(|_| large.extend(&row));
    }
    let mut payload = header.to_vec();
    let fields = [(6, SIDE * ACROSS), (8, SIDE * DOWN)];
    for (at, side) in fields {
        payload.get_mut(at..at + 2).context("a short header")?.copy_from_slice(&u16::try_from(side)?.to_le_bytes());
    }
    payload.get_mut(12..HEADER).context("a short header")?.copy_from_slice(&crc32(&large).to_le_bytes());
    payload.extend(large);
    Ok(payload)
}

#[cfg(test)]
mod tests {
    use super::*;
    use digits::Image;

    #[test]
    fn the_model_sees_an_equal_picture() {
        let records = include_bytes!("../../../plugins/examples/digits/model/heldout.bin");
        for record in records.chunks(RECORD) {
            let large = enlarged(record).unwrap();
            assert_eq!(large.len(), 784);
            assert_eq!(Image::parse(&large).unwrap().cells(), Image::parse(record).unwrap().cells());
        }
    }
}
