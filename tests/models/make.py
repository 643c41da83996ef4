#!/usr/bin/env python3
"""Writes the small ONNX models of the end-to-end tests beside itself.

    .tools/training/bin/python tests/models/make.py
"""

import pathlib

import numpy
from onnx import TensorProto, checker, helper, numpy_helper

HERE = pathlib.Path(__file__).parent
FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64


def write(name, node, given, made, constants=()):
    graph = helper.make_graph([node], name, [given], [made], initializer=constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    checker.check_model(model, full_check=True)
    (HERE / f"{name}.onnx").write_bytes(model.SerializeToString(deterministic=True))


def port(name, dtype, *shape):
    return helper.make_tensor_value_info(name, dtype, shape)


if __name__ == "__main__":
    write("identity", helper.make_node("Identity", ["x"], ["y"]), port("x", FLOAT, "batch", 4), port("y", FLOAT, "batch", 4))
    # 1.6 MB out for every 16 bytes in: more than a server takes by default.
    write("wide", helper.make_node("Tile", ["x", "times"], ["y"]), port("x", FLOAT, "batch", 4), port("y", FLOAT, "batch", 400_000),
          [numpy_helper.from_array(numpy.array([1, 100_000]), "times")])
    # Fails while it runs, for an index that is not there.
    write("gather", helper.make_node("Gather", ["table", "x"], ["y"]), port("x", INT64, "n"), port("y", FLOAT, "n"),
          [numpy_helper.from_array(numpy.array([10, 20, 30], numpy.float32), "table")])
