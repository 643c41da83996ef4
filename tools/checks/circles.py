"""Refuses import circles among the modules of one crate."""

from __future__ import annotations

from collections import defaultdict, deque
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Iterable

from checks import cargo
from checks.base import Plant
from checks.modules import Crate, Import, Module, read_crate

# Module path without suffix: reason. The module and its children may import each other. No other file may join.
EXCEPTIONS = {
    "worker/sandbox/src/machine_code": "its private field allows only its children to construct machine code",
}
# The workspaces with crates of the project. Fuzz targets are one file each.
WORKSPACES = (".", "plugins", "bench/peers/guests")


@dataclass
class Package:
    """All targets of one cargo package, as module trees, and the imports between its files."""

    name: str
    folder: Path
    targets: list[Module]
    imports: list[Import]


@lru_cache(maxsize=None)
def packages(root: Path) -> list[Package]:
    manifests = [root / workspace for workspace in WORKSPACES if (root / workspace / "Cargo.toml").is_file()]
    described = [package for manifest in manifests for package in cargo.metadata(manifest, "--no-deps")["packages"]]
    return [read_package(package) for package in described]


def read_package(package: dict) -> Package:
    targets = sorted(package["targets"], key=lambda target: not is_library(target))
    library, trees, imports, sources = None, [], [], {}
    for target in targets:
        root_file = Path(target["src_path"]).resolve()
        if not root_file.is_file():
            continue
        tree = read_crate(root_file, sources)
        trees.append(tree)
        imports += Crate(tree, library).imports()
        if is_library(target):
            library = (target["name"].replace("-", "_"), tree)
    return Package(package["name"], Path(package["manifest_path"]).parent, trees, imports)


def is_library(target: dict) -> bool:
    return bool({"lib", "rlib", "cdylib", "proc-macro"} & set(target["kind"]))


def check_circles(root: Path) -> Iterable[str]:
    needed = set()
    for package in packages(root):
        yield from circles_of(package.name, package.imports, root, needed)
    for module, reason in EXCEPTIONS.items():
        if module not in needed and root.joinpath(f"{module}.rs").is_file():
            yield f"{root}/{module}.rs:1: is no longer part of a circle ({reason}): delete it from EXCEPTIONS"


def circles_of(name: str, imports: list[Import], root: Path, needed: set[str]) -> Iterable[str]:
    edges: dict[Path, dict[Path, Import]] = defaultdict(dict)
    for found in imports:
        exception = exception_of(found, root)
        if exception:
            needed.add(exception)
        else:
            edges[found.importer].setdefault(found.file, found)
    for component in components(edges):
        chains = {}
        for file in sorted(component, key=depth):
            chain = shortest_circle(file, component, edges)
            chains.setdefault(frozenset(chain), chain)
        first = min(component, key=depth)
        head = f"{first}:1: {len(component)} files of {name} import each other in circles; the shortest circles are:"
        yield "\n".join([head, *(line for chain in chains.values() for line in describe(chain, edges))])


def depth(file: Path) -> tuple[int, Path]:
    """Orders parents before their children."""
    return len(file.parts), file


def exception_of(found: Import, root: Path) -> str | None:
    for module in EXCEPTIONS:
        both = (found.importer, found.file)
        if all(file == root / f"{module}.rs" or root / module in file.parents for file in both):
            return module
    return None


def components(edges: dict[Path, dict[Path, Import]]) -> list[set[Path]]:
    """Strongly connected components of two files or more."""
    reached = {file: reach(file, edges) for file in list(edges)}
    found, done = [], set()
    for file in sorted(reached):
        if file in done:
            continue
        component = {other for other in reached[file] if file in reached.get(other, ())}
        if component:
            found.append(component | {file})
            done |= component
    return found


def reach(start: Path, edges: dict[Path, dict[Path, Import]]) -> set[Path]:
    waiting, seen = [start], set()
    while waiting:
        for following in edges.get(waiting.pop(), ()):
            if following not in seen:
                seen.add(following)
                waiting.append(following)
    return seen


def shortest_circle(start: Path, component: set[Path], edges: dict[Path, dict[Path, Import]]) -> list[Path]:
    waiting, came_from = deque([start]), {start: None}
    while waiting:
        here = waiting.popleft()
        for following in sorted(edges[here]):
            if following == start:
                chain = []
                while here is not None:
                    chain.append(here)
                    here = came_from[here]
                return chain[::-1]
            if following in component and following not in came_from:
                came_from[following] = here
                waiting.append(following)
    raise AssertionError(f"{start} is not in a circle")


def describe(chain: list[Path], edges: dict[Path, dict[Path, Import]]) -> Iterable[str]:
    arrows = " → ".join(file.stem for file in [*chain, chain[0]])
    yield f"  {arrows}"
    for importer, file in zip(chain, [*chain[1:], chain[0]]):
        found = edges[importer][file]
        yield f"    {importer}:{found.line}: {found.text}"


MANIFEST = '[package]\nname = "planted"\nversion = "0.0.0"\nedition = "2024"\n[workspace]\n'
LOCK = 'version = 4\n[[package]]\nname = "planted"\nversion = "0.0.0"\n'


def planted(**files: str) -> dict[str, str]:
    """A package with these modules in src/; `__` in a name stands for a folder."""
    sources = {f"src/{name.replace('__', '/')}.rs": text for name, text in files.items()}
    return {"Cargo.toml": MANIFEST, "Cargo.lock": LOCK, **sources}


PLANTS = [
    Plant(
        "a circle of two files",
        planted(lib="mod a;\nmod b;", a="use crate::b::B;\npub struct A;", b="use super::a::A;\npub struct B;"),
        check_circles,
        "a → b → a",
    ),
    Plant(
        "a circle through inline paths",
        planted(lib="mod a;\nmod b;", a="pub fn f() { crate::b::g() }", b="pub fn g() { crate::a::f() }"),
        check_circles,
        "a → b → a",
    ),
    Plant(
        "a circle through a re-export",
        planted(
            lib="mod a;\nmod b;\npub use b::B;",
            a="use crate::{B, c};\npub struct A;",
            b="pub mod deep;\npub use deep::B;",
            b__deep="use crate::a::A;\npub struct B;",
        ),
        check_circles,
        "a → deep → a",
    ),
    Plant(
        "a circle of a parent with its child",
        planted(lib="mod a;", a="mod b;\nfn f() { b::g() }\npub struct A;", a__b="use super::A;\npub fn g() {}"),
        check_circles,
        "a → b → a",
    ),
    Plant(
        "a parent that re-exports its child and uses the name",
        planted(
            lib="mod a;",
            a="mod b;\npub use b::B;\nfn f() -> B {}\npub struct A;",
            a__b="use super::A;\npub struct B;",
        ),
        check_circles,
        "a → b → a",
    ),
    Plant(
        "a re-export of a child that imports its parent",
        planted(lib="mod a;", a="mod b;\npub use b::B;\npub struct A;", a__b="use super::A;\npub struct B;"),
        check_circles,
        None,
    ),
    Plant(
        "an import of a test module",
        planted(
            lib="mod a;\nmod b;",
            a="use crate::b::B;\npub struct A;",
            b="pub struct B;\n#[cfg(test)]\nmod tests {\n    use crate::a::A;\n}",
        ),
        check_circles,
        None,
    ),
]
