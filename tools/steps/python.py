"""Private Python environments with pinned, hashed packages, for the interoperation tests and for training the model."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from steps.base import PINS, TOOLS, Problem, Stamp, find_program, need_room, run, say

# The pinned packages have wheels for these versions.
SUPPORTED = ["3.11", "3.12", "3.13", "3.14"]
ROOM_MEBIBYTES = 600


def prepare_tests() -> None:
    prepare("python", TOOLS / "venv", "the Python clients of the interoperation tests")


def prepare_training() -> None:
    prepare("training", TOOLS / "training", "scikit-learn and the ONNX exporter")


def prepare(name: str, folder: Path, contents: str) -> None:
    pins = PINS / f"{name}.txt"
    python = folder / "bin" / "python"
    stamp = Stamp(f"venv-{name}", [pins])
    if stamp.holds(python):
        return
    need_room(ROOM_MEBIBYTES, contents)
    base = interpreter()
    say(f"installing {contents}")
    shutil.rmtree(folder, ignore_errors=True)
    make_environment(base, folder)
    run(
        [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--retries", "1", "--require-hashes",
         "--no-deps", "--only-binary=:all:", "--requirement", pins],
        f"{contents} could not be installed: check the network and run this again",
    )
    stamp.set()


def make_environment(base: str, folder: Path) -> None:
    failure = f"{base} cannot make a virtual environment: install the module venv (on Debian: apt install python3-venv)"
    run([base, "-m", "venv", folder], failure)


def interpreter() -> str:
    """A Python with wheels of the pinned packages: this one, or another one on PATH."""
    candidates = [sys.executable] + [find_program(f"python{version}") for version in reversed(SUPPORTED)]
    for candidate in filter(None, candidates):
        script = "import sys; print('%d.%d' % sys.version_info[:2])"
        version = subprocess.run([candidate, "-c", script], capture_output=True, text=True)
        if version.returncode == 0 and version.stdout.strip() in SUPPORTED:
            return candidate
    versions = f"{SUPPORTED[0]} to {SUPPORTED[-1]}"
    raise Problem(f"the interoperation tests need Python {versions}, but PATH is without one: install one.")
