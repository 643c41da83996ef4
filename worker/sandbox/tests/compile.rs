//! The compiler process: its output, its bounds and its possible ends, with the real compiler and with stand-ins.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use inferbus_sandbox::{
    Bounds, Ceilings, ChildProcess, CompileBounds, Compiler, Grants, LoadFault, Origin, Plugin, Sandbox, try_compile,
};
use inferbus_testkit::compile_bombs as bombs;

use crate::support::{ALL, ECHO, NONE, call, compiler, patient};

/// A second of processor time and 256 MiB: enough for any plugin of these tests but a bomb.
fn tight() -> CompileBounds {
    CompileBounds { processor_time: Duration::from_secs(1), memory: 256 << 20, ..CompileBounds::default() }
}

fn compile(wasm: &[u8], bounds: CompileBounds) -> Result<(), LoadFault> {
    compile_by(&compiler(bounds), wasm)
}

fn compile_by(compiler: &Compiler, wasm: &[u8]) -> Result<(), LoadFault> {
    let ceilings = Ceilings::default();
    try_compile(wasm, Grants::default(), &Bounds::default(), &ceilings, false, compiler).map(drop)
}

fn echo() -> Vec<u8> {
    wat::parse_str(ECHO).unwrap()
}

/// The outcome for a module with this script as the compiler.
fn script(text: &str, bounds: CompileBounds) -> Result<(), LoadFault> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("compiler");
    fs::write(&file, format!("#!/bin/sh\n{text}\n")).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o700)).unwrap();
    let arguments = vec![file.to_str().unwrap().to_owned()];
    // Started by the shell: a program cannot be executed while another thread's child has it open for writing.
    let child = ChildProcess { program: "/bin/sh".into(), arguments, bounds };
    compile_by(&Compiler::Child(child), &echo())
}

#[test]
fn the_output_of_the_process_works() {
    let sandbox = Sandbox::new(Ceilings { instances: 2, ..Ceilings::default() }).unwrap();
    let sandbox = sandbox.compiling_with(compiler(tight()));
    let plugin = Plugin::load(&sandbox, &echo(), ALL, patient(), b"").unwrap();
    assert_eq!(plugin.origin(), Origin::Compiled);
    assert_eq!(call(&mut plugin.instance(), b"through a pipe").unwrap().output.unwrap(), b"through a pipe");
    // The places of traps and the names of functions also cross the pipe.
    let traps = ECHO
        .replace("(func (export \"transform\")", "(func $named (export \"transform\")")
        .replace("(i64.or", "unreachable (i64.or");
    let plugin = Plugin::load(&sandbox, &wat::parse_str(traps).unwrap(), NONE, patient(), b"").unwrap();
    let fault = call(&mut plugin.instance(), b"").unwrap_err().to_string();
    assert_eq!(fault, "trapped: it panicked or gave up (unreachable), in named");
}

#[test]
fn a_large_plugin_is_compiled_within_the_defaults() {
    let wasm = bombs::module((0..2100).map(|_| bombs::plain(100)));
    assert!(wasm.len() > 2 << 20, "{} bytes", wasm.len());
    compile(&wasm, CompileBounds::default()).unwrap();
}

#[test]
fn too_much_processor_time_is_the_modules_fault() {
    for bomb in [bombs::module((0..20_000).map(|_| bombs::plain(30))), bombs::module([bombs::joins(20_000, 2000)])] {
        let fault = compile(&bomb, CompileBounds { memory: 2 << 30, ..tight() }).unwrap_err();
        assert_eq!(fault, LoadFault::CompilerOutOfTime { limit: Duration::from_secs(1) });
        assert!(!fault.may_pass());
        assert_eq!(
            fault.to_string(),
            "took more than 1 s of processor time to compile: make the module smaller or split its functions"
        );
    }
}

#[test]
fn too_much_memory_is_the_modules_fault() {
    let bounds = CompileBounds { processor_time: Duration::from_secs(60), ..tight() };
    for bomb in [bombs::module([bombs::jumps(1000, 1000)]), bombs::module([bombs::plain(80_000)])] {
        let fault = compile(&bomb, bounds.clone()).unwrap_err();
        assert_eq!(fault, LoadFault::CompilerOutOfMemory { limit: 256 << 20 });
        assert!(!fault.may_pass());
        assert!(fault.to_string().starts_with("took more than 256 MiB of memory to compile"), "{fault}");
    }
}

#[test]
fn a_process_that_cannot_even_begin_says_so() {
    for memory in [1 << 10, 1 << 20, 16 << 20] {
        let fault = compile(&echo(), CompileBounds { memory, ..tight() }).unwrap_err();
        assert!(
            matches!(
                fault,
                LoadFault::CompilerOutOfMemory { .. }
                    | LoadFault::CompilerBroken { .. }
                    | LoadFault::CompilerKilled { .. }
            ),
            "{memory} bytes: {fault}"
        );
    }
}

#[test]
fn more_machine_code_than_allowed_is_refused_on_either_side() {
    let bounds = CompileBounds { output: 1000, ..tight() };
    let expected = Err(LoadFault::CompiledTooLarge { limit: 1000 });
    assert_eq!(compile(&echo(), bounds.clone()), expected);
    assert_eq!(script("cat /dev/zero", bounds), expected);
}

#[test]
fn a_refusal_of_the_compiler_is_reported() {
    // The contract's check rejects such a module first; a hand-made answer stands for a stricter compiler.
    let refusal = r"printf '\002\007\000\000\000\000\000\000\000because'";
    assert_eq!(script(refusal, tight()), Err(LoadFault::Compile("because".into())));
}

#[test]
fn a_process_that_is_killed_costs_one_load() {
    let fault = script("kill -KILL $$", tight()).unwrap_err();
    assert_eq!(fault, LoadFault::CompilerKilled { signal: 9, words: String::new() });
    assert!(fault.may_pass(), "the module did not send that signal");
    let fault = script("echo 'stack overflow' >&2; kill -SEGV $$", tight()).unwrap_err();
    assert_eq!(
        fault.to_string(),
        "ended the compiler by signal 11: change the module; the compiler said: stack overflow"
    );
    assert!(!fault.may_pass());
}

#[test]
fn a_program_that_is_no_compiler_is_found_out() {
    for text in [
        "echo hello",
        "exit 0",
        "exit 3",
        "cat >/dev/null",
        "head -c 100000 /dev/zero",
        // Machine code with one byte too few, and with one too many.
        r"printf '\001\003\000\000\000\000\000\000\000ab'",
        r"printf '\001\003\000\000\000\000\000\000\000abcd'",
        "head -c 1000000 /dev/zero >&2; exit 1",
    ] {
        let fault = script(text, tight()).unwrap_err();
        assert!(matches!(fault, LoadFault::CompilerBroken { .. }), "{text}: {fault:?}");
    }
    let fault = script("echo 'no such option' >&2; exit 2", tight()).unwrap_err();
    assert_eq!(
        fault.to_string(),
        "could not be compiled: the compiler process ended with exit status: 2 and said: no such option"
    );
}

#[test]
fn invalid_machine_code_is_not_loaded() {
    let folder = tempfile::tempdir().unwrap();
    let answer = folder.path().join("answer");
    fs::write(&answer, [&[1][..], &6u64.to_le_bytes(), b"\x7fELF..".as_slice()].concat()).unwrap();
    let child =
        ChildProcess { program: "/bin/cat".into(), arguments: vec![answer.to_str().unwrap().into()], bounds: tight() };
    let sandbox = Sandbox::new(Ceilings { instances: 1, ..Ceilings::default() }).unwrap();
    let sandbox = sandbox.compiling_with(Compiler::Child(child));
    let fault = Plugin::load(&sandbox, &echo(), NONE, patient(), b"").err().unwrap();
    assert!(matches!(fault, LoadFault::Compile(_)), "{fault:?}");
}

#[test]
fn a_process_that_neither_reads_nor_writes_is_ended() {
    let bounds = CompileBounds { time: Duration::from_millis(300), ..tight() };
    let expected = LoadFault::CompilerTooSlow { limit: bounds.time };
    // More than the capacity of a pipe, to a process without a read.
    let wasm = bombs::module([bombs::plain(50_000)]);
    let asleep = ChildProcess { program: "/bin/sleep".into(), arguments: vec!["1000".into()], bounds: bounds.clone() };
    assert_eq!(compile_by(&Compiler::Child(asleep), &wasm), Err(expected.clone()));
    // Its own child keeps the pipes open after it.
    assert_eq!(script("sleep 5", bounds.clone()), Err(expected.clone()));
    assert_eq!(script("while :; do echo chatter >&2; done", bounds), Err(expected.clone()));
    assert!(expected.may_pass());
    // With its output closed the process is finished, and the load does not wait for its end.
    let fault =
        script("exec >&- 2>&-; sleep 5", CompileBounds { time: Duration::from_secs(100), ..tight() }).unwrap_err();
    assert_eq!(fault, LoadFault::CompilerKilled { signal: 9, words: String::new() });
}

#[test]
fn a_compiler_that_is_not_there_may_come_back() {
    let child = ChildProcess { program: "/no/such/compiler".into(), arguments: Vec::new(), bounds: tight() };
    let fault = compile_by(&Compiler::Child(child), &echo()).unwrap_err();
    assert!(matches!(fault, LoadFault::NoCompiler { .. }) && fault.may_pass(), "{fault}");
}

#[test]
fn no_process_is_left_behind() {
    let own = std::process::id().to_string();
    let children = || {
        let stat = |entry: fs::DirEntry| fs::read_to_string(entry.path().join("stat")).ok();
        let stats = fs::read_dir("/proc").unwrap().filter_map(|entry| stat(entry.unwrap()));
        // `pid (name) state parent …`, and a name may hold anything.
        let compilers = stats.filter(|stat| stat.contains("(unreaped)"));
        compilers.filter(|stat| stat.rsplit(')').next().unwrap().split(' ').nth(2) == Some(&own)).count()
    };
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("unreaped");
    std::os::unix::fs::symlink("/bin/sleep", &program).unwrap();
    for time in [Duration::ZERO, Duration::from_millis(100)] {
        let bounds = CompileBounds { time, ..tight() };
        let child = ChildProcess { program: program.clone(), arguments: vec!["1000".into()], bounds };
        let fault = compile_by(&Compiler::Child(child), &echo()).unwrap_err();
        assert!(matches!(fault, LoadFault::CompilerTooSlow { .. }), "{fault}");
        assert_eq!(children(), 0);
    }
}

#[test]
fn the_process_gets_nothing_of_the_workers_surroundings() {
    let fault = script("echo \"$(pwd) $(env | grep -vE '^(PWD|OLDPWD|SHLVL|_)=')\" >&2; exit 1", tight()).unwrap_err();
    assert!(fault.to_string().ends_with("said: /"), "{fault}");
}
