"""MLServer, run by its own command: `mlserver start FOLDER` with the two JSON files beside this one, told by environment.

A custom handler takes the body as bytes, which spares the JSON of its own protocol. Its documents advise one parallel worker for each
processor; without any, the job runs in the process of the server, which spares a queue. Both are measured. Debugging, with its access
log, compression and metrics are off.
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
