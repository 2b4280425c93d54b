"""Who may be connected to a port: so many in all, so many from one address, and nobody who says
nothing.

aiohttp and asyncio bound what is said over a connection, not how many there are, and a silent one
holds a descriptor. So connections are accepted here, one by one. When there is no room, the oldest
one that is idle and nobody's makes room: a neighbour who has shown its signature, and whoever is
being answered, stay.
"""

import asyncio
import contextlib
import ipaddress
import resource
import socket
import ssl
from collections.abc import Callable, Mapping
from typing import Any, Final, cast

from aiohttp import web
from aiohttp.typedefs import Handler

from edge.core import limits

PEOPLE_MAX: Final = 256  # connections to the page, together and from one address
PEOPLE_PER_ADDRESS_MAX: Final = 64
VILLAGES_MAX: Final = 3 * limits.NEIGHBOURS_MAX  # to the federation port; each takes up to 0.8 MB
VILLAGES_PER_ADDRESS_MAX: Final = 32
TRUSTED_OF_ONE_MAX: Final = 2  # connections that stay a neighbour's, whatever comes
FIRST_REQUEST_S_MAX: Final = 15.0  # from connecting, handshake included, to the end of its head
# What a runner of aiohttp's is to bound: silence between requests, which is longer than a client's;
# what is read of a body before somebody takes it; a request's fields.
BOUNDS: Final[Mapping[str, Any]] = {
    "keepalive_timeout": limits.IDLE_CONNECTION_S_MAX + 10,
    "lingering_time": 5,
    "read_bufsize": 64 * 1024,
    "max_headers": 64,
}
BACKLOG: Final = 128
DESCRIPTORS_WANTED: Final = 2_048
DESCRIPTORS_KEPT: Final = 256  # for the database, the steward's socket and our own requests
_ACCEPT_AGAIN_S: Final = 1.0  # after an accept that failed, as when descriptors ran out


def raise_descriptors() -> int:
    """Raise this process's bound on open files to DESCRIPTORS_WANTED, as far as it may; return how
    many connections the ports may then have together."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return PEOPLE_MAX + VILLAGES_MAX
    wanted = DESCRIPTORS_WANTED
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    if soft < wanted:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            soft = wanted
    return max(2, soft - DESCRIPTORS_KEPT)


def network_of(address: str) -> str:
    """Return what counts as one address: of IPv6 the first 64 bits, the rest is one machine's."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped is not None:
            return str(ip.ipv4_mapped)
        return str(ipaddress.ip_network((ip, 64), strict=False))
    return str(ip)


class Connections:
    """The connections of one server, over all its sockets. Make it within the running loop."""

    def __init__(
        self,
        all_max: int,
        per_address_max: int,
        first_request_s: float = FIRST_REQUEST_S_MAX,
    ) -> None:
        self._all_max = all_max
        self._per_address_max = per_address_max
        self._first_request_s = first_request_s
        self._connections: dict[_Connection, None] = {}  # in the order in which they came
        self._by_transport: dict[object, _Connection] = {}

    def __len__(self) -> int:
        return len(self._connections)

    @web.middleware
    async def middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Put it first: it notes that a request's head has come, and how long it is answered."""
        found = self._by_transport.get(request.transport)
        if found is None:
            return await handler(request)
        found.heard()
        found.answering += 1
        try:
            return await handler(request)
        finally:
            found.answering -= 1

    def trust(self, request: web.Request, who: str) -> None:
        """Note that the request was a neighbour's: its connection makes room for nobody, and takes
        up none of its address's. Of one neighbour that holds for TRUSTED_OF_ONE_MAX, the latest."""
        found = self._by_transport.get(request.transport)
        if found is None or found.trusted == who:
            return
        before = [each for each in self._connections if each.trusted == who]
        for each in before[: len(before) + 1 - TRUSTED_OF_ONE_MAX]:
            each.trusted = ""
        found.trusted = who

    async def accept(
        self, sock: socket.socket, server: web.Server, context: ssl.SSLContext | None
    ) -> None:
        """Accept and serve until cancelled; what is connected by then goes on."""
        loop = asyncio.get_running_loop()
        opening: set[asyncio.Task[None]] = set()
        try:
            while True:
                try:
                    peer, address = await loop.sock_accept(sock)
                except OSError:
                    await asyncio.sleep(_ACCEPT_AGAIN_S)
                    continue
                connection = self._admit(network_of(address[0]))
                if connection is None:
                    peer.close()
                    continue
                task = asyncio.create_task(self._open(connection, peer, server, context))
                connection.opening = task
                opening.add(task)
                task.add_done_callback(opening.discard)
        finally:
            for task in opening:
                loop.call_soon(task.cancel)

    async def _open(
        self,
        connection: "_Connection",
        peer: socket.socket,
        server: web.Server,
        context: ssl.SSLContext | None,
    ) -> None:
        loop = asyncio.get_running_loop()
        guarded = _Guarded(server(), connection)
        timeout = None if context is None else self._first_request_s
        try:
            await loop.connect_accepted_socket(
                lambda: guarded, peer, ssl=context, ssl_handshake_timeout=timeout
            )
        except OSError:  # no TLS, or not in time: ssl.SSLError and TimeoutError are OSErrors
            connection.end()
        except BaseException:
            connection.end()
            raise
        connection.opening = None

    def _admit(self, address: str) -> "_Connection | None":
        """Return a place for a new connection, made by ending another one if need be."""
        here = [each for each in self._connections if each.address == address and not each.trusted]
        if len(here) >= self._per_address_max:
            if not _end_oldest(here):
                return None
        elif len(self._connections) >= self._all_max and not _end_oldest(list(self._connections)):
            return None
        connection = _Connection(address, self._first_request_s, self._forget, self._made)
        self._connections[connection] = None
        return connection

    def _made(self, connection: "_Connection") -> None:
        self._by_transport[connection.transport] = connection

    def _forget(self, connection: "_Connection") -> None:
        self._connections.pop(connection, None)
        self._by_transport.pop(connection.transport, None)


class Site(web.BaseSite):
    """A bound socket, and who may be connected to it: in place of aiohttp's SockSite."""

    __slots__ = ("_accepting", "_connections", "_sock")

    def __init__(
        self,
        runner: web.BaseRunner,
        sock: socket.socket,
        connections: Connections,
        context: ssl.SSLContext | None,
    ) -> None:
        super().__init__(runner, ssl_context=context)
        self._sock = sock
        self._connections = connections
        self._accepting: asyncio.Task[None] | None = None

    @property
    def name(self) -> str:
        return "{}:{}".format(*self._sock.getsockname()[:2])

    async def start(self) -> None:
        await super().start()
        server = self._runner.server
        assert server is not None, "the runner is set up"
        self._sock.setblocking(False)
        self._sock.listen(BACKLOG)
        accepting = self._connections.accept(self._sock, server, self._ssl_context)
        self._accepting = asyncio.create_task(accepting, name=f"accepting at {self.name}")

    async def stop(self) -> None:
        if self._accepting is not None:
            self._accepting.cancel()
            await asyncio.gather(self._accepting, return_exceptions=True)
        self._sock.close()
        await super().stop()


class _Connection:
    """One connection, from its accept to its end. `answering`: how many of its requests are;
    `trusted`: which neighbour has shown its signature on it."""

    __slots__ = (
        "_forget",
        "_made",
        "_timer",
        "address",
        "answering",
        "opening",
        "transport",
        "trusted",
    )

    def __init__(
        self,
        address: str,
        first_request_s: float,
        forget: "Callable[[_Connection], None]",
        made: "Callable[[_Connection], None]",
    ) -> None:
        self.address = address
        self.answering = 0
        self.trusted = ""
        self.opening: asyncio.Task[None] | None = None
        self.transport: asyncio.Transport | None = None
        self._forget = forget
        self._made = made
        loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = loop.call_later(first_request_s, self.end)

    @property
    def is_idle(self) -> bool:
        return not self.trusted and not self.answering

    def made(self, transport: asyncio.Transport) -> None:
        self.transport = transport
        self._made(self)

    def lost(self) -> None:
        """It has ended."""
        self.heard()
        self._forget(self)
        self.transport = None

    def heard(self) -> None:
        """A first request has come: from now on aiohttp's own bounds hold."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def end(self) -> None:
        """Cut it off, and give its place back at once."""
        opening, transport = self.opening, self.transport
        self.lost()
        if transport is not None:
            transport.abort()
        elif opening is not None:  # not before it has begun: it owns the socket then
            asyncio.get_running_loop().call_soon(opening.cancel)


class _Guarded(asyncio.Protocol):
    """Tells a connection when it begins and ends; all else is between aiohttp and the transport."""

    def __init__(self, inner: asyncio.Protocol, connection: _Connection) -> None:
        self._inner = inner
        self._connection = connection
        self.data_received = inner.data_received  # type: ignore[method-assign]
        self.eof_received = inner.eof_received  # type: ignore[method-assign]
        self.pause_writing = inner.pause_writing  # type: ignore[method-assign]
        self.resume_writing = inner.resume_writing  # type: ignore[method-assign]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._connection.made(cast("asyncio.Transport", transport))
        self._inner.connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._connection.lost()
        self._inner.connection_lost(exc)


def _end_oldest(connections: list[_Connection]) -> bool:
    """End the one that has been idle and nobody's since longest ago; tell whether there is one."""
    idle = next((each for each in connections if each.is_idle), None)
    if idle is not None:
        idle.end()
    return idle is not None
