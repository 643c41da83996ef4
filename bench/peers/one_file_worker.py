"""The peer to beat: the whole job in one file of Python, with no sandbox and no catalog.

nats-py takes the message, numpy reads the picture, onnxruntime runs the model, json writes the result.
"""

import asyncio
import json
import struct
import sys
import zlib

import nats
import numpy as np
import onnxruntime


def load(model: str) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def infer(session: onnxruntime.InferenceSession, payload: bytes) -> bytes:
    magic, version, flags, width, height, _, checksum = struct.unpack_from("<4sBBHHHI", payload)
    pixels = payload[16:]
    if magic != b"DCAM" or version != 1 or flags or len(pixels) != width * height or zlib.crc32(pixels) != checksum:
        raise ValueError("not a picture")
    x = np.frombuffer(pixels, np.uint8).astype(np.float32).reshape(1, -1) / np.float32(255)
    logits = session.run(None, {"pixels": x})[0][0]
    odds = np.exp(logits - logits.max())
    label = int(odds.argmax())
    return json.dumps({"label": label, "confidence": round(float(odds[label] / odds.sum()), 4)}).encode()


async def main(server: str, subject: str, model: str) -> None:
    session = load(model)
    client = await nats.connect(server)

    async def answer(message) -> None:
        await message.respond(infer(session, message.data))

    await client.subscribe(subject, queue="peer", cb=answer)
    await client.flush()
    print("ready", flush=True)
    await asyncio.Event().wait()


asyncio.run(main(*sys.argv[1:]))
