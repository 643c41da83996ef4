"""From a raw picture of 224 by 224 pixels to the five likeliest of a thousand classes."""

import json
from collections.abc import Callable

import numpy as np

from workloads.common import session

SIDE, BEST = 224, 5
MEAN, DEVIATION = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
SCALE = (1 / (255 * DEVIATION)).astype(np.float32)[:, None, None]
OFFSET = (-MEAN / DEVIATION).astype(np.float32)[:, None, None]


def planes(picture: np.ndarray) -> np.ndarray:
    """Planes of colours instead of pixels, normalised."""
    numbers = np.empty((1, 3, SIDE, SIDE), np.float32)
    np.multiply(picture.transpose(2, 0, 1), SCALE, out=numbers[0])
    numbers += OFFSET
    return numbers


def best(odds: np.ndarray) -> bytes:
    five = np.argpartition(odds, -BEST)[-BEST:]
    five = five[np.argsort(-odds[five], kind="stable")]
    return json.dumps({"top": [{"label": int(at), "confidence": round(float(odds[at]), 4)} for at in five]}).encode()


def load(folder: str) -> Callable[[bytes], list[bytes]]:
    model = session(folder)

    def infer(payload: bytes) -> list[bytes]:
        picture = np.frombuffer(payload, np.uint8).reshape(SIDE, SIDE, 3)
        return [best(model.run(None, {"image": planes(picture)})[0][0])]

    return infer
