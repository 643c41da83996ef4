#!/usr/bin/env python3
"""Writes the seed corpus of the fuzz target. The tests replay it.

It implements ABI.md without the crate's code, so that the two check each other.
"""

import pathlib
import struct

CORPUS = pathlib.Path(__file__).parent / "corpus" / "frame"
BITS = {1: 32, 2: 8, 3: 8, 4: 16, 5: 16, 6: 32, 7: 64, 9: 8, 10: 16, 11: 64, 12: 32, 13: 64, 14: 64, 15: 128, 16: 16,
        17: 8, 18: 8, 19: 8, 20: 8, 21: 4, 22: 4, 23: 4, 24: 8, 25: 2, 26: 2}
STRING = 8


def padded(out: bytes, alignment: int) -> bytes:
    return out + bytes(-len(out) % alignment)


def frame(*tensors: tuple[str, int, list[int], bytes]) -> bytes:
    out = b"IBT1" + struct.pack("<I", len(tensors))
    for name, dtype, shape, data in tensors:
        text = name.encode()
        out += struct.pack("<BBHI", dtype, len(shape), len(text), len(data))
        out += struct.pack(f"<{len(shape)}Q", *shape) + text
        out = padded(padded(out, 16) + data, 8)
    return out


def strings(*texts: str) -> bytes:
    return b"".join(struct.pack("<I", len(text.encode())) + text.encode() for text in texts)


def main() -> None:
    every = [(f"t{dtype}", dtype, [3], bytes([1]) * ((3 * bits + 7) // 8)) for dtype, bits in BITS.items()]
    pixels = frame(("pixels", 1, [1, 2], struct.pack("<2f", 0.5, 1.0)))
    files = {
        "no-tensors": frame(),
        "pixels": pixels,
        "scalar-without-a-name": frame(("", 7, [], struct.pack("<q", -1))),
        "every-type": frame(*every),
        "strings": frame(("words", STRING, [2, 2], strings("", "naïve", "日本", "\0"))),
        "zero-size": frame(("none", 1, [2**40, 0, 2**40], b""), ("after", 2, [1], b"\x07")),
        "broken-empty": b"",
        "broken-cut": pixels[:-3],
        "broken-count": b"IBT1" + b"\xff" * 4,
        "broken-shape": frame(("huge", 1, [2**40, 2**40], b"")),
        "broken-name": frame(("same", 2, [1], b"\0"), ("same", 2, [1], b"\0")),
        "broken-string": frame(("cut", STRING, [1], struct.pack("<I", 9) + b"short")),
        "broken-padding": pixels.replace(b"pixels\0", b"pixels\1"),
    }
    CORPUS.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (CORPUS / name).write_bytes(content)


if __name__ == "__main__":
    main()
