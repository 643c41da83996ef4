//! THE CALL: one message through one plugin.
//!
//! Promises: every message starts from the state that `init` left, because every message gets an instance of
//! its own, made and initialised for it. Whatever goes wrong costs that instance and nothing else.

use std::sync::Arc;

use inferbus_abi::Returned;

use crate::fault::Fault;
use crate::limits;
use crate::live::Live;
use crate::log::{LogLine, borrowed};
use crate::plugin::Loaded;
use crate::ring::Emit;
use crate::text::printable;

/// One lane's use of one plugin: one call at a time.
pub struct Instance {
    plugin: Arc<Loaded>,
    /// The instance of the last successful call, whose memory the reply still borrows.
    live: Option<Live>,
}

/// What a plugin made of a message.
#[derive(Debug, PartialEq, Eq)]
pub struct Reply<'a> {
    /// The result's bytes where the guest left them; `None` when there is no result.
    pub output: Option<&'a [u8]>,
    pub emits: Vec<Emit>,
}

impl Instance {
    pub(crate) fn new(plugin: Arc<Loaded>) -> Self {
        Self { plugin, live: None }
    }

    /// Has the guest make room for `len` bytes, lets `fill` write every one of them there, and runs
    /// `transform`. The log's lines come when the guest is done, also when the call failed.
    pub fn call(
        &mut self,
        len: usize,
        fill: &mut dyn FnMut(&mut [u8]),
        log: &mut dyn FnMut(LogLine<'_>),
    ) -> Result<Reply<'_>, Fault> {
        // Its slot in the pool is free again before another is asked for.
        self.live = None;
        let mut live = Live::start(&self.plugin)?;
        live.init(&self.plugin.config)?;
        let returned = live.message(len, fill);
        let state = live.state_mut();
        let emits = std::mem::take(&mut state.emits);
        borrowed(&std::mem::take(&mut state.log).into_lines()).for_each(log);
        let answer = answer(&live, returned?)?;
        let live = self.live.insert(live);
        let output = answer.map(|(ptr, len)| live.bytes(RESULT, ptr, len)).transpose()?;
        Ok(Reply { output, emits })
    }
}

const RESULT: &str = "its result";

/// Where the result lies, after every check that could still cost the instance.
fn answer(live: &Live, returned: Returned) -> Result<Option<(u32, u32)>, Fault> {
    match returned {
        Returned::Nothing => Ok(None),
        Returned::Output { ptr, len } => {
            let limit = live.state().bounds.output;
            if len as usize > limit {
                return Err(Fault::OutputTooLarge { len, limit });
            }
            live.bytes(RESULT, ptr, len)?;
            Ok(Some((ptr, len)))
        }
        Returned::Error { ptr, len } => {
            let message = live.bytes("its error message", ptr, len)?;
            Err(Fault::Refused(printable(message, limits::QUOTED_BYTES)))
        }
    }
}
