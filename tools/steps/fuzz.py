"""cargo-fuzz, compiled from crates.io at one version into .tools/bin. The targets compile with the stable compiler.

Sanitizers are off, because they need a nightly compiler. The fuzzed code is nearly free of unsafe blocks: only the
protection of pages, invisible to a sanitizer. Wasmtime is fuzzed by its project.
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
        raise Problem("libFuzzer is C++, but PATH is without c++: install g++ or clang and run this again.")
    need_room(ROOM_MEBIBYTES, "fuzzing")
    say(f"building cargo-fuzz {VERSION} (about two minutes)")
    run(["cargo", "install", "--quiet", "--locked", "--root", TOOLS, "--version", VERSION, "cargo-fuzz"],
        "cargo-fuzz could not be built: check the network and run this again")
    stamp.set()
