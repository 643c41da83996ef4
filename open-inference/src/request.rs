//! Decodes a request to tensors, and keeps the facts for its response.

use std::borrow::Cow;

use inferbus_abi::frame::{DataType, Shape, Tensor, strings};
use serde::Deserialize as _;
use serde::de::{DeserializeSeed as _, IgnoredAny};

use crate::document::{Data, Document, Given, Known, Reading, Wanted};
use crate::fault::{Wrong, quoted};
use crate::limits::MAX_DEPTH;
use crate::{Fault, Form};

/// A decoded request. Data in the model's own layout is borrowed.
pub struct Request<'a> {
    pub(crate) form: Form,
    pub(crate) id: Option<String>,
    /// The requested outputs. Empty means all outputs.
    pub(crate) wanted: Vec<Wanted>,
    pub(crate) binary_output: bool,
    inputs: Vec<Input<'a>>,
}

struct Input<'a> {
    name: String,
    dtype: DataType,
    shape: Vec<u64>,
    data: Cow<'a, [u8]>,
}

impl<'a> Request<'a> {
    pub fn decode(form: Form, payload: &'a [u8]) -> Result<Self, Fault> {
        let (text, mut binary) = match form {
            Form::Json { header_len: Some(header) } => {
                let parts = payload.split_at_checked(header);
                let (text, binary) = parts.ok_or(Fault::HeaderTooLong { header, len: payload.len() })?;
                (text, Some(binary))
            }
            _ => (payload, None),
        };
        let Document { id, binary_output, inputs, outputs } = document(form, text)?;
        let (stated, found) = (stated(&inputs), binary.unwrap_or_default().len());
        let decoded: Result<Vec<_>, Wrong> = inputs.into_iter().map(|input| input.decoded(&mut binary)).collect();
        let inputs = decoded.map_err(|wrong| Fault::Request(wrong.to_string()))?;
        if stated != found as u64 {
            return Err(Fault::BinaryLength { stated, found });
        }
        // In MessagePack, binary data is the natural form.
        let binary_output = binary_output.unwrap_or(form == Form::MessagePack);
        Ok(Self { form, id, wanted: outputs, binary_output, inputs })
    }

    /// The inputs, in the request's order.
    pub fn tensors(&self) -> impl Iterator<Item = Tensor<'_>> {
        self.inputs.iter().map(|Input { name, dtype, shape, data }| Tensor {
            name,
            dtype: *dtype,
            shape: shape.as_slice().into(),
            data,
        })
    }
}

fn stated(inputs: &[Given<'_>]) -> u64 {
    inputs.iter().filter_map(|input| input.binary_size).fold(0, u64::saturating_add)
}

fn document(form: Form, text: &[u8]) -> Result<Document<'_>, Fault> {
    let document = read(form, text, &[])?;
    if !document.inputs.iter().any(|input| matches!(input.data, Data::Unread)) {
        return Ok(document);
    }
    let known = |Given { name, dtype, shape, .. }| Known { name, dtype, shape };
    let known: Vec<_> = document.inputs.into_iter().map(known).collect();
    read(form, text, &known)
}

fn read<'a>(form: Form, text: &'a [u8], known: &[Known]) -> Result<Document<'a>, Fault> {
    let mut reading = Reading::new(known, text.len());
    match form {
        Form::Json { .. } => {
            let mut json = serde_json::Deserializer::from_slice(text);
            let read = reading.deserialize(&mut json).and_then(|document| json.end().map(|()| document));
            read.map_err(|fault| json_fault(&fault, text))
        }
        Form::MessagePack => {
            let mut packed = rmp_serde::Deserializer::from_read_ref(text);
            packed.set_max_depth(MAX_DEPTH);
            let document = reading.deserialize(&mut packed).map_err(packed_fault)?;
            match IgnoredAny::deserialize(&mut packed) {
                Err(rmp_serde::decode::Error::InvalidMarkerRead(_)) => Ok(document),
                _ => Err(Fault::NotMessagePack("more follows after its end".into())),
            }
        }
    }
}

fn json_fault(fault: &serde_json::Error, text: &[u8]) -> Fault {
    if is_at_no_number(fault, text) {
        return Fault::NotJsonNumber;
    }
    match fault.classify() {
        serde_json::error::Category::Data => Fault::Request(fault.to_string()),
        _ => Fault::NotJson(fault.to_string()),
    }
}

/// Some JSON writers write NaN and Infinity, although they are invalid.
fn is_at_no_number(fault: &serde_json::Error, text: &[u8]) -> bool {
    let line = text.split(|&byte| byte == b'\n').nth(fault.line().saturating_sub(1)).unwrap_or_default();
    let from = fault.column().saturating_sub(2);
    let here = line.get(from..).unwrap_or_default();
    (0..3).any(|skip| {
        let here = here.get(skip..).unwrap_or_default();
        [&b"NaN"[..], b"Infinity", b"-Infinity"].iter().any(|word| here.starts_with(word))
    })
}

fn packed_fault(fault: rmp_serde::decode::Error) -> Fault {
    match fault {
        rmp_serde::decode::Error::Syntax(text) => Fault::Request(text),
        fault => Fault::NotMessagePack(fault.to_string()),
    }
}

impl<'a> Given<'a> {
    /// Finds the input's data and checks its length and content against type and shape.
    fn decoded(self, binary: &mut Option<&'a [u8]>) -> Result<Input<'a>, Wrong> {
        let Self { name, dtype, shape, data, binary_size } = self;
        let input = || quoted(&name);
        let data = match (data, binary_size, binary) {
            (Data::Here(data), None, _) => data,
            (Data::Here(_), Some(_), _) => return Err(Wrong::TwoData { input: input() }),
            (_, Some(_), None) => return Err(Wrong::NoBinary { input: input() }),
            (_, Some(size), Some(rest)) => {
                let cut = usize::try_from(size).ok().and_then(|size| rest.split_at_checked(size));
                let wrong = || Wrong::Length { input: input(), expected: size, found: rest.len() };
                let (own, others) = cut.ok_or_else(wrong)?;
                *rest = others;
                Cow::Borrowed(own)
            }
            (_, None, _) => return Err(Wrong::NoData { input: input() }),
        };
        check(&name, dtype, &shape, &data)?;
        Ok(Input { name, dtype, shape, data })
    }
}

fn check(name: &str, dtype: DataType, shape: &[u64], data: &[u8]) -> Result<(), Wrong> {
    let input = || quoted(name);
    let elements = Shape::from(shape).elements().unwrap_or(u64::MAX);
    if dtype == DataType::String {
        return check_strings(name, elements, data);
    }
    let expected = elements.saturating_mul(u64::from(dtype.bits() / 8));
    if expected != data.len() as u64 {
        return Err(Wrong::Length { input: input(), expected, found: data.len() });
    }
    if dtype == DataType::Bool
        && let Some(element) = data.iter().position(|&byte| byte > 1)
    {
        return Err(Wrong::Bool { input: input(), element });
    }
    Ok(())
}

/// The protocol encodes strings like a frame.
fn check_strings(name: &str, elements: u64, data: &[u8]) -> Result<(), Wrong> {
    let (count, len) =
        strings(data).fold((0, 0), |(count, len), text| (count + 1, len + size_of::<u32>() + text.len()));
    if count == elements && len == data.len() {
        return Ok(());
    }
    Err(Wrong::Strings { input: quoted(name), element: count, elements })
}
