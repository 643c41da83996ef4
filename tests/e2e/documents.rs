//! The commands in the README and the tutorials run as printed.

use std::path::Path;
use std::process::Command;

use inferbus_tests::{Ran, plugin_cache, program, root, run};

/// Runs the commands of pages against the built program.
fn run_docs(pages: &[&Path]) -> Ran {
    let program = program();
    let folders = std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()).collect::<Vec<_>>();
    let own = program.parent().expect("a folder").to_owned();
    let path = std::env::join_paths(std::iter::once(own).chain(folders)).expect("a path");
    let mut command = Command::new(root().join("tools/run-docs"));
    command.arg("--built").args(pages).env("PATH", path).env("INFERBUS_CACHE", plugin_cache());
    // A tutorial builds a crate: the variable of tools/test would build its dependencies again.
    run(command.env_remove("RUSTC_BOOTSTRAP"))
}

#[test]
fn the_commands_of_the_readme_and_the_tutorials_run_as_printed() {
    let mut pages = vec![root().join("README.md")];
    for entry in std::fs::read_dir(root().join("docs/tutorial")).expect("the tutorials") {
        pages.push(entry.expect("an entry").path());
    }
    pages.sort();
    assert!(pages.len() > 2, "{pages:?}");
    let said = run_docs(&pages.iter().map(AsRef::as_ref).collect::<Vec<_>>()).ok();
    for page in &pages {
        assert!(said.contains(&format!("== {}", page.display())), "{said}");
    }
    assert!(said.contains("$ inferbus rollback digits"), "{said}");
}

#[test]
fn a_failing_command_fails_its_page() {
    for command in ["false", "false | true", "inferbus rollback"] {
        let page = tempfile::NamedTempFile::new().expect("a file");
        let text = format!("# Page\n\n```console\n$ true\n$ {command}\n$ echo unreachable\n```\n");
        std::fs::write(page.path(), text).expect("the page");
        let ran = run_docs(&[page.path()]);
        assert_eq!(ran.code, Some(1), "{ran:?}");
        assert!(
            ran.stderr.contains("the last command above failed") && !ran.stdout.contains("unreachable\n"),
            "{ran:?}"
        );
    }
}
