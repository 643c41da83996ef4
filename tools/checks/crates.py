"""Walls between crates: allowed dependencies, unsafe code, and the dependencies of plugins.

Dependencies are followed transitively, as cargo resolves them for this machine. Test-only dependencies are free.
"""

from __future__ import annotations

import re
import sys
from collections import deque
from pathlib import Path
from typing import Iterable

from checks import cargo
from checks.base import ROOT

HOST_CRATES = ("tokio", "wasmtime", "async-nats", "ort")
# crate: (workspace crates it may use, outside crates it must never reach, reason)
CRATE_WALLS = {
    "inferbus-abi": ((), HOST_CRATES, "it is compiled into guests and changes slowest"),
    "inferbus-plugin-macros": ((), HOST_CRATES, "it is part of the guest SDK"),
    "inferbus-plugin": (("inferbus-abi", "inferbus-plugin-macros"), HOST_CRATES, "it is compiled into guests"),
    "inferbus-catalog-document": (("inferbus-abi",), HOST_CRATES, "entries are edited and checked without a server"),
    "inferbus-catalog": (
        ("inferbus-abi", "inferbus-catalog-document"),
        ("wasmtime", "ort"),
        "operators edit entries without an engine",
    ),
    "inferbus-private-dir": ((), HOST_CRATES, "it is audited with the sandbox"),
    "inferbus-sandbox": (
        ("inferbus-abi", "inferbus-private-dir"),
        ("async-nats", "ort"),
        "the security boundary is audited and fuzzed alone",
    ),
    "inferbus-open-inference": (("inferbus-abi",), HOST_CRATES, "it reads untrusted bytes and is fuzzed alone"),
    "inferbus-engine": (
        ("inferbus-abi",),
        ("wasmtime", "async-nats"),
        "runtimes are interchangeable, and tests run without a server",
    ),
    "inferbus-loadgen": (
        ("inferbus-abi", "inferbus-open-inference"),
        ("wasmtime", "ort"),
        "it measures a worker from outside",
    ),
    "inferbus-pipeline": (
        (
            "inferbus-abi",
            "inferbus-catalog-document",
            "inferbus-engine",
            "inferbus-open-inference",
            "inferbus-private-dir",
            "inferbus-sandbox",
        ),
        ("async-nats", "tokio"),
        "the message path is pure policy: no I/O and no clock",
    ),
}
# Crates of the table that may be absent from the workspace.
PLANNED = {"inferbus-catalog-document", "inferbus-loadgen", "inferbus-pipeline", "inferbus-private-dir"}
# Plugins may use only these folders of the repository, and no crate of the host.
PLUGIN_HOMES = ("plugin-abi", "plugins")
PLUGIN_REASON = "plugins prove that the SDK suffices"
MAY_BE_UNSAFE = {"inferbus-engine", "inferbus-plugin"}
# Unsafe code is denied, but a function or file may allow it with a stated reason.
RARELY_UNSAFE = {"inferbus-sandbox"}


def check_crates(root: Path) -> Iterable[str]:
    metadata = cargo.metadata(root, "--filter-platform", cargo.host_platform())
    return [*check_dependencies(metadata), *check_unsafe(metadata)]


def graph_of(metadata: dict) -> tuple[dict, dict]:
    """The package name of each id, and the ids that it needs to build and run."""
    names = {package["id"]: package["name"] for package in metadata["packages"]}
    edges = {
        node["id"]: [dep["pkg"] for dep in node["deps"] if any(kind["kind"] != "dev" for kind in dep["dep_kinds"])]
        for node in metadata["resolve"]["nodes"]
    }
    return names, edges


def path_to(start: str, forbidden: str, names: dict, edges: dict) -> list[str] | None:
    """The shortest chain of dependencies from a package to a forbidden one, as names, or None."""
    waiting, came_from = deque([start]), {start: None}
    while waiting:
        here = waiting.popleft()
        if here != start and names[here] == forbidden:
            chain = []
            while here is not None:
                chain.append(names[here])
                here = came_from[here]
            return chain[::-1]
        for following in edges[here]:
            if following not in came_from:
                came_from[following] = here
                waiting.append(following)
    return None


def place_of(manifest: Path, dependency: str) -> str:
    """The line of a manifest with a direct dependency, such as `catalog/Cargo.toml:12`."""
    for number, line in enumerate(manifest.read_text().splitlines(), 1):
        if re.match(rf"{re.escape(dependency)}\b(?!-)", line):
            return f"{manifest}:{number}"
    return f"{manifest}:1"


def check_dependencies(metadata: dict) -> Iterable[str]:
    names, edges = graph_of(metadata)
    own = {package["name"]: package for package in metadata["packages"] if package["source"] is None}
    for crate, (allowed, outside, why) in CRATE_WALLS.items():
        if crate not in own:
            if crate not in PLANNED:
                yield f"Cargo.toml:1: {crate} has a wall but is not in the workspace: correct tools/checks/crates.py"
            continue
        for forbidden in [*outside, *sorted(set(own) - set(allowed) - {crate})]:
            chain = path_to(own[crate]["id"], forbidden, names, edges)
            if chain:
                place = place_of(Path(own[crate]["manifest_path"]), chain[1])
                yield f"{place}: {' → '.join(chain)}, but {crate} must never reach {forbidden}: {why}"


def check_unsafe(metadata: dict) -> Iterable[str]:
    for package in metadata["packages"]:
        if package["source"] is not None or package["name"] in MAY_BE_UNSAFE:
            continue
        for target in package["targets"]:
            if not {"lib", "bin", "proc-macro"} & set(target["kind"]):
                continue
            rarely = package["name"] in RARELY_UNSAFE and "lib" in target["kind"]
            attribute = f"#![{'deny' if rarely else 'forbid'}(unsafe_code)]"
            root_file = Path(target["src_path"])
            if attribute not in root_file.read_text():
                allowed = ", ".join(sorted(MAY_BE_UNSAFE))
                yield f"{root_file}:1: {attribute} is missing: only {allowed} may contain unsafe code"


def check_plugins(root: Path) -> Iterable[str]:
    """Reads the manifests of the plugins' workspace, without resolving it."""
    return check_plugin_manifests(cargo.metadata(root / "plugins", "--no-deps"), root)


def check_plugin_manifests(metadata: dict, root: Path) -> Iterable[str]:
    homes = [root / home for home in PLUGIN_HOMES]
    for package in metadata["packages"]:
        for dependency in package["dependencies"]:
            path = dependency.get("path")
            stray = path and not any(Path(path).is_relative_to(home) for home in homes)
            if stray or dependency["name"] in HOST_CRATES:
                place = place_of(Path(package["manifest_path"]), dependency["name"])
                yield f"{place}: {package['name']} depends on {dependency['name']}, a host crate: {PLUGIN_REASON}"


def self_test() -> None:
    """Plants dependencies in copies of cargo's answers, and manifests and sources in a temporary folder."""
    from tempfile import TemporaryDirectory

    workspace = with_pipeline(cargo.metadata(ROOT, "--filter-platform", cargo.host_platform()))
    with TemporaryDirectory() as folder:
        copy = Path(folder)
        edges = {
            "inferbus-catalog must never reach wasmtime": ("inferbus-catalog", "wasmtime"),
            "inferbus-abi must never reach tokio": ("inferbus-abi", "async-nats"),
            "inferbus-engine must never reach inferbus-catalog:": ("inferbus-engine", "inferbus-catalog"),
            "inferbus-pipeline must never reach tokio": ("inferbus-pipeline", "axum"),
        }
        planted = {
            **{expected: check_dependencies(with_edge(workspace, *edge)) for expected, edge in edges.items()},
            "is missing": check_unsafe(unsafe_crate(copy)),
            "depends on inferbus-catalog": check_plugin_manifests(stray_plugin(copy), copy),
        }
        for expected, found in planted.items():
            found = list(found)
            if not any(expected in line for line in found):
                sys.exit(f"walls: self-test: no violation contains `{expected}`; the check reported {found}")
    print(f"walls: self-test: {len(planted)} planted crate violations found")


def with_pipeline(metadata: dict) -> dict:
    """Adds the pipeline's crate where the workspace is without it."""
    names = {package["name"] for package in metadata["packages"]}
    if "inferbus-pipeline" in names:
        return metadata
    package = {"id": "pipeline", "name": "inferbus-pipeline", "source": None, "manifest_path": str(ROOT / "Cargo.toml")}
    node = {"id": "pipeline", "deps": []}
    resolve = {**metadata["resolve"], "nodes": [*metadata["resolve"]["nodes"], node]}
    return {**metadata, "packages": [*metadata["packages"], package], "resolve": resolve}


def with_edge(metadata: dict, crate: str, dependency: str) -> dict:
    ids = {package["name"]: package["id"] for package in metadata["packages"]}
    edge = {"pkg": ids[dependency], "dep_kinds": [{"kind": None}]}
    nodes = [
        {**node, "deps": [*node["deps"], edge]} if node["id"] == ids[crate] else node
        for node in metadata["resolve"]["nodes"]
    ]
    return {**metadata, "resolve": {**metadata["resolve"], "nodes": nodes}}


def unsafe_crate(copy: Path) -> dict:
    root_file = copy / "lib.rs"
    root_file.write_text("//! Lacks the attribute.\n")
    target = {"kind": ["lib"], "src_path": str(root_file)}
    return {"packages": [{"name": "careless", "source": None, "targets": [target]}]}


def stray_plugin(copy: Path) -> dict:
    manifest = copy / "Cargo.toml"
    manifest.write_text('[dependencies]\ninferbus-catalog = { path = "catalog" }\n')
    dependency = {"name": "inferbus-catalog", "path": str(copy / "catalog")}
    return {"packages": [{"name": "stray", "manifest_path": str(manifest), "dependencies": [dependency]}]}
