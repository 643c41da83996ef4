#!/usr/bin/env python3
"""Writes the small ONNX models that the tests of this crate run.

    python3 -m venv /tmp/venv && /tmp/venv/bin/pip install onnx && /tmp/venv/bin/python make.py

Opset 17 and IR 8 are old enough for every ONNX Runtime that the engine supports.
"""

import pathlib

from onnx import TensorProto as T
from onnx import checker, helper, numpy_helper
import numpy

HERE = pathlib.Path(__file__).parent

IDENTITIES = {
    "f32": T.FLOAT, "f64": T.DOUBLE, "f16": T.FLOAT16, "bf16": T.BFLOAT16,
    "i8": T.INT8, "i16": T.INT16, "i32": T.INT32, "i64": T.INT64,
    "u8": T.UINT8, "u16": T.UINT16, "u32": T.UINT32, "u64": T.UINT64,
    "bool": T.BOOL, "string": T.STRING,
}


def tensor(name, dtype, shape):
    return helper.make_tensor_value_info(name, dtype, shape)


def sequence(name, element):
    return helper.make_value_info(name, helper.make_sequence_type_proto(element))


def constant(name, values):
    return numpy_helper.from_array(values, name)


def write(name, nodes, inputs, outputs, constants=(), strict=True):
    """Strict is off for what ONNX Runtime takes and the checker does not."""
    graph = helper.make_graph(nodes, name, inputs, outputs, initializer=constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    if strict:
        checker.check_model(model)
    (HERE / f"{name}.onnx").write_bytes(model.SerializeToString(deterministic=True))


def identities():
    for name, dtype in IDENTITIES.items():
        write(f"identity_{name}",
              [helper.make_node("Identity", ["x"], ["y"])],
              [tensor("x", dtype, ["n", "m"])], [tensor("y", dtype, ["n", "m"])])


def ports():
    write("two_ports",
          [helper.make_node("Add", ["left", "left"], ["doubled"]),
           helper.make_node("Neg", ["right"], ["negated"])],
          [tensor("left", T.FLOAT, [2, 3]), tensor("right", T.INT64, ["k"])],
          [tensor("doubled", T.FLOAT, [2, 3]), tensor("negated", T.INT64, ["k"])])
    write("passthrough", [helper.make_node("Neg", ["x"], ["y"])],
          [tensor("x", T.FLOAT, ["n"])], [tensor("x", T.FLOAT, ["n"]), tensor("y", T.FLOAT, ["n"])])
    write("scalar", [helper.make_node("Add", ["x", "one"], ["y"])],
          [tensor("x", T.FLOAT, [])], [tensor("y", T.FLOAT, [])],
          [constant("one", numpy.float32(1))])
    write("unranked", [helper.make_node("Neg", ["x"], ["y"])],
          [tensor("x", T.FLOAT, None)], [tensor("y", T.FLOAT, None)], strict=False)


def arithmetic():
    weights = numpy.arange(12, dtype=numpy.float32).reshape(4, 3)
    write("linear",
          [helper.make_node("MatMul", ["x", "weights"], ["product"]),
           helper.make_node("Add", ["product", "bias"], ["y"])],
          [tensor("x", T.FLOAT, ["batch", 4])], [tensor("y", T.FLOAT, ["batch", 3])],
          [constant("weights", weights), constant("bias", numpy.array([1, 2, 3], numpy.float32))])
    write("matmul", [helper.make_node("MatMul", ["a", "b"], ["c"])],
          [tensor("a", T.FLOAT, ["m", "k"]), tensor("b", T.FLOAT, ["k", "n"])],
          [tensor("c", T.FLOAT, ["m", "n"])])
    write("gather", [helper.make_node("Gather", ["table", "index"], ["y"])],
          [tensor("index", T.INT64, ["n"])], [tensor("y", T.FLOAT, ["n"])],
          [constant("table", numpy.array([10, 20, 30], numpy.float32))])


def refused():
    outside = constant("outside", numpy.zeros(3, numpy.float32))
    outside.ClearField("raw_data")
    outside.data_location = T.EXTERNAL
    outside.external_data.add(key="location", value="secret.bin")
    write("external", [helper.make_node("Add", ["x", "outside"], ["y"])],
          [tensor("x", T.FLOAT, [3])], [tensor("y", T.FLOAT, [3])], [outside], strict=False)

    floats = helper.make_tensor_type_proto(T.FLOAT, ["n"])
    write("sequence_output", [helper.make_node("SequenceConstruct", ["x"], ["y"])],
          [tensor("x", T.FLOAT, ["n"])], [sequence("y", floats)])
    write("nested_sequence_input", [helper.make_node("Neg", ["x"], ["y"])],
          [tensor("x", T.FLOAT, ["n"]), sequence("deep", helper.make_sequence_type_proto(floats))],
          [tensor("y", T.FLOAT, ["n"])])


if __name__ == "__main__":
    identities()
    ports()
    arithmetic()
    refused()
