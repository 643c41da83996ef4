//! The Rust types of tensor elements.

use crate::DataType;
use crate::boundary;
use inferbus_abi::frame::{encode_strings, strings};
use std::borrow::Cow;

/// An element type: numbers, `bool` or `String`. The other types of ONNX are only available as bytes of a `Frame`.
pub trait Element: Clone {
    const DTYPE: DataType;
    fn to_data(elements: &[Self]) -> Cow<'_, [u8]>;
    /// `data` must come from a decoded frame, with valid length and content.
    fn from_data(data: &[u8]) -> Vec<Self>;
}

/// An element type with the same layout in a frame and in memory.
pub trait Number: Element + boundary::Plain {}

impl<T: Element + boundary::Plain> Number for T {}

macro_rules! numbers {
    ($($number:ty = $dtype:ident;)*) => {
        $(impl Element for $number {
            const DTYPE: DataType = DataType::$dtype;

            fn to_data(elements: &[Self]) -> Cow<'_, [u8]> {
                Cow::Borrowed(boundary::bytes_of(elements))
            }

            fn from_data(data: &[u8]) -> Vec<Self> {
                let (elements, _) = data.as_chunks();
                elements.iter().map(|bytes| Self::from_le_bytes(*bytes)).collect()
            }
        })*
    };
}

numbers! {
    u8 = U8;
    i8 = I8;
    u16 = U16;
    i16 = I16;
    u32 = U32;
    i32 = I32;
    u64 = U64;
    i64 = I64;
    f32 = F32;
    f64 = F64;
}

impl Element for bool {
    const DTYPE: DataType = DataType::Bool;

    fn to_data(elements: &[Self]) -> Cow<'_, [u8]> {
        elements.iter().map(|&element| u8::from(element)).collect()
    }

    fn from_data(data: &[u8]) -> Vec<Self> {
        data.iter().map(|&byte| byte != 0).collect()
    }
}

impl Element for String {
    const DTYPE: DataType = DataType::String;

    fn to_data(elements: &[Self]) -> Cow<'_, [u8]> {
        Cow::Owned(encode_strings(elements))
    }

    fn from_data(data: &[u8]) -> Vec<Self> {
        strings(data).map(Self::from).collect()
    }
}
