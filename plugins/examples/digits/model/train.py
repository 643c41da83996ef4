"""Trains the digit classifier on scikit-learn's digits and writes the model and the held-out split beside this file.

    digits.onnx     input `pixels` f32 [batch, 64] in 0..1, output `logits` f32 [batch, 10]
    heldout.bin     the held-out digits in the camera's format, one record after another (the format: ../README.md)
    heldout.json    for each record the true label and the prediction of Python's onnxruntime

Run it after `tools/setup training`:  .tools/training/bin/python plugins/examples/digits/model/train.py
The seed is fixed and training uses one thread, so that a second run on the same machine writes the same model.
"""

import os

# The order of sums changes the weights.
os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"

import json
import struct
import sys
import warnings
import zlib
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier

HERE = Path(__file__).resolve().parent
SEED = 7
SIDE = 8
HIDDEN = (64, 32)
HELD_OUT_SHARE = 0.25
REQUIRED_ACCURACY = 0.96
OPSET = 17
IR_VERSION = 8


def load_pixels():
    """The digits with their 17 grey levels spread over the camera's 8 bits."""
    digits = load_digits()
    pixels = np.round(digits.data * 255 / 16).astype(np.uint8)
    return train_test_split(pixels, digits.target, test_size=HELD_OUT_SHARE, random_state=SEED, stratify=digits.target)


def to_input(pixels):
    return pixels.astype(np.float32) / np.float32(255)


def train(pixels, labels):
    network = MLPClassifier(HIDDEN, alpha=1e-3, batch_size=32, max_iter=120, random_state=SEED)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return network.fit(to_input(pixels), labels)


def export(network):
    """The network as Gemm and Relu nodes. It returns the last layer's logits; the post plugin applies the softmax."""
    nodes, weights, flow = [], [], "pixels"
    for layer, (matrix, bias) in enumerate(zip(network.coefs_, network.intercepts_)):
        last = layer == len(network.coefs_) - 1
        weights.append(numpy_helper.from_array(matrix.astype(np.float32), f"weight{layer}"))
        weights.append(numpy_helper.from_array(bias.astype(np.float32), f"bias{layer}"))
        result = "logits" if last else f"sum{layer}"
        nodes.append(helper.make_node("Gemm", [flow, f"weight{layer}", f"bias{layer}"], [result]))
        if not last:
            flow = f"hidden{layer}"
            nodes.append(helper.make_node("Relu", [result], [flow]))
    graph = helper.make_graph(
        nodes, "digits",
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["batch", SIDE * SIDE])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 10])],
        weights,
    )
    opsets = [helper.make_opsetid("", OPSET)]
    model = helper.make_model(graph, producer_name="inferbus", opset_imports=opsets, ir_version=IR_VERSION)
    properties = {"task": "digit classification", "data": "scikit-learn load_digits", "seed": str(SEED)}
    helper.set_model_props(model, properties)
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString(deterministic=True)


def record(sequence, pixels):
    """One image in the camera's format."""
    rows = pixels.tobytes()
    return struct.pack("<4sBBHHHI", b"DCAM", 1, 0, SIDE, SIDE, sequence, zlib.crc32(rows)) + rows


def predict(model, pixels):
    """One image at a time, like a worker without batching."""
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    logits = [session.run(["logits"], {"pixels": to_input(image[np.newaxis])})[0] for image in pixels]
    return np.concatenate(logits).argmax(axis=1)


def main():
    train_pixels, test_pixels, train_labels, labels = load_pixels()
    model = export(train(train_pixels, train_labels))
    predictions = predict(model, test_pixels)
    accuracy = float((predictions == labels).mean())
    if accuracy < REQUIRED_ACCURACY:
        sys.exit(f"train: accuracy {accuracy:.4f} on the held-out split is below {REQUIRED_ACCURACY}: nothing written")
    records = [record(sequence, image) for sequence, image in enumerate(test_pixels)]
    (HERE / "digits.onnx").write_bytes(model)
    (HERE / "heldout.bin").write_bytes(b"".join(records))
    results = {"labels": labels.tolist(), "predictions": predictions.tolist()}
    summary = {"records": len(records), "record_bytes": len(records[0]), **results}
    (HERE / "heldout.json").write_text(json.dumps(summary) + "\n")
    print(f"train: accuracy {accuracy:.4f} on {len(records)} held-out digits; digits.onnx has {len(model):,} bytes")


if __name__ == "__main__":
    main()
