//! The return values of a plugin's functions.

use crate::{Element, Number, Tensor, TensorView, boundary};
use inferbus_abi::{ALIGNMENT, frame};
use std::borrow::Cow;
use std::fmt::Display;

/// A plugin's answer: bytes, no result, or a rejection with its reason.
#[diagnostic::on_unimplemented(
    message = "a plugin's function cannot return `{Self}`",
    note = "it can return `Vec<u8>`, `String`, `Tensor<f32>`, tuples and vectors of tensors, `()` for no result, \
            `Option` and `Result` of these, and types with `IntoOutput`"
)]
pub trait IntoOutput {
    fn into_output(self) -> Result<Option<Output>, String>;
}

/// A return type of `init`.
#[diagnostic::on_unimplemented(
    message = "an init function cannot return `{Self}`",
    note = "it returns `()`, or a `Result<(), E>` with a displayable error"
)]
pub trait InitOutput {
    fn into_result(self) -> Result<(), String>;
}

impl InitOutput for () {
    fn into_result(self) -> Result<(), String> {
        Ok(())
    }
}

impl<E: Display> InitOutput for Result<(), E> {
    fn into_result(self) -> Result<(), String> {
        self.map_err(|error| error.to_string())
    }
}

/// The bytes of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    bytes: Vec<u8>,
    /// The offset of the answer in `bytes`, for alignment.
    start: usize,
}

impl Output {
    /// Zeros, aligned for a frame.
    fn aligned(len: usize) -> Self {
        let bytes = vec![0; len + ALIGNMENT - 1];
        let address = bytes.as_ptr().addr();
        Self { start: address.next_multiple_of(ALIGNMENT) - address, bytes }
    }

    /// One tensor. `fill` overwrites its zeros in place, so the elements are not copied.
    ///
    /// ```
    /// # use inferbus_plugin::Output;
    /// fn pixels(payload: &[u8]) -> Result<Output, String> {
    ///     Output::tensor("pixels", &[1, payload.len() as u64], |pixels: &mut [f32]| {
    ///         for (pixel, &byte) in pixels.iter_mut().zip(payload) {
    ///             *pixel = f32::from(byte) / 255.0;
    ///         }
    ///     })
    /// }
    /// # pixels(&[1, 2, 3]).unwrap();
    /// ```
    pub fn tensor<T: Number>(name: &str, shape: &[u64], fill: impl FnOnce(&mut [T])) -> Result<Self, String> {
        let shape = shape.into();
        let len = frame::blank_len(name, T::DTYPE, shape).map_err(|fault| fault.to_string())?;
        let mut output = Self::aligned(len);
        output.bytes.truncate(output.start + len);
        let room = output.bytes.get_mut(output.start..).unwrap_or_default();
        let data = frame::blank_into(name, T::DTYPE, shape, room).map_err(|fault| fault.to_string())?;
        fill(boundary::numbers_in(data).unwrap_or_default());
        Ok(output)
    }

    fn frame(tensors: &[TensorView<'_>]) -> Result<Self, frame::FrameFault> {
        let len = frame::encoded_len(tensors)?;
        let mut output = Self::aligned(len);
        let room = output.bytes.get_mut(output.start..output.start + len).unwrap_or_default();
        frame::encode_into(tensors, room)?;
        output.bytes.truncate(output.start + len);
        Ok(output)
    }

    pub(crate) fn leak(self) -> &'static [u8] {
        self.bytes.leak().get(self.start..).unwrap_or_default()
    }
}

impl From<Vec<u8>> for Output {
    fn from(bytes: Vec<u8>) -> Self {
        Self { bytes, start: 0 }
    }
}

impl IntoOutput for Output {
    fn into_output(self) -> Result<Option<Output>, String> {
        Ok(Some(self))
    }
}

impl IntoOutput for () {
    fn into_output(self) -> Result<Option<Output>, String> {
        Ok(None)
    }
}

impl<T: IntoOutput> IntoOutput for Option<T> {
    fn into_output(self) -> Result<Option<Output>, String> {
        self.map_or(Ok(None), T::into_output)
    }
}

impl<T: IntoOutput, E: Display> IntoOutput for Result<T, E> {
    fn into_output(self) -> Result<Option<Output>, String> {
        self.map_err(|error| error.to_string())?.into_output()
    }
}

macro_rules! bytes {
    ($($bytes:ty),*) => {
        $(impl IntoOutput for $bytes {
            fn into_output(self) -> Result<Option<Output>, String> {
                Ok(Some(Vec::from(self).into()))
            }
        })*
    };
}

bytes!(Vec<u8>, &[u8], String, &str);

/// A tensor of any element type.
trait AnyTensor {
    fn data(&self) -> Cow<'_, [u8]>;
    fn view<'a>(&'a self, data: &'a [u8]) -> TensorView<'a>;
}

impl<T: Element> AnyTensor for Tensor<T> {
    fn data(&self) -> Cow<'_, [u8]> {
        T::to_data(&self.elements)
    }

    fn view<'a>(&'a self, data: &'a [u8]) -> TensorView<'a> {
        TensorView { name: &self.name, dtype: T::DTYPE, shape: self.shape.as_slice().into(), data }
    }
}

fn frame_of(tensors: &[&dyn AnyTensor]) -> Result<Option<Output>, String> {
    let data: Vec<_> = tensors.iter().map(|tensor| tensor.data()).collect();
    let views: Vec<_> = tensors.iter().zip(&data).map(|(tensor, data)| tensor.view(data)).collect();
    Output::frame(&views).map(Some).map_err(|fault| fault.to_string())
}

impl<T: Element> IntoOutput for Tensor<T> {
    fn into_output(self) -> Result<Option<Output>, String> {
        frame_of(&[&self])
    }
}

impl<T: Element> IntoOutput for Vec<Tensor<T>> {
    fn into_output(self) -> Result<Option<Output>, String> {
        let tensors: Vec<&dyn AnyTensor> = self.iter().map(|tensor| tensor as _).collect();
        frame_of(&tensors)
    }
}

macro_rules! tuples {
    ($(($($tensor:ident $type:ident),+);)*) => {
        $(impl<$($type: Element),+> IntoOutput for ($(Tensor<$type>),+) {
            fn into_output(self) -> Result<Option<Output>, String> {
                let ($($tensor),+) = &self;
                frame_of(&[$($tensor),+])
            }
        })*
    };
}

tuples! {
    (a A, b B);
    (a A, b B, c C);
    (a A, b B, c C, d D);
}

#[cfg(test)]
mod tests {
    use super::*;
    use inferbus_abi::frame::Frame;

    fn bytes(output: impl IntoOutput) -> Result<Option<&'static [u8]>, String> {
        Ok(output.into_output()?.map(Output::leak))
    }

    #[test]
    fn bytes_and_text_go_as_they_are() {
        assert_eq!(bytes("text"), Ok(Some(b"text".as_slice())));
        assert_eq!(bytes(String::new()), Ok(Some(b"".as_slice())));
        assert_eq!(bytes(vec![1, 2]), Ok(Some([1, 2].as_slice())));
    }

    #[test]
    fn option_filters_and_result_refuses_in_any_order() {
        assert_eq!(bytes(()), Ok(None));
        assert_eq!(bytes(None::<String>), Ok(None));
        assert_eq!(bytes(Ok::<_, String>(None::<String>)), Ok(None));
        assert_eq!(bytes(Some(Err::<String, _>("no"))), Err("no".into()));
        assert_eq!(Err::<(), _>("bad config").into_result(), Err("bad config".into()));
    }

    #[test]
    fn tensors_of_several_types_are_one_aligned_frame() {
        let scores = Tensor::new("scores", [1, 2], [0.5f32, 1.5]);
        let names = Tensor::new("names", [2], ["a".to_owned(), "b".to_owned()]);
        let flags = Tensor::new("flags", [1], [true]);
        let output = bytes((scores.clone(), names.clone(), flags.clone())).unwrap().unwrap();
        assert!(output.as_ptr().addr().is_multiple_of(ALIGNMENT));
        let frame = Frame::decode(output).unwrap();
        assert_eq!(frame.get("scores").unwrap().try_into(), Ok(scores));
        assert_eq!(frame.get("names").unwrap().try_into(), Ok(names));
        assert_eq!(frame.get("flags").unwrap().try_into(), Ok(flags));
    }

    #[test]
    fn a_tensor_written_in_place_is_the_frame_that_a_copied_one_is() {
        let copied = Tensor::new("scores", [1, 3], [0.5f64, 1.5, 0.0]);
        let written = Output::tensor("scores", &[1, 3], |scores: &mut [f64]| {
            assert_eq!(scores, [0.0; 3]);
            scores[..2].copy_from_slice(&[0.5, 1.5]);
        });
        let written = bytes(written).unwrap().unwrap();
        assert!(written.as_ptr().addr().is_multiple_of(ALIGNMENT));
        assert_eq!(written, bytes(copied).unwrap().unwrap());
        let empty =
            bytes(Output::tensor("none", &[0, 3], |none: &mut [i8]| assert!(none.is_empty()))).unwrap().unwrap();
        assert_eq!(Frame::decode(empty).unwrap().get("none").unwrap().data, b"");
        let immense = Output::tensor("immense", &[u64::MAX], |_: &mut [u8]| panic!("there is no room for this"));
        assert!(immense.unwrap_err().contains("dimension"));
    }

    #[test]
    fn a_tensor_that_contradicts_itself_is_refused() {
        let wrong = Tensor::new("pixels", [1, 64], [0.5f32]);
        let message = "tensor 0: its type and shape need 256 bytes of data, it has 4";
        assert_eq!(bytes(vec![wrong]), Err(message.into()));
    }
}
