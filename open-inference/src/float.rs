//! The two 16-bit float formats, both missing in Rust.

/// The layout of a 16-bit float.
#[derive(Clone, Copy)]
pub(crate) struct Half {
    exponent: u32,
    mantissa: u32,
}

pub(crate) const FP16: Half = Half { exponent: 5, mantissa: 10 };
pub(crate) const BF16: Half = Half { exponent: 8, mantissa: 7 };

const WIDE_MANTISSA: u32 = f64::MANTISSA_DIGITS - 1;
const WIDE_BIAS: i64 = f64::MAX_EXP as i64 - 1;

impl Half {
    const fn bias(self) -> i64 {
        (1 << (self.exponent - 1)) - 1
    }

    /// The bits of infinity. Larger bits are NaN.
    const fn infinity(self) -> u64 {
        ((1 << self.exponent) - 1) << self.mantissa
    }

    pub(crate) fn is_finite(self, bits: u16) -> bool {
        u64::from(bits & 0x7fff) < self.infinity()
    }

    /// Rounds to the nearest, ties to even; to infinity if the value is too large.
    pub(crate) fn narrow(self, value: f64) -> u16 {
        let bits = value.to_bits();
        let sign = (bits >> 63) << 15;
        let magnitude = if value.is_nan() {
            self.infinity() | 1 << (self.mantissa - 1)
        } else {
            self.magnitude(bits & !(1 << 63)).min(self.infinity())
        };
        // Both are below 2^16.
        (sign | magnitude) as u16
    }

    fn magnitude(self, bits: u64) -> u64 {
        let exponent = (bits >> WIDE_MANTISSA) as i64 - WIDE_BIAS;
        if exponent > self.bias() {
            return self.infinity();
        }
        let significand = bits & ((1 << WIDE_MANTISSA) - 1) | 1 << WIDE_MANTISSA;
        let lost = WIDE_MANTISSA - self.mantissa;
        let below = 1 - self.bias() - exponent;
        if below <= 0 {
            // The leading one and the carry of rounding add to the exponent.
            return ((exponent + self.bias() - 1) as u64).wrapping_shl(self.mantissa) + rounded(significand, lost);
        }
        match u32::try_from(below).map(|below| lost + below) {
            Ok(lost) if lost < u64::BITS => rounded(significand, lost),
            _ => 0,
        }
    }

    /// Converts exactly.
    pub(crate) fn widen(self, bits: u16) -> f64 {
        let sign = if bits >> 15 == 0 { 1.0 } else { -1.0 };
        let magnitude = u64::from(bits & 0x7fff);
        let fraction = magnitude & ((1 << self.mantissa) - 1);
        let exponent = (magnitude >> self.mantissa) as i32;
        let power = |exponent: i32| 2f64.powi(exponent - self.bias() as i32 - self.mantissa as i32);
        sign * if magnitude > self.infinity() {
            f64::NAN
        } else if magnitude == self.infinity() {
            f64::INFINITY
        } else if exponent == 0 {
            fraction as f64 * power(1)
        } else {
            (fraction | 1 << self.mantissa) as f64 * power(exponent)
        }
    }
}

/// Drops the last bits, rounding to nearest, ties to even.
fn rounded(significand: u64, lost: u32) -> u64 {
    let (kept, rest, half) = (significand >> lost, significand & ((1 << lost) - 1), 1 << (lost - 1));
    let up = rest > half || rest == half && kept & 1 == 1;
    kept + u64::from(up)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_comes_back() {
        for half in [FP16, BF16] {
            for bits in 0..=u16::MAX {
                let wide = half.widen(bits);
                assert_eq!(wide.is_finite(), half.is_finite(bits));
                if wide.is_nan() {
                    assert!(half.widen(half.narrow(wide)).is_nan());
                } else {
                    assert_eq!(half.narrow(wide), bits, "{wide}");
                }
            }
        }
    }

    #[test]
    fn a_number_between_two_becomes_the_nearer_or_the_even_one() {
        for half in [FP16, BF16] {
            for bits in 0..half.infinity() as u16 - 1 {
                let (low, high) = (half.widen(bits), half.widen(bits + 1));
                let middle = (low + high) / 2.0;
                assert_eq!(half.narrow(middle), bits + (bits & 1));
                assert_eq!(half.narrow(middle.next_down()), bits);
                assert_eq!(half.narrow(middle.next_up()), bits + 1);
                assert_eq!(half.narrow(-middle), 0x8000 | (bits + (bits & 1)));
            }
        }
    }

    #[test]
    fn known_numbers_have_their_bits() {
        assert_eq!(FP16.narrow(1.0), 0x3c00);
        assert_eq!(FP16.narrow(65504.0), 0x7bff);
        assert_eq!(FP16.narrow(65520.0), 0x7c00);
        assert_eq!(FP16.narrow(2f64.powi(-24)), 1);
        assert_eq!(FP16.narrow(f64::from_bits(1)), 0);
        assert_eq!(FP16.narrow(f64::NEG_INFINITY), 0xfc00);
        assert_eq!(BF16.narrow(1.0), 0x3f80);
        for value in [2.5f32, -1e-39, 1e38, 1.0e-45] {
            let exact = f64::from(value);
            let bits = BF16.narrow(exact);
            assert!((BF16.widen(bits) - exact).abs() <= exact.abs() / 256.0 + 2f64.powi(-134), "{value}");
        }
    }
}
