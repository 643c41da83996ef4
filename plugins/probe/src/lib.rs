//! A plugin for tests: it does what the message tells it to, good or bad. A message is a word and what the word needs,
//! such as `answer yes` or `emit line.7 full`.

#![forbid(unsafe_code)]

use inferbus_plugin::{emit, log};
use std::hint::black_box;
use std::sync::atomic::{AtomicU32, Ordering};

/// More than one after a message only if something outlived the message before.
static MESSAGES: AtomicU32 = AtomicU32::new(0);

#[inferbus_plugin::transform]
fn obey(message: &str) -> Result<Option<Vec<u8>>, String> {
    let messages = MESSAGES.fetch_add(1, Ordering::Relaxed) + 1;
    let (word, rest) = message.split_once(' ').unwrap_or((message, ""));
    match word {
        "answer" => return Ok(Some(rest.into())),
        "count" => return Ok(Some(messages.to_string().into())),
        "zeros" => return rest.parse().map(|count| Some(vec![0; count])).map_err(|_| "zeros needs a number".into()),
        "zeros-again" => return Ok(Some(zeros_again())),
        "nothing" => {}
        "refuse" => return Err(rest.into()),
        "log" => log!(Info, "{rest}"),
        "emit" => {
            let (topic, payload) = rest.split_once(' ').ok_or("emit needs a topic and a payload")?;
            emit(topic, payload);
        }
        "panic" => panic!("{rest}"),
        "spin" => spin(),
        "hoard" => hoard(),
        "recurse" => return Ok(Some(recurse(1).to_string().into())),
        _ => return Err(format!("the probe knows no word `{word}`")),
    }
    Ok(None)
}

/// Zeros where something else was, and beyond.
fn zeros_again() -> Vec<u8> {
    const LEN: usize = 1000;
    drop(black_box(vec![0xff_u8; LEN]));
    vec![0; 2 * LEN]
}

fn spin() {
    loop {
        black_box(());
    }
}

fn hoard() {
    loop {
        black_box(Vec::<u8>::with_capacity(1 << 20).leak());
    }
}

/// Deeper than any stack, and without a tail call that a compiler could make a loop of.
fn recurse(depth: u64) -> u64 {
    if depth == u64::MAX { 0 } else { black_box(depth) + recurse(black_box(depth + 1)) }
}
