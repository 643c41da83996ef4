"""The rooms of the worker and their order: a file may import only from its own room, its own floor and lower floors."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Iterable

from checks.base import Plant
from checks.circles import packages, planted
from checks.modules import Import

WORKER = "worker"
# The floors of worker/src, top to bottom. A room is a file `name.rs` with its folder `name/`; both may be absent.
# Rooms of one floor may import each other in one direction only.
FLOORS = (
    ("main", "lib"),
    ("cli",),
    ("app", "dev_server", "doctor", "offline"),
    ("open_inference",),
    ("status",),
    ("requests",),
    ("stream",),
    ("lanes",),
    ("models",),
    ("crashes", "observe"),
    ("config",),
    ("nats",),
    ("excerpt", "failpoint", "limits"),
)


def check_rooms(root: Path) -> Iterable[str]:
    folder = root / WORKER / "src"
    for package in packages(root):
        if package.folder.resolve() == (root / WORKER).resolve():
            yield from unknown_rooms(folder)
            yield from check_floors(package.imports, folder.resolve(), FLOORS)


def unknown_rooms(folder: Path) -> Iterable[str]:
    known = {room for floor in FLOORS for room in floor} | {"bin"}
    for entry in sorted(folder.iterdir()):
        if (entry.suffix == ".rs" or entry.is_dir()) and entry.stem not in known:
            file = entry if entry.is_file() else next(iter(sorted(entry.rglob("*.rs"))), entry)
            if entry.is_file() or not entry.with_suffix(".rs").is_file():
                yield f"{file}:1: the room `{entry.stem}` is not on any floor: see FLOORS in tools/checks/rooms.py"


def check_floors(imports: list[Import], folder: Path, floors: tuple) -> Iterable[str]:
    floor_of = {room: number for number, floor in enumerate(floors) for room in floor}
    sideways: dict[tuple[str, str], list[Import]] = defaultdict(list)
    for found in imports:
        if folder not in found.importer.parents or folder not in found.file.parents:
            continue
        importer, room = room_of(found.importer, folder), room_of(found.file, folder)
        if importer == room or importer not in floor_of or room not in floor_of:
            continue
        if floor_of[room] < floor_of[importer]:
            yield f"{found.importer}:{found.line}: `{importer}` imports from `{room}`, a higher floor: {found.text}"
        if floor_of[room] == floor_of[importer]:
            sideways[importer, room].append(found)
    for (importer, room), found in sorted(sideways.items()):
        if importer < room and (room, importer) in sideways:
            for each in [*found, *sideways[room, importer]]:
                yield f"{each.importer}:{each.line}: `{importer}` and `{room}` import from each other: {each.text}"


def room_of(file: Path, folder: Path) -> str:
    return file.relative_to(folder).parts[0].removesuffix(".rs")


def worker(**files: str) -> dict[str, str]:
    """A repository with one package, the worker."""
    inside = {f"{WORKER}/{name}": text for name, text in planted(**files).items()}
    workspace = '[workspace]\nresolver = "3"\nmembers = ["worker"]\n'
    manifest = inside[f"{WORKER}/Cargo.toml"].replace("[workspace]\n", "")
    lock = inside.pop(f"{WORKER}/Cargo.lock")
    return {**inside, f"{WORKER}/Cargo.toml": manifest, "Cargo.toml": workspace, "Cargo.lock": lock}


PLANTS = [
    Plant(
        "an import from a higher floor",
        worker(
            lib="mod app;\nmod lanes;",
            app="pub struct App;",
            lanes="mod lane;",
            lanes__lane="use crate::app::App;",
        ),
        check_rooms,
        "`lanes` imports from `app`, a higher floor",
    ),
    Plant(
        "two rooms of one floor that import from each other",
        worker(
            lib="mod crashes;\nmod observe;",
            crashes="pub mod history;\npub mod journal;",
            crashes__history="pub struct History;",
            crashes__journal="use crate::observe::metrics::Metrics;",
            observe="pub mod metrics;\npub mod telemetry;",
            observe__metrics="pub struct Metrics;",
            observe__telemetry="use crate::crashes::history::History;",
        ),
        check_rooms,
        "`crashes` and `observe` import from each other",
    ),
    Plant(
        "a room that is on no floor",
        worker(lib="mod attic;", attic="pub struct Trunk;"),
        check_rooms,
        "the room `attic` is not on any floor",
    ),
    Plant(
        "an import from a lower floor",
        worker(lib="mod app;\nmod lanes;", app="use crate::lanes::Lane;", lanes="pub struct Lane;"),
        check_rooms,
        None,
    ),
]
