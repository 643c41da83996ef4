"""The digits, of which only the doubtful ones, about one in twenty, give a result."""

import json
from collections.abc import Callable

from workloads.common import digit_odds, session

# Of DOUBTFUL in plugins/fixtures/bench/shared/src/doubt.rs.
DOUBTFUL = 0.97


def load(folder: str) -> Callable[[bytes], list[bytes]]:
    model = session(folder)

    def infer(payload: bytes) -> list[bytes]:
        odds = digit_odds(model, payload)
        label = int(odds.argmax())
        if odds[label] >= DOUBTFUL:
            return []
        return [json.dumps({"label": label, "confidence": round(float(odds[label]), 4)}).encode()]

    return infer
