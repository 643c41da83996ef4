//! A transform as a native function with its buffers.

use inferbus_abi::ALIGNMENT;
use inferbus_abi::frame::{self, DataType};
use inferbus_pipeline::{Stage, Transform};
use inferbus_sandbox::{Emit, Fault, LogLine, Reply};

pub(super) type Function = fn(&[u8], &mut Output) -> Result<(), String>;

/// The transforms of a workload.
#[derive(Clone, Copy)]
pub struct Both {
    pub(super) pre: Function,
    pub(super) post: Function,
}

impl Both {
    pub fn stage(self, stage: Stage) -> Box<dyn Transform> {
        let function = match stage {
            Stage::Post => self.post,
            Stage::Pre | Stage::Infer => self.pre,
        };
        Box::new(Native { function, input: Vec::new(), output: Output::default() })
    }
}

/// One stage. Messages share its buffers.
struct Native {
    function: Function,
    input: Vec<u8>,
    output: Output,
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
        self.output.is_result = false;
        (self.function)(&self.input, &mut self.output).map_err(Fault::Refused)?;
        let emits = std::mem::take(&mut self.output.emits);
        Ok(Reply { output: self.output.is_result.then(|| self.output.bytes()), emits })
    }
}

/// Output bytes, aligned for a frame.
#[derive(Default)]
pub(super) struct Output {
    bytes: Vec<u8>,
    start: usize,
    is_result: bool,
    pub(super) emits: Vec<Emit>,
}

impl Output {
    fn bytes(&self) -> &[u8] {
        self.bytes.get(self.start..).unwrap_or_default()
    }

    fn aligned(&mut self, len: usize) -> &mut [u8] {
        self.bytes.resize(len + ALIGNMENT, 0);
        let address = self.bytes.as_ptr().addr();
        self.start = address.next_multiple_of(ALIGNMENT) - address;
        self.bytes.truncate(self.start + len);
        self.is_result = true;
        self.bytes.get_mut(self.start..).unwrap_or_default()
    }

    /// Writes a frame of one tensor. `fill` writes the elements in place.
    pub(super) fn tensor(
        &mut self,
        name: &str,
        shape: &[u64],
        fill: impl FnOnce(&mut [f32]) -> Result<(), String>,
    ) -> Result<(), String> {
        let len = frame::blank_len(name, DataType::F32, shape.into()).map_err(|fault| fault.to_string())?;
        let data = frame::blank_into(name, DataType::F32, shape.into(), self.aligned(len));
        let data = data.map_err(|fault| fault.to_string())?;
        fill(bytemuck::try_cast_slice_mut(data).map_err(|fault| fault.to_string())?)
    }

    pub(super) fn text(&mut self, text: &str) {
        self.start = 0;
        self.bytes.clear();
        self.bytes.extend(text.as_bytes());
        self.is_result = true;
    }
}
