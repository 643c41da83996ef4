"""What Python's onnxruntime predicts for a file of camera records, as a JSON list on standard output.

    reference.py --model digits.onnx --records heldout.bin
"""

import argparse
import json

import numpy as np
import onnxruntime

from camera import HEADER, read_records


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True)
    parser.add_argument("--records", required=True)
    return parser.parse_args()


def predict(session, record):
    pixels = np.frombuffer(record, dtype=np.uint8, offset=HEADER.size).astype(np.float32) / np.float32(255)
    logits = session.run(["logits"], {"pixels": pixels[np.newaxis]})[0]
    return int(logits.argmax())


def main(options):
    session = onnxruntime.InferenceSession(options.model, providers=["CPUExecutionProvider"])
    print(json.dumps([predict(session, record) for record in read_records(options.records)]))


if __name__ == "__main__":
    main(arguments())
