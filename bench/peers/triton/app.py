"""Triton's server with a Python model, through PyTriton: `app.py PORT WORKLOAD FOLDER`.

PyTriton is the only Triton in a package index. It lacks a backend for ONNX, so the model is the function of all peers.
The body is a tensor (Triton's raw binary request), and the result is the protocol's JSON. Batching and log are off.
"""

import os
import sys
import sysconfig

import numpy as np
from pytriton.model_config import ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig

import job

infer = job.load(*sys.argv[2:4])


def answer(requests):
    return [{"result": np.array([infer(request["payload"].tobytes())], dtype=object)} for request in requests]


# The server's child for Python models must load the library of this Python.
os.environ["LD_LIBRARY_PATH"] = sysconfig.get_config_var("LIBDIR")
config = TritonConfig(
    http_address="127.0.0.1", http_port=int(sys.argv[1]), allow_grpc=False, allow_metrics=False, log_verbose=0,
)
with Triton(config=config) as triton:
    triton.bind(
        model_name="job",
        infer_func=answer,
        inputs=[Tensor(name="payload", dtype=np.uint8, shape=(-1,))],
        outputs=[Tensor(name="result", dtype=bytes, shape=(1,))],
        config=ModelConfig(batching=False),
    )
    triton.serve()
