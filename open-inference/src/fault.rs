//! Every fault of a request, as a sentence for its author.

use crate::limits::{MAX_DATA, MAX_DIMENSION, MAX_ID, MAX_NAME, MAX_RANK, MAX_RESPONSE, MAX_TENSORS, QUOTED};

/// A request cannot be decoded, or its outputs cannot be encoded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    #[error("the request is not JSON: {0}")]
    NotJson(String),
    #[error("the request contains NaN or infinity, and JSON has neither: send the tensor's data as binary")]
    NotJsonNumber,
    #[error("the request is not MessagePack: {0}")]
    NotMessagePack(String),
    /// Well-formed, but not a request.
    #[error("{0}")]
    Request(String),
    #[error("Inference-Header-Content-Length is {header}, but the request has {len} bytes")]
    HeaderTooLong { header: usize, len: usize },
    #[error("the binary data has {found} bytes, but the inputs' binary_data_size add up to {stated}")]
    BinaryLength { stated: u64, found: usize },
    #[error("the model lacks an output {output:?}; its outputs are {known}")]
    UnknownOutput { output: String, known: String },
    #[error(
        "element {element} of the output {output:?} is NaN or infinite, and JSON has neither: request it as binary data"
    )]
    OutputNotJson { output: String, element: usize },
    #[error("the output {output:?} has the type {dtype}, unknown to this protocol: request it as a tensor frame")]
    OutputType { output: String, dtype: &'static str },
    #[error("the response would have more than {MAX_RESPONSE} bytes: request fewer outputs, or binary data")]
    TooLong,
    #[error("the response could not be written: {0}")]
    Unwritable(String),
}

impl Fault {
    /// Whether the model's outputs cannot be encoded in the requested form.
    pub fn is_form(&self) -> bool {
        matches!(self, Self::OutputNotJson { .. } | Self::OutputType { .. } | Self::TooLong | Self::Unwritable(_))
    }
}

/// The fault of one part of a request. The decoder adds its place and makes it a [`Fault::Request`].
#[derive(Debug, thiserror::Error)]
pub(crate) enum Wrong {
    #[error("there are more than {MAX_TENSORS} {what}")]
    TooMany { what: &'static str },
    #[error("`{key}` is missing in {place}")]
    Missing { key: &'static str, place: &'static str },
    #[error("`{key}` is there twice in {place}")]
    Twice { key: &'static str, place: &'static str },
    #[error("an id has more than {MAX_ID} bytes")]
    LongId,
    #[error("a tensor's name has more than {MAX_NAME} bytes")]
    LongName,
    #[error("two {what} are called {name:?}")]
    SameName { what: &'static str, name: String },
    #[error("{name:?} is not a datatype: write BOOL, UINT8 to UINT64, INT8 to INT64, FP16, FP32, FP64, BF16 or BYTES")]
    DataType { name: String },
    #[error("a tensor has more than {MAX_RANK} dimensions")]
    Rank,
    #[error("a dimension is larger than {MAX_DIMENSION}")]
    Dimension,
    #[error("the tensors take more than {MAX_DATA} bytes")]
    TooLarge,
    #[error("input {input:?} has neither `data` nor binary data")]
    NoData { input: String },
    #[error("input {input:?} has both `data` and a binary_data_size")]
    TwoData { input: String },
    #[error("input {input:?} has a binary_data_size, but the header Inference-Header-Content-Length is missing")]
    NoBinary { input: String },
    #[error("input {input:?}: its type and shape need {expected} bytes of data, it has {found}")]
    Length { input: String, expected: u64, found: usize },
    #[error("input {input:?}: string {element} is cut short or not UTF-8, or there are not {elements} strings")]
    Strings { input: String, element: u64, elements: u64 },
    #[error("input {input:?}: bool {element} is neither 0 nor 1")]
    Bool { input: String, element: usize },
    #[error("element {element}: {value} is not {dtype}")]
    Element { element: u64, value: String, dtype: &'static str },
    #[error("element {element}: {value} is out of the range of {dtype}")]
    Range { element: u64, value: String, dtype: &'static str },
    #[error("`data` has more than the {elements} elements of its shape")]
    MoreElements { elements: u64 },
    #[error("`data` has {found} elements, and its shape has {elements}")]
    FewerElements { found: u64, elements: u64 },
    #[error("`data` is nested deeper than its shape")]
    TooDeep,
    #[error("`data` mixes flat and nested lists")]
    Mixed,
    #[error("a list of `data` at depth {depth} has {found} entries, and its dimension is {expected}")]
    Ragged { depth: usize, found: u64, expected: u64 },
    #[error("`classification` is not supported: remove it and sort the outputs yourself")]
    Classification,
    #[error("shared memory is not supported: send the data itself")]
    SharedMemory,
}

/// Untrusted text, shortened for an error.
pub(crate) fn quoted(text: &str) -> String {
    match text.char_indices().nth(QUOTED) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}
