"""The digits, with results for doubtful ones only, about one in twenty."""

import json
from collections.abc import Callable

from workloads.common import digit_odds, session

# Equal to DOUBTFUL in plugins/fixtures/bench/shared/src/doubt.rs.
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
