"""FastStream with its NATS broker, started as `faststream run app:app` on uvloop and configured by environment.

A handler of raw bytes needs neither validation nor decoding, so both are off. The log is off, too.
"""

import os

from faststream import FastStream
from faststream.nats import NatsBroker, NatsMessage

import job

results_of = job.results(os.environ["PEER_WORKLOAD"], os.environ["PEER_FOLDER"])
output = os.environ["PEER_OUTPUT"]


async def as_it_is(message: NatsMessage) -> NatsMessage:
    return message


broker = NatsBroker(os.environ["PEER_SERVER"], logger=None, apply_types=False, decoder=as_it_is)
app = FastStream(broker, logger=None)


@broker.subscriber(os.environ["PEER_SUBJECT"], queue="peer")
async def answer(message: NatsMessage) -> bytes:
    results = results_of(message.body)
    if len(results) > 1:
        for rank, result in enumerate(results, 1):
            await broker.publish(result, job.place(output, message.raw_message.subject, rank))
        results = []
    return results[0] if results else b""
