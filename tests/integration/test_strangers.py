"""What a stranger can take up of a box by connecting and saying nothing, or only the beginning."""

import asyncio
import contextlib
import resource
import ssl
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from socket import socket
from typing import NamedTuple

import pytest
from aiohttp import web

from edge import control
from edge.core import limits
from edge.transport import tls
from edge.transport.connections import (
    BOUNDS,
    PEOPLE_MAX,
    VILLAGES_MAX,
    Connections,
    Site,
    network_of,
    raise_descriptors,
)
from edge.transport.routes import (
    BODIES_OF_ONE_BYTES_MAX,
    REGISTER_BYTES_MAX,
    STRANGERS_BODIES_OF_ONE_BYTES_MAX,
)
from tests.integration.boxes import RealBox, until
from tests.integration.served import Served, served, signed

MISSOURI, CALIFORNIA = "ose-missouri-001", "ose-california-001"
SYNC = "/federation/sync"
ALL_MAX, PER_ADDRESS_MAX = 6, 4
PATIENCE_S = 0.5


class Line(NamedTuple):
    """A raw connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def ask(self, head: str, body: bytes = b"") -> None:
        self.writer.write(head.replace("\n", "\r\n").encode() + b"\r\n\r\n" + body)
        await self.writer.drain()

    async def answer(self) -> str:
        """Return the head of an answer, and the problem document if it is one."""
        head = (await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), 10)).decode()
        problem = await self.reader.readuntil(b"}") if "problem+json" in head else b""
        return head + problem.decode()

    async def get(self) -> str:
        await self.ask("GET / HTTP/1.1\nHost: box")
        answer = await self.answer()
        await self.reader.readexactly(len("quick"))
        return answer

    async def ended(self) -> bool:
        with contextlib.suppress(ConnectionError):
            return await asyncio.wait_for(self.reader.read(), 5 * PATIENCE_S + 5) == b""
        return True


def unchecked() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


_lines: list[Line] = []


@pytest.fixture(autouse=True)
async def hang_up() -> AsyncIterator[None]:
    """Close what a test has opened."""
    yield
    while _lines:
        writer = _lines.pop().writer
        writer.transport.abort()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def line_to(
    number: int, context: ssl.SSLContext | None = None, source: str = "127.0.0.1"
) -> Line:
    opened = asyncio.open_connection("127.0.0.1", number, ssl=context, local_addr=(source, 0))
    _lines.append(Line(*await opened))
    return _lines[-1]


async def federation_line(box: Served) -> Line:
    return await line_to(box.app.federation_port, unchecked())


# Connections


class Port(NamedTuple):
    """A page with small bounds; `/slow` answers when `go` is set, `/trusted` as to a neighbour."""

    connections: Connections
    go: asyncio.Event
    number: int
    context: ssl.SSLContext | None

    async def line(self, source: str = "127.0.0.1") -> Line:
        context = None if self.context is None else unchecked()
        return await line_to(self.number, context, source)

    async def has(self, expected: int) -> None:
        async def is_so() -> bool:
            return len(self.connections) == expected

        await until(is_so, f"{expected} connections, not {len(self.connections)}", 10)


@pytest.fixture(params=["http", "https"])
async def port(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Port]:
    context = None
    if request.param == "https":
        for name, pem in zip(("key", "crt"), tls.make_certificate(MISSOURI), strict=True):
            (tmp_path / name).write_bytes(pem)
        context = tls.federation_context(tmp_path / "crt", tmp_path / "key")
    connections = Connections(ALL_MAX, PER_ADDRESS_MAX, PATIENCE_S)
    go = asyncio.Event()

    async def quick(_: web.Request) -> web.Response:
        return web.Response(text="quick")

    async def slow(_: web.Request) -> web.Response:
        await go.wait()
        return web.Response(text="slow")

    async def trusted(asked: web.Request) -> web.Response:
        connections.trust(asked, asked.query["as"])
        return web.Response(text="trusted")

    app = web.Application(middlewares=[connections.middleware])
    app.add_routes([web.get("/", quick), web.get("/slow", slow), web.get("/trusted", trusted)])
    runner = web.AppRunner(app, **BOUNDS, shutdown_timeout=0.1)
    await runner.setup()
    sock = socket()
    sock.bind(("127.0.0.1", 0))
    number = sock.getsockname()[1]
    await Site(runner, sock, connections, context).start()
    made = Port(connections, go, number, context)
    yield made
    await runner.cleanup()
    await made.has(0)


async def test_a_request_is_answered_and_the_connection_kept(port: Port) -> None:
    line = await port.line()
    assert "200 OK" in await line.get()
    await asyncio.sleep(2 * PATIENCE_S)
    assert "200 OK" in await line.get()
    line.writer.close()
    await port.has(0)


async def test_who_says_nothing_is_let_go(port: Port) -> None:
    silent = await port.line()
    halfway = await port.line()
    halfway.writer.write(b"GET / HTTP/1.1\r\nHost: b")
    assert await silent.ended()
    assert await halfway.ended()
    await port.has(0)


async def test_who_does_not_even_shake_hands_is_let_go(port: Port) -> None:
    await line_to(port.number)
    await port.has(1)
    await port.has(0)


async def test_no_tls_frees_the_place(port: Port) -> None:
    line = await line_to(port.number)
    line.writer.write(b"\x00nonsense\r\n\r\n")
    with contextlib.suppress(ConnectionError):
        await line.reader.read()
    await port.has(0)


async def test_one_address_has_so_many_and_its_oldest_idle_one_makes_room(port: Port) -> None:
    lines = [await port.line() for _ in range(PER_ADDRESS_MAX)]
    for each in lines:
        await each.get()
    another = await port.line()
    assert "200 OK" in await another.get()
    assert await lines[0].ended()
    assert "200 OK" in await lines[1].get()
    assert len(port.connections) == PER_ADDRESS_MAX


async def test_all_together_have_so_many(port: Port) -> None:
    lines = [await port.line(f"127.0.0.{2 + number // 2}") for number in range(ALL_MAX)]
    for each in lines:
        await each.get()
    assert "200 OK" in await (await port.line("127.0.0.99")).get()
    assert await lines[0].ended()
    assert len(port.connections) == ALL_MAX


async def test_who_is_being_answered_or_trusted_stays(port: Port) -> None:
    trusted = await port.line()
    await trusted.ask("GET /trusted?as=a HTTP/1.1\nHost: box")
    assert "200 OK" in await trusted.answer()
    slow = [await port.line() for _ in range(PER_ADDRESS_MAX)]
    for each in slow:
        await each.ask("GET /slow HTTP/1.1\nHost: box")
    await port.has(PER_ADDRESS_MAX + 1)
    await asyncio.sleep(2 * PATIENCE_S)  # a request that is answered is no silence
    with contextlib.suppress(OSError):
        refused = await port.line()
        assert await refused.ended()
    await trusted.reader.readexactly(len("trusted"))
    assert "200 OK" in await trusted.get()
    port.go.set()
    for each in slow:
        assert "200 OK" in await each.answer()


async def test_one_neighbour_cannot_keep_all_places(port: Port) -> None:
    """Its latest two connections stay; the others make room as a stranger's do."""
    greedy = []
    for _ in range(ALL_MAX):
        greedy.append(await port.line())
        await greedy[-1].ask("GET /trusted?as=greedy HTTP/1.1\nHost: box")
        assert "200 OK" in await greedy[-1].answer()
        await greedy[-1].reader.readexactly(len("trusted"))
    for number in range(PER_ADDRESS_MAX):
        other = await port.line()
        await other.ask(f"GET /trusted?as={number} HTTP/1.1\nHost: box")
        assert "200 OK" in await other.answer()
    for each in greedy[:-2]:
        assert await each.ended()
    for each in greedy[-2:]:
        assert "200 OK" in await each.get()


def test_what_counts_as_one_address() -> None:
    assert network_of("192.0.2.7") == "192.0.2.7"
    assert network_of("::ffff:192.0.2.7") == "192.0.2.7"
    assert network_of("2001:db8::1") == network_of("2001:db8::ffff:2") == "2001:db8::/64"
    assert network_of("2001:db8:0:1::1") != network_of("2001:db8::1")
    assert network_of("fe80::1%eth0") == "fe80::/64"
    assert network_of("") == ""


def test_descriptors_are_enough_for_all_connections() -> None:
    assert raise_descriptors() // 2 >= PEOPLE_MAX > VILLAGES_MAX


@pytest.mark.parametrize("port_name", ["federation", "page"])
async def test_a_box_full_of_silent_strangers_still_serves(tmp_path: Path, port_name: str) -> None:
    """Its steward, whoever comes newly, and its own requests: with few descriptors, too."""
    box = RealBox(tmp_path, MISSOURI)
    with few_descriptors():
        await box.start()
    status = await box.ask(control.Status())
    federation = status["federation_url"]
    page = status["page_urls"][0].removeprefix("http://localhost:").strip("/")
    federation = int(federation.rpartition(":")[2])
    try:
        for _ in range(400):
            await line_to(federation if port_name == "federation" else int(page))
        assert (await box.ask(control.Status()))["village"] == MISSOURI
        line = await line_to(federation, unchecked())
        await line.ask("GET /federation/villages HTTP/1.1\nHost: box")
        assert "200 OK" in await line.answer()
    finally:
        box.end()


@contextlib.contextmanager
def few_descriptors() -> Iterator[None]:
    """What is started in here may open at most 512 files."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (512, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


# Bodies


@pytest.fixture
async def neighbours(tmp_path: Path) -> AsyncIterator[tuple[Served, Served]]:
    async with (
        served(tmp_path / MISSOURI, MISSOURI) as missouri,
        served(tmp_path / CALIFORNIA, CALIFORNIA) as california,
    ):
        await california.ask(control.PeerAdd(await missouri.invitation()))
        yield missouri, california


def head_of(headers: dict[str, str], size: int, path: str = SYNC) -> str:
    lines = [f"{name}: {value}" for name, value in headers.items()]
    return "\n".join([f"POST {path} HTTP/1.1", *lines, f"Content-Length: {size}"])


async def first_answer(lines: list[Line]) -> str:
    """Return what the first one that is answered is told; the others go on."""
    answers = [asyncio.create_task(each.answer()) for each in lines]
    done, waiting = await asyncio.wait(answers, return_when=asyncio.FIRST_COMPLETED)
    for each in waiting:
        each.cancel()
    return done.pop().result()


async def test_who_is_not_verified_is_refused_before_its_body_is_read(
    neighbours: tuple[Served, Served],
) -> None:
    """Whoever knows a neighbour's name, which is public, would have 2 MB read for each request."""
    missouri, california = neighbours
    line = await federation_line(missouri)
    size = limits.BODY_BYTES_MAX
    headers = signed(SYNC, b" " * size, MISSOURI, california.key, CALIFORNIA)
    forged = (
        headers
        | signed(SYNC, b"", MISSOURI, california.key, CALIFORNIA)
        | {"Signature-Input": headers["Signature-Input"]}
    )
    await line.ask(head_of(forged, size), b" " * 1_000)
    answer = await line.answer()
    assert "401 Unauthorized" in answer
    assert "bad-signature" in answer


async def test_a_neighbour_has_so_many_bodies_read_at_once(
    neighbours: tuple[Served, Served],
) -> None:
    missouri, california = neighbours
    size = limits.BODY_BYTES_MAX
    lines = []
    for _ in range(BODIES_OF_ONE_BYTES_MAX // size + 1):
        lines.append(await federation_line(missouri))
        headers = signed(SYNC, b" " * size, MISSOURI, california.key, CALIFORNIA)
        await lines[-1].ask(head_of(headers, size))
    answer = await first_answer(lines)
    assert "429 Too Many Requests" in answer
    assert "Retry-After: 5" in answer
    for each in lines:
        each.writer.transport.abort()

    async def is_free() -> bool:
        await missouri.app.client.exchange(CALIFORNIA)
        await california.app.client.exchange(MISSOURI)
        return True

    assert await until(is_free, "room again")


@pytest.mark.parametrize(
    ("path", "size"),
    [
        ("/federation/register", REGISTER_BYTES_MAX),
        ("/add-checkpoint", limits.ADD_CHECKPOINT_BYTES_MAX),
    ],
)
async def test_an_address_has_so_many_unsigned_bodies_read_at_once(
    neighbours: tuple[Served, Served], path: str, size: int
) -> None:
    missouri, _ = neighbours
    lines = []
    for _ in range(STRANGERS_BODIES_OF_ONE_BYTES_MAX // size + 1):
        lines.append(await federation_line(missouri))
        await lines[-1].ask(head_of({"Host": MISSOURI}, size, path), b"{")
    answer = await first_answer(lines)
    assert "429 Too Many Requests" in answer
    assert "Retry-After: 5" in answer
    assert "too-many" in answer


if sys.platform == "linux":

    async def test_memory_stays_small_under_bodies_of_a_stranger(tmp_path: Path) -> None:
        """100 unfinished bodies of 2 MB each, in a neighbour's name."""
        box = RealBox(tmp_path, MISSOURI)
        await box.start()
        federation = (await box.ask(control.Status()))["federation_url"].rpartition(":")[2]
        assert box.process is not None
        before = resident_mb(box.process.pid)
        head = head_of({"Host": MISSOURI}, REGISTER_BYTES_MAX, "/federation/register")
        big = head_of({"Host": MISSOURI}, limits.BODY_BYTES_MAX)

        async def pour(number: int) -> None:
            with contextlib.suppress(OSError):
                line = await line_to(int(federation), unchecked())
                await line.ask(head if number % 2 else big, b" " * 30_000)
                async with asyncio.timeout(1):
                    for _ in range(200):
                        line.writer.write(b" " * 10_000)
                        await line.writer.drain()

        await asyncio.gather(*(pour(number) for number in range(100)), return_exceptions=True)
        grown = resident_mb(box.process.pid) - before
        box.end()
        assert grown < 80


def resident_mb(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) // 1024
