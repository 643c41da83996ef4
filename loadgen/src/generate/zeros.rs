//! A frame of zeros for a tensor model, from the metadata of its inputs.

use async_nats::Client;
use inferbus_abi::frame::{self, DataType, Shape, Tensor};
use serde::Deserialize;

use super::payload::Payload;
use crate::fault::BenchFault;

/// The used part of a model's metadata.
#[derive(Deserialize)]
struct Metadata {
    inputs: Vec<Input>,
    parameters: Parameters,
}

#[derive(Deserialize)]
struct Input {
    name: String,
    datatype: String,
    shape: Vec<i64>,
}

#[derive(Deserialize)]
struct Parameters {
    pre: bool,
}

/// Requests the model's inputs on `<subject>.metadata`. Open dimensions become 1; no input exceeds `max_bytes`.
pub async fn ask(client: &Client, subject: &str, model: &str, max_bytes: usize) -> Result<Payload, BenchFault> {
    let fault = |reason: String| BenchFault::NoZeros { model: model.to_owned(), reason };
    let asked = format!("{subject}.metadata");
    let answer = client.request(asked, "".into()).await.map_err(|error| fault(error.to_string()))?;
    let text = || String::from_utf8_lossy(&answer.payload).into_owned();
    let metadata: Metadata =
        serde_json::from_slice(&answer.payload).map_err(|_| fault(format!("the answer was: {}", text())))?;
    frame(metadata, max_bytes).map_err(fault)
}

fn frame(metadata: Metadata, max_bytes: usize) -> Result<Payload, String> {
    if metadata.parameters.pre {
        return Err("its pre plugin takes bytes: give a payload".into());
    }
    let inputs: Vec<(String, DataType, Vec<u64>, Vec<u8>)> =
        metadata.inputs.into_iter().map(|input| zeros(input, max_bytes)).collect::<Result<_, _>>()?;
    let tensors: Vec<Tensor<'_>> = inputs
        .iter()
        .map(|(name, dtype, shape, data)| Tensor { name, dtype: *dtype, shape: Shape::from(&**shape), data })
        .collect();
    let bytes = frame::encode(&tensors).map_err(|fault| fault.to_string())?.into();
    Ok(Payload { name: "zeros".into(), bytes })
}

fn zeros(input: Input, max_bytes: usize) -> Result<(String, DataType, Vec<u64>, Vec<u8>), String> {
    let Input { name, datatype, shape } = input;
    let dtype = DataType::ALL
        .iter()
        .find(|dtype| inferbus_open_inference::name(**dtype).unwrap_or(dtype.name()) == datatype)
        .filter(|dtype| dtype.bits() > 0)
        .ok_or_else(|| format!("its input {name} has the type {datatype}, which does not have a zero"))?;
    let shape: Vec<u64> = shape.iter().map(|size| u64::try_from(*size).unwrap_or(1)).collect();
    let elements = shape.iter().try_fold(1_u64, |product, size| product.checked_mul(*size));
    let bytes = elements.and_then(|elements| elements.checked_mul(u64::from(dtype.bits())));
    let bytes = bytes.map(|bits| bits.div_ceil(8)).filter(|bytes| *bytes <= max_bytes as u64);
    let bytes = bytes.ok_or_else(|| format!("its input {name} is larger than the maximum payload"))?;
    Ok((name, *dtype, shape, vec![0; bytes as usize]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metadata(pre: bool, datatype: &str) -> Metadata {
        let input = Input { name: "x".into(), datatype: datatype.into(), shape: vec![-1, 4] };
        Metadata { inputs: vec![input], parameters: Parameters { pre } }
    }

    #[test]
    fn open_dimensions_become_one_and_elements_zero() {
        let payload = frame(metadata(false, "FP32"), 1024).expect("a frame");
        let frame = frame::Frame::decode(&payload.bytes).expect("a frame");
        let x = frame.get("x").expect("the input");
        assert_eq!((x.dtype, x.shape.iter().collect::<Vec<_>>(), x.data), (DataType::F32, vec![1, 4], &[0; 16][..]));
    }

    #[test]
    fn models_with_plugins_or_strings_are_rejected() {
        assert!(frame(metadata(true, "FP32"), 1024).expect_err("bytes").contains("pre plugin"));
        assert!(frame(metadata(false, "BYTES"), 1024).expect_err("text").contains("BYTES"));
    }
}
