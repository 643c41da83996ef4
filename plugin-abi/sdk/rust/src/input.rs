//! The arguments of a plugin's functions.

use crate::{Element, Frame, Tensor};

/// A type decoded from a message or a config. On failure the message is rejected with the reason.
///
/// The bytes outlive the call, so a type may borrow them.
#[diagnostic::on_unimplemented(
    message = "a plugin's function cannot take `{Self}`",
    note = "it can take `&[u8]`, `Vec<u8>`, `&str`, `String`, `Frame`, `Tensor<f32>` and types with `FromInput`"
)]
pub trait FromInput: Sized {
    fn from_input(input: &'static [u8]) -> Result<Self, String>;
}

impl FromInput for &'static [u8] {
    fn from_input(input: &'static [u8]) -> Result<Self, String> {
        Ok(input)
    }
}

impl FromInput for Vec<u8> {
    fn from_input(input: &'static [u8]) -> Result<Self, String> {
        Ok(input.to_vec())
    }
}

impl FromInput for &'static str {
    fn from_input(input: &'static [u8]) -> Result<Self, String> {
        std::str::from_utf8(input)
            .map_err(|fault| format!("the input is not UTF-8 text: byte {} is wrong", fault.valid_up_to()))
    }
}

impl FromInput for String {
    fn from_input(input: &'static [u8]) -> Result<Self, String> {
        <&str>::from_input(input).map(Self::from)
    }
}

impl FromInput for Frame<'static> {
    fn from_input(input: &'static [u8]) -> Result<Self, String> {
        Self::decode(input).map_err(|fault| fault.to_string())
    }
}

/// The only tensor of a frame.
impl<T: Element> FromInput for Tensor<T> {
    fn from_input(input: &'static [u8]) -> Result<Self, String> {
        let frame = Frame::from_input(input)?;
        match (frame.tensors().next(), frame.len()) {
            (Some(tensor), 1) => Self::try_from(tensor),
            (_, count) => Err(format!("one tensor is expected, the frame has {count}: take a `Frame`")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use inferbus_abi::frame;

    fn leaked(tensors: &[frame::Tensor<'_>]) -> &'static [u8] {
        frame::encode(tensors).unwrap().leak()
    }

    #[test]
    fn text_must_be_utf8() {
        assert_eq!(<&str>::from_input("naïve".as_bytes()), Ok("naïve"));
        assert_eq!(String::from_input(b"ab\xff"), Err("the input is not UTF-8 text: byte 2 is wrong".into()));
    }

    #[test]
    fn a_tensor_is_the_only_one_of_its_frame_and_of_its_type() {
        let logits = frame::Tensor {
            name: "logits",
            dtype: frame::DataType::I16,
            shape: (&[2]).into(),
            data: &[1, 0, 255, 255],
        };
        let other = frame::Tensor { name: "other", ..logits };
        assert_eq!(Tensor::from_input(leaked(&[logits])), Ok(Tensor::new("logits", [2], [1i16, -1])));
        assert_eq!(Tensor::<f32>::from_input(leaked(&[logits])), Err("tensor `logits` is i16, expected f32".into()));
        assert_eq!(
            Tensor::<i16>::from_input(leaked(&[logits, other])),
            Err("one tensor is expected, the frame has 2: take a `Frame`".into())
        );
        assert!(Tensor::<i16>::from_input(b"logits").unwrap_err().starts_with("not a tensor frame"));
    }
}
