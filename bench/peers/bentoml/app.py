"""BentoML, started as `bentoml serve app:Job` and configured by environment variables.

One worker per processor, without access log, metrics and traces. The method is `async`: a job of microseconds runs on
the event loop instead of the thread pool. Input and output are bytes, by content type. uvloop and httptools serve
uvicorn.
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
