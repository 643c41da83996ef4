//! THE CALL: one message through one plugin.
//!
//! Promises: every message starts from the state that `init` left, in an instance that was put back there or that is new.
//! Whatever goes wrong costs that instance and nothing else: only a call that ended well hands its instance on.

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
    /// The instance of the last call that ended well, whose memory the reply still borrows.
    live: Option<LiveInstance>,
}

/// What a plugin made of a message.
#[derive(Debug, PartialEq, Eq)]
pub struct Reply<'a> {
    /// The result's bytes where the guest left them; `None` when there is no result.
    pub output: Option<&'a [u8]>,
    pub emits: Vec<Emit>,
}

impl Plugin {
    /// What one lane uses for one stage. It takes memory with its first call.
    pub fn instance(&self) -> Instance {
        Instance { plugin: Arc::clone(&self.0), live: None }
    }
}

impl Instance {
    /// Has the guest make room for `len` bytes, lets `fill` write every one of them there, and runs
    /// `transform`. The log's lines come when the guest is done, also when the call failed.
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

    /// An instance that is where `init` left it. The last one is gone from here until its next call has ended well.
    fn ready(&mut self) -> Result<LiveInstance, Fault> {
        let last = self.live.take();
        let plugin = &self.plugin;
        match &plugin.reset {
            Reset::Rewind(start) => match last.map(|live| live.rewind(start)).transpose()?.flatten() {
                Some(live) => Ok(live),
                None => LiveInstance::instantiate_restored(&plugin.compiled, start),
            },
            Reset::Fresh(_) => {
                // Its slot in the pool is free again before another is asked for.
                drop(last);
                let mut live = LiveInstance::instantiate(&plugin.compiled)?;
                live.init(&plugin.config)?;
                Ok(live)
            }
        }
    }
}

const RESULT: &str = "its result";

/// What the guest said, and where it lies.
enum CheckedReply {
    Nothing,
    Output { ptr: u32, len: u32 },
    Refused(String),
}

/// Makes every check that could still cost the instance.
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
