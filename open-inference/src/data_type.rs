//! The protocol's names of ONNX's element types.

use inferbus_abi::frame::DataType;

const NAMES: [(DataType, &str); 14] = [
    (DataType::Bool, "BOOL"),
    (DataType::U8, "UINT8"),
    (DataType::U16, "UINT16"),
    (DataType::U32, "UINT32"),
    (DataType::U64, "UINT64"),
    (DataType::I8, "INT8"),
    (DataType::I16, "INT16"),
    (DataType::I32, "INT32"),
    (DataType::I64, "INT64"),
    (DataType::F16, "FP16"),
    (DataType::F32, "FP32"),
    (DataType::F64, "FP64"),
    (DataType::Bf16, "BF16"),
    (DataType::String, "BYTES"),
];

/// The protocol's name; `None` for types unknown to the protocol.
pub fn name(dtype: DataType) -> Option<&'static str> {
    NAMES.iter().find(|(known, _)| *known == dtype).map(|(_, name)| *name)
}

/// The protocol's name, or ONNX's for other types, for errors.
pub(crate) fn display_name(dtype: DataType) -> &'static str {
    name(dtype).unwrap_or_else(|| dtype.name())
}

pub(crate) fn by_name(text: &str) -> Option<DataType> {
    NAMES.iter().find(|(_, name)| *name == text).map(|(dtype, _)| *dtype)
}
