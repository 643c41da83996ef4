//! Every hostile module of the testkit misbehaves in one way, and gets exactly the fault for it.

use std::collections::BTreeSet;

use crate::support::{ALL, ECHO, NONE, Seen, call, load, patient, sandbox};
use inferbus_sandbox::{FaultClass, LoadFault, Plugin};
use inferbus_testkit::hostile_modules::Expected::{Call, Invalid, Load, Served};
use inferbus_testkit::hostile_modules::{Case, Reply, all, folder};

/// Loads and calls a case's module twice: the second call gets the same fault.
fn check(case: &Case) -> Result<(), String> {
    let wasm = case.wasm();
    let loaded = Plugin::load(sandbox(), &wasm, case.grants, case.bounds.clone(), b"");
    let plugin = match (loaded, &case.expected) {
        (Ok(plugin), _) => plugin,
        (Err(fault), Load(expected)) if fault == *expected => return Ok(()),
        (Err(LoadFault::Invalid(why)), Invalid(part)) if why.contains(part) => return Ok(()),
        (Err(fault), _) => return Err(format!("loading gave {fault:?}: {fault}")),
    };
    let mut instance = plugin.instance();
    for _ in 0..2 {
        match (call(&mut instance, &case.input), &case.expected) {
            (Err(fault), Call(expected)) if fault == *expected => {}
            (Ok(seen), Served(expected)) if is(&seen, expected) => {}
            (result, _) => return Err(format!("the call gave {result:?}")),
        }
    }
    Ok(())
}

fn is(seen: &Seen, expected: &Reply) -> bool {
    seen.output == expected.output && seen.emits == expected.emits && seen.log == expected.log
}

#[test]
fn each_misbehaviour_gets_its_fault_and_a_neighbour_is_served() {
    let mut neighbour = load(ECHO, NONE, b"").unwrap().instance();
    let mut wrong = Vec::new();
    for case in all() {
        if let Err(what) = check(&case) {
            wrong.push(format!("{}: expected {:?}, but {what}", case.name, case.expected));
        }
        let served = call(&mut neighbour, case.name.as_bytes()).unwrap();
        assert_eq!(served.output.unwrap(), case.name.as_bytes());
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_hostile_module_has_a_case() {
    let cases: BTreeSet<String> =
        all().iter().filter(|case| case.is_a_file()).map(|case| format!("{}.wat", case.name)).collect();
    let files = std::fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert_eq!(cases, files.filter(|name| name.ends_with(".wat")).collect());
}

#[test]
fn a_good_topic_stays_below_the_prefix_and_a_bad_one_is_the_plugins_fault() {
    let wasm = wat::parse_file(folder().join("emit_to_input.wat")).unwrap();
    let plugin = Plugin::load(sandbox(), &wasm, ALL, patient(), b"").unwrap();
    let mut instance = plugin.instance();
    assert_eq!(call(&mut instance, b"$SYS").unwrap_err().class(), FaultClass::Trapped);
    assert_eq!(call(&mut instance, b"line.7").unwrap().emits[0].topic, "line.7");
}
