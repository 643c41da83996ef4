"""Reads a file of the digit camera's records and the expected answers.

The format: plugins/examples/digits/README.md.
"""

import json
import struct
import sys

HEADER = struct.Struct("<4sBBHHHI")


def read_records(path):
    """Every record of the file, header included, as the camera sends it."""
    with open(path, "rb") as file:
        data = file.read()
    records, start = [], 0
    while start < len(data):
        if start + HEADER.size > len(data):
            sys.exit(f"{path}: the record at byte {start} is cut off")
        magic, _, _, width, height, _, _ = HEADER.unpack_from(data, start)
        end = start + HEADER.size + width * height
        if magic != b"DCAM" or end > len(data):
            sys.exit(f"{path}: the record at byte {start} is not one of the digit camera's")
        records.append(data[start:end])
        start = end
    return records


def read_predictions(path):
    with open(path) as file:
        return json.load(file)["predictions"]


def read_label(payload):
    """The label of a result, or the whole result in a sentence if it lacks one."""
    try:
        return json.loads(payload)["label"]
    except (ValueError, KeyError, TypeError):
        sys.exit(f"a result is not JSON with a label: {payload!r}")


def report(wrong, count):
    """Prints the count and fails on any difference."""
    for index, expected, got in wrong[:5]:
        print(f"record {index}: expected label {expected}, got {got}", file=sys.stderr)
    print(f"{count} sent, {count} answered, {len(wrong)} wrong")
    sys.exit(1 if wrong else 0)
