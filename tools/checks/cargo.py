"""Answers of cargo and rustc about a checkout."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from functools import lru_cache
from pathlib import Path


@lru_cache(maxsize=None)
def metadata(folder: Path, *arguments: str) -> dict:
    manifest = str(folder / "Cargo.toml")
    command = ["cargo", "metadata", "--locked", "--format-version", "1", "--manifest-path", manifest, *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        sys.exit(f"walls: cargo cannot describe {manifest}: see its message above.")
    return json.loads(done.stdout)


@lru_cache(maxsize=None)
def host_platform() -> str:
    printed = subprocess.run(["rustc", "-vV"], stdout=subprocess.PIPE, text=True, check=True).stdout
    return re.search(r"(?m)^host: (\S+)$", printed).group(1)
