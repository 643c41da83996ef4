"""The real `nats` command, built with Go. tools/pins/nats-cli/go.mod fixes the version, and go.sum verifies it.

The step is optional. Without a suitable Go the tests use nats-py instead, and print a line about it.
"""

from __future__ import annotations

import os
import re

from steps.base import PINS, TOOLS, Stamp, find_program, need_room, run, say

MODULE = PINS / "nats-cli"
PACKAGE = "github.com/nats-io/natscli/nats"
PROGRAM = TOOLS / "bin" / "nats"
ROOM_MEBIBYTES = 2000


def prepare() -> None:
    stamp = Stamp("nats-cli", [MODULE / "go.mod", MODULE / "go.sum"])
    if stamp.holds(PROGRAM):
        return
    go = find_program("go")
    reason = "Go is not installed" if not go else too_old(go)
    if reason:
        say(f"skipping the nats command: {reason}; the tests use nats-py instead")
        return
    need_room(ROOM_MEBIBYTES, "building the nats command")
    say("building the nats command with Go (about a minute)")
    run([go, "build", "-mod=readonly", "-trimpath", "-ldflags=-s -w", "-o", PROGRAM, PACKAGE],
        "the nats command could not be built: check the network and run this again", env=environment(), cwd=MODULE)
    stamp.set()


def environment() -> dict:
    # A pinned build must not fetch another Go.
    return {**os.environ, "GOTOOLCHAIN": "local", "GOWORK": "off"}


def too_old(go: str) -> str:
    """The reason against this Go; empty if it is suitable."""
    needed = re.search(r"(?m)^go (\d+)\.(\d+)", (MODULE / "go.mod").read_text())
    printed = run([go, "version"], f"{go} does not run: repair it or remove it from PATH", env=environment())
    found = re.search(r"go(\d+)\.(\d+)", printed)
    if needed and found and tuple(map(int, found.groups())) >= tuple(map(int, needed.groups())):
        return ""
    return f"it needs Go {'.'.join(needed.groups()) if needed else ''} and this is {printed.strip()}"
