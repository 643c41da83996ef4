#!/usr/bin/env python3
"""Writes the small ONNX models of the end-to-end tests beside itself.

    .tools/training/bin/python tests/models/make.py
"""

import pathlib

import numpy
from onnx import TensorProto, checker, helper, numpy_helper

HERE = pathlib.Path(__file__).parent
FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64
KINDS = {
    "BOOL": TensorProto.BOOL, "UINT8": TensorProto.UINT8, "UINT16": TensorProto.UINT16, "UINT32": TensorProto.UINT32,
    "UINT64": TensorProto.UINT64, "INT8": TensorProto.INT8, "INT16": TensorProto.INT16, "INT32": TensorProto.INT32,
    "INT64": TensorProto.INT64, "FP16": TensorProto.FLOAT16, "FP32": TensorProto.FLOAT, "FP64": TensorProto.DOUBLE,
    "BF16": TensorProto.BFLOAT16, "BYTES": TensorProto.STRING,
}


def write(name, node, given, made, constants=()):
    write_all(name, [node], [given], [made], constants)


def write_all(name, nodes, given, made, constants=()):
    graph = helper.make_graph(nodes, name, given, made, initializer=constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    checker.check_model(model, full_check=True)
    (HERE / f"{name}.onnx").write_bytes(model.SerializeToString(deterministic=True))


def port(name, dtype, *shape):
    return helper.make_tensor_value_info(name, dtype, shape)


if __name__ == "__main__":
    copy = helper.make_node("Identity", ["x"], ["y"])
    write("identity", copy, port("x", FLOAT, "batch", 4), port("y", FLOAT, "batch", 4))
    # 1.6 MB out for every 16 bytes in: more than a server takes by default.
    tile = helper.make_node("Tile", ["x", "times"], ["y"])
    write("wide", tile, port("x", FLOAT, "batch", 4), port("y", FLOAT, "batch", 400_000),
          [numpy_helper.from_array(numpy.array([1, 100_000]), "times")])
    # Fails while it runs, for an index out of range.
    write("gather", helper.make_node("Gather", ["table", "x"], ["y"]), port("x", INT64, "n"), port("y", FLOAT, "n"),
          [numpy_helper.from_array(numpy.array([10, 20, 30], numpy.float32), "table")])
    # One input of each type of the Open Inference Protocol, with its name there; each is an output as well.
    write_all("kinds", [helper.make_node("Identity", [name], [f"{name}_out"]) for name in KINDS],
              [port(name, dtype, "n") for name, dtype in KINDS.items()],
              [port(f"{name}_out", dtype, "n") for name, dtype in KINDS.items()])
