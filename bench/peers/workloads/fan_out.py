"""The digits, with one result for each of the eight likeliest classes."""

import json
from collections.abc import Callable

from workloads.common import digit_odds, session

RESULTS = 8


def load(folder: str) -> Callable[[bytes], list[bytes]]:
    model = session(folder)

    def infer(payload: bytes) -> list[bytes]:
        odds = digit_odds(model, payload)
        likeliest = (-odds).argsort(kind="stable")[:RESULTS].tolist()
        return [
            json.dumps({"rank": rank, "label": label, "confidence": round(float(odds[label]), 4)}).encode()
            for rank, label in enumerate(likeliest, 1)
        ]

    return infer
