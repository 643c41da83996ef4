"""A Rust compiler for wasm32-unknown-unknown, from the first source in this order:

1. The installed compiler already has the target.
2. rustup adds it.
3. If rustup fails, Debian's web compiler is unpacked into .tools/wasm, without an installation. cargo then builds the
   standard library for the target from Debian's sources.

`cargo_for_guests` returns the settings of the chosen compiler for tools/build-plugins.
"""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from steps.base import ROOT, TOOLS, Problem, find_program, need_room, run, say

TARGET = "wasm32-unknown-unknown"
DEBIAN = TOOLS / "wasm"
DEBIAN_RUSTC = DEBIAN / "usr" / "bin" / "rustc"
DEBIAN_SOURCES = DEBIAN / "usr" / "lib" / "rustlib" / "src" / "rust" / "library"
# The first packages. Their dependencies of these families follow.
DEBIAN_PACKAGES = ["rustc-web", "rust-web-src"]
DEBIAN_FAMILIES = re.compile(r"\b(libstd-rust-web[\w.-]*|libllvm\d+)\b")
ROOM_MEBIBYTES = 1500
REMEDY = f"run `rustup target add {TARGET}` (rustup is Rust's own installer)"


def require_rust() -> None:
    """Rejects a missing or outdated Rust before any long step."""
    for program in ("cargo", "rustc"):
        if not shutil.which(program):
            raise Problem(f"{program} is missing: install Rust with rustup, or add its bin folder to PATH.")
    oldest = re.search(r'(?m)^rust-version = "(\d+)\.(\d+)"', (ROOT / "Cargo.toml").read_text())
    printed = run(["rustc", "--version"], "rustc does not run: repair the Rust installation")
    found = re.search(r"rustc (\d+)\.(\d+)", printed)
    if oldest and found and tuple(map(int, found.groups())) < tuple(map(int, oldest.groups())):
        needed = ".".join(oldest.groups())
        raise Problem(f"{printed.strip()} is too old: Inferbus needs {needed} or newer: install it with rustup.")


def prepare() -> None:
    if target_installed() or debian_ready():
        return
    if add_by_rustup():
        return
    unpack_debian()


@functools.lru_cache(maxsize=None)
def target_installed() -> bool:
    command = ["rustc", "--print", "target-libdir", "--target", TARGET]
    folder = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    return folder.returncode == 0 and any(Path(folder.stdout.strip()).glob("libcore-*.rlib"))


def debian_ready() -> bool:
    # The compiler is moved into place last, so its presence proves a complete copy.
    return DEBIAN_RUSTC.exists()


def add_by_rustup() -> bool:
    if not find_program("rustup"):
        return False
    say(f"adding the {TARGET} target with rustup")
    try:
        run(["rustup", "target", "add", TARGET], "rustup could not add the target", cwd=ROOT)
    except Problem as problem:
        say(str(problem))
        return False
    target_installed.cache_clear()
    return target_installed()


def unpack_debian() -> None:
    if not all(find_program(name) for name in ("apt-get", "dpkg-deb")):
        raise Problem(f"this Rust cannot compile for {TARGET}: {REMEDY}.")
    need_room(ROOM_MEBIBYTES, "the WebAssembly compiler")
    with tempfile.TemporaryDirectory(dir=TOOLS, prefix="wasm-") as folder:
        tree = Path(folder) / "tree"
        for package in download_debian(Path(folder)):
            say(f"unpacking {package.name.split('_')[0]}")
            run(["dpkg-deb", "--extract", package, tree], f"{package.name} could not be unpacked: run this again")
        drop_compiler_sources(tree)
        shutil.rmtree(DEBIAN, ignore_errors=True)
        tree.replace(DEBIAN)
    try:
        verify_debian()
    except Problem:
        shutil.rmtree(DEBIAN, ignore_errors=True)
        raise


def download_debian(folder: Path) -> list[Path]:
    """Downloads the first packages and their dependencies of the compiler's families. apt checks the signatures."""
    failure = (
        "Debian's WebAssembly compiler could not be downloaded: "
        f"check the network, run `apt-get update` as root, or {REMEDY}"
    )
    say("updating Debian's package lists")
    # This fails without root. The present lists may still suffice.
    subprocess.run(["apt-get", "update"], stdin=subprocess.DEVNULL, capture_output=True, check=False)
    waiting, seen = list(DEBIAN_PACKAGES), set()
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        say(f"downloading {name}")
        run(["apt-get", "download", name], failure, cwd=folder)
        package = next(folder.glob(f"{name}_*.deb"))
        depends = run(["dpkg-deb", "--field", package, "Depends"], f"{package.name} is damaged: run this again")
        waiting += DEBIAN_FAMILIES.findall(depends)
    return sorted(folder.glob("*.deb"))


def drop_compiler_sources(tree: Path) -> None:
    """Only the sources of the standard library are needed. Those of the compiler take 400 MB."""
    for entry in tree.glob("usr/src/rustc-*/*"):
        if entry.is_dir() and entry.name != "library":
            shutil.rmtree(entry)


def verify_debian() -> None:
    arguments, environment = debian_cargo()
    failure = "Debian's WebAssembly compiler does not run: install the libraries in this message"
    run([DEBIAN_RUSTC, "--version"], failure, env=environment)
    say("fetching the dependencies of Rust's standard library")
    run(["cargo", "fetch", "--locked", "--manifest-path", DEBIAN_SOURCES / "Cargo.toml"],
        "the dependencies of the standard library could not be fetched: check the network and run this again",
        env=environment)


def cargo_for_guests() -> tuple[list[str], dict]:
    """The arguments and the environment for compiling a guest with cargo."""
    if target_installed():
        return [], dict(os.environ)
    if debian_ready():
        return debian_cargo()
    raise Problem(f"no compiler for {TARGET} yet: run tools/setup.")


def debian_cargo() -> tuple[list[str], dict]:
    libraries = [folder for folder in (DEBIAN / "usr" / "lib").glob("*-linux-gnu*")] + [DEBIAN / "usr" / "lib"]
    environment = dict(os.environ)
    environment["RUSTC"] = str(DEBIAN_RUSTC)
    environment["LD_LIBRARY_PATH"] = os.pathsep.join(map(str, libraries))
    # Without this variable, only a nightly compiler may build the standard library.
    environment["RUSTC_BOOTSTRAP"] = "1"
    environment["PATH"] = f"{linker_folder()}{os.pathsep}{environment['PATH']}"
    return ["-Zbuild-std=std,panic_abort"], environment


def linker_folder() -> Path:
    """The linker of the installed Rust: Debian's compiler comes without one for WebAssembly."""
    sysroot = Path(run(["rustc", "--print", "sysroot"], "rustc does not run: repair the Rust installation").strip())
    linker = next(sysroot.glob("lib/rustlib/*/bin/rust-lld"), None)
    if not linker:
        raise Problem(f"the Rust in {sysroot} lacks rust-lld: {REMEDY}.")
    return linker.parent
