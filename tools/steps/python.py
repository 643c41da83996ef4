"""Private Python environments with pinned, hashed packages: one for the interoperation tests, one for training the model."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from steps.base import PINS, TOOLS, Problem, Stamp, find_program, need_room, run, say

# The pinned packages have wheels for these.
SUPPORTED = ["3.11", "3.12", "3.13", "3.14"]
ROOM_MEBIBYTES = 600


def prepare_tests() -> None:
    prepare("python", TOOLS / "venv", "the Python clients of the interoperation tests")


def prepare_training() -> None:
    prepare("training", TOOLS / "training", "scikit-learn and the ONNX exporter")


def prepare(name: str, folder: Path, what: str) -> None:
    pins = PINS / f"{name}.txt"
    python = folder / "bin" / "python"
    stamp = Stamp(f"venv-{name}", [pins])
    if stamp.holds(python):
        return
    need_room(ROOM_MEBIBYTES, what)
    base = interpreter()
    say(f"installing {what}")
    shutil.rmtree(folder, ignore_errors=True)
    run([base, "-m", "venv", folder], f"{base} cannot make a virtual environment: install it (on Debian: apt install python3-venv)")
    run(
        [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--retries", "1", "--require-hashes",
         "--no-deps", "--only-binary=:all:", "--requirement", pins],
        f"{what} could not be installed: check the network and run this again",
    )
    stamp.set()


def interpreter() -> str:
    """A Python that the pinned packages support: this one, or another one on PATH."""
    candidates = [sys.executable] + [find_program(f"python{version}") for version in reversed(SUPPORTED)]
    for candidate in filter(None, candidates):
        asked = subprocess.run([candidate, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"], capture_output=True, text=True)
        if asked.returncode == 0 and asked.stdout.strip() in SUPPORTED:
            return candidate
    raise Problem(f"the interoperation tests need Python {SUPPORTED[0]} to {SUPPORTED[-1]}, and none is on PATH: install one.")
