"""The models of the conformance test: made by the pinned package `onnx`, judged by the pinned onnxruntime, written to .tools/."""

from __future__ import annotations

from steps.base import PINS, ROOT, TOOLS, Stamp, need_room, run, say
from steps.python import prepare_tests

SCRIPT = ROOT / "tests" / "python" / "conformance_cases.py"
FOLDER = TOOLS / "conformance"
ROOM_MEBIBYTES = 200


def prepare() -> None:
    prepare_tests()
    stamp = Stamp("conformance", [PINS / "python.txt", SCRIPT])
    if stamp.holds(FOLDER):
        return
    need_room(ROOM_MEBIBYTES, "the conformance test")
    say("writing the models of the conformance test (about half a minute)")
    run([TOOLS / "venv" / "bin" / "python", SCRIPT, "--out", FOLDER], "the models of the conformance test could not be made")
    stamp.set()
