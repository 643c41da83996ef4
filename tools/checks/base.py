"""Shared by all checks: command-line arguments, the list of files, exception lists and self-tests.

A check is a function from a root folder to violations: lines that begin with `path:line:`.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Iterable

ROOT = Path(__file__).resolve().parents[2]


def parser(documentation: str, with_paths: bool = True) -> argparse.ArgumentParser:
    """The arguments of every tool of this folder."""
    layout = argparse.RawDescriptionHelpFormatter
    made = argparse.ArgumentParser(description=documentation, formatter_class=layout)
    if with_paths:
        paths_help = "check only this file or folder, relative to the root"
        made.add_argument("paths", nargs="*", metavar="PATH", help=paths_help)
    made.add_argument("--root", type=Path, default=ROOT, help="check another checkout with the rules of this one")
    self_test_help = "plant violations in a copy and require each to be found"
    made.add_argument("--self-test", action="store_true", help=self_test_help)
    return made


def tracked_files(root: Path) -> list[Path]:
    """All files of a checkout except ignored ones, as absolute paths. A folder outside git is listed in full."""
    command = ["git", "-C", str(root), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        return sorted(path for path in root.rglob("*") if path.is_file())
    paths = (root / name for name in done.stdout.split("\0") if name)
    return sorted({path for path in paths if path.is_file() and not path.is_symlink()})


def chosen_files(root: Path, paths: list[str]) -> list[Path]:
    """The files at these paths, relative to the root: files or folders. All files without paths."""
    folders = [root / path for path in paths]
    files = tracked_files(root)
    return [file for file in files if not paths or any(file == one or one in file.parents for one in folders)]


def finish(tool: str, root: Path, found: Iterable[str], success: str) -> None:
    """Prints violations with paths relative to the root, and exits with status 1 if there is one."""
    lines = list(found)
    for line in lines:
        print(line.replace(f"{root}/", ""))
    if lines:
        sys.exit(f"{tool}: {len(lines)} violation{'s' if len(lines) > 1 else ''}")
    print(f"{tool}: {success}")


@dataclass
class Exemption:
    """One line of an exceptions file: `path | rule | reason`. The path is a file, or a folder with all its files."""

    path: str
    rule: str
    place: str
    used: bool = False

    def covers(self, path: str, rules: Iterable[str]) -> bool:
        inside = path == self.path or path.startswith(self.path.rstrip("/") + "/")
        return inside and self.rule in rules


class Exemptions:
    """An exceptions file. Unused lines are violations, so the list stays short."""

    def __init__(self, file: Path) -> None:
        self.list: list[Exemption] = []
        self.malformed: list[str] = []
        lines = file.read_text().splitlines() if file.is_file() else []
        for number, line in enumerate(lines, 1):
            if not line.strip() or line.startswith("#"):
                continue
            fields = [field.strip() for field in line.split("|")]
            if len(fields) == 3 and all(fields):
                self.list.append(Exemption(fields[0], fields[1], f"{file}:{number}"))
            else:
                self.malformed.append(f"{file}:{number}: an exception is `path | rule | reason`")

    def cover(self, path: str, *rules: str) -> bool:
        covering = [exemption for exemption in self.list if exemption.covers(path, rules)]
        for exemption in covering:
            exemption.used = True
        return bool(covering)

    def complaints(self) -> list[str]:
        unused = [exemption for exemption in self.list if not exemption.used]
        return self.malformed + [
            f"{exemption.place}: the exception `{exemption.path} | {exemption.rule}` matches no violation: delete it"
            for exemption in unused
        ]


@dataclass
class Plant:
    """A planted violation: a small tree of files and a fragment of the expected report. `None` expects no report."""

    name: str
    files: dict[str, str]
    check: Callable[[Path], Iterable[str]]
    expected: str | None


def self_test(tool: str, plants: list[Plant]) -> None:
    """Writes each planted tree into a temporary folder and runs its check there."""
    for plant in plants:
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder)
            for name, text in plant.files.items():
                path = root / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)
            found = list(plant.check(root))
        if plant.expected is None and found:
            sys.exit(f"{tool}: self-test: {plant.name} is allowed, but the check reported {found}")
        if plant.expected is not None and not any(plant.expected in line for line in found):
            sys.exit(f"{tool}: self-test: the check missed {plant.name}; it reported {found}")
    planted = sum(plant.expected is not None for plant in plants)
    print(f"{tool}: self-test: {planted} planted violations found, {len(plants) - planted} legal cases accepted")
