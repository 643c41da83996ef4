"""Writes the backend tests of the package `onnx` as plain files, and lists the ones not passed by ONNX Runtime itself.

    conformance_cases.py --out .tools/conformance

For each case: `<id>.onnx`, and for each of its sets the tensor frames `<id>.<n>.in` and `<id>.<n>.out`. `index.json`
lists the cases with operator, type and tolerances. `left-out.txt` lists the others, each with the reason. Python's
onnxruntime decides, and nothing of Inferbus.
"""

import argparse
import itertools
import json
import math
import pathlib
import re
import shutil
import struct
import warnings

import numpy
import onnx
import onnxruntime
from onnx import TensorProto, numpy_helper
from onnx.backend.test.case.node import collect_testcases
from onnx.backend.test.loader import load_model_tests

SILENT = 4
MAGIC, ALIGNMENT, TAIL = b"IBT1", 16, 8
MOST_TENSORS = 256
# The newest version of the file format read by onnxruntime. For these models a newer version means the same.
NEWEST_IR = 13
ON_DISK = ["simple", "pytorch-converted", "pytorch-operator"]
# Operators with random outputs: their expected values are only examples.
RANDOM = {"Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"}
PLAIN = {
    TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BOOL, TensorProto.STRING,
    TensorProto.INT8, TensorProto.INT16, TensorProto.INT32, TensorProto.INT64,
    TensorProto.UINT8, TensorProto.UINT16, TensorProto.UINT32, TensorProto.UINT64,
}
WORDS = {1: numpy.uint8, 2: numpy.uint16}
# The messages of ONNX Runtime, without the lines of its sources.
REASONS = [
    (r"Could not find an implementation for (\w+)", "has no kernel for {} of this type or version"),
    (r"Failed to find kernel for (\w+)", "has no kernel for {} of this type or version"),
    (r"([\w.:]+)\(-?\d+\) is not a registered function/op", "does not know {}"),
    (r"ValidateOpset", "does not know so new an opset"),
    (r"Unrecognized attribute: (\w+)", "does not know the attribute {}"),
    (r"Exception during initialization: \S+/(\w+)\.(?:cc|h)", "refuses it in {}"),
    (r"running (\w+) node", "does not run {} on this"),
    (r"Type parameter \(T\) of Optype \((\w+)\)", "finds two types at {}"),
]


class LeftOut(Exception):
    """The reason for leaving out a case."""


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", required=True, type=pathlib.Path)
    return parser.parse_args()


def cases():
    """Name, model, sets of inputs and outputs as TensorProto, tolerances. Both sides are in the order of the graph."""
    with warnings.catch_warnings():
        # The package computes infinities on purpose.
        warnings.simplefilter("ignore")
        nodes = collect_testcases(None)
    for case in nodes:
        yield case.name, case.model, case.data_sets, case.rtol, case.atol
    for case in itertools.chain.from_iterable(load_model_tests(kind=kind) for kind in ON_DISK):
        folder = pathlib.Path(case.model_dir)
        model = onnx.load(folder / "model.onnx")
        sets = [read_set(one, model) for one in sorted(folder.glob("test_data_set_*"))]
        yield case.name, model, sets, case.rtol, case.atol
    for case in load_model_tests(kind="real"):
        if case.url.startswith("onnx/backend/test/data/light/"):
            yield light(case)


def read_set(folder, model):
    def read(side, ports):
        return [read_value(folder / f"{side}_{number}.pb", ports[number]) for number in range(count(folder, side))]

    return read("input", model.graph.input), read("output", model.graph.output)


def count(folder, side):
    return len(list(folder.glob(f"{side}_*.pb")))


def read_value(path, port):
    # A case with another kind of value is left out because of its port, so the value does not matter.
    return onnx.load_tensor(path) if port.type.HasField("tensor_type") else None


def light(case):
    """A whole network: the package has its shape, generated weights, and the output for a generated input."""
    path = pathlib.Path(onnx.__file__).parent.parent / case.url
    model = onnx.load(path)
    known = {one.name for one in model.graph.initializer}
    inputs = [ramp(port) for port in model.graph.input if port.name not in known]
    outputs = [onnx.load_tensor(path.with_name(f"{path.stem}_output_0.pb"))]
    return f"light_{case.model_name}", model, [(inputs, outputs)], case.rtol, case.atol


def ramp(port):
    shape = [dim.dim_value if dim.HasField("dim_value") else 1 for dim in port.type.tensor_type.shape.dim]
    size = math.prod(shape)
    return (numpy.arange(size).reshape(shape) / size).astype(numpy.float32)


def tensor(value, name):
    """A TensorProto with raw bytes or strings as its data."""
    if isinstance(value, TensorProto):
        if value.data_type == TensorProto.STRING or value.HasField("raw_data"):
            return value
        value = numpy_helper.to_array(value)
    return numpy_helper.from_array(numpy.asarray(value), name)


def content(proto):
    if proto.data_type != TensorProto.STRING:
        return proto.raw_data
    return b"".join(struct.pack("<I", len(text)) + text for text in proto.string_data)


def frame(tensors):
    """The bytes described in plugin-abi/ABI.md."""
    out = bytearray(MAGIC + struct.pack("<I", len(tensors)))
    for name, proto in tensors:
        data, encoded = content(proto), name.encode()
        out += struct.pack("<BBHI", proto.data_type, len(proto.dims), len(encoded), len(data))
        out += struct.pack(f"<{len(proto.dims)}Q", *proto.dims) + encoded
        out += bytes(-len(out) % ALIGNMENT) + data
        out += bytes(-len(out) % TAIL)
    return bytes(out)


def check_ports(model):
    for port in [*model.graph.input, *model.graph.output]:
        kind = port.type.WhichOneof("value")
        if kind not in ("tensor_type", None):
            raise LeftOut(f"not a tensor: {kind.removesuffix('_type').replace('_', ' ')}")
    drawn = sorted({node.op_type for node in model.graph.node} & RANDOM)
    if drawn:
        raise LeftOut(f"random: {drawn[0]}")


def open_session(model):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = SILENT
    try:
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except Exception as fault:
        raise LeftOut(reason(fault)) from fault
    if max(len(session.get_inputs()), len(session.get_outputs())) > MOST_TENSORS:
        raise LeftOut("more inputs or outputs than a frame has tensors")
    return session


def reason(fault):
    for pattern, words in REASONS:
        found = re.search(pattern, str(fault))
        if found:
            return f"ONNX Runtime {words.format(*found.groups())}"
    return f"ONNX Runtime: {type(fault).__name__}"


def whole(proto):
    """Whether numpy has words of the width of an element."""
    return proto.data_type in PLAIN or len(proto.raw_data) // max(1, math.prod(proto.dims)) in WORDS


def run(session, inputs, outputs):
    """The outputs of ONNX Runtime in Python, or None for types without support in Python."""
    if not all(whole(proto) for _, proto in inputs) or not all(proto.data_type in PLAIN for _, proto in outputs):
        return None
    names = [name for name, _ in outputs]
    try:
        if all(proto.data_type in PLAIN for _, proto in inputs):
            return session.run(names, {name: numpy_helper.to_array(proto) for name, proto in inputs})
        lent = {name: lend(proto) for name, proto in inputs}
        return [one.numpy() for one in session.run_with_ort_values(names, lent)]
    except Exception as fault:
        raise LeftOut(reason(fault)) from fault


def lend(proto):
    if proto.data_type in PLAIN:
        return onnxruntime.OrtValue.ortvalue_from_numpy(numpy_helper.to_array(proto))
    words = WORDS[len(proto.raw_data) // max(1, math.prod(proto.dims))]
    array = numpy.frombuffer(proto.raw_data, dtype=words).reshape(proto.dims)
    return onnxruntime.OrtValue.ortvalue_from_numpy_with_onnx_type(array, proto.data_type)


def check_run(session, inputs, outputs, rtol, atol):
    given = run(session, inputs, outputs)
    for got, (_, expected) in zip(given or [], outputs):
        expected = numpy_helper.to_array(expected)
        if got.shape != expected.shape:
            raise LeftOut("ONNX Runtime gives another shape")
        if not same(got, expected, rtol, atol):
            raise LeftOut("ONNX Runtime gives other values")


def same(got, expected, rtol, atol):
    if expected.dtype == object:
        return [text_of(one) for one in got.flat] == [text_of(one) for one in expected.flat]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return bool(numpy.allclose(got, expected, rtol=rtol, atol=atol, equal_nan=True))


def text_of(one):
    return one.decode() if isinstance(one, bytes) else one


def operator(name, model):
    """The operator of a case; a model of several nodes stands for its last one."""
    operators = [node.op_type for node in model.graph.node]
    if name.startswith("light_") or not operators:
        return name
    return operators[0] if len(operators) == 1 else f"... {operators[-1]}"


def first_type(model):
    return TensorProto.DataType.Name(model.graph.input[0].type.tensor_type.elem_type) if model.graph.input else ""


def prepare(name, model, sets, rtol, atol, stem):
    """Writes a case, or raises LeftOut."""
    check_ports(model)
    model.ir_version = min(model.ir_version, NEWEST_IR)
    session = open_session(model)
    # Inputs with a default are not sent.
    taken = {port.name for port in session.get_inputs()}
    known = {one.name for one in model.graph.initializer}
    frames = []
    for given, expected in sets:
        every = len(given) == len(model.graph.input)
        ports = [port.name for port in model.graph.input if every or port.name not in known]
        inputs = [(port, tensor(one, port)) for port, one in zip(ports, given) if port in taken]
        outputs = [(port.name, tensor(one, port.name)) for port, one in zip(model.graph.output, expected)]
        check_run(session, inputs, outputs, rtol, atol)
        frames.append((frame(inputs), frame(outputs)))
    stem.with_suffix(".onnx").write_bytes(model.SerializeToString())
    for number, (given, expected) in enumerate(frames):
        stem.with_suffix(f".{number}.in").write_bytes(given)
        stem.with_suffix(f".{number}.out").write_bytes(expected)
    kind = {"operator": operator(name, model), "type": first_type(model)}
    return {"id": stem.name, "name": name, **kind, "sets": len(frames), "rtol": rtol, "atol": atol}


def main(options):
    onnxruntime.set_default_logger_severity(SILENT)
    shutil.rmtree(options.out, ignore_errors=True)
    options.out.mkdir(parents=True)
    asked, left_out = [], []
    for number, (name, model, sets, rtol, atol) in enumerate(cases()):
        try:
            asked.append(prepare(name, model, sets, rtol, atol, options.out / f"c{number:04}"))
        except LeftOut as why:
            left_out.append(f"{name}: {why}\n")
    (options.out / "index.json").write_text(json.dumps(asked, indent=1))
    (options.out / "left-out.txt").write_text("".join(sorted(left_out)))


if __name__ == "__main__":
    main(arguments())
