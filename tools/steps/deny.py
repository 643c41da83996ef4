"""cargo-deny, compiled from crates.io at one version into .tools/bin. Optional: without it the check is skipped."""

from __future__ import annotations

from steps.base import ROOT, TOOLS, Stamp, need_room, run, say

VERSION = "0.20.2"
PROGRAM = TOOLS / "bin" / "cargo-deny"
ROOM_MEBIBYTES = 2000


def prepare() -> None:
    stamp = Stamp("deny", [], VERSION)
    if stamp.holds(PROGRAM):
        return
    need_room(ROOM_MEBIBYTES, "cargo-deny")
    say(f"building cargo-deny {VERSION} (some minutes)")
    command = ["cargo", "install", "--quiet", "--locked", "--root", TOOLS, "--version", VERSION, "cargo-deny"]
    run(command, "cargo-deny could not be built: check the network and run this again", cwd=ROOT)
    stamp.set()
