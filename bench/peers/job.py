"""The job that every peer does, as one function from the payload to the results or to the reply, whatever the workload is.

A reply is the result, and empty where there is none. Where there are several, who is on NATS publishes each; for the others they are a
JSON list.
"""

import importlib
from collections.abc import Callable


def results(workload: str, folder: str) -> Callable[[bytes], list[bytes]]:
    return importlib.import_module(f"workloads.{workload}").load(folder)


def load(workload: str, folder: str) -> Callable[[bytes], bytes]:
    results_of = results(workload, folder)

    def infer(payload: bytes) -> bytes:
        found = results_of(payload)
        return found[0] if len(found) == 1 else b"[" + b",".join(found) + b"]" if found else b""

    return infer


def place(output: str, subject: str, rank: int) -> str:
    """Where one of several results is published, by who can."""
    return f"{output}.{subject.rpartition('.')[2]}.rank.{rank}"
