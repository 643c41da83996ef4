"""Refuses source files that one crate includes from another."""

from __future__ import annotations

from pathlib import Path
from typing import Iterable

from checks.base import Plant
from checks.circles import packages
from checks.rooms import worker


def check_borrowed(root: Path) -> Iterable[str]:
    """Refuses `#[path]` to a file of another crate: shared code belongs to a crate with a public interface."""
    for package in packages(root):
        for module in (module for target in package.targets for module in target.all()):
            if not module.file.is_relative_to(package.folder.resolve()):
                importer = module.parent.file if module.parent else module.file
                yield f"{importer}:1: {package.name} includes {module.file}, a file of another crate: see testkit"


PLANTS = [
    Plant(
        "a file of another crate",
        {**worker(lib='#[path = "../../other/b.rs"]\nmod b;'), "other/b.rs": "pub struct B;"},
        check_borrowed,
        "planted includes",
    ),
]
