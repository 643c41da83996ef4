//! The call: one message through one plugin.
//!
//! Guarantees: every message starts from the state after `init`, in a rewound or a new instance. A failed call costs
//! its instance and nothing else. Only successful calls keep their instance.

use std::sync::Arc;

use inferbus_abi::Returned;

use crate::host::emit::Emit;
use crate::host::fault::Fault;
use crate::host::log::{LogLine, as_log_lines};
use crate::limits;
use crate::live::LiveInstance;
use crate::plugin::{LoadedPlugin, Plugin, Reset};
use crate::text::printable;

/// One lane's use of one plugin: one call at a time.
pub struct Instance {
    plugin: Arc<LoadedPlugin>,
    /// The instance of the last successful call. Its reply borrows from the memory.
    live: Option<LiveInstance>,
}

/// The reply of a plugin to a message.
#[derive(Debug, PartialEq, Eq)]
pub struct Reply<'a> {
    /// The result in the memory of the guest. `None` without a result.
    pub output: Option<&'a [u8]>,
    pub emits: Vec<Emit>,
}

impl Plugin {
    /// An instance for one lane and one stage. Its memory is allocated at the first call.
    pub fn instance(&self) -> Instance {
        Instance { plugin: Arc::clone(&self.0), live: None }
    }
}

impl Instance {
    /// Allocates `len` bytes in the guest, fills them by `fill`, and runs `transform`. `fill` must write every byte.
    /// Log lines are passed to `log` after the run, also after a fault.
    pub fn call(
        &mut self,
        len: usize,
        fill: &mut dyn FnMut(&mut [u8]),
        log: &mut dyn FnMut(LogLine<'_>),
    ) -> Result<Reply<'_>, Fault> {
        let mut live = self.ready()?;
        let returned = live.run_message(len, fill);
        let state = live.state_mut();
        let emits = state.emits.take();
        as_log_lines(&std::mem::take(&mut state.log).into_lines()).for_each(log);
        let checked = check_reply(&live, returned?)?;
        let live = self.live.insert(live);
        match checked {
            CheckedReply::Nothing => Ok(Reply { output: None, emits }),
            CheckedReply::Output { ptr, len } => Ok(Reply { output: Some(live.bytes(RESULT, ptr, len)?), emits }),
            CheckedReply::Refused(why) => Err(Fault::Refused(why)),
        }
    }

    /// An instance in the state after `init`. The last one is taken out, and returns only after a successful call.
    fn ready(&mut self) -> Result<LiveInstance, Fault> {
        let last = self.live.take();
        let plugin = &self.plugin;
        match &plugin.reset {
            Reset::Rewind(start) => match last.map(|live| live.rewind(start)).transpose()?.flatten() {
                Some(live) => Ok(live),
                None => LiveInstance::instantiate_restored(&plugin.compiled, start),
            },
            Reset::Fresh(_) => {
                // Frees its slot in the pool before the next instance takes one.
                drop(last);
                let mut live = LiveInstance::instantiate(&plugin.compiled)?;
                live.init(&plugin.config)?;
                Ok(live)
            }
        }
    }
}

const RESULT: &str = "its result";

/// The result of the guest, with its place in memory.
enum CheckedReply {
    Nothing,
    Output { ptr: u32, len: u32 },
    Refused(String),
}

/// Makes every check with a possible fault, before the instance is kept.
fn check_reply(live: &LiveInstance, returned: Returned) -> Result<CheckedReply, Fault> {
    match returned {
        Returned::Nothing => Ok(CheckedReply::Nothing),
        Returned::Output { ptr, len } => {
            let limit = live.state().bounds.output;
            if len as usize > limit {
                return Err(Fault::OutputTooLarge { len, limit });
            }
            live.bytes(RESULT, ptr, len)?;
            Ok(CheckedReply::Output { ptr, len })
        }
        Returned::Error { ptr, len } => {
            let message = live.bytes("its error message", ptr, len)?;
            Ok(CheckedReply::Refused(printable(message, limits::QUOTED_BYTES)))
        }
    }
}
