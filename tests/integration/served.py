"""A whole box served in this process, over real loopback TLS, with a clock that a test may turn."""

import asyncio
import contextlib
import io
import sqlite3
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import aiohttp
import msgspec

from edge import app, control
from edge.appliance.clock import Clock
from edge.appliance.randomness import random_bytes
from edge.appliance.watchdog import NOBODY, Supervisor
from edge.config import VillageSettings, load
from edge.core import limits, registry
from edge.core.crypto import SecretKey
from edge.core.messages import Exchange
from edge.core.registry import Location, RegistryEntry
from edge.transport import httpsig, tls
from edge.transport.client import Endpoint

QUIET_S = 3_600  # a heartbeat that does not come within a test


class Served:
    """A box that serves: its parts, and what a steward asks of it."""

    def __init__(self, box: app.App) -> None:
        self.app = box
        self.village = box.config.village.id
        self.key = box.identity.key

    @property
    def endpoint(self) -> Endpoint:
        return Endpoint((f"127.0.0.1:{self.app.federation_port}",), self.app.pin)

    async def ask(self, command: control.AnyCommand) -> Any:
        return await control.ask(self.app.folder / control.SOCKET, command)

    async def disk(self) -> list[str]:
        """Return everything that is in the database, as SQL."""
        return await self.app.store.read(lambda view: list(view.conn.iterdump()))

    async def invitation(self) -> str:
        return str((await self.ask(control.PeerInvite()))["invitation"])


@asynccontextmanager
async def served(
    folder: Path,
    village: str,
    *,
    ahead_s: Callable[[], int] = lambda: 0,
    supervisor: Supervisor = NOBODY,
    **settings: str | float,
) -> AsyncIterator[Served]:
    """Serve a village, made if its folder is not there. `ahead_s`: how wrong its clock is by now;
    settings such as `federation__heartbeat_s`."""
    if not folder.exists():
        app.create_village(folder, VillageSettings(village, f"Village {village}", 38.45, -93.85))
    values: dict[str, object] = {
        "federation.heartbeat_s": QUIET_S,
        "listen.federation": "127.0.0.1:0",
        "listen.page": "",
        "listen.page_tls": "",
    } | {name.replace("__", "."): value for name, value in settings.items()}
    config = load(folder, {}, [f"{name}={value}" for name, value in values.items()])

    def turned() -> Clock:
        return Clock(lambda: time.time_ns() // 1_000_000 + ahead_s() * 1_000)

    async with contextlib.AsyncExitStack() as stack:
        with mock.patch.object(app, "Clock", turned):
            box = await stack.enter_async_context(app.opened(folder, config))
        ready = asyncio.Event()
        serving = asyncio.create_task(box.serve(lambda _: ready.set(), supervisor))
        starting = asyncio.create_task(ready.wait())
        await asyncio.wait({serving, starting}, return_when=asyncio.FIRST_COMPLETED)
        starting.cancel()
        try:
            if not serving.done():
                yield Served(box)
        finally:
            box.stop()
            await serving


def cut_power(folder: Path) -> None:
    """Leave a folder as a box leaves it that was not stopped."""
    with contextlib.closing(sqlite3.connect(folder / app.LEDGER)) as conn:
        conn.execute("UPDATE fact SET value = 'yes' WHERE name = 'running'")
        conn.commit()


class Answered(msgspec.Struct, frozen=True):
    """An answer as it came over the wire."""

    status: int
    type: str
    headers: dict[str, str]
    body: bytes

    @property
    def problem(self) -> dict[str, Any]:
        """Return the problem document that this is (RFC 9457)."""
        assert self.type == "application/problem+json", self
        document: dict[str, Any] = msgspec.json.decode(self.body)
        assert document["status"] == self.status >= 400, self
        assert {"type", "title", "detail"} <= document.keys(), self
        assert document["type"] == "about:blank" or document["type"].startswith(
            "urn:village-edge:problem:"
        )
        assert document["detail"].isprintable(), self
        return document

    @property
    def slug(self) -> str:
        return str(self.problem["type"].rpartition(":")[2])


async def call(
    to: Endpoint,
    path: str,
    body: bytes | None = None,
    headers: dict[str, str] | None = None,
    method: str = "POST",
) -> Answered:
    """Send one request as it is, to the pinned box."""
    async with (
        aiohttp.ClientSession() as session,
        session.request(
            method,
            f"https://{to.addresses[0]}{path}",
            data=None if body is None else io.BytesIO(body),
            headers=headers,
            ssl=tls.SpkiPin(to.pin),
        ) as response,
    ):
        found = {name.lower(): value for name, value in response.headers.items()}
        return Answered(response.status, response.content_type, found, await response.read())


def signed(
    path: str, body: bytes, to: str, key: SecretKey, sender: str, *, ahead_s: int = 0
) -> dict[str, str]:
    """Return the header fields of a signed request."""
    nonce = httpsig.nonce_text(random_bytes(limits.NONCE_BYTES))
    message = httpsig.Message("POST", to, path, body)
    created_s = int(time.time()) + ahead_s
    return {"Host": to} | httpsig.sign(message, key, sender, nonce=nonce, created_s=created_s)


def exchange_of(sender: str, network: bytes, **changes: Any) -> Exchange:
    """Return the least message of a neighbour: it holds nothing and says nothing."""
    empty = Exchange(limits.PROTOCOL_VERSION, sender, network, have=0, entry_stamp_ms=0)
    return msgspec.structs.replace(empty, **changes)


def entry_of(
    village: str, key: SecretKey, *, stamp_ms: int = 1, endpoints: tuple[str, ...] = ("h:1",)
) -> RegistryEntry:
    """Return the signed registry entry of a village that is no box."""
    unsigned = RegistryEntry(
        village_id=village,
        name=f"Village {village}",
        location=Location(1.25, -2.5),
        public_key=key.public,
        federation_enabled=True,
        trusted_villages=(),
        protocol=limits.PROTOCOL_VERSION,
        endpoints=endpoints,
        spki_sha256=bytes(32),
        stamp_ms=stamp_ms,
        signature=b"",
        last_sync=0,
    )
    return registry.sign(unsigned, key)
