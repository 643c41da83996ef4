"""One file of Python for any workload: `workload_worker.py SERVER SUBJECT WORKLOAD FOLDER [OUTPUT]`.

One result is the reply, and an empty reply means no result. Several results are published under OUTPUT and the last
token of the request's subject, before an empty reply.
"""

import asyncio
import importlib
import sys

import nats


async def main(server: str, subject: str, workload: str, folder: str, output: str = "") -> None:
    infer = importlib.import_module(f"workloads.{workload}").load(folder)
    client = await nats.connect(server)

    async def answer(message) -> None:
        results = infer(message.data)
        if len(results) > 1:
            place = f"{output}.{message.subject.rpartition('.')[2]}.rank"
            for rank, result in enumerate(results, 1):
                await client.publish(f"{place}.{rank}", result)
            results = []
        await message.respond(results[0] if results else b"")

    await client.subscribe(subject, queue="peer", cb=answer)
    await client.flush()
    print("ready", flush=True)
    await asyncio.Event().wait()


asyncio.run(main(*sys.argv[1:]))
