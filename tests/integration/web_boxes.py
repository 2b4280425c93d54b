"""Boxes with a page, in one process: the real store, client and page over a wire of the test's own.

Clocks stand still until a test moves them; the wire can be cut.
"""

import asyncio
import functools
import os
import re
import ssl
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp
from aiohttp import web
from aiohttp.test_utils import TestServer

from edge import desk, peering, steward, trade_escrow
from edge.appliance.health import Disk
from edge.core import crypto, messages
from edge.core.registry import Location
from edge.errors import Unreachable
from edge.federation_client import FederationClient
from edge.health import Health, Now, gather
from edge.storage import database
from edge.storage.store import Store
from edge.storage.tx import Identity, View
from edge.transport.client import Endpoint
from edge.web.handlers import Shop
from edge.web.pages import make_page

MISSOURI = "ose-missouri-001"
CALIFORNIA = "ose-california-001"
START_MS = 1_795_423_800_000  # 23 November 2026, 08:50 UTC
PINS = {"Alice": "correct horse", "Carol": "2468", "Bob": "9753"}
hash_pin = functools.cache(crypto.hash_pin)  # it is slow on purpose
_INPUT = re.compile(r'<input type="hidden" name="(\w+)" value="([^"]*)"')


class Wire:
    """Carries messages between boxes, unless it is cut, or loses the answers."""

    def __init__(self) -> None:
        self.boxes: dict[str, WebBox] = {}
        self.cut = False
        self.loses_answers = False

    @property
    def cuts_answers(self) -> bool:
        return self.cut or self.loses_answers

    def of(self, sender: str) -> "Transport":
        return Transport(self, sender)


class Transport:
    def __init__(self, wire: Wire, sender: str) -> None:
        self._wire = wire
        self._sender = sender

    async def exchange(self, village: str, path: str, body: bytes) -> bytes:
        if self._wire.cut:
            raise Unreachable(f"{village} does not answer")
        answer = await self._wire.boxes[village].client.answer(self._sender, body)
        if self._wire.cuts_answers:
            raise Unreachable(f"the answer of {village} was lost")
        return answer


class WebBox:
    """One village: enter it as an async context."""

    def __init__(
        self, wire: Wire, folder: Path, village: str, name: str, fee_basis_points: int = 0
    ) -> None:
        self.village = village
        self.name = name
        self.now_ms = START_MS
        self.monotonic_s = 1_000.0
        self.disk = Disk(free_bytes=20_000_000_000, total_bytes=30_000_000_000)
        self.clock_differences_s: dict[str, int] = {}
        self.kicked: list[str] = []
        self.broken: list[AssertionError] = []
        self._wire = wire
        self._path = folder / f"{village}.db"
        self._fee_basis_points = fee_basis_points
        self.profile = peering.Profile(name, Location(38.45, -93.85), ("host:7440",), bytes(32))

    async def __aenter__(self) -> Self:
        database.open_writer(self._path, create=True).close()
        identity = Identity(self.village, crypto.SecretKey(os.urandom(32)))
        self.store = await Store.open(self._path, identity, lambda: self.now_ms, os.urandom)
        await self.store.write(desk.found_village)
        await self.store.write(lambda tx: peering.refresh_entry(tx, self.profile))
        transport = self._wire.of(self.village)
        self.client = FederationClient(self.store, transport, trade_escrow, os.urandom)
        self._wire.boxes[self.village] = self
        self._task = asyncio.create_task(self.client.run())
        self.server = TestServer(self.application())
        await self.server.start_server()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.server.close()
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await self.store.close()

    def application(self) -> web.Application:
        return make_page(
            Shop(
                runner=self.store,
                committed=self.store.committed,
                kick=self.kick,
                speak=lambda village: steward.speak(self.client, village),
                announce=self.client.kick_all,
                join=self.join,
                health=self.health,
                session_key=bytes(32),
                village=self.village,
                village_name=self.name,
                fee_basis_points=self._fee_basis_points,
                run_blocking=asyncio.to_thread,
                now_ms=lambda: self.now_ms,
                monotonic_s=lambda: self.monotonic_s,
                random=os.urandom,
                on_broken_law=self.broken.append,
            )
        )

    async def join(self, line: str) -> str:
        box = steward.Box(
            self.store, self.client, self._post_to, self.profile, 0, self.health, serving=True
        )
        return await steward.join(box, line)

    async def _post_to(self, village: str, _: Endpoint, path: str, body: bytes) -> bytes:
        if self._wire.cut or village not in self._wire.boxes:
            raise Unreachable(f"{village} does not answer")
        other, message = self._wire.boxes[village], messages.decode_register(body)
        answered = await other.store.write(lambda tx: peering.answer(tx, message, other.profile))
        return messages.encode(answered)

    def health(self, view: View) -> Health:
        return gather(
            view,
            Now(
                ms=self.now_ms,
                disk=self.disk,
                clock="synchronized",
                serving=True,
                is_checked=True,
                page_urls=("http://localhost:7480/",),
                heartbeat_s=60,
                clock_difference_s=self.clock_differences_s.get,
            ),
        )

    def kick(self, village: str) -> None:
        self.kicked.append(village)
        self.client.kick(village)

    async def member(self, name: str, pin: str = "", *, steward: bool = False) -> None:
        hashed = hash_pin(pin or PINS[name])
        await self.store.write(lambda tx: desk.add_member(tx, name, hashed, steward))


async def befriend(a: WebBox, b: WebBox) -> None:
    invitation = await a.store.write(peering.invite)
    sent = await b.store.write(lambda tx: peering.take_up(tx, invitation))
    answered = await a.store.write(lambda tx: peering.answer(tx, sent, a.profile))
    await b.store.write(lambda tx: peering.complete(tx, invitation, sent, answered, b.profile))
    await a.client.exchange(b.village)


async def people_and_goods(a: WebBox, b: WebBox) -> None:
    """Alice (500 AT) and Carol in A, Bob (9 Solar Panels) in B, neighbours."""
    for name in ("Alice", "Carol"):
        await a.member(name)
    await b.member("Bob")
    await a.store.write(lambda tx: desk.issue(tx, "Alice", "500"))
    await b.store.write(lambda tx: desk.declare(tx, "Bob", "Solar Panel", "9"))
    await befriend(a, b)


class Browser:
    """A person's browser without a screen: keeps cookies, reads the forms of the last page."""

    def __init__(self, server: TestServer, trust: ssl.SSLContext | None = None) -> None:
        self._at = server.make_url
        self.session = aiohttp.ClientSession(
            cookie_jar=aiohttp.CookieJar(unsafe=True),
            connector=aiohttp.TCPConnector(ssl=trust or True),
        )
        self.status = 0
        self.text = ""
        self.headers: Any = {}
        self.url = self._at("/")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.session.close()

    async def get(self, path: str = "/") -> str:
        return await self._take(self.session.get(self._at(path)))

    async def status_of(self, path: str, fields: dict[str, str]) -> int:
        """Post without following where it leads and without keeping the page."""
        url = self._at(path)
        async with self.session.post(url, data=fields, allow_redirects=False) as response:
            return response.status

    async def _take(self, asked: Any) -> str:
        async with asked as response:
            self.status, self.headers, self.url = response.status, response.headers, response.url
            self.text = await response.text()
            return self.text

    async def post(self, path: str, fields: dict[str, str], **more: Any) -> str:
        return await self._take(self.session.post(self._at(path), data=fields, **more))

    async def post_json(self, path: str, body: object, **more: Any) -> str:
        kind: dict[str, Any] = {"data" if isinstance(body, bytes) else "json": body}
        headers = {"Content-Type": "application/json"}
        url = self._at(path)
        return await self._take(self.session.post(url, headers=headers, **kind, **more))

    def hidden(self, action: str) -> dict[str, str]:
        """Return the hidden fields of the form with that action on the last page."""
        form = self.text.split(f'action="{action}', 1)[1].split("</form>", 1)[0]
        return dict(_INPUT.findall(form))

    async def send(self, action: str, **fields: str) -> str:
        """Fill in a form of the last page and send it."""
        return await self.post(action, self.hidden(action) | fields)

    async def sign_in(self, name: str, pin: str = "") -> str:
        await self.get("/")
        return await self.send("/sign-in", name=name, pin=pin or PINS[name])
