"""LitServe: `app.py PORT WORKLOAD FOLDER WORKERS`.

Configured by its documentation for more than a hundred requests per second: ZeroMQ between HTTP servers and workers
(`fast_queue`), and one HTTP server and one worker per processor. Bodies are bytes and are not parsed. The log is off.
"""

import sys
from typing import Annotated

import litserve
from fastapi import Body, Response

import job


class Job(litserve.LitAPI):
    def setup(self, device):
        self.infer = job.load(*sys.argv[2:4])

    def decode_request(self, request: Annotated[bytes, Body(media_type="application/octet-stream")]):
        return request

    def predict(self, payload):
        return self.infer(payload)

    def encode_response(self, result):
        return Response(result, media_type="application/json")


if __name__ == "__main__":
    workers = int(sys.argv[4])
    server = litserve.LitServer(
        Job(api_path="/infer"), accelerator="cpu", devices=1, workers_per_device=workers, fast_queue=True,
        disable_openapi_url=True,
    )
    server.run(
        host="127.0.0.1", port=int(sys.argv[1]), num_api_servers=workers, log_level="error", access_log=False,
        generate_client_file=False,
    )
