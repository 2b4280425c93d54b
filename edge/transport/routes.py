"""What the federation port serves to other villages."""

from collections.abc import Awaitable, Callable

import msgspec
from aiohttp import web

from edge import peering
from edge.core import limits, messages, registry
from edge.errors import UnknownVillage
from edge.federation_client import SYNC_PATH, TRADE_PATH
from edge.storage import neighbours
from edge.storage.tx import Runner
from edge.transport import problems
from edge.transport.replay import ReplayGuard
from edge.transport.signed import authenticate, check_depth, read_body

VILLAGES_PATH = "/federation/villages"
VILLAGES_FRESH_S = 10

Answer = Callable[[str, bytes], Awaitable[bytes]]
Register = Callable[[messages.Register], Awaitable[messages.Registered]]


class FederationRoutes:
    """Handlers over the box's parts. `answer` takes (signer, body) of an exchange."""

    def __init__(
        self,
        village: str,
        runner: Runner,
        answer: Answer,
        register: Register,
        guard: ReplayGuard,
        now_s: Callable[[], int],
        monotonic_s: Callable[[], float],
        random_bytes: Callable[[int], bytes],
    ) -> None:
        self._village = village
        self._runner = runner
        self._answer = answer
        self._register = register
        self._guard = guard
        self._now_s = now_s
        self._monotonic_s = monotonic_s
        self._random_bytes = random_bytes

    def application(self, on_broken_law: Callable[[AssertionError], None]) -> web.Application:
        app = web.Application(
            middlewares=[problems.middleware(on_broken_law)],
            client_max_size=limits.BODY_BYTES_MAX,
        )
        app.add_routes(
            [
                web.post(SYNC_PATH, self.exchange),
                web.post(TRADE_PATH, self.exchange),
                web.post(peering.REGISTER_PATH, self.register),
                web.get(VILLAGES_PATH, self.villages),
            ]
        )
        return app

    async def exchange(self, request: web.Request) -> web.Response:
        """POST /federation/sync and /federation/trade: a signed Exchange, answered in kind."""
        village, body = await authenticate(
            request,
            village=self._village,
            key_of=self._key_of,
            guard=self._guard,
            now_s=self._now_s,
            monotonic_s=self._monotonic_s,
            random_bytes=self._random_bytes,
        )
        check_depth(body)
        return _json(await self._answer(village, body))

    async def register(self, request: web.Request) -> web.Response:
        """POST /federation/register: an entry signed by itself, perhaps with an invitation."""
        body = await read_body(request, registry.ENTRY_BYTES_MAX * 2)
        check_depth(body)
        return _json(messages.encode(await self._register(messages.decode_register(body))))

    async def villages(self, request: web.Request) -> web.Response:
        """GET /federation/villages: this village and its neighbours, the mission's registry."""
        entries = await self._runner.read(peering.listed)
        response = _json(msgspec.json.encode(entries))
        response.headers["Cache-Control"] = f"public, max-age={VILLAGES_FRESH_S}"
        return response

    async def _key_of(self, village: str) -> bytes:
        neighbour = await self._runner.read(lambda view: neighbours.find(view, village))
        if neighbour is None:
            raise UnknownVillage(f"{village[:63]} is not a neighbour of {self._village}")
        return neighbour.key


def _json(body: bytes) -> web.Response:
    return web.Response(body=body, content_type="application/json")
