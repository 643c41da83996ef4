//! Arbitrary bytes as a message for a plugin. The plugin interprets them as instructions.

use std::time::Duration;

use crate::bounds::{Bounds, Ceilings};
use crate::call::Instance;
use crate::engine::Sandbox;
use crate::host::emit::Emit;
use crate::host::fault::Fault;
use crate::host::functions::Grants;
use crate::plugin::Plugin;

/// The plugin, as WebAssembly text.
pub const GUEST: &str = include_str!("guest.wat");

/// A message with the visible state of the plugin as its answer.
const DUMP: &[u8; 17] = &[7; 17];

/// The length of the mark at a cut text, in addition to its bound.
const CUT: usize = '…'.len_utf8();

/// A plugin on one lane, for a sequence of messages.
pub struct Guest {
    plugin: Plugin,
    lane: Instance,
    untouched: CallRecord,
}

/// The visible effects of a call for the host.
#[derive(Debug, PartialEq, Eq)]
struct CallRecord {
    result: Result<(Option<Vec<u8>>, Vec<Emit>), Fault>,
    log: Vec<String>,
}

impl Guest {
    /// Loads [`GUEST`] from its binary form.
    pub fn load(wasm: &[u8]) -> Self {
        let loaded = Sandbox::new(Ceilings { instances: 4, ..Ceilings::default() })
            .map_err(|fault| fault.to_string())
            .and_then(|sandbox| {
                let grants = Grants { log: true, emit: true };
                Plugin::load(&sandbox, wasm, grants, bounds(), b"").map_err(|fault| fault.to_string())
            });
        let plugin = loaded.unwrap_or_else(|fault| panic!("the guest cannot be loaded: {fault}"));
        let untouched = call(&mut plugin.instance(), DUMP);
        Self { lane: plugin.instance(), plugin, untouched }
    }

    /// Panics if this message or the next one violates a guarantee. Returns whether the message was answered.
    pub fn call(&mut self, message: &[u8]) -> bool {
        let seen = call(&mut self.lane, message);
        check(&seen);
        let new = call(&mut self.plugin.instance(), message);
        assert_eq!(seen, new, "a reused instance and a new one behave alike");
        let after = call(&mut self.lane, DUMP);
        assert!(after == self.untouched, "no state of a message is visible to the next");
        seen.result.is_ok()
    }
}

/// Small bounds, so a short message can exceed each.
fn bounds() -> Bounds {
    Bounds {
        memory: 4 << 16,
        time: Duration::from_secs(10),
        output: 3 << 16,
        emits: 3,
        emit_bytes: 100,
        log_lines: 3,
        log_bytes: 60,
    }
}

fn call(instance: &mut Instance, message: &[u8]) -> CallRecord {
    let mut log = Vec::new();
    let reply = instance.call(message.len(), &mut |room| room.copy_from_slice(message), &mut |line| {
        log.push(line.text.to_owned());
    });
    let result = reply.map(|reply| (reply.output.map(<[u8]>::to_vec), reply.emits));
    CallRecord { result, log }
}

fn check(seen: &CallRecord) {
    let bounds = bounds();
    // One additional line counts the dropped lines.
    assert!(seen.log.len() <= bounds.log_lines as usize + 1, "{} log lines", seen.log.len());
    for line in seen.log.iter().take(bounds.log_lines as usize) {
        assert!(line.len() <= bounds.log_bytes + CUT && !line.contains(|c: char| c.is_control()), "{line:?}");
    }
    match &seen.result {
        Ok((output, emits)) => {
            assert!(output.as_ref().is_none_or(|output| output.len() <= bounds.output), "the output is bounded");
            assert!(emits.len() <= bounds.emits as usize, "{} emits", emits.len());
            let bytes: usize = emits.iter().map(|emit| emit.topic.len() + emit.payload.len()).sum();
            assert!(bytes <= bounds.emit_bytes, "{bytes} bytes were emitted");
            emits.iter().for_each(|emit| check_topic(&emit.topic));
        }
        // No plugin can cause a fault of the host.
        Err(Fault::Host(why)) => panic!("{why}"),
        Err(Fault::NoInstance { limit }) => panic!("{limit} instances are not enough: one was leaked"),
        Err(fault) => assert!(!fault.to_string().contains(|c: char| c.is_control()), "{fault}"),
    }
}

/// A topic becomes the end of a subject below the output of a route.
fn check_topic(topic: &str) {
    assert!(!topic.is_empty() && topic.split('.').all(|token| !token.is_empty() && !token.starts_with('$')), "{topic}");
    assert!(!topic.contains(|c: char| c.is_whitespace() || c.is_control() || "*>".contains(c)), "{topic}");
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The dumped memory after one step, without the message in it.
    fn dump_after(guest: &Guest, step: &[u8]) -> Vec<u8> {
        const AT: usize = 4096;
        let mut message = step.to_vec();
        message.resize(DUMP.len(), 0);
        message.extend(DUMP);
        let seen = call(&mut guest.plugin.instance(), &message);
        let mut memory = seen.result.unwrap().0.unwrap();
        assert_eq!(memory[AT..][..message.len()], message);
        memory[AT..][..message.len()].fill(0);
        memory
    }

    /// The checks cannot see changes outside of the dump.
    #[test]
    fn the_dump_contains_every_change() {
        let guest = Guest::load(&wat::parse_str(GUEST).unwrap());
        let nothing = dump_after(&guest, &[3, 0, 8, 0, 0, 0]);
        for change in [&[3, 0, 8, 0, 0, 9][..], &[4, 9], &[5, 1]] {
            assert!(dump_after(&guest, change) != nothing, "{change:?}");
        }
    }
}
