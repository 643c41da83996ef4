//! Reads a tensor's `data`, a flat or nested list or bytes, into the model's layout.

use std::borrow::Cow;
use std::fmt;

use inferbus_abi::frame::{DataType, Shape};
use serde::de::{DeserializeSeed, Deserializer, Error, SeqAccess, Visitor};

use crate::data_type::display_name;
use crate::fault::{Wrong, quoted};
use crate::float::{BF16, FP16, Half};

/// Reads one tensor's data. `room` bounds its decoded bytes, `most` its elements.
pub(crate) struct DataSeed<'s> {
    pub dtype: DataType,
    pub shape: &'s [u64],
    pub room: usize,
    pub most: usize,
}

impl<'de> DeserializeSeed<'de> for DataSeed<'_> {
    type Value = Cow<'de, [u8]>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        let Self { dtype, shape, room, most } = self;
        // If elements overflow, the data cannot contain them.
        let elements = Shape::from(shape).elements().unwrap_or(u64::MAX);
        let size = (dtype.bits() / 8).max(1) as usize;
        let mut filling = Filling { dtype, shape, elements, count: 0, flat: None, room, out: Vec::new() };
        let expected = usize::try_from(elements).unwrap_or(usize::MAX).min(most).saturating_mul(size);
        filling.out.reserve(expected.min(room));
        let lent = deserializer.deserialize_any(Node { filling: &mut filling, depth: 0 })?;
        if let Some(bytes) = lent {
            return Ok(bytes);
        }
        if filling.count != elements {
            return Err(D::Error::custom(Wrong::FewerElements { found: filling.count, elements }));
        }
        Ok(Cow::Owned(filling.out))
    }
}

/// A partly read tensor.
struct Filling<'s> {
    dtype: DataType,
    shape: &'s [u64],
    elements: u64,
    count: u64,
    /// Whether all elements are in one list. The first element decides.
    flat: Option<bool>,
    room: usize,
    out: Vec<u8>,
}

/// A list or an element, inside `depth` lists.
struct Node<'f, 's> {
    filling: &'f mut Filling<'s>,
    depth: usize,
}

impl<'de> DeserializeSeed<'de> for Node<'_, '_> {
    type Value = Option<Cow<'de, [u8]>>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_, '_> {
    /// The whole tensor, if it was given as bytes.
    type Value = Option<Cow<'de, [u8]>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.depth == 0 { "a list of elements" } else { "an element, or a list of elements" })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let Self { filling, depth } = self;
        filling.enters(depth).map_err(A::Error::custom)?;
        let mut found = 0;
        while list.next_element_seed(Node { filling: &mut *filling, depth: depth + 1 })?.is_some() {
            found += 1;
        }
        filling.leaves(depth, found).map_err(A::Error::custom)?;
        Ok(None)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Self::Value, E> {
        self.element(Element::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Self::Value, E> {
        self.element(Element::Integer(value.into()))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Self::Value, E> {
        self.element(Element::Integer(value.into()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Self::Value, E> {
        self.element(Element::Float(value))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Self::Value, E> {
        self.element(Element::Text(value))
    }

    fn visit_borrowed_bytes<E: Error>(self, value: &'de [u8]) -> Result<Self::Value, E> {
        match self.depth {
            0 => Ok(Some(Cow::Borrowed(value))),
            _ => self.visit_bytes(value),
        }
    }

    fn visit_bytes<E: Error>(self, value: &[u8]) -> Result<Self::Value, E> {
        match (self.depth, std::str::from_utf8(value)) {
            (0, _) => Ok(Some(Cow::Owned(value.to_vec()))),
            (_, Ok(text)) => self.element(Element::Text(text)),
            (_, Err(_)) => {
                let (element, dtype) = (self.filling.count, display_name(self.filling.dtype));
                Err(E::custom(Wrong::Element { element, value: "a byte string other than text".into(), dtype }))
            }
        }
    }
}

impl Node<'_, '_> {
    fn element<'de, E: Error>(self, element: Element<'_>) -> Result<Option<Cow<'de, [u8]>>, E> {
        if self.depth == 0 {
            return Err(E::invalid_type(element.unexpected(), &self));
        }
        self.filling.places(self.depth).map_err(E::custom)?;
        self.filling.push(element).map_err(E::custom)?;
        self.filling.count += 1;
        Ok(None)
    }
}

impl Filling<'_> {
    fn enters(&self, depth: usize) -> Result<(), Wrong> {
        if depth > 0 && depth >= self.shape.len() { Err(Wrong::TooDeep) } else { Ok(()) }
    }

    fn leaves(&self, depth: usize, found: u64) -> Result<(), Wrong> {
        // Flat and empty lists are counted at the end.
        if depth == 0 && (found == 0 || self.flat == Some(true)) {
            return Ok(());
        }
        let expected = self.shape.get(depth).copied().unwrap_or_default();
        if expected == found { Ok(()) } else { Err(Wrong::Ragged { depth, found, expected }) }
    }

    /// Checks that an element may be at this depth.
    fn places(&mut self, depth: usize) -> Result<(), Wrong> {
        let nested = depth > 1 && depth == self.shape.len();
        match self.flat {
            None if depth == 1 || nested => self.flat = Some(depth == 1),
            Some(flat) if flat == (depth == 1) && (flat || nested) => {}
            _ => return Err(Wrong::Mixed),
        }
        if self.count == self.elements {
            return Err(Wrong::MoreElements { elements: self.elements });
        }
        Ok(())
    }

    fn push(&mut self, element: Element<'_>) -> Result<(), Wrong> {
        match self.dtype {
            DataType::Bool => match element {
                Element::Bool(value) => self.put(&[u8::from(value)]),
                Element::Integer(value @ (0 | 1)) => self.put(&[value as u8]),
                _ => Err(self.not(element)),
            },
            DataType::U8 => self.integer(element, |value| u8::try_from(value).map(u8::to_le_bytes)),
            DataType::U16 => self.integer(element, |value| u16::try_from(value).map(u16::to_le_bytes)),
            DataType::U32 => self.integer(element, |value| u32::try_from(value).map(u32::to_le_bytes)),
            DataType::U64 => self.integer(element, |value| u64::try_from(value).map(u64::to_le_bytes)),
            DataType::I8 => self.integer(element, |value| i8::try_from(value).map(i8::to_le_bytes)),
            DataType::I16 => self.integer(element, |value| i16::try_from(value).map(i16::to_le_bytes)),
            DataType::I32 => self.integer(element, |value| i32::try_from(value).map(i32::to_le_bytes)),
            DataType::I64 => self.integer(element, |value| i64::try_from(value).map(i64::to_le_bytes)),
            DataType::F16 => self.half(element, FP16),
            DataType::Bf16 => self.half(element, BF16),
            DataType::F32 => self.float(element, |value| ((value as f32).is_finite(), (value as f32).to_le_bytes())),
            DataType::F64 => self.float(element, |value| (value.is_finite(), value.to_le_bytes())),
            DataType::String => self.text(element),
            // The protocol cannot name the other types.
            _ => Err(self.not(element)),
        }
    }

    fn integer<const SIZE: usize, Misfit>(
        &mut self,
        element: Element<'_>,
        bytes: impl Fn(i128) -> Result<[u8; SIZE], Misfit>,
    ) -> Result<(), Wrong> {
        let Element::Integer(value) = element else { return Err(self.not(element)) };
        match bytes(value) {
            Ok(bytes) => self.put(&bytes),
            Err(_) => Err(self.out_of_range(element)),
        }
    }

    fn half(&mut self, element: Element<'_>, half: Half) -> Result<(), Wrong> {
        self.float(element, |value| {
            let bits = half.narrow(value);
            (half.is_finite(bits), bits.to_le_bytes())
        })
    }

    fn float<const SIZE: usize>(
        &mut self,
        element: Element<'_>,
        bytes: impl Fn(f64) -> (bool, [u8; SIZE]),
    ) -> Result<(), Wrong> {
        let value = match element {
            Element::Float(value) => value,
            Element::Integer(value) => value as f64,
            _ => return Err(self.not(element)),
        };
        match bytes(value) {
            (false, _) if value.is_finite() => Err(self.out_of_range(element)),
            (_, bytes) => self.put(&bytes),
        }
    }

    fn text(&mut self, element: Element<'_>) -> Result<(), Wrong> {
        let Element::Text(text) = element else { return Err(self.not(element)) };
        let len = u32::try_from(text.len()).map_err(|_| self.out_of_range(element))?;
        self.put(&len.to_le_bytes())?;
        self.put(text.as_bytes())
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), Wrong> {
        if self.out.len().saturating_add(bytes.len()) > self.room {
            return Err(Wrong::TooLarge);
        }
        self.out.extend_from_slice(bytes);
        Ok(())
    }

    fn not(&self, element: Element<'_>) -> Wrong {
        Wrong::Element { element: self.count, value: element.text(), dtype: display_name(self.dtype) }
    }

    fn out_of_range(&self, element: Element<'_>) -> Wrong {
        Wrong::Range { element: self.count, value: element.text(), dtype: display_name(self.dtype) }
    }
}

#[derive(Clone, Copy)]
enum Element<'e> {
    Bool(bool),
    Integer(i128),
    Float(f64),
    Text(&'e str),
}

impl<'e> Element<'e> {
    fn text(self) -> String {
        match self {
            Self::Bool(value) => value.to_string(),
            Self::Integer(value) => value.to_string(),
            Self::Float(value) => format!("{value:?}"),
            Self::Text(text) => format!("{:?}", quoted(text)),
        }
    }

    fn unexpected(self) -> serde::de::Unexpected<'e> {
        match self {
            Self::Bool(value) => serde::de::Unexpected::Bool(value),
            Self::Integer(_) => serde::de::Unexpected::Other("an integer"),
            Self::Float(value) => serde::de::Unexpected::Float(value),
            Self::Text(_) => serde::de::Unexpected::Other("a string"),
        }
    }
}
