"""The job that every peer does, as one function from the payload to the reply, whatever the workload is.

A reply is the result; where there are several, they are a JSON list, and where there is none, it is empty.
"""

import importlib
from collections.abc import Callable


def load(workload: str, folder: str) -> Callable[[bytes], bytes]:
    results_of = importlib.import_module(f"workloads.{workload}").load(folder)

    def infer(payload: bytes) -> bytes:
        results = results_of(payload)
        return results[0] if len(results) == 1 else b"[" + b",".join(results) + b"]" if results else b""

    return infer
