"""FastStream with its NATS broker, run by its own command: `faststream run app:app`, on uvloop, told by environment.

Validation by annotations is off and the decoder hands the bytes on, because a handler of raw bytes needs neither. Its log is off.
"""

import os

from faststream import FastStream
from faststream.nats import NatsBroker, NatsMessage

import job

infer = job.load(os.environ["PEER_WORKLOAD"], os.environ["PEER_FOLDER"])


async def as_it_is(message: NatsMessage) -> bytes:
    return message.body


broker = NatsBroker(os.environ["PEER_SERVER"], logger=None, apply_types=False, decoder=as_it_is)
app = FastStream(broker, logger=None)


@broker.subscriber(os.environ["PEER_SUBJECT"], queue="peer")
async def answer(payload: bytes) -> bytes:
    return infer(payload)
