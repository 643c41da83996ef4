//! Whether a tensor is the expected one, by the rules of onnx's own runner: floats within tolerances, all else
//! exactly.

use inferbus_abi::frame::{DataType, Tensor};

/// The permitted difference: relative to the expected value, and absolute.
#[derive(Clone, Copy, Debug)]
pub struct Tolerance {
    pub relative: f64,
    pub absolute: f64,
}

/// Two units in the last place: the least tolerance of onnx's runner for this type.
const BF16: f64 = 1.0 / 64.0;

impl Tolerance {
    /// The first difference, if any.
    pub fn difference(self, got: &Tensor<'_>, expected: &Tensor<'_>) -> Option<String> {
        if (got.dtype, got.shape) != (expected.dtype, expected.shape) {
            let (got, expected) = ((got.dtype, got.shape), (expected.dtype, expected.shape));
            return Some(format!("{} {} instead of {} {}", got.0, got.1, expected.0, expected.1));
        }
        let Some(expected_values) = floats(expected) else {
            return (got.data != expected.data).then(|| "other bytes".into());
        };
        let relative = if got.dtype == DataType::Bf16 { self.relative.max(BF16) } else { self.relative };
        let tolerance = Self { relative, ..self };
        let pairs = floats(got).unwrap_or_default().into_iter().zip(expected_values);
        let off = pairs.enumerate().find(|(_, (got, expected))| !tolerance.holds(*got, *expected));
        off.map(|(at, (got, expected))| format!("{got} instead of {expected} at {at}"))
    }

    fn holds(self, got: f64, expected: f64) -> bool {
        got == expected
            || got.is_nan() && expected.is_nan()
            || expected.is_finite() && (got - expected).abs() <= self.absolute + self.relative * expected.abs()
    }
}

/// The elements of a tensor of floats.
fn floats(tensor: &Tensor<'_>) -> Option<Vec<f64>> {
    let data = tensor.data;
    Some(match tensor.dtype {
        DataType::F32 | DataType::Complex64 => each(data, |bytes| f32::from_le_bytes(bytes).into()),
        DataType::F64 | DataType::Complex128 => each(data, f64::from_le_bytes),
        DataType::F16 => each(data, |bytes| half(u16::from_le_bytes(bytes))),
        DataType::Bf16 => each(data, |bytes| f32::from_bits(u32::from(u16::from_le_bytes(bytes)) << 16).into()),
        // The upper half of an f16; it has several NaN values.
        DataType::F8E5M2 => each(data, |[byte]| half(u16::from_le_bytes([0, byte]))),
        _ => return None,
    })
}

fn each<const SIZE: usize>(data: &[u8], read: impl Fn([u8; SIZE]) -> f64) -> Vec<f64> {
    data.as_chunks().0.iter().copied().map(read).collect()
}

/// A float of 16 bits: one of sign, five of exponent, ten of fraction.
fn half(bits: u16) -> f64 {
    let (exponent, fraction) = (i32::from(bits >> 10 & 0x1f), f64::from(bits & 0x3ff));
    let size = match exponent {
        0 => fraction * 2_f64.powi(-24),
        31 if fraction == 0.0 => f64::INFINITY,
        31 => f64::NAN,
        exponent => (1024.0 + fraction) * 2_f64.powi(exponent - 25),
    };
    if bits >> 15 == 1 { -size } else { size }
}

#[cfg(test)]
mod tests {
    use inferbus_abi::frame::Shape;

    use super::*;

    const STRICT: Tolerance = Tolerance { relative: 1e-3, absolute: 1e-7 };

    fn tensor<'a>(dtype: DataType, shape: &'a [u64], data: &'a [u8]) -> Tensor<'a> {
        Tensor { name: "", dtype, shape: Shape::from(shape), data }
    }

    #[test]
    fn halves_are_read() {
        for (bits, value) in
            [(0x3c00, 1.0), (0xc000, -2.0), (0x7bff, 65504.0), (1, 2_f64.powi(-24)), (0xfc00, -f64::INFINITY)]
        {
            assert_eq!(half(bits), value);
        }
        assert!(half(0x7e00).is_nan());
    }

    #[test]
    fn what_is_off_is_found() {
        let differs = |got: f32, expected: f32| {
            let (got, expected) = (got.to_le_bytes(), expected.to_le_bytes());
            let one = |data| tensor(DataType::F32, &[1], data);
            STRICT.difference(&one(&got), &one(&expected)).is_some()
        };
        for (got, expected) in [(1.0, 1.0009), (f32::NAN, f32::NAN), (f32::INFINITY, f32::INFINITY), (0.0, 1e-8)] {
            assert!(!differs(got, expected), "{got} {expected}");
        }
        for (got, expected) in [(1.0, 1.002), (f32::NAN, 1.0), (1.0, f32::NAN), (1.0, f32::INFINITY), (0.0, 1e-6)] {
            assert!(differs(got, expected), "{got} {expected}");
        }
        let bytes = tensor(DataType::U8, &[2], &[1, 2]);
        assert!(STRICT.difference(&bytes, &tensor(DataType::U8, &[2], &[1, 3])).is_some());
        assert!(STRICT.difference(&bytes, &tensor(DataType::U8, &[1, 2], &[1, 2])).is_some());
        assert!(STRICT.difference(&bytes, &tensor(DataType::I8, &[2], &[1, 2])).is_some());
    }
}
