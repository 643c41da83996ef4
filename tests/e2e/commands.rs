//! Every sub-command from a user's side: its output, its effect, and its exit code.

use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use inferbus_abi::frame::DataType;
use inferbus_catalog::Digest;
use inferbus_tests::plugin::{DATA, frame, output, plugin};
use inferbus_tests::{
    BundleFolder, FIRST, IDENTITY_MODEL, Ran, SECOND, Site, ask, connect, digits, heldout, inferbus, plugin_cache,
    program, run,
};
use serde_json::Value;

/// The documented exit codes.
const REFUSED: Option<i32> = Some(1);
const USAGE: Option<i32> = Some(2);
const UNREACHABLE: Option<i32> = Some(3);
const NOT_FOUND: Option<i32> = Some(4);

/// An address without a listener.
const NOBODY: &str = "nats://127.0.0.1:1";

fn folder(version: &str) -> String {
    digits(version).into_os_string().into_string().expect("UTF-8")
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

/// Runs `inferbus` without an address of NATS in its environment.
fn alone<S: AsRef<OsStr>>(arguments: &[S]) -> Ran {
    run(Command::new(program())
        .args(arguments)
        .env_remove("NATS_URL")
        .env_remove("NATS_CONTEXT")
        .env("INFERBUS_CACHE", plugin_cache()))
}

#[track_caller]
fn fails(ran: &Ran, code: Option<i32>, words: &str) {
    assert_eq!(ran.code, code, "{ran:?}");
    assert!(ran.stderr.contains(words), "`{words}` is missing: {ran:?}");
    assert!(!ran.stderr.contains("panicked"), "{ran:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn push_stores_once_and_never_replaces_unasked() {
    let site = Site::start().await;
    let fresh = site.inferbus(&["push", &folder(FIRST)]).ok();
    assert!(
        fresh.contains("pushed digits 1.0.0 sha256:") && fresh.contains("(4 artifacts sent, 0 already stored)"),
        "{fresh}"
    );
    let again = site.inferbus(&["push", &folder(FIRST)]).ok();
    assert!(
        again.contains("already there: digits 1.0.0") && again.contains("(0 artifacts sent, 4 already stored)"),
        "{again}"
    );
    let shared = site.inferbus(&["push", &folder(SECOND)]).ok();
    assert!(
        shared.contains("(2 artifacts sent, 2 already stored)"),
        "the model and the sample are the same in both: {shared}"
    );

    let greedy = BundleFolder::new("greedy", FIRST).plugin("pre", &format!("(module {VALID})"), "");
    let greedy = greedy.table("[limits]\nmemory = \"4GiB\"");
    fails(&site.inferbus(&["push", text(greedy.path())]), REFUSED, "(limits.memory), more than");
    fails(&site.inferbus(&["show", "greedy", FIRST]), NOT_FOUND, "no version 1.0.0");

    let changed = BundleFolder::new("digits", FIRST);
    fails(&site.inferbus(&["push", text(changed.path())]), REFUSED, "already pushed with other content");
    site.inferbus(&["show", "digits", FIRST, "--output", "json"]).json()["entry"]["pre"]
        .as_object()
        .expect("nothing was replaced");
    site.inferbus(&["push", text(changed.path()), "--force"]).ok();
    let entry = site.inferbus(&["show", "digits", FIRST, "--output", "json"]).json()["entry"].take();
    assert_eq!(entry["pre"], Value::Null, "{entry}");
}

#[tokio::test(flavor = "multi_thread")]
async fn activate_rollback_ls_and_show_agree() {
    let site = Site::start().await;
    assert!(site.inferbus(&["ls"]).ok().contains("no models yet"));
    assert_eq!(site.inferbus(&["ls", "--output", "json"]).json(), serde_json::json!([]));
    site.push_digits();
    let active = || site.inferbus(&["ls", "--output", "json"]).json()[0]["active"].as_str().map(str::to_owned);
    assert_eq!(active().as_deref(), Some(FIRST));
    fails(&site.inferbus(&["rollback", "digits"]), NOT_FOUND, "no earlier version");

    let said = site.inferbus(&["activate", "digits", SECOND]).ok();
    assert!(said.contains("digits: 1.0.0 → 1.1.0"), "{said}");
    assert_eq!(active().as_deref(), Some(SECOND));
    let said = site.inferbus(&["rollback", "digits"]).ok();
    assert!(said.contains("digits: 1.1.0 → 1.0.0"), "{said}");
    assert_eq!(active().as_deref(), Some(FIRST));

    let table = site.inferbus(&["ls"]).ok();
    let row: Vec<&str> = table.lines().nth(1).expect("a row").split_whitespace().collect();
    assert_eq!(row, ["digits", FIRST, FIRST, SECOND], "{table}");
    let shown = site.inferbus(&["show", "digits", "--output", "json"]).json();
    assert_eq!((&shown["version"], &shown["active"]), (&FIRST.into(), &true.into()), "{shown}");
    assert_eq!(shown["history"], serde_json::json!([FIRST, SECOND, FIRST]), "{shown}");
    assert_eq!(site.inferbus(&["show", "digits", SECOND, "--output", "json"]).json()["active"], false);
    assert!(site.inferbus(&["show", "digits", SECOND]).ok().contains("digits 1.1.0 (not active)"));
}

/// Runs `show` without ONNX Runtime.
fn show(site: &Site, more: &[&str]) -> Ran {
    let mut command = Command::new(program());
    run(command.args(["show", "sensor"]).args(more).env("NATS_URL", site.url()).env("ORT_DYLIB_PATH", "/nowhere"))
}

#[tokio::test(flavor = "multi_thread")]
async fn show_says_how_each_plugin_is_brought_back_between_messages_and_why() {
    let site = Site::start().await;
    let writes_tables = format!("(module {VALID} (table 1 funcref) (func (table.set (i32.const 0) (ref.null func))))");
    let bundle = BundleFolder::new("sensor", FIRST).plugin("pre", &format!("(module {VALID})"), "");
    let bundle = bundle.plugin("post", &writes_tables, "");
    site.activate(&bundle).await;
    let shown = show(&site, &["--output", "json"]).json();
    let strategy = |stage: &str| shown["strategies"][stage]["strategy"].as_str().expect("a strategy").to_owned();
    assert!(strategy("pre").contains("rewind"), "{shown}");
    assert!(strategy("post").contains("fresh") && strategy("post").contains("table.set"), "{shown}");
    let said = show(&site, &[]).ok();
    assert!(said.contains(&strategy("pre")) && said.contains(&strategy("post")), "{said}");
    let refused = show(&site, &["--max-memory", "64KiB", "--max-time", "1ms", FIRST]).ok();
    assert!(refused.contains("rewind"), "a lower ceiling is the default: {refused}");

    let mut entry = shown["entry"].clone();
    entry["pre"]["digest"] = Digest::of(b"missing").to_string().into();
    entry["post"] = entry["model"].clone();
    site.put("models", &format!("sensor.{SECOND}"), &entry.to_string()).await;
    let shown = show(&site, &[SECOND, "--output", "json"]).json();
    let problem = |stage: &str| shown["strategies"][stage]["problem"].as_str().expect("a problem").to_owned();
    assert!(problem("pre").contains("is not stored"), "{shown}");
    assert!(problem("post").contains("is not WebAssembly"), "{shown}");
    assert_eq!(shown["entry"]["pre"]["digest"], entry["pre"]["digest"], "the entry is shown all the same");
    let said = show(&site, &[SECOND]).ok();
    assert!(said.contains(&problem("pre")) && said.contains(&problem("post")), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_is_code_4_and_what_is_not_understood_is_code_2() {
    let site = Site::with_digits().await;
    fails(&site.inferbus(&["activate", "digits", "7.7.7"]), NOT_FOUND, "no version 7.7.7");
    fails(&site.inferbus(&["activate", "nobody", FIRST]), NOT_FOUND, "no version 1.0.0 of `nobody`");
    fails(&site.inferbus(&["rollback", "nobody"]), NOT_FOUND, "no active version of `nobody`");
    fails(&site.inferbus(&["show", "nobody"]), NOT_FOUND, "no active version of `nobody`");
    fails(&site.inferbus(&["show", "digits", "7.7.7"]), NOT_FOUND, "no version 7.7.7");
    fails(&site.inferbus(&["route", "rm", "nobody"]), NOT_FOUND, "unknown route `nobody`");
    fails(&site.inferbus(&["status"]), NOT_FOUND, "no worker answers");
    for wrong in [
        &["activate", "Digits!", FIRST] as &[&str],
        &["activate", "digits", "newest"],
        &["activate", "digits"],
        &["ls", "--output", "yaml"],
        &["ls", "--timeout", "soon"],
        &["worker", "--lanes", "0"],
        &["route", "add", "--subject", "a"],
        &["fly"],
        &[],
    ] {
        let ran = site.inferbus(wrong);
        assert_eq!(ran.code, USAGE, "{wrong:?}: {ran:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_a_catalog_is_code_4_and_push_makes_one() {
    let server = inferbus::dev_server::DevServer::start(Default::default()).await.expect("a server");
    for command in [&["ls"] as &[&str], &["show", "digits"], &["route", "ls"], &["activate", "digits", FIRST]] {
        fails(&inferbus(server.url(), command), NOT_FOUND, "does not exist");
    }
    inferbus(server.url(), &["push", &folder(FIRST), "--activate"]).ok();
    assert_eq!(inferbus(server.url(), &["ls", "--output", "json"]).json()[0]["active"], FIRST);
}

#[test]
fn a_server_that_is_not_there_is_code_3() {
    let payload = heldout().payloads.swap_remove(0);
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), payload).expect("the payload");
    let (first, file) = (folder(FIRST), text(file.path()).to_owned());
    for command in [
        &["ls"] as &[&str],
        &["push", &first],
        &["activate", "digits", FIRST],
        &["rollback", "digits"],
        &["show", "digits"],
        &["status"],
        &["infer", "digits", &file],
        &["route", "show", "cams"],
        &["route", "repair", "cams"],
        &["route", "ls"],
    ] {
        let ran = inferbus(NOBODY, command);
        fails(&ran, UNREACHABLE, "127.0.0.1:1 cannot be reached");
        assert_eq!(ran.stderr.lines().count(), 1, "{ran:?}");
    }
}

#[test]
fn a_server_that_says_nothing_is_given_up_in_time() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("nats://user:secret@{}", silent.local_addr().expect("an address"));
    let ran = inferbus(&url, &["ls", "--timeout", "0.5"]);
    fails(&ran, UNREACHABLE, "no answer within 500ms");
    assert!(!ran.stderr.contains("secret"), "{ran:?}");
}

#[test]
fn check_says_what_a_good_bundle_is_made_of() {
    let said = alone(&["check", &folder(SECOND)]).ok();
    for words in ["digits 1.1.0 sha256:", ": good", "f32", "granted: log"] {
        assert!(said.contains(words), "{words} is missing: {said}");
    }
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), &heldout().payloads[0]).expect("the payload");
    let sample = text(file.path());
    let checked = alone(&["check", &folder(SECOND), "--output", "json", "--sample", sample]).json();
    assert_eq!((&checked["model"], &checked["version"]), (&"digits".into(), &SECOND.into()), "{checked}");
    assert!(checked["sample"].as_str().is_some_and(|sample| sample.contains("\"label\"")), "{checked}");
    std::fs::write(file.path(), "no picture").expect("the payload");
    fails(&alone(&["check", &folder(SECOND), "--sample", sample]), REFUSED, "fails in pre");
}

/// The output of `pre` has three columns, and the model takes four.
fn misfit() -> BundleFolder {
    let columns = frame("x", DataType::F32, &[1, 3], &[0; 12]);
    let pre = plugin("", &columns, &format!("(i64.const {})", output(DATA, columns.len() as u32)));
    BundleFolder::new("misfit", FIRST).plugin("pre", &pre, "").sample(b"any payload")
}

#[test]
fn parts_that_do_not_fit_one_another_are_found_at_check_and_at_push() {
    let misfit = misfit();
    for command in ["check", "push"] {
        let ran = alone(&[command, text(misfit.path())]);
        fails(&ran, REFUSED, "the bundle's sample failed in model: the pre plugin's tensors do not fit the model");
    }
    let said = alone(&["check", &folder(FIRST)]).ok();
    for words in ["bytes, opset ai.onnx ", "sample   {\"label\""] {
        assert!(said.contains(words), "{words} is missing: {said}");
    }
    let without = BundleFolder::new("echo", FIRST);
    assert!(alone(&["check", text(without.path())]).ok().contains("the fit of plugins and model was not checked"));
}

#[test]
fn a_batch_that_the_model_cannot_keep_is_found_at_check_and_at_push() {
    let words = include_bytes!("../../worker/engine/tests/models/identity_string.onnx");
    let bundle = BundleFolder::new("words", FIRST).network(words).table("[engine]\nbatch = { max = 8 }");
    for command in ["check", "push"] {
        fails(&alone(&[command, text(bundle.path())]), REFUSED, "cannot run in batches (engine.batch): ");
    }
    let open = BundleFolder::new("echo", FIRST).table("[engine]\nbatch = { max = 8 }");
    assert!(alone(&["check", text(open.path())]).ok().contains("up to 8 messages per run"));
}

#[test]
fn check_names_every_problem_of_a_manifest_with_its_path() {
    let bundle = BundleFolder::new("digits", FIRST);
    let manifest = "model = \"Digits!\"\nversion = \"one\"\ncolour = \"red\"\n\
         [pre]\nwasm = \"../pre.wasm\"\ngrants = [\"fly\"]\n[limits]\ntime = \"soon\"\nemits = 5000\n";
    let folder = bundle.path();
    std::fs::write(folder.join("bundle.toml"), manifest).expect("the manifest");
    let ran = alone(&["check", text(folder)]);
    for path in [
        "model: ",
        "version: ",
        "network: missing",
        "colour: unknown key",
        "pre.wasm: ",
        "pre.grants[0]: ",
        "limits.time: ",
        "limits.emits: ",
    ] {
        fails(&ran, REFUSED, path);
    }
}

const VALID: &str = r#"(memory (export "memory") 1)
  (func (export "alloc") (param i32) (result i32) i32.const 1024)
  (func (export "transform") (param i32 i32) (result i64) i64.const 0)"#;

#[test]
fn check_says_what_is_wrong_with_each_broken_bundle() {
    let pre = |wat: &str, more: &str| BundleFolder::new("broken", FIRST).plugin("pre", wat, more);
    let module = |before: &str| format!("(module {before} {VALID})");
    let log = r#"(import "inferbus" "log" (func (param i32 i32 i32)))"#;
    let wasi = r#"(import "wasi_snapshot_preview1" "fd_write" (func (param i32 i32 i32 i32) (result i32)))"#;
    for (bundle, words) in [
        (pre(&module(wasi), ""), "imports wasi_snapshot_preview1.fd_write"),
        (pre(&module(log), ""), "without the grant: add \"log\""),
        (pre("(module (memory (export \"memory\") 1))", ""), "exports no alloc"),
        (pre("(module)", ""), "exports no memory"),
        (pre(&module(""), "config = { threshold = 1 }"), "exports no init"),
        (pre("(component)", ""), "is a WebAssembly component"),
        (
            pre(&module("").replace("\"memory\") 1", "\"memory\") 9"), "").table("[limits]\nmemory = \"64KiB\""),
            "(limits.memory)",
        ),
        (BundleFolder::new("broken", FIRST).network(b"no model"), "the model: "),
        (BundleFolder::new("broken", FIRST).network(&IDENTITY_MODEL[..IDENTITY_MODEL.len() / 2]), "the model: "),
        (BundleFolder::new("broken", FIRST).network(b""), "is empty"),
    ] {
        let ran = alone(&["check", text(bundle.path())]);
        fails(&ran, REFUSED, words);
    }
}

#[test]
fn infer_runs_a_bundle_on_disk_from_a_file_and_from_standard_input() {
    let heldout = heldout();
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), &heldout.payloads[0]).expect("the payload");
    let from_file = alone(&["infer", &folder(FIRST), text(file.path())]).json();
    assert_eq!(from_file["label"].as_u64(), Some(heldout.predictions[0]), "{from_file}");
    let piped = fed(Command::new(program()).args(["infer", &folder(FIRST), "-"]), &heldout.payloads[0]);
    assert_eq!(piped.json(), from_file);
    let refused = fed(Command::new(program()).args(["infer", &folder(FIRST)]), b"no picture");
    fails(&refused, REFUSED, "digits 1.0.0 pre: ");
    fails(&alone(&["infer", &folder(FIRST), "/nowhere/picture"]), REFUSED, "/nowhere/picture cannot be read");
}

#[tokio::test(flavor = "multi_thread")]
async fn infer_asks_the_workers_and_status_shows_them() {
    let site = Site::with_digits().await;
    let _workers = site.workers(["one", "two"]);
    let heldout = heldout();
    let on_bus = |model: &str, payload: &[u8]| {
        fed(Command::new(program()).args(["infer", model]).env("NATS_URL", site.url()), payload)
    };
    let answered = on_bus("digits", &heldout.payloads[0]);
    assert!(answered.stderr.starts_with("digits 1.0.0 sha256:"), "{answered:?}");
    assert_eq!(answered.json()["label"].as_u64(), Some(heldout.predictions[0]));
    fails(&on_bus("digits", b"no picture"), REFUSED, "422: digits 1.0.0 pre: ");
    fails(&on_bus("nobody", b"x"), NOT_FOUND, "404: no model `nobody` is active");

    let status = site.inferbus(&["status", "--output", "json"]).json();
    let names: Vec<&str> =
        status.as_array().expect("a list").iter().filter_map(|worker| worker["worker"].as_str()).collect();
    assert_eq!(names, ["one", "two"], "{status}");
    for worker in status.as_array().expect("a list") {
        let model = &worker["models"][0];
        assert_eq!(
            (&worker["ready"], &model["state"], &model["version"]),
            (&true.into(), &"serving".into(), &FIRST.into())
        );
    }
    let table = site.inferbus(&["status"]).ok();
    assert!(table.starts_with("WORKER") && table.lines().count() == 3, "{table}");
}

/// Runs a command with `input` on its standard input.
fn fed(command: &mut Command, input: &[u8]) -> Ran {
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    child.stdin.take().expect("a pipe").write_all(input).expect("the input is taken");
    let output = child.wait_with_output().expect("it ends");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    Ran { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

#[tokio::test(flavor = "multi_thread")]
async fn routes_are_added_listed_and_removed() {
    let site = Site::with_digits().await;
    let add = |more: &[&str]| site.inferbus(&[&["route", "add", "--model", "digits"], more].concat());
    let said = add(&["--subject", "sensors.cam.*", "--output", "inference.{{wildcard(1)}}"]).ok();
    assert!(said.contains("route sensors-cam-any: sensors.cam.* → digits → inference.{{wildcard(1)}}"), "{said}");
    add(&["--subject", "a.>", "--name", "everything"]).ok();
    let listed = site.inferbus(&["route", "ls", "--output", "json"]).json();
    assert_eq!(listed[0]["name"], "everything", "{listed}");
    assert_eq!(listed[1]["route"]["output"], "inference.{{wildcard(1)}}", "{listed}");
    assert_eq!(site.inferbus(&["route", "ls"]).ok().lines().count(), 3);
    site.inferbus(&["route", "rm", "everything"]).ok();
    assert_eq!(site.inferbus(&["route", "ls", "--output", "json"]).json().as_array().map(Vec::len), Some(1));

    fails(&add(&["--subject", "a..b"]), REFUSED, "subject: ");
    fails(&add(&["--subject", "a.*", "--output", "b.$2"]), REFUSED, "output: ");
    fails(&add(&["--subject", "a.*", "--output", "a.$1"]), REFUSED, "its own results");
}

#[tokio::test(flavor = "multi_thread")]
async fn dev_serves_a_bundle_and_takes_its_server_with_it() {
    let mut dev = Dev::start(&["dev", &folder(FIRST), "--port", "0", "--admin", "127.0.0.1:0"]);
    let heldout = heldout();
    let answer = ask(&connect(&dev.url).await, "infer.digits", heldout.payloads[0].clone()).await;
    assert_eq!(answer.json()["label"].as_u64(), Some(heldout.predictions[0]));
    let address = dev.url.trim_start_matches("nats://").to_owned();
    TcpStream::connect(&address).expect("the server listens");
    run(Command::new("kill").args(["-TERM", &dev.child.id().to_string()])).ok();
    assert_eq!(dev.child.wait().expect("it ends").code(), Some(0));
    TcpStream::connect(&address).expect_err("the server is gone");
}

/// A running `inferbus dev`.
struct Dev {
    child: Child,
    url: String,
}

impl Dev {
    fn start(arguments: &[&str]) -> Self {
        let mut command = Command::new(program());
        let mut child =
            command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
        let mut said = String::new();
        let mut stdout = BufReader::new(child.stdout.take().expect("a pipe"));
        stdout.read_line(&mut said).expect("a line");
        let url = said.trim().rsplit("NATS_URL=").next().expect("an address").to_owned();
        let mut log = BufReader::new(child.stderr.take().expect("a pipe")).lines().map_while(Result::ok);
        log.find(|line| line.contains("worker accepts requests")).expect("the worker accepts requests");
        // Both stay open, so that the command can write until its end.
        std::thread::spawn(move || log.for_each(drop));
        std::thread::spawn(move || stdout.lines().for_each(drop));
        Self { child, url }
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn completions_are_for_each_shell() {
    for (shell, words) in
        [("bash", "complete -F _inferbus"), ("zsh", "#compdef inferbus"), ("fish", "complete -c inferbus")]
    {
        let script = alone(&["completions", shell]).ok();
        assert!(script.contains(words) && script.contains("rollback"), "{shell}: {script}");
    }
    let script = alone(&["completions", "bash"]).ok();
    fed(Command::new("bash").args(["-n"]), script.as_bytes()).ok();
}

#[test]
fn the_help_of_every_command_has_an_example() {
    let top = alone(&["--help"]).ok();
    assert!(top.contains("Exit codes: 0 done"), "{top}");
    for command in [
        &["worker"] as &[&str],
        &["push"],
        &["activate"],
        &["rollback"],
        &["ls"],
        &["show"],
        &["status"],
        &["check"],
        &["infer"],
        &["route"],
        &["route", "add"],
        &["route", "show"],
        &["route", "repair"],
        &["route", "ls"],
        &["route", "rm"],
        &["dlq"],
        &["dlq", "ls"],
        &["dlq", "show"],
        &["dlq", "replay"],
        &["dlq", "drop"],
        &["replay"],
        &["dev"],
        &["completions"],
    ] {
        assert!(top.contains(command[0]), "{command:?} is missing in: {top}");
        let help = alone(&[command, &["--help"]].concat()).ok();
        assert!(help.contains("Example") && help.contains("\n  inferbus "), "{command:?}: {help}");
    }
}

#[test]
fn a_missing_onnx_runtime_is_one_sentence() {
    let missing = PathBuf::from("/nowhere/libonnxruntime.so");
    let first = folder(FIRST);
    for command in [&["check", &first] as &[&str], &["worker"], &["infer", &first]] {
        let ran =
            fed(Command::new(program()).args(command).env("ORT_DYLIB_PATH", &missing).env("INFERBUS_LOG", "off"), b"x");
        fails(&ran, REFUSED, "/nowhere/libonnxruntime.so");
        assert_eq!(ran.stderr.trim_end().lines().count(), 1, "{ran:?}");
    }
}
