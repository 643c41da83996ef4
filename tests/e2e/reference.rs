//! The generated pages of docs/reference/ equal the output of the program, and are complete.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use inferbus_tests::{BundleFolder, FIRST, program, root, run};

const PAGES: [&str; 5] = ["bundle", "cli", "config", "errors", "metrics"];
/// Names without a place in the reference: a variable that only tests set, and a stream.
const NOT_SETTINGS: [&str; 2] = ["INFERBUS_FAILPOINT", "INFERBUS_DLQ"];

fn committed(page: &str) -> String {
    let path = root().join(format!("docs/reference/{page}.md"));
    std::fs::read_to_string(&path).unwrap_or_else(|fault| panic!("{}: {fault}: run `make reference`", path.display()))
}

#[test]
fn the_generated_pages_are_current() {
    for page in PAGES {
        let printed = run(Command::new(program()).args(["reference", page])).ok();
        let committed = committed(page);
        let place = printed.lines().zip(committed.lines()).find(|(printed, committed)| printed != committed);
        let difference = format!("the first different line in program and page: {place:#?}");
        assert!(printed == committed, "docs/reference/{page}.md is stale: run `make reference`; {difference}");
    }
}

/// The environment names in string literals of a source file.
fn environment_names(source: &str) -> Vec<String> {
    let prefixes = ["CUDA_", "INFERBUS_", "NATS_", "ORT_", "OTEL_", "XDG_"];
    let is_name = move |text: &&str| {
        prefixes.iter().any(|prefix| text.starts_with(prefix) && text.len() > prefix.len())
            && text.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_')
    };
    source.split('"').filter(is_name).map(ToOwned::to_owned).collect()
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn each_environment_name_of_the_worker_is_documented() {
    let mut files = Vec::new();
    for part in ["", "engine", "pipeline", "sandbox", "private-dir"] {
        sources(&root().join("worker").join(part).join("src"), &mut files);
    }
    let texts = files.iter().map(|file| std::fs::read_to_string(file).expect("UTF-8"));
    let names: BTreeSet<String> = texts.flat_map(|text| environment_names(&text)).collect();
    assert!(names.contains("INFERBUS_NATS_SERVER") && names.contains("XDG_STATE_HOME"), "{names:?}");
    let pages = committed("cli") + &committed("config");
    let missing = |name: &&String| !NOT_SETTINGS.contains(&name.as_str()) && !pages.contains(&format!("`{name}`"));
    let missing: Vec<&String> = names.iter().filter(missing).collect();
    assert!(missing.is_empty(), "missing in WITHOUT_FLAG of cli/commands/reference/setting.rs: {missing:?}");
}

/// The keys that `inferbus check` allows in a table, from its complaint about another key.
fn allowed(table: &str) -> Vec<String> {
    let folder = BundleFolder::new("sensor", FIRST).table(table);
    let complaint = run(Command::new(program()).arg("check").arg(folder.path())).stderr;
    let (_, keys) = complaint.split_once("allowed here: ").unwrap_or_else(|| panic!("{table}: {complaint}"));
    let end = |letter: char| !(letter.is_ascii_lowercase() || letter == '_' || letter == ',' || letter == ' ');
    keys.split(end).next().expect("a list").split(", ").map(|key| key.trim().to_owned()).collect()
}

#[test]
fn each_key_of_a_bundle_is_documented() {
    let page = committed("bundle");
    for table in ["[other]", "[pre]\nother = 1", "[limits]\nother = 1", "[engine]\nother = 1"] {
        let keys = allowed(table);
        assert!(keys.len() > 3, "{table}: {keys:?}");
        for key in keys {
            let documented = page.contains(&format!("| `{key}` |")) || page.contains(&format!("`[{key}]`"));
            assert!(documented, "`{key}` of {table} is missing in docs/reference/bundle.md");
        }
    }
}
