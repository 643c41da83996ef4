"""BentoML, run by its own command: `bentoml serve app:Job`, told by environment.

One worker for each processor, access log, metrics and traces off. The method is `async`, so that a job of microseconds runs on the event
loop and not in its pool of threads. Bytes in and bytes out, by their content types. uvloop and httptools are there for uvicorn.
"""

import os
from typing import Annotated

import bentoml
from bentoml.validators import ContentType

import job


@bentoml.service(
    workers=int(os.environ["PEER_WORKERS"]),
    logging={"access": {"enabled": False}},
    metrics={"enabled": False},
)
class Job:
    def __init__(self) -> None:
        self.infer_one = job.load(os.environ["PEER_WORKLOAD"], os.environ["PEER_FOLDER"])

    @bentoml.api(route="/infer")
    async def infer(
        self, payload: Annotated[bytes, ContentType("application/octet-stream")], /
    ) -> Annotated[bytes, ContentType("application/json")]:
        return self.infer_one(payload)
