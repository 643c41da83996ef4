"""Triton's own server with a model in Python, through PyTriton, the only Triton that a package index has: `app.py PORT WORKLOAD FOLDER`.

The package has no backend for ONNX, so the same function as in all the peers is the model. Batching is off. The body is the tensor itself
(Triton's raw binary request), and the result comes as its protocol's JSON. Its log is off.
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


# The server's child for Python models looks for the library of Python, and must find the one of this Python.
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
