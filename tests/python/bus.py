"""The connection of the tests by nats-py: a missing server is an error at once, without a minute of retries."""

import nats

CONNECT_SECONDS = 20


async def quiet(_fault):
    """nats-py prints a traceback for each failed try; the caller prints the final error in a sentence."""


async def connect(server):
    # To nats-py zero attempts means without end, so one is the least.
    return await nats.connect(
        server, connect_timeout=CONNECT_SECONDS, allow_reconnect=False, max_reconnect_attempts=1,
        reconnect_time_wait=0, error_cb=quiet
    )
