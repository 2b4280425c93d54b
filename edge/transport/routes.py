"""What the federation port serves to other villages."""

from collections.abc import Awaitable, Callable

import msgspec
from aiohttp import web

from edge import misbehaviour, peering
from edge.core import limits, messages, registry
from edge.core.witness import AddCheckpoint
from edge.errors import StaleCheckpoint, UnknownVillage
from edge.federation_client import SYNC_PATH, TRADE_PATH
from edge.storage import neighbours, witness
from edge.storage.tx import Runner
from edge.transport import problems
from edge.transport.connections import network_of
from edge.transport.log_routes import LogRoutes
from edge.transport.rate import Rate
from edge.transport.replay import ReplayGuard
from edge.transport.room import Room
from edge.transport.signed import (
    check_depth,
    check_size,
    read_body,
    read_signed_body,
    verify_sender,
)

ADD_CHECKPOINT_PATH = "/add-checkpoint"
TREE_SIZE_TYPE = "text/x.tlog.size"
VILLAGES_PATH = "/federation/villages"
VILLAGES_FRESH_S = 10
MISBEHAVIOUR_PATH = "/federation/misbehaviour"
MISBEHAVIOUR_FRESH_S = 60
REGISTER_BYTES_MAX = registry.ENTRY_BYTES_MAX * 2
# Bodies in memory at once, being read or answered.
BODIES_BYTES_MAX = 32 * 1024 * 1024
BODIES_OF_ONE_BYTES_MAX = 2 * limits.BODY_BYTES_MAX
STRANGERS_BODIES_BYTES_MAX = 32 * REGISTER_BYTES_MAX
STRANGERS_BODIES_OF_ONE_BYTES_MAX = 4 * REGISTER_BYTES_MAX
# Checkpoints that one address may ask to have cosigned.
ADD_CHECKPOINTS_AT_ONCE = 60
ADD_CHECKPOINTS_PER_S = 5
# Lists of proofs, of up to a megabyte, that one address may fetch.
MISBEHAVIOUR_AT_ONCE = 10
MISBEHAVIOUR_PER_S = 0.2

Answer = Callable[[str, bytes], Awaitable[bytes]]
Register = Callable[[messages.Register], Awaitable[messages.Registered]]


class FederationRoutes:
    """Handlers over the box's parts. `answer` takes (signer, body) of an exchange; `trust` is
    told of each request that is a neighbour's."""

    def __init__(
        self,
        village: str,
        runner: Runner,
        answer: Answer,
        register: Register,
        guard: ReplayGuard,
        trust: Callable[[web.Request, str], None],
        now_s: Callable[[], int],
        monotonic_s: Callable[[], float],
        random_bytes: Callable[[int], bytes],
    ) -> None:
        self._village = village
        self._runner = runner
        self._answer = answer
        self._register = register
        self._guard = guard
        self._trust = trust
        self._now_s = now_s
        self._monotonic_s = monotonic_s
        self._random_bytes = random_bytes
        self._room = Room(BODIES_BYTES_MAX, BODIES_OF_ONE_BYTES_MAX)
        self._strangers_room = Room(STRANGERS_BODIES_BYTES_MAX, STRANGERS_BODIES_OF_ONE_BYTES_MAX)
        self._lists = Rate(MISBEHAVIOUR_AT_ONCE, MISBEHAVIOUR_PER_S, monotonic_s)
        self._checkpoints = Rate(ADD_CHECKPOINTS_AT_ONCE, ADD_CHECKPOINTS_PER_S, monotonic_s)
        self._logs = LogRoutes(runner, monotonic_s)

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
                web.get(MISBEHAVIOUR_PATH, self.misbehaviour),
                web.post(ADD_CHECKPOINT_PATH, self.add_checkpoint),
                *self._logs.routes(),
            ]
        )
        return app

    async def exchange(self, request: web.Request) -> web.Response:
        """POST /federation/sync and /federation/trade: a signed Exchange, answered in kind."""
        params = await verify_sender(request, self._village, self._key_of)
        self._trust(request, params.keyid)
        with self._room.taken(params.keyid, check_size(request)):
            body = await read_signed_body(
                request,
                params,
                guard=self._guard,
                now_s=self._now_s,
                monotonic_s=self._monotonic_s,
                random_bytes=self._random_bytes,
            )
            check_depth(body)
            return _json(await self._answer(params.keyid, body))

    async def register(self, request: web.Request) -> web.Response:
        """POST /federation/register: an entry signed by itself, perhaps with an invitation."""
        owner = network_of(request.remote or "")
        with self._strangers_room.taken(owner, check_size(request, REGISTER_BYTES_MAX)):
            body = await read_body(request, REGISTER_BYTES_MAX)
            check_depth(body)
            return _json(messages.encode(await self._register(messages.decode_register(body))))

    async def villages(self, request: web.Request) -> web.Response:
        """GET /federation/villages: this village and its neighbours, the mission's registry."""
        entries = await self._runner.read(peering.listed)
        response = _json(msgspec.json.encode(entries))
        response.headers["Cache-Control"] = f"public, max-age={VILLAGES_FRESH_S}"
        return response

    async def misbehaviour(self, request: web.Request) -> web.Response:
        """GET /federation/misbehaviour: the newest proofs of it that are kept here."""
        self._lists.take(network_of(request.remote or ""))
        response = _json(await self._runner.read(misbehaviour.export))
        response.headers["Cache-Control"] = f"public, max-age={MISBEHAVIOUR_FRESH_S}"
        return response

    async def add_checkpoint(self, request: web.Request) -> web.Response:
        """POST /add-checkpoint: C2SP tlog-witness, for whoever brings a log's signed checkpoint."""
        owner, bytes_max = network_of(request.remote or ""), limits.ADD_CHECKPOINT_BYTES_MAX
        self._checkpoints.take(owner)
        with self._strangers_room.taken(owner, check_size(request, bytes_max)):
            asked = AddCheckpoint.from_body(await read_body(request, bytes_max))
            try:
                line = await witness.add_checkpoint(self._runner, self._village, asked)
            except StaleCheckpoint as stale:
                return _tree_size(stale)
            return web.Response(text=line)

    async def _key_of(self, village: str) -> bytes:
        neighbour = await self._runner.read(lambda view: neighbours.find(view, village))
        if neighbour is None:
            raise UnknownVillage(f"{village[:63]} is not a neighbour of {self._village}")
        return neighbour.key


def _tree_size(stale: StaleCheckpoint) -> web.Response:
    """Return C2SP's one answer that is no problem document: the size to prove from."""
    body = f"{stale.more['size']}\n".encode()
    response = web.Response(status=409, body=body, content_type=TREE_SIZE_TYPE)
    if "retry_after_s" in stale.more:
        response.headers["Retry-After"] = str(stale.more["retry_after_s"])
    return response


def _json(body: bytes) -> web.Response:
    return web.Response(body=body, content_type="application/json")
