//! Reads a request's map, from JSON or MessagePack, in one pass if the order of keys allows it.
//!
//! Reading `data` requires `datatype` and `shape`. If a writer sorts its keys, `data` precedes them.
//! The first pass then skips it and collects types and shapes for a second pass.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use inferbus_abi::frame::DataType;
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::data::DataSeed;
use crate::data_type::by_name;
use crate::fault::{Wrong, quoted};
use crate::limits::{MAX_DATA, MAX_DIMENSION, MAX_ID, MAX_NAME, MAX_RANK, MAX_TENSORS};

pub(crate) struct Document<'de> {
    pub id: Option<String>,
    /// Whether binary data is the default for outputs.
    pub binary_output: Option<bool>,
    pub inputs: Vec<Given<'de>>,
    pub outputs: Vec<Wanted>,
}

/// One input.
pub(crate) struct Given<'de> {
    pub name: String,
    pub dtype: DataType,
    pub shape: Vec<u64>,
    pub data: Data<'de>,
    pub binary_size: Option<u64>,
}

pub(crate) enum Data<'de> {
    Missing,
    /// Skipped, because it precedes its type and shape.
    Unread,
    Here(Cow<'de, [u8]>),
}

/// One requested output.
#[derive(Debug)]
pub(crate) struct Wanted {
    pub name: String,
    pub binary: Option<bool>,
}

/// An input's facts from the first pass.
pub(crate) struct Known {
    pub name: String,
    pub dtype: DataType,
    pub shape: Vec<u64>,
}

/// The state of one pass.
pub(crate) struct Reading<'k> {
    known: &'k [Known],
    room: usize,
    /// The most elements in the request's bytes.
    most: usize,
}

impl<'k> Reading<'k> {
    pub(crate) fn new(known: &'k [Known], bytes: usize) -> Self {
        Self { known, room: MAX_DATA, most: bytes }
    }
}

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "snake_case")]
enum Key {
    Id,
    Parameters,
    Inputs,
    Outputs,
    Name,
    Shape,
    Datatype,
    Data,
    #[serde(other)]
    Other,
}

/// The supported parameters of any part.
#[derive(Default, Deserialize)]
struct Parameters {
    binary_data_size: Option<u64>,
    binary_data: Option<bool>,
    binary_data_output: Option<bool>,
    classification: Option<IgnoredAny>,
    shared_memory_region: Option<IgnoredAny>,
}

impl Parameters {
    fn supported<E: Error>(self) -> Result<Self, E> {
        match &self {
            Self { shared_memory_region: Some(_), .. } => Err(E::custom(Wrong::SharedMemory)),
            Self { classification: Some(_), .. } => Err(E::custom(Wrong::Classification)),
            _ => Ok(self),
        }
    }
}

impl<'de> DeserializeSeed<'de> for &mut Reading<'_> {
    type Value = Document<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Document<'de>, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for &mut Reading<'_> {
    type Value = Document<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map with `inputs`")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Document<'de>, A::Error> {
        const PLACE: &str = "the request";
        let (mut id, mut parameters, mut inputs, mut outputs) = (None, None, None, None);
        while let Some(key) = map.next_key()? {
            match key {
                Key::Id => once(&mut id, "id", PLACE, map.next_value::<Option<String>>()?)?,
                Key::Parameters => once(&mut parameters, "parameters", PLACE, map.next_value()?)?,
                Key::Inputs => once(&mut inputs, "inputs", PLACE, map.next_value_seed(Parts::new(&mut *self))?)?,
                Key::Outputs => once(&mut outputs, "outputs", PLACE, map.next_value_seed(Parts::new(&mut *self))?)?,
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        let id = id.flatten();
        if id.as_ref().is_some_and(|id| id.len() > MAX_ID) {
            return Err(A::Error::custom(Wrong::LongId));
        }
        let parameters: Parameters = parameters.flatten().unwrap_or_default();
        let inputs = inputs.ok_or_else(|| A::Error::custom(Wrong::Missing { key: "inputs", place: PLACE }))?;
        let outputs = outputs.unwrap_or_default();
        Ok(Document { id, binary_output: parameters.supported()?.binary_data_output, inputs, outputs })
    }
}

fn once<T, E: Error>(place: &mut Option<T>, key: &'static str, of: &'static str, value: T) -> Result<(), E> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(E::custom(Wrong::Twice { key, place: of })),
    }
}

/// An entry of `inputs` or `outputs`.
trait Part<'de>: Sized {
    const WHAT: &'static str;

    fn name(&self) -> &str;

    fn read<A: MapAccess<'de>>(reading: &mut Reading<'_>, index: usize, map: A) -> Result<Self, A::Error>;
}

/// A list of parts.
struct Parts<'r, 'k, P> {
    reading: &'r mut Reading<'k>,
    part: PhantomData<P>,
}

impl<'r, 'k, P> Parts<'r, 'k, P> {
    fn new(reading: &'r mut Reading<'k>) -> Self {
        Self { reading, part: PhantomData }
    }
}

impl<'de, P: Part<'de>> DeserializeSeed<'de> for Parts<'_, '_, P> {
    type Value = Vec<P>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Vec<P>, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de, P: Part<'de>> Visitor<'de> for Parts<'_, '_, P> {
    type Value = Vec<P>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a list of {}", P::WHAT)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<P>, A::Error> {
        let mut parts: Vec<P> = Vec::new();
        loop {
            let one = One { reading: &mut *self.reading, index: parts.len(), part: PhantomData::<P> };
            let Some(part) = list.next_element_seed(one)? else { return Ok(parts) };
            if parts.len() == MAX_TENSORS {
                return Err(A::Error::custom(Wrong::TooMany { what: P::WHAT }));
            }
            if part.name().len() > MAX_NAME {
                return Err(A::Error::custom(Wrong::LongName));
            }
            if parts.iter().any(|earlier| earlier.name() == part.name()) {
                let name = quoted(part.name());
                return Err(A::Error::custom(Wrong::SameName { what: P::WHAT, name }));
            }
            parts.push(part);
        }
    }
}

struct One<'r, 'k, P> {
    reading: &'r mut Reading<'k>,
    index: usize,
    part: PhantomData<P>,
}

impl<'de, P: Part<'de>> DeserializeSeed<'de> for One<'_, '_, P> {
    type Value = P;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<P, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de, P: Part<'de>> Visitor<'de> for One<'_, '_, P> {
    type Value = P;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a map, one of the {}", P::WHAT)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<P, A::Error> {
        P::read(self.reading, self.index, map)
    }
}

impl<'de> Part<'de> for Given<'de> {
    const WHAT: &'static str = "inputs";

    fn name(&self) -> &str {
        &self.name
    }

    fn read<A: MapAccess<'de>>(reading: &mut Reading<'_>, index: usize, mut map: A) -> Result<Self, A::Error> {
        const PLACE: &str = "an input";
        let missing = |key| A::Error::custom(Wrong::Missing { key, place: PLACE });
        let (mut name, mut dtype, mut shape, mut parameters, mut data) = (None, None, None, None, None);
        while let Some(key) = map.next_key()? {
            match key {
                Key::Name => once(&mut name, "name", PLACE, map.next_value::<String>()?)?,
                Key::Datatype => once(&mut dtype, "datatype", PLACE, map.next_value::<Type>()?.0)?,
                Key::Shape => once(&mut shape, "shape", PLACE, map.next_value::<Dimensions>()?.0)?,
                Key::Parameters => once(&mut parameters, "parameters", PLACE, map.next_value()?)?,
                Key::Data => {
                    let declared = dtype.zip(shape.as_deref());
                    let read = reading.data(index, name.as_deref(), declared, &mut map)?;
                    once(&mut data, "data", PLACE, read)?;
                }
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        let parameters: Parameters = parameters.flatten().unwrap_or_default();
        Ok(Self {
            name: name.ok_or_else(|| missing("name"))?,
            dtype: dtype.ok_or_else(|| missing("datatype"))?,
            shape: shape.ok_or_else(|| missing("shape"))?,
            data: data.unwrap_or(Data::Missing),
            binary_size: parameters.supported()?.binary_data_size,
        })
    }
}

impl Reading<'_> {
    fn data<'de, A: MapAccess<'de>>(
        &mut self,
        index: usize,
        name: Option<&str>,
        declared: Option<(DataType, &[u64])>,
        map: &mut A,
    ) -> Result<Data<'de>, A::Error> {
        let known = self.known.get(index);
        let Some((dtype, shape)) = declared.or(known.map(|known| (known.dtype, known.shape.as_slice()))) else {
            map.next_value::<IgnoredAny>()?;
            return Ok(Data::Unread);
        };
        let seed = DataSeed { dtype, shape, room: self.room, most: self.most };
        let data = map.next_value_seed(seed).map_err(|fault| {
            A::Error::custom(match name.or(known.map(|known| known.name.as_str())) {
                Some(name) => format!("input {:?}: {fault}", quoted(name)),
                None => format!("inputs[{index}]: {fault}"),
            })
        })?;
        // Borrowed bytes do not need memory.
        if let Cow::Owned(data) = &data {
            self.room -= data.len().min(self.room);
        }
        Ok(Data::Here(data))
    }
}

impl<'de> Part<'de> for Wanted {
    const WHAT: &'static str = "outputs";

    fn name(&self) -> &str {
        &self.name
    }

    fn read<A: MapAccess<'de>>(_: &mut Reading<'_>, _: usize, mut map: A) -> Result<Self, A::Error> {
        const PLACE: &str = "an output";
        let (mut name, mut parameters) = (None, None);
        while let Some(key) = map.next_key()? {
            match key {
                Key::Name => once(&mut name, "name", PLACE, map.next_value::<String>()?)?,
                Key::Parameters => once(&mut parameters, "parameters", PLACE, map.next_value()?)?,
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        let parameters: Parameters = parameters.flatten().unwrap_or_default();
        let name = name.ok_or_else(|| A::Error::custom(Wrong::Missing { key: "name", place: PLACE }))?;
        Ok(Self { name, binary: parameters.supported()?.binary_data })
    }
}

struct Type(DataType);

impl<'de> Deserialize<'de> for Type {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = Cow::<str>::deserialize(deserializer)?;
        by_name(&name).map(Self).ok_or_else(|| D::Error::custom(Wrong::DataType { name: quoted(&name) }))
    }
}

struct Dimensions(Vec<u64>);

impl<'de> Deserialize<'de> for Dimensions {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(DimensionsVisitor).map(Self)
    }
}

struct DimensionsVisitor;

impl<'de> Visitor<'de> for DimensionsVisitor {
    type Value = Vec<u64>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of dimensions")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<u64>, A::Error> {
        let mut dimensions = Vec::new();
        while let Some(dimension) = list.next_element()? {
            if dimensions.len() == MAX_RANK {
                return Err(A::Error::custom(Wrong::Rank));
            }
            if dimension > MAX_DIMENSION {
                return Err(A::Error::custom(Wrong::Dimension));
            }
            dimensions.push(dimension);
        }
        Ok(dimensions)
    }
}
