"""A publisher and subscriber by nats-py, a client without knowledge of Inferbus.

    publisher_subscriber.py request --server nats://… --subject infer.digits --records heldout.bin --expect heldout.json
    publisher_subscriber.py route   --server nats://… --publish camera.7 --subscribe digits.7 --records … --expect …

`request` asks for every record and checks each reply. `route` publishes one record at a time and waits for its result
on another subject. Exit status 0 only if every record was answered with the expected label.
"""

import argparse
import asyncio
import sys

import nats.errors

from bus import connect
from camera import read_label, read_predictions, read_records, report

# Far above any real answer: it turns a lost message into a sentence instead of a hang.
ANSWER_SECONDS = 20


async def ask(connection, subject, record):
    reply = await connection.request(subject, record, timeout=ANSWER_SECONDS)
    headers = reply.headers or {}
    if "Nats-Service-Error-Code" in headers:
        sys.exit(f"{subject} answered {headers['Nats-Service-Error-Code']}: {headers.get('Nats-Service-Error')}")
    if not {"Inferbus-Model", "Inferbus-Version", "Inferbus-Digest"} <= set(headers):
        sys.exit(f"the reply does not say which model made it; its headers are {headers}")
    return read_label(reply.data)


async def request_all(connection, options, records):
    return [await ask(connection, options.subject, record) for record in records]


async def route_all(connection, options, records):
    results = await connection.subscribe(options.subscribe)
    # The server must know of the subscription before the first record can have a result.
    await connection.flush()
    labels = []
    for record in records:
        await connection.publish(options.publish, record)
        labels.append(read_label((await results.next_msg(timeout=ANSWER_SECONDS)).data))
    return labels


async def run(options):
    records = read_records(options.records)[: options.count]
    expected = read_predictions(options.expect)
    connection = await connect(options.server)
    try:
        labels = await options.run(connection, options, records)
    except nats.errors.NoRespondersError:
        sys.exit(f"no responder on {options.subject}: is a worker running with an active digits model?")
    except (nats.errors.TimeoutError, asyncio.TimeoutError):
        sys.exit(f"no answer within {ANSWER_SECONDS} seconds")
    finally:
        await connection.close()
    report([(i, want, got) for i, (want, got) in enumerate(zip(expected, labels)) if want != got], len(labels))


def arguments():
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--server", required=True)
    common.add_argument("--records", required=True)
    common.add_argument("--expect", required=True)
    common.add_argument("--count", type=int, help="use the first COUNT records only")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    modes = parser.add_subparsers(required=True)
    request = modes.add_parser("request", parents=[common])
    request.add_argument("--subject", default="infer.digits")
    request.set_defaults(run=request_all)
    route = modes.add_parser("route", parents=[common])
    route.add_argument("--publish", required=True)
    route.add_argument("--subscribe", required=True)
    route.set_defaults(run=route_all)
    return parser.parse_args()


if __name__ == "__main__":
    try:
        asyncio.run(run(arguments()))
    except (OSError, nats.errors.Error) as fault:
        sys.exit(f"NATS: {type(fault).__name__}: {fault}")
