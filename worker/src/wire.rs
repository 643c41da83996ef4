//! How tensors are written in a payload and in its result: as a frame, or as the Open Inference Protocol V2 has them.
//!
//! Promises: the bus only reads headers here ([`Wire::of`]); decoding and encoding are for lanes. A result is written
//! as its payload was.

use async_nats::HeaderMap;
use inferbus_abi::frame::{self, Frame, FrameFault, Tensor};
use inferbus_open_inference::{Content, Fault, Form, Request};
use serde::Serialize;
use smallvec::SmallVec;

use crate::models::bundle::Identity;
use crate::outcome::Refusal;

/// The content types of tensors.
pub const FRAME_TYPE: &str = "application/x-inferbus-tensors";
pub const JSON_TYPE: &str = "application/json";
pub const MESSAGE_PACK_TYPE: &str = "application/msgpack";
/// Of JSON with binary data behind it, where a header says how long the JSON is.
pub const BINARY_TYPE: &str = "application/octet-stream";
pub const HEADER_LENGTH: &str = "Inference-Header-Content-Length";

const EXPECTED: &str = "this model has no pre plugin, so send tensors as application/x-inferbus-tensors, application/json or application/msgpack";

/// How a payload's tensors are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Wire {
    #[default]
    Frame,
    Open(Form),
}

/// How a result is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Written {
    /// As a plugin wrote it.
    #[default]
    Raw,
    Frame,
    Open(Content),
}

#[derive(Debug, thiserror::Error)]
pub enum WireFault {
    #[error("the payload is not a tensor frame: {0}")]
    NotAFrame(FrameFault),
    #[error("the model's outputs do not fit into a tensor frame: {0}")]
    Outputs(FrameFault),
    #[error("{0}")]
    Open(Fault),
}

impl Wire {
    /// What the headers of a message to a model without a pre plugin say.
    pub fn of(identity: &Identity, headers: Option<&HeaderMap>) -> Result<Self, Refusal> {
        let get = |name: &str| headers.and_then(|headers| headers.get(name)).map(|value| value.as_str());
        let Some(given) = get("Content-Type") else { return Ok(Self::Frame) };
        let header_len = get(HEADER_LENGTH).map(|text| {
            let unreadable = |_| Refusal::HeaderLength { model: identity.model.clone(), given: text.to_owned() };
            text.trim().parse().map_err(unreadable)
        });
        match media_type(given).as_str() {
            FRAME_TYPE => Ok(Self::Frame),
            MESSAGE_PACK_TYPE => Ok(Self::Open(Form::MessagePack)),
            JSON_TYPE => Ok(Self::Open(Form::Json { header_len: header_len.transpose()? })),
            BINARY_TYPE if header_len.is_some() => Ok(Self::Open(Form::Json { header_len: header_len.transpose()? })),
            _ => Err(Refusal::ContentType {
                model: identity.model.clone(),
                version: identity.version.clone(),
                given: given.to_owned(),
                expected: EXPECTED,
            }),
        }
    }

    /// The payload's tensors. A response will name the model of `identity`.
    pub fn decode<'a>(self, payload: &'a [u8], identity: &'a Identity) -> Result<Decoded<'a>, WireFault> {
        match self {
            Self::Frame => Frame::decode(payload).map(Decoded::Frame).map_err(WireFault::NotAFrame),
            Self::Open(form) => {
                let request = Request::decode(form, payload).map_err(WireFault::Open)?;
                Ok(Decoded::Open(Box::new(request), identity))
            }
        }
    }
}

/// Without the parameters behind it.
pub fn media_type(content_type: &str) -> String {
    content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// A payload's tensors, and all that its result's writing needs of it.
pub enum Decoded<'a> {
    Frame(Frame<'a>),
    Open(Box<Request<'a>>, &'a Identity),
}

impl Decoded<'_> {
    /// As many as most models have take no memory of their own.
    pub fn tensors(&self) -> SmallVec<[Tensor<'_>; 4]> {
        match self {
            Self::Frame(frame) => frame.tensors().collect(),
            Self::Open(request, _) => request.tensors().collect(),
        }
    }

    /// Outputs, written as the payload was; as a frame if a plugin read it.
    pub fn encode(given: Option<&Self>, outputs: &[Tensor<'_>]) -> Result<(Vec<u8>, Written), WireFault> {
        match given {
            None | Some(Self::Frame(_)) => {
                let bytes = frame::encode(outputs).map_err(WireFault::Outputs)?;
                Ok((bytes, Written::Frame))
            }
            Some(Self::Open(request, Identity { model, version, .. })) => {
                let response = request.respond(outputs, model.as_str(), &version.to_string());
                let response = response.map_err(WireFault::Open)?;
                Ok((response.bytes, Written::Open(response.content)))
            }
        }
    }
}

impl Written {
    /// Says it in a result's headers.
    pub fn say(self, headers: &mut HeaderMap) {
        match self {
            Self::Raw => {}
            Self::Frame => headers.insert("Content-Type", FRAME_TYPE),
            Self::Open(Content::Json) => headers.insert("Content-Type", JSON_TYPE),
            Self::Open(Content::MessagePack) => headers.insert("Content-Type", MESSAGE_PACK_TYPE),
            Self::Open(Content::Binary { header_len }) => {
                headers.insert("Content-Type", BINARY_TYPE);
                headers.insert(HEADER_LENGTH, header_len.to_string());
            }
        }
    }
}

#[derive(Serialize)]
struct ErrorBody<'a> {
    error: &'a str,
}

/// An error in the form in which a client of the protocol reads it, if the question had that form; says it in `headers`.
pub fn error_body(asked: Option<&HeaderMap>, text: &str, headers: &mut HeaderMap) -> Vec<u8> {
    let content_type = asked.and_then(|asked| asked.get("Content-Type")).map(|given| media_type(given.as_str()));
    let (content_type, body) = match content_type.as_deref() {
        Some(JSON_TYPE) => (JSON_TYPE, error_json(text)),
        Some(MESSAGE_PACK_TYPE) => (MESSAGE_PACK_TYPE, packed_error(text)),
        _ => return Vec::new(),
    };
    headers.insert("Content-Type", content_type);
    body
}

/// Writing so small a map cannot fail; whoever asked has the error in the headers, too.
pub fn error_json(text: &str) -> Vec<u8> {
    serde_json::to_vec(&ErrorBody { error: text }).unwrap_or_default()
}

fn packed_error(text: &str) -> Vec<u8> {
    inferbus_open_inference::pack(&ErrorBody { error: text })
}
