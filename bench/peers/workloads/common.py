"""Shared by the workloads: a session with one thread, odds from logits, and the digit camera's pictures."""

import functools
import struct
import zlib
from pathlib import Path

import numpy as np
import onnxruntime


def session(folder: str) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(Path(folder) / "model.onnx", options, providers=["CPUExecutionProvider"])


def softmax(logits: np.ndarray) -> np.ndarray:
    weights = np.exp(logits - logits.max())
    return weights / weights.sum()


@functools.lru_cache
def shares(extent: int) -> np.ndarray:
    """How much of each pixel along a side lies under each of the model's eight cells, as parts of a cell."""
    edges = np.arange(9) * extent / 8
    pixels = np.arange(extent)
    covered = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    return (covered.clip(0) * 8 / extent).astype(np.float32)


def cells(payload: bytes) -> np.ndarray:
    magic, version, flags, width, height, _, checksum = struct.unpack_from("<4sBBHHHI", payload)
    pixels = payload[16:]
    if magic != b"DCAM" or version != 1 or flags or len(pixels) != width * height or zlib.crc32(pixels) != checksum:
        raise ValueError("not a picture")
    picture = np.frombuffer(pixels, np.uint8).reshape(height, width).astype(np.float32)
    return (shares(height) @ picture @ shares(width).T / np.float32(255)).reshape(1, 64)


def digit_odds(session: onnxruntime.InferenceSession, payload: bytes) -> np.ndarray:
    return softmax(session.run(None, {"pixels": cells(payload)})[0][0])
