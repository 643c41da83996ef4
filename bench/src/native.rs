//! The workloads' pre and post compiled into the worker: the same functions as in the plugins, without a sandbox.

mod stages;

use std::sync::OnceLock;

use inferbus::job::{Stage, Transform};
use inferbus_abi::ALIGNMENT;
use inferbus_abi::frame::{self, DataType};
use inferbus_sandbox::{Emit, Fault, LogLine, Reply};

type Function = fn(&[u8], &mut Room) -> Result<(), String>;

/// What a workload does around its model.
#[derive(Clone, Copy)]
pub struct Both {
    pre: Function,
    post: Function,
}

/// Of the process that is told a workload.
static CHOSEN: OnceLock<Both> = OnceLock::new();

/// Decides what [`transform`] gives. Says whether there is such a workload.
pub fn choose(workload: &str) -> bool {
    both(workload).is_some_and(|both| CHOSEN.set(both).is_ok())
}

/// What [`inferbus::models::bundle::Loader::transform`] wants, but for the plugin: the digits', unless another workload was chosen.
pub fn transform(stage: Stage) -> Box<dyn Transform> {
    CHOSEN.get().copied().unwrap_or(stages::DIGITS).stage(stage)
}

pub fn both(workload: &str) -> Option<Both> {
    stages::of(workload)
}

impl Both {
    pub fn stage(self, stage: Stage) -> Box<dyn Transform> {
        let function = match stage {
            Stage::Post => self.post,
            Stage::Pre | Stage::Infer => self.pre,
        };
        Box::new(Native { function, input: Vec::new(), output: Room::default() })
    }
}

/// One stage and its buffers, which every message uses again.
struct Native {
    function: Function,
    input: Vec<u8>,
    output: Room,
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

/// Bytes that begin where a frame may.
#[derive(Default)]
struct Room {
    bytes: Vec<u8>,
    start: usize,
    is_result: bool,
    emits: Vec<Emit>,
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
        self.is_result = true;
        self.bytes.get_mut(self.start..).unwrap_or_default()
    }

    /// A frame of one tensor, whose elements `fill` writes where the model reads them.
    fn tensor(
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

    fn text(&mut self, text: &str) {
        self.start = 0;
        self.bytes.clear();
        self.bytes.extend(text.as_bytes());
        self.is_result = true;
    }
}
