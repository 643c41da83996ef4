"""What every step shares: where things live, how a step speaks, fails, runs a command and remembers that it is done.

A step raises `Problem` with one sentence that says what is missing and what to do; only `main` in tools/setup prints it.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TOOLS = ROOT / ".tools"
PINS = ROOT / "tools" / "pins"

MEBIBYTE = 1 << 20
# A step that hangs must end with a sentence; the slowest one builds a large Go program on a small machine.
COMMAND_SECONDS = 1800


class Problem(Exception):
    """One clear sentence: what is wrong, and the remedy."""


def say(text: str) -> None:
    print(f"setup: {text}", flush=True)


def run(command: list, failure: str, env: dict | None = None, cwd: Path | None = None) -> str:
    """Runs a command quietly; on failure raises `failure` with the command's own last words."""
    words = [str(word) for word in command]
    try:
        done = subprocess.run(
            words, env=env, cwd=cwd, timeout=COMMAND_SECONDS, text=True, errors="replace",
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )
    except subprocess.TimeoutExpired:
        raise Problem(f"{failure} ({words[0]} did not finish within {COMMAND_SECONDS} seconds)")
    except OSError as fault:
        raise Problem(f"{failure} ({fault})")
    if done.returncode != 0:
        raise Problem(f"{failure} ({last_words(done.stdout)})")
    return done.stdout


def last_words(output: str) -> str:
    """The line of a failed command's output that says most: its last error, else its last line."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line for line in lines if line.lower().startswith("error")]
    return (errors or lines or ["it printed nothing"])[-1]


def need_room(mebibytes: int, what: str) -> None:
    free = shutil.disk_usage(TOOLS).free // MEBIBYTE
    if free < mebibytes:
        raise Problem(f"{what} needs {mebibytes} MiB in {TOOLS}, but the disk has {free} MiB left: free some room and run this again.")


def explain(fault: OSError) -> str:
    if fault.errno == errno.ENOSPC:
        return f"the disk is full (while writing {fault.filename or TOOLS}): free some room and run this again."
    return f"{fault.strerror} ({fault.filename}): check the permissions of {TOOLS} and run this again."


class Stamp:
    """Remembers that a step was done with exactly these inputs, so that a second run does nothing."""

    def __init__(self, name: str, inputs: list[Path], *words: str) -> None:
        self.file = TOOLS / "stamps" / name
        digest = hashlib.sha256()
        for path in inputs:
            digest.update(path.read_bytes())
        digest.update("\0".join(words).encode())
        self.value = digest.hexdigest()

    def holds(self, *products: Path) -> bool:
        return all(path.exists() for path in products) and self.file.is_file() and self.file.read_text() == self.value

    def set(self) -> None:
        self.file.parent.mkdir(parents=True, exist_ok=True)
        self.file.write_text(self.value)


def is_ours(path: str | Path) -> bool:
    """Whether a path that the environment names is our own earlier work rather than the user's."""
    return Path(os.path.abspath(path)).is_relative_to(TOOLS)


def find_program(name: str) -> str | None:
    """The user's own program of that name: .tools/bin may be on PATH too, because .tools/env puts it there."""
    folders = os.environ.get("PATH", os.defpath).split(os.pathsep)
    return shutil.which(name, path=os.pathsep.join(folder for folder in folders if not is_ours(folder)))
