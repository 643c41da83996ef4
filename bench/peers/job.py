"""The job of every peer, as one function from the payload to the results or to the reply, for any workload.

The reply is the result, or empty without one. Peers on NATS publish several results one by one; other peers reply
with a JSON list.
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
    """The subject of one of several results."""
    return f"{output}.{subject.rpartition('.')[2]}.rank.{rank}"
