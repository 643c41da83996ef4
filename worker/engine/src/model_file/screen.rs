//! Rejects models that are dangerous for ONNX Runtime:
//!
//! - external data: it makes ONNX Runtime read files, or even memory, at the model's choice;
//! - inputs and outputs other than tensors: the crate `ort` panics on some of them;
//! - custom operators, parts compiled for a device and ONNX Runtime's own format: their content cannot be checked;
//! - absurd shapes: they have crashed processes.
//!
//! ONNX Runtime judges everything else, in the trial process. The work is linear in the bytes, and its recursion is as
//! deep as protobuf allows.

use super::protobuf::{Reader, Value, last_text};
use crate::limits::{MAX_ELEMENTS, MAX_NESTING};
use crate::{Allow, EngineFault};

/// The message types of `onnx.proto` that lead to a tensor or to a shape.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Model,
    Training,
    MainGraph,
    Graph,
    Function,
    Node,
    Attribute,
    SparseTensor,
    Tensor,
    Port,
    Type,
    /// A value inside a graph, of any type.
    Value,
    ValueType,
    TensorType,
    Shape,
}

impl Kind {
    /// The kind of message in this field, if it leads to a tensor or a shape.
    fn child(self, field: u64) -> Option<Self> {
        Some(match (self, field) {
            (Self::Model, 7) => Self::MainGraph,
            (Self::Model, 20) => Self::Training,
            (Self::Model, 25) => Self::Function,
            (Self::Training, 1 | 2) => Self::Graph,
            (Self::MainGraph | Self::Graph, 1) | (Self::Function, 7) => Self::Node,
            (Self::MainGraph | Self::Graph, 5) => Self::Tensor,
            (Self::MainGraph | Self::Graph, 15) => Self::SparseTensor,
            (Self::MainGraph, 11 | 12) => Self::Port,
            (Self::Port, 2) => Self::Type,
            (Self::MainGraph, 13) | (Self::Graph, 11..=13) | (Self::Function, 12) => Self::Value,
            (Self::Value, 2) => Self::ValueType,
            (Self::Type | Self::ValueType, 1 | 8) => Self::TensorType,
            (Self::TensorType, 2) => Self::Shape,
            (Self::Node, 5) | (Self::Function, 11) => Self::Attribute,
            (Self::Attribute, 5 | 10) | (Self::SparseTensor, 1 | 2) => Self::Tensor,
            (Self::Attribute, 6 | 11) => Self::Graph,
            (Self::Attribute, 22 | 23) => Self::SparseTensor,
            _ => return None,
        })
    }

    /// The field with this kind's name.
    const fn name_field(self) -> Option<u64> {
        match self {
            Self::Port | Self::Value => Some(1),
            Self::Tensor => Some(8),
            _ => None,
        }
    }
}

const MODEL_FUNCTION: u64 = 25;
const FUNCTION_DOMAIN: u64 = 10;
const NODE_OPERATOR: u64 = 4;
const NODE_DOMAIN: u64 = 7;
const TENSOR_DIMS: u64 = 1;
const TENSOR_TYPE: u64 = 2;
const TENSOR_RAW_DATA: u64 = 9;
const TENSOR_EXTERNAL_DATA: u64 = 13;
const TENSOR_DATA_LOCATION: u64 = 14;
const SPARSE_DIMS: u64 = 3;
const SHAPE_DIM: u64 = 1;
const DIM_VALUE: u64 = 1;
const TYPE_TENSOR: u64 = 1;
const TYPE_DENOTATION: u64 = 6;

/// Bytes 4 to 8 of ONNX Runtime's own format.
const ORT_FORMAT: &[u8] = b"ORTM";

/// The operator domains of every ONNX Runtime.
const SHIPPED: [&str; 7] = [
    "",
    "ai.onnx",
    "ai.onnx.ml",
    "ai.onnx.training",
    "ai.onnx.preview.training",
    "com.microsoft",
    "com.microsoft.nchwc",
];

/// Whether ONNX Runtime would recognise its own format.
pub(crate) fn is_ort_format(bytes: &[u8]) -> bool {
    bytes.get(4..8) == Some(ORT_FORMAT)
}

/// Rejects a dangerous model.
pub(super) fn screen(bytes: &[u8], allow: Allow) -> Result<(), EngineFault> {
    if is_ort_format(bytes) {
        return if allow.ort_format { Ok(()) } else { Err(EngineFault::OrtFormat) };
    }
    let screen = Screen { allow, own_domains: own_domains(bytes)? };
    screen.message(Kind::Model, bytes, 0, "", 0)
}

/// The domains of the model's own functions.
fn own_domains(bytes: &[u8]) -> Result<Vec<String>, EngineFault> {
    let mut domains = Vec::new();
    let mut reader = Reader::new(bytes, 0);
    while let Some((field, at, value)) = reader.field()? {
        if let (MODEL_FUNCTION, Value::Bytes(function)) = (field, value) {
            domains.push(last_text(function, at, FUNCTION_DOMAIN)?);
        }
    }
    domains.sort_unstable();
    domains.dedup();
    Ok(domains)
}

struct Screen {
    allow: Allow,
    /// Sorted.
    own_domains: Vec<String>,
}

impl Screen {
    /// Screens one message at byte `at` of the file. If it is a value's type, `outer` is the value's name.
    fn message(&self, kind: Kind, bytes: &[u8], at: usize, outer: &str, depth: usize) -> Result<(), EngineFault> {
        if depth > MAX_NESTING {
            return Err(EngineFault::TooDeep);
        }
        let name = match kind.name_field() {
            Some(field) => last_text(bytes, at, field)?,
            None => outer.to_owned(),
        };
        match kind {
            Kind::Node => self.node(bytes, at)?,
            Kind::Tensor => tensor(bytes, at, &name)?,
            Kind::SparseTensor => within(dims(bytes, at, SPARSE_DIMS)?, &name)?,
            Kind::Shape => within(shape(bytes, at)?, &name)?,
            _ => {}
        }
        let mut reader = Reader::new(bytes, at);
        while let Some((field, inside, value)) = reader.field()? {
            if kind == Kind::Type && !matches!(field, TYPE_TENSOR | TYPE_DENOTATION) {
                return Err(EngineFault::NotATensor { port: name });
            }
            if let (Some(child), Value::Bytes(inner)) = (kind.child(field), value) {
                self.message(child, inner, inside, &name, depth + 1)?;
            }
        }
        Ok(())
    }

    fn node(&self, bytes: &[u8], at: usize) -> Result<(), EngineFault> {
        let (operator, domain) = (last_text(bytes, at, NODE_OPERATOR)?, last_text(bytes, at, NODE_DOMAIN)?);
        if operator == "EPContext" && !self.allow.ep_context {
            return Err(EngineFault::EpContext);
        }
        if SHIPPED.contains(&domain.as_str()) || self.own_domains.binary_search(&domain).is_ok() {
            return Ok(());
        }
        Err(EngineFault::UnknownDomain { operator, domain })
    }
}

fn tensor(bytes: &[u8], at: usize, name: &str) -> Result<(), EngineFault> {
    let (mut kind, mut raw) = (0, None);
    let mut reader = Reader::new(bytes, at);
    while let Some((field, _, value)) = reader.field()? {
        match (field, value) {
            (TENSOR_EXTERNAL_DATA, _) | (TENSOR_DATA_LOCATION, Value::Number(1..)) => {
                return Err(EngineFault::ExternalData { tensor: name.to_owned() });
            }
            (TENSOR_TYPE, Value::Number(number)) => kind = number,
            (TENSOR_RAW_DATA, Value::Bytes(data)) => raw = Some(data.len() as u64),
            _ => {}
        }
    }
    let elements = dims(bytes, at, TENSOR_DIMS)?;
    within(elements, name)?;
    match (raw, elements, element_bytes(kind)) {
        (Some(found), Some(elements), Some(size)) if found != elements * size => {
            Err(EngineFault::WrongLength { tensor: name.to_owned(), found, expected: elements * size })
        }
        _ => Ok(()),
    }
}

/// The bytes of one element of this type of `onnx.proto`, unless it is smaller than a byte.
const fn element_bytes(kind: u64) -> Option<u64> {
    Some(match kind {
        2 | 3 | 9 => 1,
        4 | 5 | 10 | 16 => 2,
        1 | 6 | 12 => 4,
        7 | 11 | 13 | 14 => 8,
        15 => 16,
        _ => return None,
    })
}

/// Rejects an absurd number of elements.
fn within(elements: Option<u64>, name: &str) -> Result<(), EngineFault> {
    match elements {
        Some(0..=MAX_ELEMENTS) => Ok(()),
        _ => Err(EngineFault::AbsurdShape { name: name.to_owned() }),
    }
}

/// The product of the dimensions in this field, single or packed. A negative dimension reads as a huge one.
fn dims(bytes: &[u8], at: usize, wanted: u64) -> Result<Option<u64>, EngineFault> {
    let mut product = Some(1_u64);
    let mut reader = Reader::new(bytes, at);
    while let Some((field, inside, value)) = reader.field()? {
        match value {
            Value::Number(size) if field == wanted => product = times(product, size),
            Value::Bytes(packed) if field == wanted => {
                let mut packed = Reader::new(packed, inside);
                while !packed.is_empty() {
                    product = times(product, packed.varint()?);
                }
            }
            _ => {}
        }
    }
    Ok(product)
}

/// The product of the fixed dimensions.
fn shape(bytes: &[u8], at: usize) -> Result<Option<u64>, EngineFault> {
    let mut product = Some(1_u64);
    let mut reader = Reader::new(bytes, at);
    while let Some((field, inside, value)) = reader.field()? {
        if let (SHAPE_DIM, Value::Bytes(dim)) = (field, value) {
            let mut reader = Reader::new(dim, inside);
            while let Some((field, _, value)) = reader.field()? {
                match value {
                    // Some exporters write -1 for an open size.
                    Value::Number(size) if field == DIM_VALUE && size != u64::MAX => product = times(product, size),
                    _ => {}
                }
            }
        }
    }
    Ok(product)
}

/// `None` once the product is too large, even before a later dimension of zero.
fn times(product: Option<u64>, size: u64) -> Option<u64> {
    product?.checked_mul(size).filter(|product| *product <= MAX_ELEMENTS && size <= MAX_ELEMENTS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn screen(bytes: &[u8]) -> Result<(), EngineFault> {
        super::screen(bytes, Allow::default())
    }

    /// A length-delimited field.
    fn wrap(field: u8, inner: &[u8]) -> Vec<u8> {
        let key = (u16::from(field) << 3) | 2;
        let mut bytes = Vec::new();
        for mut number in [usize::from(key), inner.len()] {
            while number >= 0x80 {
                bytes.push(number as u8 | 0x80);
                number >>= 7;
            }
            bytes.push(number as u8);
        }
        bytes.extend_from_slice(inner);
        bytes
    }

    fn external(tensor: &str) -> Result<(), EngineFault> {
        Err(EngineFault::ExternalData { tensor: tensor.into() })
    }

    #[test]
    fn external_data_is_found_wherever_a_tensor_can_be() {
        let tensor = [wrap(8, b"w"), wrap(13, b"")].concat();
        let sparse = wrap(1, &tensor);
        let attributes = [wrap(5, &tensor), wrap(10, &tensor), wrap(22, &sparse), wrap(23, &sparse)];
        let inner_graph = wrap(5, &tensor);
        let nodes = attributes
            .into_iter()
            .chain([wrap(6, &inner_graph), wrap(11, &inner_graph)])
            .map(|attribute| wrap(5, &attribute));
        let graphs = nodes.map(|node| wrap(1, &node)).chain([wrap(5, &tensor), wrap(15, &sparse)]);
        for graph in graphs {
            assert_eq!(screen(&wrap(7, &graph)), external("w"), "{graph:02x?}");
            assert_eq!(screen(&wrap(20, &wrap(1, &graph))), external("w"), "{graph:02x?}");
        }
        let in_function = wrap(7, &wrap(5, &wrap(5, &tensor)));
        assert_eq!(screen(&wrap(25, &in_function)), external("w"));
        let default_of_function = wrap(11, &wrap(5, &tensor));
        assert_eq!(screen(&wrap(25, &default_of_function)), external("w"));
    }

    #[test]
    fn external_data_is_found_by_its_location_alone_and_before_its_name() {
        let location = [0x70, 1];
        assert_eq!(screen(&wrap(7, &wrap(5, &[location.as_slice(), &wrap(8, b"w")].concat()))), external("w"));
        let inside = [0x70, 0];
        assert_eq!(screen(&wrap(7, &wrap(5, &inside))), Ok(()));
    }

    #[test]
    fn a_field_does_not_hide_behind_bits_that_protobuf_drops() {
        // Field 13 with a bit above the 32nd set.
        let hidden = [0xea, 0x80, 0x80, 0x80, 0x10, 0];
        assert_eq!(screen(&wrap(7, &wrap(5, &hidden))), external(""));
    }

    #[test]
    fn only_the_main_graphs_ports_must_be_tensors() {
        let sequence = [wrap(1, b"many"), wrap(2, &wrap(4, b""))].concat();
        let refused = Err(EngineFault::NotATensor { port: "many".into() });
        assert_eq!(screen(&wrap(7, &wrap(11, &sequence))), refused);
        assert_eq!(screen(&wrap(7, &wrap(12, &sequence))), refused);
        let body = wrap(6, &wrap(11, &sequence));
        assert_eq!(screen(&wrap(7, &wrap(1, &wrap(5, &body)))), Ok(()));
    }

    #[test]
    fn graphs_with_deep_nesting_are_rejected() {
        let mut graph = Vec::new();
        for _ in 0..MAX_NESTING {
            graph = wrap(1, &wrap(5, &wrap(6, &graph)));
        }
        assert_eq!(screen(&wrap(7, &graph)), Err(EngineFault::TooDeep));
    }

    #[test]
    fn an_absurd_shape_is_rejected_in_every_place() {
        let absurd = |name: &str| Err(EngineFault::AbsurdShape { name: name.into() });
        // 2^21 twice, and once -2.
        let large = [0x08, 0x80, 0x80, 0x80, 0x01].repeat(2);
        let negative = vec![0x08, 0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
        for dims in [large, negative] {
            let tensor = [wrap(8, b"w"), dims.clone()].concat();
            assert_eq!(screen(&wrap(7, &wrap(5, &tensor))), absurd("w"), "{dims:02x?}");
            let packed = wrap(1, &dims.split(|byte| *byte == 0x08).flatten().copied().collect::<Vec<_>>());
            assert_eq!(screen(&wrap(7, &wrap(5, &packed))), absurd(""), "{dims:02x?}");
            let attribute = wrap(5, &wrap(5, &tensor));
            assert_eq!(screen(&wrap(7, &wrap(1, &attribute))), absurd("w"));
            let each: Vec<u8> =
                dims.split(|byte| *byte == 0x08).skip(1).flat_map(|dim| wrap(1, &[&[8], dim].concat())).collect();
            let value = [wrap(1, b"v"), wrap(2, &wrap(1, &wrap(2, &each)))].concat();
            for place in [11, 12, 13] {
                assert_eq!(screen(&wrap(7, &wrap(place, &value))), absurd("v"), "{place}");
            }
            let body = wrap(1, &wrap(5, &wrap(6, &wrap(13, &value))));
            assert_eq!(screen(&wrap(7, &body)), absurd("v"));
        }
    }

    #[test]
    fn data_must_have_the_length_of_its_shape() {
        let tensor = |len| [&[0x08, 2, 0x10, 1][..], &wrap(9, &vec![0; len])].concat();
        assert_eq!(screen(&wrap(7, &wrap(5, &tensor(8)))), Ok(()));
        let refused = EngineFault::WrongLength { tensor: String::new(), found: 7, expected: 8 };
        assert_eq!(screen(&wrap(7, &wrap(5, &tensor(7)))), Err(refused));
    }

    #[test]
    fn only_operators_of_the_runtime_or_the_model_are_accepted() {
        let node = |domain: &[u8]| wrap(1, &[wrap(4, b"Spell"), wrap(7, domain)].concat());
        let refused = EngineFault::UnknownDomain { operator: "Spell".into(), domain: "my.ops".into() };
        assert_eq!(screen(&wrap(7, &node(b"my.ops"))), Err(refused));
        assert_eq!(screen(&wrap(7, &node(b"com.microsoft"))), Ok(()));
        let function = wrap(25, &wrap(10, b"my.ops"));
        assert_eq!(screen(&[wrap(7, &node(b"my.ops")), function].concat()), Ok(()));
        let inner = wrap(1, &wrap(5, &wrap(6, &node(b"my.ops"))));
        assert!(matches!(screen(&wrap(7, &inner)), Err(EngineFault::UnknownDomain { .. })));
    }

    #[test]
    fn opaque_models_need_an_allowance() {
        let context = wrap(7, &wrap(1, &[wrap(4, b"EPContext"), wrap(7, b"com.microsoft")].concat()));
        assert_eq!(screen(&context), Err(EngineFault::EpContext));
        let allow = Allow { ep_context: true, ..Allow::default() };
        assert_eq!(super::screen(&context, allow), Ok(()));
        let own = [&[8, 0, 0, 0], ORT_FORMAT, &[0; 8]].concat();
        assert_eq!(screen(&own), Err(EngineFault::OrtFormat));
        assert_eq!(super::screen(&own, Allow { ort_format: true, ..Allow::default() }), Ok(()));
    }

    #[test]
    fn broken_protobuf_is_rejected_with_its_position() {
        let at = |bytes: &[u8]| match screen(bytes) {
            Err(EngineFault::NotOnnx { at, .. }) => Some(at),
            _ => None,
        };
        assert_eq!(at(b"\x3a\x05abc"), Some(2));
        assert_eq!(at(&[0xff; 12]), Some(0));
        assert_eq!(at(b"\x3b"), Some(1));
        // Inside the graph's first node.
        assert_eq!(at(b"\x3a\x03\x0a\x01\x3b"), Some(5));
    }
}
