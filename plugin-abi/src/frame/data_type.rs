//! The element types of ONNX, with ONNX's numbers (`TensorProto.DataType`).

macro_rules! data_types {
    ($($variant:ident = $code:literal, $bits:literal, $name:literal;)*) => {
        /// A tensor's element type.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum DataType {
            $(#[doc = $name] $variant = $code,)*
        }

        impl DataType {
            /// Every type, in the order of the numbers.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The type with this number.
            #[must_use]
            pub const fn from_u8(code: u8) -> Option<Self> {
                match code {
                    $($code => Some(Self::$variant),)*
                    _ => None,
                }
            }

            /// Bits of one element; zero for strings, since their sizes vary.
            #[must_use]
            pub const fn bits(self) -> u32 {
                match self {
                    $(Self::$variant => $bits,)*
                }
            }

            /// The name in messages and documents.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }
        }
    };
}

data_types! {
    F32 = 1, 32, "f32";
    U8 = 2, 8, "u8";
    I8 = 3, 8, "i8";
    U16 = 4, 16, "u16";
    I16 = 5, 16, "i16";
    I32 = 6, 32, "i32";
    I64 = 7, 64, "i64";
    String = 8, 0, "string";
    Bool = 9, 8, "bool";
    F16 = 10, 16, "f16";
    F64 = 11, 64, "f64";
    U32 = 12, 32, "u32";
    U64 = 13, 64, "u64";
    Complex64 = 14, 64, "complex64";
    Complex128 = 15, 128, "complex128";
    Bf16 = 16, 16, "bf16";
    F8E4M3Fn = 17, 8, "f8e4m3fn";
    F8E4M3FnUz = 18, 8, "f8e4m3fnuz";
    F8E5M2 = 19, 8, "f8e5m2";
    F8E5M2FnUz = 20, 8, "f8e5m2fnuz";
    U4 = 21, 4, "u4";
    I4 = 22, 4, "i4";
    F4E2M1 = 23, 4, "f4e2m1";
    F8E8M0 = 24, 8, "f8e8m0";
    U2 = 25, 2, "u2";
    I2 = 26, 2, "i2";
}

impl core::fmt::Display for DataType {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.name())
    }
}
