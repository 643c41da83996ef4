"""Clients of the Open Inference Protocol V2, unaware of Inferbus: tritonclient over HTTP, and msgpack over NATS.

    open_inference.py http --address 127.0.0.1:8080
    open_inference.py nats --server nats://…

The model `kinds` has an input of each type, with the protocol's name of the type, and returns each as `<type>_out`.
Exit status 0 and the number of checks only if all checks pass.
"""

import argparse
import asyncio
import json

import ml_dtypes
import msgpack
import numpy
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

from bus import connect

ANSWER_SECONDS = 20
VERSION = "1.0.0"
IN_FLIGHT, ASKED = 8, 64

WHOLE = {
    "UINT8": numpy.uint8, "UINT16": numpy.uint16, "UINT32": numpy.uint32, "UINT64": numpy.uint64,
    "INT8": numpy.int8, "INT16": numpy.int16, "INT32": numpy.int32, "INT64": numpy.int64,
}
FLOATS = {"FP16": numpy.float16, "FP32": numpy.float32, "FP64": numpy.float64, "BF16": ml_dtypes.bfloat16}
# Types sent by the client as binary data only.
BINARY_ONLY = {"FP16", "BF16"}


def values():
    """Three elements of each type, the least and the greatest among them."""
    kinds = {name: numpy.array([numpy.iinfo(t).min, 1, numpy.iinfo(t).max], t) for name, t in WHOLE.items()}
    kinds |= {name: numpy.array([-1.5, 0, 65280], t) for name, t in FLOATS.items()}
    kinds["FP32"][1], kinds["FP64"][1] = 0.1, 0.1
    kinds["BOOL"] = numpy.array([True, False, True])
    kinds["BYTES"] = numpy.array(["plain", "", "äöü \n\0\"\\ 日本"], dtype=object)
    return kinds


def inputs(kinds, binary):
    made = []
    for name, array in kinds.items():
        one = triton.InferInput(name, list(array.shape), name)
        one.set_data_from_numpy(array, binary_data=binary or name in BINARY_ONLY)
        made.append(one)
    return made


def listed(array):
    """The JSON form. Strings are bytes in binary data, and text in lists."""
    if array.dtype == ml_dtypes.bfloat16:
        return array.astype(numpy.float32).tolist()
    return [one.decode() if isinstance(one, bytes) else one for one in array.tolist()]


def compare(name, want, got):
    assert got is not None, f"no output for {name}"
    same = listed(want) == listed(got) and (name == "BYTES" or want.dtype == got.dtype)
    assert same and want.shape == got.shape, f"{name}: {want!r} became {got!r}"


def echoed(client, kinds, binary_in, binary_out):
    outputs = [triton.InferRequestedOutput(f"{name}_out", binary_data=binary_out) for name in kinds]
    result = client.infer("kinds", inputs(kinds, binary_in), outputs=outputs, request_id="seven")
    for name, array in kinds.items():
        compare(name, array, result.as_numpy(f"{name}_out"))
    response = result.get_response()
    assert (response["id"], response["model_name"], response["model_version"]) == ("seven", "kinds", VERSION), response


def refused(what, *words):
    try:
        what()
    except InferenceServerException as fault:
        assert all(word in fault.message() for word in words), fault
        return
    raise AssertionError(f"nobody refused what should say {words}")


def every_kind(client):
    for binary_in in (True, False):
        for binary_out in (True, False):
            echoed(client, values(), binary_in, binary_out)


def nothing_at_all(client):
    for binary in (True, False):
        echoed(client, {name: array[:0] for name, array in values().items()}, binary, binary)


def metadata(client):
    assert client.is_server_live() and client.is_server_ready()
    assert client.get_server_metadata()["name"] == "inferbus"
    assert client.is_model_ready("kinds") and client.is_model_ready("kinds", VERSION)
    assert not client.is_model_ready("kinds", "9.9.9") and not client.is_model_ready("nobody")
    model = client.get_model_metadata("kinds")
    assert (model["name"], model["versions"], model["platform"]) == ("kinds", [VERSION], "inferbus_onnx"), model
    assert {"name": "FP16", "datatype": "FP16", "shape": [-1]} in model["inputs"], model
    assert [one["name"] for one in model["outputs"]] == [f"{one['name']}_out" for one in model["inputs"]], model
    assert client.get_model_metadata("kinds", VERSION) == model
    refused(lambda: client.get_model_metadata("kinds", "9.9.9"), "9.9.9", "1.0.0 is active")
    refused(lambda: client.get_model_metadata("nobody"), "no model `nobody` is active")
    listed = [one for one in client.get_model_repository_index() if one["name"] == "kinds"]
    assert [(one["version"], one["state"]) for one in listed] == [(VERSION, "READY")], listed


def chosen_outputs(client):
    asked = [triton.InferRequestedOutput("INT64_out"), triton.InferRequestedOutput("BYTES_out", binary_data=False)]
    result = client.infer("kinds", inputs(values(), True), outputs=asked)
    assert [one["name"] for one in result.get_response()["outputs"]] == ["INT64_out", "BYTES_out"]
    assert result.as_numpy("FP32_out") is None
    compare("INT64", values()["INT64"], result.as_numpy("INT64_out"))
    every = client.infer("kinds", inputs(values(), True))
    assert len(every.get_response()["outputs"]) == len(values())
    unknown = [triton.InferRequestedOutput("nothing")]
    refused(lambda: client.infer("kinds", inputs(values(), True), outputs=unknown), 'lacks an output "nothing"')


def mistakes(client):
    def identity(name, array, datatype, **more):
        one = triton.InferInput(name, list(array.shape), datatype)
        one.set_data_from_numpy(array)
        return lambda: client.infer("identity", [one], **more)

    four = numpy.zeros((1, 4), numpy.float32)
    identity("x", four, "FP32")()
    refused(identity("z", four, "FP32"), 'unknown input "z"', 'the model takes "x"')
    refused(identity("x", four[:, :3], "FP32"), "takes the shape [batch, 4], not [1, 3]")
    refused(identity("x", four.astype(numpy.float64), "FP64"), "takes f32, not f64")
    refused(identity("x", four, "FP32", model_version="2.0.0"), "1.0.0 is active")
    refused(identity("x", four, "FP32", request_compression_algorithm="gzip"), "gzip")
    refused(lambda: client.infer("kinds", inputs({"INT8": values()["INT8"]}, True)), "was not given")


def many_at_once(client):
    def one(number):
        asked = triton.InferInput("x", [1, 4], "FP32")
        asked.set_data_from_numpy(numpy.full((1, 4), number, numpy.float32), binary_data=number % 2 == 0)
        return client.async_infer("identity", [asked], request_id=str(number))

    for number, waiting in enumerate([one(number) for number in range(ASKED)]):
        result = waiting.get_result()
        assert result.as_numpy("y").tolist() == [[number] * 4] and result.get_response()["id"] == str(number)


def over_http(options):
    client = triton.InferenceServerClient(options.address, concurrency=IN_FLIGHT)
    checks = [metadata, every_kind, nothing_at_all, chosen_outputs, mistakes, many_at_once]
    for check in checks:
        check(client)
    return len(checks)


def document(kinds, binary):
    """A request as a map; lists in both forms, or bytes in MessagePack alone."""
    def data(name, array):
        if not binary:
            return listed(array)
        if name == "BYTES":
            return b"".join(len(one.encode()).to_bytes(4, "little") + one.encode() for one in array)
        return array.tobytes()

    return {
        "id": "seven",
        "inputs": [
            {"name": name, "datatype": name, "shape": list(array.shape), "data": data(name, array)}
            for name, array in kinds.items()
        ],
    }


async def ask(connection, subject, payload, content_type):
    reply = await connection.request(subject, payload, timeout=ANSWER_SECONDS, headers={"Content-Type": content_type})
    return reply.headers or {}, reply.data


def by_name(response):
    return {output["name"]: output for output in response["outputs"]}


async def as_json(connection):
    kinds = values()
    request = json.dumps(document(kinds, False)).encode()
    headers, body = await ask(connection, "infer.kinds", request, "application/json")
    assert headers["Content-Type"] == "application/json", headers
    response = json.loads(body)
    assert (response["id"], response["model_version"]) == ("seven", VERSION), response
    outputs = by_name(response)
    for name, array in kinds.items():
        output = outputs.pop(f"{name}_out")
        assert (output["datatype"], output["shape"]) == (name, [3]), output
        compare(name, array, numpy.array(output["data"], array.dtype))
    assert not outputs, outputs


async def as_message_pack(connection):
    kinds = values()
    for binary in (True, False):
        asked = document(kinds, binary) | {"parameters": {"binary_data_output": binary}}
        headers, body = await ask(connection, "infer.kinds", msgpack.packb(asked), "application/msgpack")
        assert headers["Content-Type"] == "application/msgpack", headers
        outputs = by_name(msgpack.unpackb(body))
        for want in document(kinds, binary)["inputs"]:
            given = outputs.pop(f"{want['name']}_out")["data"]
            assert type(given) is (bytes if binary else list) and given == want["data"], (given, want)
        assert not outputs, outputs


async def errors(connection):
    headers, body = await ask(connection, "infer.kinds", b'{"inputs":[', "application/json")
    assert headers["Nats-Service-Error-Code"] == "400" and "is not JSON" in json.loads(body)["error"], (headers, body)
    headers, body = await ask(connection, "infer.kinds", b"\xc1", "application/msgpack")
    assert headers["Nats-Service-Error-Code"] == "400", (headers, body)
    assert "MessagePack" in msgpack.unpackb(body)["error"], (headers, body)
    headers, body = await ask(connection, "infer.nobody", b"{}", "application/json")
    assert headers["Nats-Service-Error-Code"] == "404" and "nobody" in json.loads(body)["error"], (headers, body)


async def questions(connection):
    model = json.loads((await connection.request("infer.kinds.metadata", timeout=ANSWER_SECONDS)).data)
    assert (model["name"], model["versions"]) == ("kinds", [VERSION]), model
    assert {"name": "BYTES", "datatype": "BYTES", "shape": [-1]} in model["inputs"], model
    ready = json.loads((await connection.request("infer.kinds.ready", timeout=ANSWER_SECONDS)).data)
    assert ready == {"name": "kinds", "ready": True}, ready
    reply = await connection.request("infer.nobody.ready", timeout=ANSWER_SECONDS)
    assert reply.headers["Nats-Service-Error-Code"] == "404" and "nobody" in json.loads(reply.data)["error"], reply


async def over_nats_async(options):
    connection = await connect(options.server)
    checks = [as_json, as_message_pack, errors, questions]
    try:
        for check in checks:
            await check(connection)
    finally:
        await connection.close()
    return len(checks)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    modes = parser.add_subparsers(required=True)
    http = modes.add_parser("http")
    http.add_argument("--address", required=True)
    http.set_defaults(run=over_http)
    bus = modes.add_parser("nats")
    bus.add_argument("--server", required=True)
    bus.set_defaults(run=lambda options: asyncio.run(over_nats_async(options)))
    return parser.parse_args()


if __name__ == "__main__":
    chosen = arguments()
    print(f"{chosen.run(chosen)} checks went well")
