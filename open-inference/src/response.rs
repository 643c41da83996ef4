//! Encodes a response: the requested outputs, in the request's encoding.

use std::io::{self, Write};

use inferbus_abi::frame::{DataType, Tensor, strings};
use serde::ser::{SerializeMap as _, SerializeSeq as _};
use serde::{Serialize, Serializer};

use crate::data_type::name;
use crate::fault::quoted;
use crate::float::{BF16, FP16};
use crate::limits::MAX_RESPONSE;
use crate::request::Request;
use crate::{Fault, Form};

/// A response's bytes and their encoding.
#[derive(Debug)]
pub struct Response {
    pub bytes: Vec<u8>,
    pub content: Content,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    Json,
    MessagePack,
    /// JSON with `header_len` bytes, followed by the tensors' data.
    Binary {
        header_len: usize,
    },
}

impl Request<'_> {
    /// Encodes the response to this request.
    pub fn respond(&self, outputs: &[Tensor<'_>], model: &str, version: &str) -> Result<Response, Fault> {
        let outputs = self.chosen(outputs)?;
        let document = Document { model, version, id: self.id.as_deref(), outputs: &outputs };
        let mut bytes = Bounded(Vec::new());
        let content = match self.form {
            Form::MessagePack => {
                document.serialize(&mut rmp_serde::Serializer::new(&mut bytes)).map_err(|fault| match fault {
                    rmp_serde::encode::Error::InvalidValueWrite(_) => Fault::TooLong,
                    fault => Fault::Unwritable(fault.to_string()),
                })?;
                Content::MessagePack
            }
            Form::Json { .. } => {
                document.serialize(&mut serde_json::Serializer::new(&mut bytes)).map_err(|fault| {
                    if fault.is_io() { Fault::TooLong } else { Fault::Unwritable(fault.to_string()) }
                })?;
                let header_len = bytes.0.len();
                let apart: Vec<_> = outputs.iter().filter(|output| output.manner == Manner::Apart).collect();
                for output in &apart {
                    bytes.write_all(output.tensor.data).map_err(|_| Fault::TooLong)?;
                }
                if apart.is_empty() { Content::Json } else { Content::Binary { header_len } }
            }
        };
        Ok(Response { bytes: bytes.0, content })
    }

    fn chosen<'t, 'a>(&self, outputs: &'t [Tensor<'a>]) -> Result<Vec<Output<'t, 'a>>, Fault> {
        if self.wanted.is_empty() {
            return outputs.iter().map(|tensor| self.output(tensor, self.binary_output)).collect();
        }
        let one = |wanted: &crate::document::Wanted| {
            let tensor = outputs.iter().find(|output| output.name == wanted.name).ok_or_else(|| {
                let known: Vec<_> = outputs.iter().map(|output| format!("{:?}", output.name)).collect();
                Fault::UnknownOutput { output: quoted(&wanted.name), known: known.join(", ") }
            })?;
            self.output(tensor, wanted.binary.unwrap_or(self.binary_output))
        };
        self.wanted.iter().map(one).collect()
    }

    fn output<'t, 'a>(&self, tensor: &'t Tensor<'a>, binary: bool) -> Result<Output<'t, 'a>, Fault> {
        let output = || quoted(tensor.name);
        let unnamed = || Fault::OutputType { output: output(), dtype: tensor.dtype.name() };
        let datatype = name(tensor.dtype).ok_or_else(unnamed)?;
        let manner = match (self.form, binary) {
            (_, false) => Manner::List,
            (Form::MessagePack, true) => Manner::Bytes,
            (Form::Json { .. }, true) => Manner::Apart,
        };
        if matches!(self.form, Form::Json { .. })
            && manner == Manner::List
            && let Some(element) = first_infinite(tensor)
        {
            return Err(Fault::OutputNotJson { output: output(), element });
        }
        Ok(Output { tensor, datatype, manner })
    }
}

/// The encoding of an output's data.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Manner {
    List,
    Bytes,
    /// After the JSON.
    Apart,
}

struct Output<'t, 'a> {
    tensor: &'t Tensor<'a>,
    datatype: &'static str,
    manner: Manner,
}

struct Document<'d> {
    model: &'d str,
    version: &'d str,
    id: Option<&'d str>,
    outputs: &'d [Output<'d, 'd>],
}

impl Serialize for Document<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(3 + usize::from(self.id.is_some())))?;
        map.serialize_entry("model_name", self.model)?;
        map.serialize_entry("model_version", self.version)?;
        if let Some(id) = self.id {
            map.serialize_entry("id", id)?;
        }
        map.serialize_entry("outputs", self.outputs)?;
        map.end()
    }
}

impl Serialize for Output<'_, '_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(4))?;
        map.serialize_entry("name", self.tensor.name)?;
        map.serialize_entry("datatype", self.datatype)?;
        let shape: Vec<u64> = self.tensor.shape.iter().collect();
        map.serialize_entry("shape", &shape)?;
        match self.manner {
            Manner::List => map.serialize_entry("data", &List(self.tensor))?,
            Manner::Bytes => map.serialize_entry("data", &Raw(self.tensor.data))?,
            Manner::Apart => map.serialize_entry("parameters", &Apart(self.tensor.data.len()))?,
        }
        map.end()
    }
}

struct Apart(usize);

impl Serialize for Apart {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(1))?;
        map.serialize_entry("binary_data_size", &self.0)?;
        map.end()
    }
}

struct Raw<'a>(&'a [u8]);

impl Serialize for Raw<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

/// All elements in one list.
struct List<'t, 'a>(&'t Tensor<'a>);

impl Serialize for List<'_, '_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let data = self.0.data;
        match self.0.dtype {
            DataType::Bool => list(serializer, data, |[byte]: [u8; 1]| byte != 0),
            DataType::U8 => list(serializer, data, u8::from_le_bytes),
            DataType::U16 => list(serializer, data, u16::from_le_bytes),
            DataType::U32 => list(serializer, data, u32::from_le_bytes),
            DataType::U64 => list(serializer, data, u64::from_le_bytes),
            DataType::I8 => list(serializer, data, i8::from_le_bytes),
            DataType::I16 => list(serializer, data, i16::from_le_bytes),
            DataType::I32 => list(serializer, data, i32::from_le_bytes),
            DataType::I64 => list(serializer, data, i64::from_le_bytes),
            DataType::F16 => list(serializer, data, |bytes| FP16.widen(u16::from_le_bytes(bytes)) as f32),
            DataType::Bf16 => list(serializer, data, |bytes| BF16.widen(u16::from_le_bytes(bytes)) as f32),
            DataType::F32 => list(serializer, data, f32::from_le_bytes),
            DataType::F64 => list(serializer, data, f64::from_le_bytes),
            DataType::String => {
                // In MessagePack, a list's length precedes its elements.
                let mut list = serializer.serialize_seq(Some(strings(data).count()))?;
                strings(data).try_for_each(|text| list.serialize_element(text))?;
                list.end()
            }
            other => Err(serde::ser::Error::custom(format_args!("the protocol cannot name {other}"))),
        }
    }
}

fn list<const SIZE: usize, T: Serialize, S: Serializer>(
    serializer: S,
    data: &[u8],
    value: impl Fn([u8; SIZE]) -> T,
) -> Result<S::Ok, S::Error> {
    let (elements, _) = data.as_chunks();
    let mut list = serializer.serialize_seq(Some(elements.len()))?;
    elements.iter().try_for_each(|bytes| list.serialize_element(&value(*bytes)))?;
    list.end()
}

fn first_infinite(tensor: &Tensor<'_>) -> Option<usize> {
    let data = tensor.data;
    match tensor.dtype {
        DataType::F16 => first(data, |bytes| !FP16.is_finite(u16::from_le_bytes(bytes))),
        DataType::Bf16 => first(data, |bytes| !BF16.is_finite(u16::from_le_bytes(bytes))),
        DataType::F32 => first(data, |bytes| !f32::from_le_bytes(bytes).is_finite()),
        DataType::F64 => first(data, |bytes| !f64::from_le_bytes(bytes).is_finite()),
        _ => None,
    }
}

fn first<const SIZE: usize>(data: &[u8], fits: impl Fn([u8; SIZE]) -> bool) -> Option<usize> {
    data.as_chunks().0.iter().position(|bytes| fits(*bytes))
}

/// A vector with a bounded length.
struct Bounded(Vec<u8>);

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len().saturating_add(bytes.len()) > MAX_RESPONSE {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Encodes a small value as MessagePack, maps with their keys. Empty if it cannot be encoded.
pub fn pack(value: &impl Serialize) -> Vec<u8> {
    rmp_serde::to_vec_named(value).unwrap_or_default()
}
