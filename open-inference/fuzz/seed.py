#!/usr/bin/env python3
"""Writes the seed corpus of the fuzzer. Run from anywhere: `python3 open-inference/fuzz/seed.py`."""

import json
import pathlib

FOLDER = pathlib.Path(__file__).parent / "corpus" / "request"

LISTS = {
    "id": "7",
    "inputs": [
        {"name": "x", "datatype": "FP32", "shape": [2, 2], "data": [[1, 2.5], [-1e3, 0]]},
        {"data": ["a", "ä"], "datatype": "BYTES", "name": "s", "shape": [2]},
        {"name": "b", "datatype": "BOOL", "shape": [1], "data": [True]},
        {"name": "h", "datatype": "FP16", "shape": [0, 3], "data": []},
    ],
    "outputs": [{"name": "x", "parameters": {"binary_data": True}}],
}
BINARY = {"inputs": [{"name": "x", "datatype": "INT16", "shape": [2], "parameters": {"binary_data_size": 4}}]}
# {"inputs": [{"name": "x", "datatype": "INT8", "shape": [2], "data": <two bytes>}]}
PACKED = bytes.fromhex(
    "81a6696e7075747391" "84a46e616d65a178a86461746174797065a4494e5438a5736861706591" "02a464617461c40201ff"
)


def main():
    FOLDER.mkdir(parents=True, exist_ok=True)
    header = json.dumps(BINARY, separators=(",", ":")).encode()
    seeds = {
        "lists": b"j" + json.dumps(LISTS, ensure_ascii=False).encode(),
        "binary": bytes([len(header)]) + header + b"\x01\x00\x02\x00",
        "packed": b"\0" + PACKED,
        "cut": b"j" + json.dumps(LISTS).encode()[:100],
    }
    for name, seed in seeds.items():
        (FOLDER / name).write_bytes(seed)


if __name__ == "__main__":
    main()
