//! Reads a model's bytes before ONNX Runtime does, for what must not reach it.
//!
//! Tensors with external data make it read files, or even memory, that the model names; and the crate `ort`
//! panics on some inputs that are not tensors. Everything else is left to ONNX Runtime to judge.
//! The work is linear in the bytes and nests no deeper than protobuf allows.

use crate::{EngineFault, fault::one_line, limits::MAX_NESTING};

/// The kinds of messages on the way to a tensor or to a port's type, as `onnx.proto` has them.
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
}

impl Kind {
    /// The kind of message that this field of this kind holds, if it leads anywhere.
    fn child(self, field: u64) -> Option<Self> {
        Some(match (self, field) {
            (Self::Model, 7) => Self::MainGraph,
            (Self::Model, 20) => Self::Training,
            (Self::Model, 25) => Self::Function,
            (Self::Training, 1 | 2) => Self::Graph,
            (Self::MainGraph | Self::Graph, 1) | (Self::Function, 7) => Self::Node,
            (Self::MainGraph | Self::Graph, 5) => Self::Tensor,
            (Self::MainGraph | Self::Graph, 15) => Self::SparseTensor,
            // Ports of inner graphs stay inside ONNX Runtime and may be what they like.
            (Self::MainGraph, 11 | 12) => Self::Port,
            (Self::Port, 2) => Self::Type,
            (Self::Node, 5) | (Self::Function, 11) => Self::Attribute,
            (Self::Attribute, 5 | 10) | (Self::SparseTensor, 1 | 2) => Self::Tensor,
            (Self::Attribute, 6 | 11) => Self::Graph,
            (Self::Attribute, 22 | 23) => Self::SparseTensor,
            _ => return None,
        })
    }
}

const PORT_NAME: u64 = 1;
const TENSOR_NAME: u64 = 8;
const TENSOR_EXTERNAL_DATA: u64 = 13;
const TENSOR_DATA_LOCATION: u64 = 14;
const TYPE_TENSOR: u64 = 1;
const TYPE_DENOTATION: u64 = 6;

/// Refuses what must not reach ONNX Runtime.
pub(crate) fn screen(bytes: &[u8]) -> Result<(), EngineFault> {
    message(Kind::Model, bytes, 0, "", 0)
}

/// One message at byte `at` of the file, inside the port called `port` if it is a port's type.
fn message(kind: Kind, bytes: &[u8], at: usize, port: &str, depth: usize) -> Result<(), EngineFault> {
    if depth > MAX_NESTING {
        return Err(EngineFault::TooDeep);
    }
    let name = match kind {
        Kind::Port => last_text(bytes, at, PORT_NAME)?,
        _ => port.to_owned(),
    };
    let mut reader = Reader { rest: bytes, at };
    while let Some((field, inside, value)) = reader.field()? {
        match (kind, field, value) {
            (Kind::Tensor, TENSOR_EXTERNAL_DATA, _) | (Kind::Tensor, TENSOR_DATA_LOCATION, Value::Number(1..)) => {
                return Err(EngineFault::ExternalData { tensor: last_text(bytes, at, TENSOR_NAME)? });
            }
            (Kind::Type, field, _) if !matches!(field, TYPE_TENSOR | TYPE_DENOTATION) => {
                return Err(EngineFault::NotATensor { port: name });
            }
            (_, _, Value::Bytes(inner)) => {
                if let Some(child) = kind.child(field) {
                    message(child, inner, inside, &name, depth + 1)?;
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// The text in a field: where protobuf finds a field twice, the last one counts.
fn last_text(bytes: &[u8], at: usize, wanted: u64) -> Result<String, EngineFault> {
    let mut text = String::new();
    let mut reader = Reader { rest: bytes, at };
    while let Some((field, _, value)) = reader.field()? {
        if let Value::Bytes(bytes) = value
            && field == wanted
        {
            text = one_line(&String::from_utf8_lossy(bytes));
        }
    }
    Ok(text)
}

enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
    /// Four or eight bytes; nothing here asks for them.
    Fixed,
}

/// Reads protobuf's wire format.
struct Reader<'a> {
    rest: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// The next field's number, where its value starts, and the value.
    fn field(&mut self) -> Result<Option<(u64, usize, Value<'a>)>, EngineFault> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let key = self.varint()?;
        // Protobuf drops what is above 32 bits here, and so must we, or a field could hide from us there.
        let field = (key & u64::from(u32::MAX)) >> 3;
        let mut at = self.at;
        let value = match key & 7 {
            0 => Value::Number(self.varint()?),
            1 => self.take(8).map(|_| Value::Fixed)?,
            2 => {
                let len = self.varint()?;
                at = self.at;
                Value::Bytes(self.take(usize::try_from(len).unwrap_or(usize::MAX))?)
            }
            5 => self.take(4).map(|_| Value::Fixed)?,
            _ => {
                return Err(EngineFault::NotOnnx { what: "a field of no known kind", at });
            }
        };
        Ok(Some((field, at, value)))
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], EngineFault> {
        let cut = EngineFault::NotOnnx { what: "a field that is longer than what is left", at: self.at };
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(cut)?;
        self.rest = rest;
        self.at += len;
        Ok(taken)
    }

    fn varint(&mut self) -> Result<u64, EngineFault> {
        let start = self.at;
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let &[byte] = self.take(1)? else { break };
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(EngineFault::NotOnnx { what: "a number that does not end", at: start })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn graphs_that_nest_for_ever_are_refused() {
        let mut graph = Vec::new();
        for _ in 0..MAX_NESTING {
            graph = wrap(1, &wrap(5, &wrap(6, &graph)));
        }
        assert_eq!(screen(&wrap(7, &graph)), Err(EngineFault::TooDeep));
    }

    #[test]
    fn what_is_no_protobuf_is_refused_with_the_place() {
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
