//! The digit model's pre and post compiled into the worker: the same functions as in the plugins, without a sandbox.

use std::io::Write as _;

use digits::{CLASSES, Image, SIDE, ranked};
use inferbus::job::{Stage, Transform};
use inferbus_abi::ALIGNMENT;
use inferbus_abi::frame::{self, DataType, Frame, Tensor};
use inferbus_sandbox::{Fault, LogLine, Reply};

/// What [`inferbus::bundle::Loader::transform`] wants, but for the plugin.
pub fn transform(stage: Stage) -> Box<dyn Transform> {
    match stage {
        Stage::Post => Box::new(Native::of(post)),
        Stage::Pre | Stage::Infer => Box::new(Native::of(pre)),
    }
}

/// One stage and its buffers, which every message uses again.
struct Native {
    function: fn(&[u8], &mut Room) -> Result<(), String>,
    input: Vec<u8>,
    output: Room,
}

impl Native {
    fn of(function: fn(&[u8], &mut Room) -> Result<(), String>) -> Self {
        Self { function, input: Vec::new(), output: Room::default() }
    }
}

impl Transform for Native {
    fn call(
        &mut self,
        len: usize,
        fill: &mut dyn FnMut(&mut [u8]),
        _log: &mut dyn FnMut(LogLine<'_>),
    ) -> Result<Reply<'_>, Fault> {
        self.input.resize(len, 0);
        fill(&mut self.input);
        (self.function)(&self.input, &mut self.output).map_err(Fault::Refused)?;
        Ok(Reply { output: Some(self.output.bytes()), emits: Vec::new() })
    }
}

/// Bytes that begin where a frame may.
#[derive(Default)]
struct Room {
    bytes: Vec<u8>,
    start: usize,
    /// Elements on their way into a frame.
    data: Vec<u8>,
}

impl Room {
    fn bytes(&self) -> &[u8] {
        self.bytes.get(self.start..).unwrap_or_default()
    }

    fn aligned(&mut self, len: usize) -> &mut [u8] {
        self.bytes.resize(len + ALIGNMENT, 0);
        let address = self.bytes.as_ptr().addr();
        self.start = address.next_multiple_of(ALIGNMENT) - address;
        self.bytes.truncate(self.start + len);
        self.bytes.get_mut(self.start..).unwrap_or_default()
    }
}

/// What digits-pre 1.0.0 does.
fn pre(payload: &[u8], output: &mut Room) -> Result<(), String> {
    let image = Image::parse(payload).map_err(|fault| fault.to_string())?;
    if image.inverted {
        return Err("inverted images are read from version 1.1.0 on".into());
    }
    let mut data = std::mem::take(&mut output.data);
    data.clear();
    data.extend(image.cells().into_iter().flat_map(f32::to_le_bytes));
    let shape = [1, (SIDE * SIDE) as u64];
    let pixels = [Tensor { name: "pixels", dtype: DataType::F32, shape: (&shape).into(), data: &data }];
    let len = frame::encoded_len(&pixels).map_err(|fault| fault.to_string())?;
    frame::encode_into(&pixels, output.aligned(len)).map_err(|fault| fault.to_string())?;
    output.data = data;
    Ok(())
}

/// What digits-post 1.0.0 does.
fn post(payload: &[u8], output: &mut Room) -> Result<(), String> {
    let frame = Frame::decode(payload).map_err(|fault| fault.to_string())?;
    let logits = frame.tensors().next().filter(|tensor| tensor.dtype == DataType::F32).ok_or("no logits")?;
    let (elements, _) = logits.data.as_chunks();
    let mut numbers = [0.0; CLASSES];
    if elements.len() != numbers.len() {
        return Err(format!("{} logits", elements.len()));
    }
    for (number, bytes) in numbers.iter_mut().zip(elements) {
        *number = f32::from_le_bytes(*bytes);
    }
    let [first, ..] = ranked(&numbers).map_err(|fault| fault.to_string())?;
    output.start = 0;
    output.bytes.clear();
    write!(output.bytes, r#"{{"label":{},"confidence":{:.4}}}"#, first.label, first.confidence)
        .map_err(|fault| fault.to_string())
}
