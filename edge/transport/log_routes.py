"""The logs that are kept here, for whoever reads them: C2SP tlog-tiles. The own log is at the root
of the federation port, a copy below the SHA-256 of its origin, as C2SP's mirrors have it."""

import asyncio
from collections.abc import Callable
from typing import Final

from aiohttp import web

from edge.core.tiles import ENTRIES, Tile, encode_entries
from edge.errors import Malformed
from edge.storage import tiles
from edge.storage.tx import OWN_LOG, Runner, View
from edge.transport.connections import network_of
from edge.transport.rate import Rate
from edge.transport.room import Room

CHECKPOINT_FRESH_S: Final = 5
FOR_EVER: Final = "public, max-age=31536000, immutable"
# Checkpoints and tiles that one address may read.
READS_AT_ONCE: Final = 1_000
READS_PER_S: Final = 100
# Records are read and sent in parts; a part that is not taken in time ends the connection.
PART_BYTES: Final = 128 * 1024
PART_S_MAX: Final = 30.0
PARTS_BYTES_MAX: Final = 64 * PART_BYTES
PARTS_OF_ONE_BYTES_MAX: Final = 16 * PART_BYTES


class LogRoutes:
    """Handlers for the federation port."""

    def __init__(self, runner: Runner, monotonic_s: Callable[[], float]) -> None:
        self._runner = runner
        self._reads = Rate(READS_AT_ONCE, READS_PER_S, monotonic_s)
        self._room = Room(PARTS_BYTES_MAX, PARTS_OF_ONE_BYTES_MAX)

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get(f"{prefix}/{path}", handler)
            for prefix in ("", "/{origin:[0-9a-f]{64}}")
            for path, handler in (("checkpoint", self.checkpoint), ("tile/{tile:.*}", self.tile))
        ]

    async def checkpoint(self, request: web.Request) -> web.Response:
        """GET /checkpoint: the newest that another village has cosigned, with all cosignatures."""
        self._reads.take(network_of(request.remote or ""))
        found = await self._runner.read(lambda view: tiles.published(view, _log(view, request)))
        return web.Response(
            text=found.signed, headers={"Cache-Control": f"public, max-age={CHECKPOINT_FRESH_S}"}
        )

    async def tile(self, request: web.Request) -> web.StreamResponse:
        """GET /tile/...: hashes or records, of a log as far as it is published."""
        owner = network_of(request.remote or "")
        self._reads.take(owner)
        tile = _tile(request)
        if tile.level == ENTRIES:
            with self._room.taken(owner, PART_BYTES):
                return await self._entries(request, tile)
        body = await self._runner.read(
            lambda view: tiles.read_hashes(view, _log(view, request), tile)
        )
        return web.Response(
            body=body,
            content_type="application/octet-stream",
            headers={"Cache-Control": FOR_EVER},
        )

    async def _entries(self, request: web.Request, tile: Tile) -> web.StreamResponse:
        log, size = await self._runner.read(lambda view: _size(view, request, tile))
        headers = {"Cache-Control": FOR_EVER, "Vary": "Accept-Encoding"}
        response = web.StreamResponse(headers=headers)
        response.content_type = "application/octet-stream"
        response.content_length = size
        is_read = request.method != "HEAD"
        if is_read and _takes_gzip(request):  # its end alone would be a body
            response.enable_compression(web.ContentCoding.gzip)
        try:
            async with asyncio.timeout(PART_S_MAX):
                await response.prepare(request)
            if is_read:
                await self._send(response, log, tile)
        except (ConnectionError, TimeoutError):
            _break_off(request)
        except BaseException:
            _break_off(request)  # what was sent of it is not to be taken for the whole
            raise
        return response

    async def _send(self, response: web.StreamResponse, log: int, tile: Tile) -> None:
        """Write a tile's records part by part: what is published does not change meanwhile."""
        done = 0

        def part(view: View) -> list[bytes]:
            return tiles.read_entries(view, log, tile, done, PART_BYTES)

        while done < tile.width:
            records = await self._runner.read(part)
            async with asyncio.timeout(PART_S_MAX):
                await response.write(encode_entries(records))
            done += len(records)


def _log(view: View, request: web.Request) -> int:
    """Return the log that a request is for. Raises UnknownOrigin."""
    origin = request.match_info.get("origin")
    return OWN_LOG if origin is None else tiles.log_of(view, origin)


def _size(view: View, request: web.Request, tile: Tile) -> tuple[int, int]:
    log = _log(view, request)
    return log, tiles.entries_bytes(view, log, tile)


def _tile(request: web.Request) -> Tile:
    """Return the tile of a request's target as it was sent: one form, nothing in it encoded, and
    nothing after it. Raises Malformed."""
    origin = request.match_info.get("origin")
    prefix = "/" if origin is None else f"/{origin}/"
    if not request.raw_path.startswith(prefix):
        raise Malformed("not the path of a tile")
    return Tile.from_path(request.raw_path.removeprefix(prefix))


def _takes_gzip(request: web.Request) -> bool:
    """Tell whether the answer may be compressed (RFC 9110 section 12.5.3)."""
    for each in request.headers.get("Accept-Encoding", "").lower().split(","):
        coding, _, weight = each.partition(";")
        if coding.strip() == "gzip":
            return weight.replace(" ", "").rstrip("0") not in ("q=", "q=0.")
    return False


def _break_off(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.abort()
