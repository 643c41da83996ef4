"""MLServer, started as `mlserver start FOLDER` with the two JSON files of this folder and environment variables.

A custom handler takes the body as bytes, without the JSON of MLServer's protocol. The documentation advises one
parallel worker per processor. Without parallel workers, the job runs in the server's process and saves a queue.
Both are measured. Debugging, access log, compression and metrics are off.
"""

import os
from typing import Annotated

from fastapi import Body, Response
from mlserver import MLModel
from mlserver.handlers import custom_handler

import job


class Job(MLModel):
    async def load(self) -> bool:
        self.infer_one = job.load(os.environ["PEER_WORKLOAD"], os.environ["PEER_FOLDER"])
        return True

    @custom_handler(rest_path="/infer")
    async def infer(self, payload: Annotated[bytes, Body(media_type="application/octet-stream")]) -> Response:
        return Response(self.infer_one(payload), media_type="application/json")
