//! The operator sets declared in a model's file.

use super::protobuf::{Reader, Value};
use crate::EngineFault;
use crate::limits::MAX_OPSETS;

const MODEL_OPSET: u64 = 8;
const OPSET_DOMAIN: u64 = 1;
const OPSET_VERSION: u64 = 2;

/// Each domain with its version: `ai.onnx 17`.
pub fn opsets(model: &[u8]) -> Result<Vec<String>, EngineFault> {
    let mut found = Vec::new();
    let mut reader = Reader::new(model, 0);
    while let Some((field, at, value)) = reader.field()? {
        if let Value::Bytes(bytes) = value
            && field == MODEL_OPSET
            && found.len() < MAX_OPSETS
        {
            found.push(opset(bytes, at)?);
        }
    }
    Ok(found)
}

fn opset(bytes: &[u8], at: usize) -> Result<String, EngineFault> {
    let (mut domain, mut version) = (String::new(), 0);
    let mut reader = Reader::new(bytes, at);
    while let Some((field, _, value)) = reader.field()? {
        match (field, value) {
            (OPSET_DOMAIN, Value::Bytes(text)) => domain = crate::fault::one_line(&String::from_utf8_lossy(text)),
            (OPSET_VERSION, Value::Number(number)) => version = number,
            _ => {}
        }
    }
    let domain = if domain.is_empty() { "ai.onnx" } else { &domain };
    Ok(format!("{domain} {version}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_domain_is_listed_with_its_version() {
        let model = b"\x42\x04\x0a\x00\x10\x11\x42\x0e\x0a\x0aai.onnx.ml\x10\x03";
        assert_eq!(opsets(model), Ok(vec!["ai.onnx 17".to_owned(), "ai.onnx.ml 3".to_owned()]));
        assert!(opsets(b"\x42\x7f").is_err());
    }
}
