//! Every fault of a frame.

use super::MAGIC;
use crate::limits::{MAX_DIMENSION, MAX_FRAME, MAX_NAME, MAX_RANK, MAX_TENSORS};
use core::fmt;

/// Bytes are not a frame, or tensors do not fit into one. Tensors are counted from zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameFault {
    NotAFrame { found: [u8; 4] },
    Truncated { at: usize, needed: usize },
    TrailingBytes { end: usize, extra: usize },
    PaddingNotZero { at: usize },
    TooManyTensors { count: usize },
    UnknownDataType { tensor: usize, code: u8 },
    RankTooHigh { tensor: usize, rank: usize },
    DimensionTooLarge { tensor: usize, dimension: u64 },
    TooManyElements { tensor: usize },
    NameTooLong { tensor: usize, len: usize },
    NameNotUtf8 { tensor: usize },
    SameName { tensor: usize, earlier: usize },
    WrongDataLength { tensor: usize, expected: u64, found: usize },
    BadStrings { tensor: usize, element: u64 },
    TooManyStrings { tensor: usize, elements: u64 },
    BadBool { tensor: usize, element: usize, found: u8 },
    FrameTooLong,
    WrongBufferLength { expected: usize, found: usize },
}

impl fmt::Display for FrameFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use FrameFault as F;
        match *self {
            F::NotAFrame { found } => {
                let (found, magic) = (found.escape_ascii(), MAGIC.escape_ascii());
                write!(f, "not a tensor frame: it starts with \"{found}\" instead of \"{magic}\"")
            }
            F::Truncated { at, needed } => {
                write!(f, "the frame ends too early: {needed} more bytes are needed at byte {at}")
            }
            F::TrailingBytes { end, extra } => write!(f, "the frame ends at byte {end}, but {extra} more bytes follow"),
            F::PaddingNotZero { at } => write!(f, "the padding byte {at} is not zero"),
            F::TooManyTensors { count } => write!(f, "{count} tensors in one frame: at most {MAX_TENSORS} are allowed"),
            F::UnknownDataType { tensor, code } => {
                write!(f, "tensor {tensor}: {code} is not the number of an ONNX data type")
            }
            F::RankTooHigh { tensor, rank } => {
                write!(f, "tensor {tensor}: {rank} dimensions, at most {MAX_RANK} are allowed")
            }
            F::DimensionTooLarge { tensor, dimension } => {
                write!(f, "tensor {tensor}: the dimension {dimension} is larger than {MAX_DIMENSION}")
            }
            F::TooManyElements { tensor } => {
                write!(f, "tensor {tensor}: its shape has more elements than can be counted")
            }
            F::NameTooLong { tensor, len } => {
                write!(f, "tensor {tensor}: its name has {len} bytes, at most {MAX_NAME} are allowed")
            }
            F::NameNotUtf8 { tensor } => write!(f, "tensor {tensor}: its name is not UTF-8"),
            F::SameName { tensor, earlier } => {
                write!(f, "tensors {earlier} and {tensor} have the same name")
            }
            F::WrongDataLength { tensor, expected, found } => {
                write!(f, "tensor {tensor}: its type and shape need {expected} bytes of data, it has {found}")
            }
            F::BadStrings { tensor, element } => {
                write!(f, "tensor {tensor}: string {element} is truncated or not UTF-8")
            }
            F::TooManyStrings { tensor, elements } => {
                write!(f, "tensor {tensor}: its shape has {elements} strings, but its data has more")
            }
            F::BadBool { tensor, element, found } => {
                write!(f, "tensor {tensor}: bool {element} is {found}, neither 0 nor 1")
            }
            F::FrameTooLong => write!(f, "the tensors do not fit into one frame of at most {MAX_FRAME} bytes"),
            F::WrongBufferLength { expected, found } => {
                write!(f, "the frame needs a buffer of exactly {expected} bytes, this one has {found}")
            }
        }
    }
}

impl core::error::Error for FrameFault {}
