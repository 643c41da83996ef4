//! The encoding of tensors in payloads and results: a frame, or the Open Inference Protocol V2.
//!
//! Guarantees: admission only reads header values here ([`Encoding::of`]); lanes decode and encode. A result uses the
//! encoding of its payload.

use inferbus_abi::frame::{self, Frame, FrameFault, Tensor};
use inferbus_open_inference::{Content, Fault, Form, Request};
use serde::Serialize;
use smallvec::SmallVec;

use crate::identity::Identity;

/// Content types of tensors.
pub const FRAME_TYPE: &str = "application/x-inferbus-tensors";
pub const JSON_TYPE: &str = "application/json";
pub const MESSAGE_PACK_TYPE: &str = "application/msgpack";
/// JSON followed by binary data; a header carries the length of the JSON.
pub const BINARY_TYPE: &str = "application/octet-stream";
pub const HEADER_LENGTH: &str = "Inference-Header-Content-Length";

/// The encoding of a payload's tensors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Encoding {
    #[default]
    Frame,
    Open(Form),
}

/// The encoding of a result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ResultEncoding {
    /// A plugin's bytes.
    #[default]
    Raw,
    Frame,
    Open(Content),
}

/// Headers without a valid description of tensors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeaderFault {
    ContentType(String),
    HeaderLength(String),
}

#[derive(Debug, thiserror::Error)]
pub enum EncodingFault {
    #[error("the payload is not a tensor frame: {0}")]
    NotAFrame(FrameFault),
    #[error("the model's outputs do not fit into a tensor frame: {0}")]
    Outputs(FrameFault),
    #[error("{0}")]
    Open(Fault),
}

impl Encoding {
    /// The encoding named by the headers of a message to a model without a pre plugin.
    pub fn of(content_type: Option<&str>, header_length: Option<&str>) -> Result<Self, HeaderFault> {
        let Some(given) = content_type else { return Ok(Self::Frame) };
        let header_len =
            header_length.map(|text| text.trim().parse().map_err(|_| HeaderFault::HeaderLength(text.to_owned())));
        match media_type(given).as_str() {
            FRAME_TYPE => Ok(Self::Frame),
            MESSAGE_PACK_TYPE => Ok(Self::Open(Form::MessagePack)),
            JSON_TYPE => Ok(Self::Open(Form::Json { header_len: header_len.transpose()? })),
            BINARY_TYPE if header_len.is_some() => Ok(Self::Open(Form::Json { header_len: header_len.transpose()? })),
            _ => Err(HeaderFault::ContentType(given.to_owned())),
        }
    }

    /// The payload's tensors. The response will name the model of `identity`.
    pub fn decode<'a>(self, payload: &'a [u8], identity: &'a Identity) -> Result<Decoded<'a>, EncodingFault> {
        match self {
            Self::Frame => Frame::decode(payload).map(Decoded::Frame).map_err(EncodingFault::NotAFrame),
            Self::Open(form) => {
                let request = Request::decode(form, payload).map_err(EncodingFault::Open)?;
                Ok(Decoded::Open(Box::new(request), identity))
            }
        }
    }
}

/// A content type without its parameters.
pub fn media_type(content_type: &str) -> String {
    content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// Tensors in a small buffer, without the heap for most models.
pub type Tensors<'a> = SmallVec<[Tensor<'a>; 4]>;

/// A payload's tensors, and the request for its response.
pub enum Decoded<'a> {
    Frame(Frame<'a>),
    Open(Box<Request<'a>>, &'a Identity),
}

impl Decoded<'_> {
    pub fn tensors(&self) -> Tensors<'_> {
        match self {
            Self::Frame(frame) => frame.tensors().collect(),
            Self::Open(request, _) => request.tensors().collect(),
        }
    }

    /// Encodes outputs like the payload; as a frame if a plugin read the payload.
    pub fn encode(input: Option<&Self>, outputs: &[Tensor<'_>]) -> Result<(Vec<u8>, ResultEncoding), EncodingFault> {
        match input {
            None | Some(Self::Frame(_)) => {
                let bytes = frame::encode(outputs).map_err(EncodingFault::Outputs)?;
                Ok((bytes, ResultEncoding::Frame))
            }
            Some(Self::Open(request, Identity { model, version, .. })) => {
                let response = request.respond(outputs, model.as_str(), &version.to_string());
                let response = response.map_err(EncodingFault::Open)?;
                Ok((response.bytes, ResultEncoding::Open(response.content)))
            }
        }
    }
}

impl ResultEncoding {
    pub fn content_type(self) -> Option<&'static str> {
        match self {
            Self::Raw => None,
            Self::Frame => Some(FRAME_TYPE),
            Self::Open(Content::Json) => Some(JSON_TYPE),
            Self::Open(Content::MessagePack) => Some(MESSAGE_PACK_TYPE),
            Self::Open(Content::Binary { .. }) => Some(BINARY_TYPE),
        }
    }

    /// The value of [`HEADER_LENGTH`], for JSON followed by binary data.
    pub fn header_len(self) -> Option<usize> {
        match self {
            Self::Open(Content::Binary { header_len }) => Some(header_len),
            _ => None,
        }
    }
}

#[derive(Serialize)]
struct ErrorBody<'a> {
    error: &'a str,
}

/// The body of an error reply, for clients of the protocol: content type and bytes. `None` for other requests.
pub fn error_body(request_type: Option<&str>, text: &str) -> Option<(&'static str, Vec<u8>)> {
    match media_type(request_type?).as_str() {
        JSON_TYPE => Some((JSON_TYPE, error_json(text))),
        MESSAGE_PACK_TYPE => Some((MESSAGE_PACK_TYPE, packed_error(text))),
        _ => None,
    }
}

/// Serializing a map of one string cannot fail; the error is in the headers too.
pub fn error_json(text: &str) -> Vec<u8> {
    serde_json::to_vec(&ErrorBody { error: text }).unwrap_or_default()
}

fn packed_error(text: &str) -> Vec<u8> {
    inferbus_open_inference::pack(&ErrorBody { error: text })
}
