//! The CRC-32 of IEEE 802.3, as zlib computes it.

const POLYNOMIAL: u32 = 0xedb8_8320;

/// Bytes per step. Bit by bit, the checksum would dominate the cost of an image.
const STEP: usize = 8;

/// The effect of a byte on the checksum, by the number of bytes after it in its step.
static EFFECTS: [[u32; 256]; STEP] = effects();

#[must_use]
pub fn crc32(bytes: &[u8]) -> u32 {
    let (steps, rest) = bytes.as_chunks();
    let crc = steps.iter().fold(!0, |crc, step| eight(crc, *step));
    !rest.iter().fold(crc, |crc, &byte| (crc >> 8) ^ EFFECTS[0][usize::from(crc as u8 ^ byte)])
}

fn eight(crc: u32, step: [u8; STEP]) -> u32 {
    let bytes = (u64::from_le_bytes(step) ^ u64::from(crc)).to_le_bytes();
    bytes.iter().zip(EFFECTS.iter().rev()).fold(0, |crc, (&byte, effects)| crc ^ effects[usize::from(byte)])
}

const fn effects() -> [[u32; 256]; STEP] {
    let mut effects = [[0; 256]; STEP];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u32;
        let mut more = 0;
        while more < STEP {
            let mut bit = 0;
            while bit < 8 {
                crc = (crc >> 1) ^ (POLYNOMIAL & (crc & 1).wrapping_neg());
                bit += 1;
            }
            effects[more][byte] = crc;
            more += 1;
        }
        byte += 1;
    }
    effects
}

#[cfg(test)]
mod tests {
    use super::crc32;

    #[test]
    fn it_is_the_checksum_of_zlib() {
        assert_eq!(crc32(b""), 0);
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
        assert_eq!(crc32(b"The quick brown fox jumps over the lazy dog"), 0x414f_a339);
    }
}
