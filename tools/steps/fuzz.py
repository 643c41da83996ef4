"""cargo-fuzz, compiled from crates.io at one version into .tools/bin; the targets themselves need no special Rust.

Without sanitizers, which need a nightly compiler: what is fuzzed has next to no unsafe code (the protection of pages, of which
a sanitizer knows nothing), and Wasmtime has fuzzers of its own.
"""

from __future__ import annotations

import shutil

from steps.base import TOOLS, Problem, Stamp, need_room, run, say

VERSION = "0.13.2"
PROGRAM = TOOLS / "bin" / "cargo-fuzz"
ROOM_MEBIBYTES = 4000


def prepare() -> None:
    stamp = Stamp("fuzz", [], VERSION)
    if stamp.holds(PROGRAM):
        return
    if not shutil.which("c++"):
        raise Problem("libFuzzer is C++, and there is no c++ on the PATH: install g++ or clang and run this again.")
    need_room(ROOM_MEBIBYTES, "fuzzing")
    say(f"building cargo-fuzz {VERSION} (about two minutes)")
    run(["cargo", "install", "--quiet", "--locked", "--root", TOOLS, "--version", VERSION, "cargo-fuzz"],
        "cargo-fuzz could not be built: check the network and run this again")
    stamp.set()
