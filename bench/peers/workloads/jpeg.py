"""Like `image`, from a JPEG."""

import io
from collections.abc import Callable

import numpy as np
from PIL import Image

from workloads.common import session
from workloads.image import SIDE, best, planes


def load(folder: str) -> Callable[[bytes], list[bytes]]:
    model = session(folder)

    def infer(payload: bytes) -> list[bytes]:
        with Image.open(io.BytesIO(payload), formats=["JPEG"]) as picture:
            if picture.size != (SIDE, SIDE) or picture.mode != "RGB":
                raise ValueError(f"a picture has {SIDE} by {SIDE} pixels of three colours")
            pixels = np.asarray(picture)
        return [best(model.run(None, {"image": planes(pixels)})[0][0])]

    return infer
