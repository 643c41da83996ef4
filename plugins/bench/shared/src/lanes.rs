//! Four numbers at a time, with the instructions that SSE2 and WebAssembly have in common: one algorithm for both sides.
//!
//! Compilers make instructions of their own choice of a plain loop, and not the same on both sides. That would compare
//! compilers, not the sandbox with its absence.

pub(crate) use machine::{Lanes, pick};

#[cfg(target_arch = "x86_64")]
mod machine {
    use safe_arch::*;

    #[derive(Clone, Copy)]
    pub(crate) struct Lanes(pub(crate) m128);

    impl Lanes {
        #[inline(always)]
        pub(crate) fn from_array(numbers: [f32; 4]) -> Self {
            Self(numbers.into())
        }

        #[inline(always)]
        pub(crate) fn to_array(self) -> [f32; 4] {
            self.0.into()
        }

        #[inline(always)]
        pub(crate) fn widened(bytes: [u8; 16]) -> [Self; 4] {
            let (bytes, zero) = (m128i::from(bytes), zeroed_m128i());
            let (low, high) = (unpack_low_i8_m128i(bytes, zero), unpack_high_i8_m128i(bytes, zero));
            let [a, b] = [unpack_low_i16_m128i(low, zero), unpack_high_i16_m128i(low, zero)];
            let [c, d] = [unpack_low_i16_m128i(high, zero), unpack_high_i16_m128i(high, zero)];
            [a, b, c, d].map(|numbers| Self(convert_to_m128_from_i32_m128i(numbers)))
        }

        #[inline(always)]
        pub(crate) fn scaled(self, scale: Self, offset: Self) -> Self {
            Self(add_m128(mul_m128(self.0, scale.0), offset.0))
        }

        #[inline(always)]
        pub(crate) fn plus(self, other: Self) -> Self {
            Self(add_m128(self.0, other.0))
        }

        #[inline(always)]
        pub(crate) fn minus(self, other: Self) -> Self {
            Self(sub_m128(self.0, other.0))
        }

        #[inline(always)]
        pub(crate) fn times(self, other: Self) -> Self {
            Self(mul_m128(self.0, other.0))
        }
    }

    macro_rules! pick {
        ($x:ident[$a:literal, $b:literal], $y:ident[$c:literal, $d:literal]) => {
            Lanes(safe_arch::shuffle_abi_f32_all_m128::<{ $a | $b << 2 | $c << 4 | $d << 6 }>($x.0, $y.0))
        };
    }
    pub(crate) use pick;
}

#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
mod machine {
    use std::arch::wasm32::*;

    #[derive(Clone, Copy)]
    pub(crate) struct Lanes(pub(crate) v128);

    impl Lanes {
        #[inline(always)]
        pub(crate) fn from_array(numbers: [f32; 4]) -> Self {
            Self(bytemuck::cast(numbers))
        }

        #[inline(always)]
        pub(crate) fn to_array(self) -> [f32; 4] {
            bytemuck::cast(self.0)
        }

        #[inline(always)]
        pub(crate) fn widened(bytes: [u8; 16]) -> [Self; 4] {
            let bytes: v128 = bytemuck::cast(bytes);
            let (low, high) = (u16x8_extend_low_u8x16(bytes), u16x8_extend_high_u8x16(bytes));
            let [a, b] = [u32x4_extend_low_u16x8(low), u32x4_extend_high_u16x8(low)];
            let [c, d] = [u32x4_extend_low_u16x8(high), u32x4_extend_high_u16x8(high)];
            [a, b, c, d].map(|numbers| Self(f32x4_convert_i32x4(numbers)))
        }

        #[inline(always)]
        pub(crate) fn scaled(self, scale: Self, offset: Self) -> Self {
            Self(f32x4_add(f32x4_mul(self.0, scale.0), offset.0))
        }

        #[inline(always)]
        pub(crate) fn plus(self, other: Self) -> Self {
            Self(f32x4_add(self.0, other.0))
        }

        #[inline(always)]
        pub(crate) fn minus(self, other: Self) -> Self {
            Self(f32x4_sub(self.0, other.0))
        }

        #[inline(always)]
        pub(crate) fn times(self, other: Self) -> Self {
            Self(f32x4_mul(self.0, other.0))
        }
    }

    macro_rules! pick {
        ($x:ident[$a:literal, $b:literal], $y:ident[$c:literal, $d:literal]) => {
            Lanes(std::arch::wasm32::i32x4_shuffle::<$a, $b, { 4 + $c }, { 4 + $d }>($x.0, $y.0))
        };
    }
    pub(crate) use pick;
}

/// For a machine that nobody has measured on yet.
#[cfg(not(any(target_arch = "x86_64", all(target_arch = "wasm32", target_feature = "simd128"))))]
mod machine {
    #[derive(Clone, Copy)]
    pub(crate) struct Lanes(pub(crate) [f32; 4]);

    impl Lanes {
        pub(crate) fn from_array(numbers: [f32; 4]) -> Self {
            Self(numbers)
        }

        pub(crate) fn to_array(self) -> [f32; 4] {
            self.0
        }

        pub(crate) fn widened(bytes: [u8; 16]) -> [Self; 4] {
            let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = bytes.map(f32::from);
            [Self([a, b, c, d]), Self([e, f, g, h]), Self([i, j, k, l]), Self([m, n, o, p])]
        }

        pub(crate) fn scaled(self, scale: Self, offset: Self) -> Self {
            let ([a, b, c, d], [e, f, g, h], [i, j, k, l]) = (self.0, scale.0, offset.0);
            Self([a * e + i, b * f + j, c * g + k, d * h + l])
        }

        pub(crate) fn plus(self, other: Self) -> Self {
            let ([a, b, c, d], [e, f, g, h]) = (self.0, other.0);
            Self([a + e, b + f, c + g, d + h])
        }

        pub(crate) fn minus(self, other: Self) -> Self {
            let ([a, b, c, d], [e, f, g, h]) = (self.0, other.0);
            Self([a - e, b - f, c - g, d - h])
        }

        pub(crate) fn times(self, other: Self) -> Self {
            let ([a, b, c, d], [e, f, g, h]) = (self.0, other.0);
            Self([a * e, b * f, c * g, d * h])
        }
    }

    macro_rules! pick {
        ($x:ident[$a:literal, $b:literal], $y:ident[$c:literal, $d:literal]) => {
            Lanes([$x.0[$a], $x.0[$b], $y.0[$c], $y.0[$d]])
        };
    }
    pub(crate) use pick;
}
