"""What the benchmark compares with, at the versions that bench/peers names: a Python environment for each peer, and hosts of WebAssembly.

Peers are strangers: one that cannot be had here is left out with its reason in .tools/peers/NAME/error, and the others go on.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from steps import wasm
from steps.base import ROOT, TOOLS, Problem, Stamp, find_program, need_room, run, say
from steps.python import interpreter, prepare_tests

SOURCES = ROOT / "bench" / "peers"
FOLDER = TOOLS / "peers"
PYTHON_PEERS = ["uvloop", "faststream", "litserve", "bentoml", "mlserver", "triton", "extism"]
ROOM_MEBIBYTES = 1500


def prepare() -> None:
    prepare_tests()
    FOLDER.mkdir(exist_ok=True)
    for name in PYTHON_PEERS:
        attempt(name, [SOURCES / name / "requirements.txt"], environment)
    attempt("guests", sorted((SOURCES / "guests").glob("*/src/*.rs")) + [SOURCES / "guests" / "Cargo.lock"], guests)
    attempt("wazero", [SOURCES / "wazero" / name for name in ("go.mod", "go.sum", "main.go")], wazero)
    attempt("extism-host", [SOURCES / "extism" / "host.c", SOURCES / "extism" / "requirements.txt"], extism_host)


def attempt(name: str, inputs: list[Path], bring) -> None:
    """Brings one peer into a folder of its own, or leaves there why it could not."""
    folder = FOLDER / name
    stamp = Stamp(f"peer-{name}", inputs)
    if stamp.holds(folder):
        return
    shutil.rmtree(folder, ignore_errors=True)
    say(f"bringing {name} for the benchmark")
    try:
        need_room(ROOM_MEBIBYTES, name)
        bring(name, folder)
    except (Problem, OSError) as problem:
        say(f"{name} is left out of the benchmark: {problem}")
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        (folder / "error").write_text(f"{problem}\n")
        return
    stamp.set()


def environment(name: str, folder: Path) -> None:
    run([interpreter(), "-m", "venv", folder], "a virtual environment cannot be made: install it (on Debian: apt install python3-venv)")
    run(
        [folder / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--retries", "1",
         "--only-binary=:all:", "--requirement", SOURCES / name / "requirements.txt"],
        f"the packages of {name} could not be installed",
    )


def guests(_: str, folder: Path) -> None:
    arguments, told = wasm.cargo_for_guests()
    built = folder / "target"
    told["CARGO_TARGET_DIR"] = str(built)
    run(["cargo", "build", "--release", "--locked", "--target", wasm.TARGET, *arguments],
        "the guests of other hosts could not be compiled", env=told, cwd=SOURCES / "guests")
    for guest in ("extism", "kept"):
        shutil.copy(built / wasm.TARGET / "release" / f"guest_{guest}.wasm", folder / f"{guest}.wasm")
    shutil.rmtree(built)


def wazero(_: str, folder: Path) -> None:
    go = find_program("go")
    if not go:
        raise Problem("Go is not installed")
    # A pinned build must not fetch another Go by itself.
    told = {**os.environ, "GOTOOLCHAIN": "local", "GOWORK": "off"}
    run([go, "build", "-mod=readonly", "-trimpath", "-o", folder / "wazero", "."],
        "the host on wazero could not be built", env=told, cwd=SOURCES / "wazero")


def extism_host(_: str, folder: Path) -> None:
    compiler = find_program("cc")
    library = next((FOLDER / "extism").glob("lib/python*/site-packages/extism_sys"), None)
    if not compiler or not library:
        raise Problem("a C compiler is missing" if library else "the package extism is missing")
    folder.mkdir()
    run([compiler, "-O2", "-o", folder / "host", SOURCES / "extism" / "host.c", f"-L{library}", "-lextism_sys", f"-Wl,-rpath,{library}"],
        "the host on Extism's library could not be compiled")
