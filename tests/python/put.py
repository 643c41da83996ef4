"""Puts one value into a NATS key-value bucket, like `nats kv put BUCKET KEY VALUE`, on machines without the command.

    put.py --server nats://… models digits 1.1.0
"""

import argparse
import asyncio
import sys

import nats.errors

from bus import connect


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--server", required=True)
    parser.add_argument("bucket")
    parser.add_argument("key")
    parser.add_argument("value")
    return parser.parse_args()


async def run(options):
    connection = await connect(options.server)
    try:
        bucket = await connection.jetstream().key_value(options.bucket)
        revision = await bucket.put(options.key, options.value.encode())
    finally:
        await connection.close()
    print(f"{options.bucket} {options.key} = {options.value}, revision {revision}")


if __name__ == "__main__":
    try:
        asyncio.run(run(arguments()))
    except (OSError, asyncio.TimeoutError, nats.errors.Error) as fault:
        sys.exit(f"NATS: {type(fault).__name__}: {fault}")
