"""The peers of the benchmark, at the versions in bench/peers: a Python environment for each, and hosts of WebAssembly.

Peers are third-party software. A peer without an installation here is skipped, with the reason in
.tools/peers/NAME/error. The others continue.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from steps import wasm
from steps.base import ROOT, TOOLS, Problem, Stamp, find_program, need_room, run, say
from steps.python import interpreter, make_environment, prepare_tests

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


def attempt(name: str, inputs: list[Path], install) -> None:
    """Installs one peer into a separate folder, or writes the reason for its absence there."""
    folder = FOLDER / name
    stamp = Stamp(f"peer-{name}", inputs)
    if stamp.holds(folder):
        return
    shutil.rmtree(folder, ignore_errors=True)
    say(f"installing {name} for the benchmark")
    try:
        need_room(ROOM_MEBIBYTES, name)
        install(name, folder)
    except (Problem, OSError) as problem:
        say(f"{name} is left out of the benchmark: {problem}")
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        (folder / "error").write_text(f"{problem}\n")
        return
    stamp.set()


def environment(name: str, folder: Path) -> None:
    make_environment(interpreter(), folder)
    run(
        [folder / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--retries", "1",
         "--only-binary=:all:", "--requirement", SOURCES / name / "requirements.txt"],
        f"the packages of {name} could not be installed",
    )


def guests(_: str, folder: Path) -> None:
    arguments, settings = wasm.cargo_for_guests()
    built = folder / "target"
    settings["CARGO_TARGET_DIR"] = str(built)
    run(["cargo", "build", "--release", "--locked", "--target", wasm.TARGET, *arguments],
        "the guests of other hosts could not be compiled", env=settings, cwd=SOURCES / "guests")
    for guest in ("extism", "kept"):
        shutil.copy(built / wasm.TARGET / "release" / f"guest_{guest}.wasm", folder / f"{guest}.wasm")
    shutil.rmtree(built)


def wazero(_: str, folder: Path) -> None:
    go = find_program("go")
    if not go:
        raise Problem("Go is not installed")
    # A pinned build must not fetch another Go.
    settings = {**os.environ, "GOTOOLCHAIN": "local", "GOWORK": "off"}
    run([go, "build", "-mod=readonly", "-trimpath", "-o", folder / "wazero", "."],
        "the host of wazero could not be built", env=settings, cwd=SOURCES / "wazero")


def extism_host(_: str, folder: Path) -> None:
    compiler = find_program("cc")
    library = next((FOLDER / "extism").glob("lib/python*/site-packages/extism_sys"), None)
    if not compiler or not library:
        raise Problem("a C compiler is missing" if library else "the package extism is missing")
    folder.mkdir()
    source, linked = SOURCES / "extism" / "host.c", [f"-L{library}", "-lextism_sys", f"-Wl,-rpath,{library}"]
    run([compiler, "-O2", "-o", folder / "host", source, *linked], "the host of Extism's library could not be compiled")
