"""The event loop that the box runs on."""

import asyncio
import socket
from typing import Any

import uvloop


class EventLoop(uvloop.Loop):
    """uvloop, with one fault kept from doing harm.

    Where a connection is reset in its first moment, uvloop 0.23 closes the descriptor and leaves
    the socket object thinking that it owns it: collected as garbage later, that closes whatever has
    the descriptor by then, be it another connection or the ledger's file. (See uvloop's issues 645
    and 738, which mend the same fault where a connection is cancelled.) So the object gives its
    descriptor up as soon as there is a transport, which owns it.
    """

    async def create_connection(
        self, *arguments: Any, sock: socket.socket | None = None, **options: Any
    ) -> Any:
        try:
            return await super().create_connection(*arguments, sock=sock, **options)
        finally:
            if sock is not None:
                sock.detach()


def new() -> asyncio.AbstractEventLoop:
    return EventLoop()
