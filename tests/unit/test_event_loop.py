"""The event loop never closes a descriptor that is another's by then."""

import asyncio
import socket
import ssl
import struct

import pytest

from edge.appliance import event_loop


async def refused_by_reset(context: ssl.SSLContext | None) -> socket.socket:
    """Return a socket whose connection was reset in its first moment, as asyncio left it."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        dialled = socket.create_connection(listening.getsockname())
        accepted, _ = listening.accept()
    dialled.setblocking(False)
    accepted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    accepted.close()  # sends RST
    loop, name = asyncio.get_running_loop(), "box" if context else None
    try:
        made, _ = await loop.create_connection(
            asyncio.Protocol, sock=dialled, ssl=context, server_hostname=name
        )
    except ConnectionError:
        return dialled
    made.abort()
    await asyncio.sleep(0)
    return dialled


@pytest.mark.parametrize("context", [ssl.create_default_context(), None], ids=["TLS", "plain"])
def test_a_connection_reset_at_once(context: ssl.SSLContext | None) -> None:
    with asyncio.Runner(loop_factory=event_loop.new) as runner:
        assert runner.run(refused_by_reset(context)).fileno() == -1
