"""A hand-written worker on nats-py.

    nats_worker.py SERVER SUBJECT WORKLOAD FOLDER OUTPUT [--loop uvloop] [--processes N]

The job runs on the event loop: it takes microseconds, less than a switch to a thread. Each process uses one processor.
Processes share the subject through a queue group. Requests are not logged.
"""

import argparse
import asyncio
import os

import nats

import job


async def serve(server: str, subject: str, workload: str, folder: str, output: str) -> None:
    results_of = job.results(workload, folder)
    client = await nats.connect(server)

    async def answer(message) -> None:
        results = results_of(message.data)
        if len(results) > 1:
            for rank, result in enumerate(results, 1):
                await client.publish(job.place(output, message.subject, rank), result)
            results = []
        await message.respond(results[0] if results else b"")

    await client.subscribe(subject, queue="peer", cb=answer)
    await asyncio.Event().wait()


def main() -> None:
    arguments = argparse.ArgumentParser()
    for name in ("server", "subject", "workload", "folder", "output"):
        arguments.add_argument(name)
    arguments.add_argument("--loop", choices=("asyncio", "uvloop"), default="asyncio")
    arguments.add_argument("--processes", type=int, default=1)
    options = arguments.parse_args()
    for _ in range(options.processes - 1):
        if os.fork() == 0:
            break
    loop = __import__(options.loop)
    loop.run(serve(options.server, options.subject, options.workload, options.folder, options.output))


main()
