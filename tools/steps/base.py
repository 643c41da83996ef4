"""Shared by all steps: folders, messages, failures, commands, and stamps of finished work.

A step raises `Problem` with one sentence: the missing thing and the remedy. Only `main` in tools/setup prints it.
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
# A hanging step must end with a message. The slowest step builds a large Go program on a small machine.
COMMAND_SECONDS = 1800


class Problem(Exception):
    """One clear sentence: the problem and the remedy."""


def say(text: str) -> None:
    print(f"setup: {text}", flush=True)


def run(command: list, failure: str, env: dict | None = None, cwd: Path | None = None) -> str:
    """Runs a command quietly. On failure, raises `failure` with the last error in the command's output."""
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
        killed = f"{words[0]} was killed by signal {-done.returncode}"
        raise Problem(f"{failure} ({killed if done.returncode < 0 else last_error(done.stdout)})")
    return done.stdout


def last_error(output: str) -> str:
    """The most useful line of a failed command's output: its last error, else its last line."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line for line in lines if line.lower().startswith("error")]
    return (errors or lines or ["no output"])[-1]


def need_room(mebibytes: int, purpose: str) -> None:
    free = shutil.disk_usage(TOOLS).free // MEBIBYTE
    if free < mebibytes:
        raise Problem(
            f"{purpose} needs {mebibytes} MiB in {TOOLS}, but the disk has {free} MiB left: "
            "free some space and run this again."
        )


def explain(fault: OSError) -> str:
    if fault.errno == errno.ENOSPC:
        return f"the disk is full (while writing {fault.filename or TOOLS}): free some space and run this again."
    return f"{fault.strerror} ({fault.filename}): check the permissions of {TOOLS} and run this again."


class Stamp:
    """Records the inputs of a finished step, so a second run with the same inputs does nothing."""

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
    """Whether a path of the environment is in .tools/, not the user's."""
    return Path(os.path.abspath(path)).is_relative_to(TOOLS)


def find_program(name: str) -> str | None:
    """The user's program of that name. .tools/env adds .tools/bin to PATH, so that folder is excluded."""
    folders = os.environ.get("PATH", os.defpath).split(os.pathsep)
    return shutil.which(name, path=os.pathsep.join(folder for folder in folders if not is_ours(folder)))
