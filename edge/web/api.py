"""The JSON API for members' own programs: who asks, what exactly, and the answer.

Only a token opens it, in `Authorization: Bearer`: no cookie counts, so there is nothing that a
foreign page could have a browser do. Routes and OpenAPI document come from one table (api_table).
"""

import asyncio
import contextlib
import re
from collections.abc import Mapping
from dataclasses import replace
from http import HTTPStatus
from typing import Any, Final, TypeVar

import msgspec
from aiohttp import web
from aiohttp.typedefs import Handler

from edge.core import canonical, crypto
from edge.errors import (
    BoxError,
    Conflict,
    Forbidden,
    InvalidInput,
    LimitExceeded,
    NotSignedIn,
    UnknownPath,
    WrongMediaType,
    WrongMethod,
    WrongState,
)
from edge.storage import changes, logs, members, tokens
from edge.storage.changes import Position
from edge.storage.deals import Deal
from edge.storage.members import Member
from edge.storage.tokens import Token
from edge.storage.tx import OWN_LOG, Tx, View
from edge.transport.signed import check_depth, read_body
from edge.web import api_looks, api_shown, feed, openapi, views
from edge.web.api_table import OPERATIONS
from edge.web.api_types import PAGE_DEFAULT, Changes, ChangesQuery, Struct
from edge.web.feed import Feed, Found
from edge.web.frame import JSON, WAIT_S, Frame
from edge.web.handlers import Handlers, Shop
from edge.web.openapi import API_PATH, PATH_PARTS
from edge.web.operations import Call, Doing, File, Following, Looking, Operation

BODY_BYTES_MAX: Final = 16_384
BEARER: Final = "Bearer"
IDEMPOTENCY_KEY: Final = "Idempotency-Key"
_KEY: Final = re.compile(r"[\x21-\x7e]{1,64}")
_LATER: Final = (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE)
_NO_HEAD: Final = {"GET": {"allow_head": False}}  # aiohttp would add it, to streams too
_AT: Final = re.compile(r" - at `\$\.?(.*?)`")  # in what msgspec says
_NAMED: Final = re.compile(r" field `(.*?)`")
Q = TypeVar("Q", bound=Struct)
TOLD_S_MAX: Final = 1  # until what is on disk is known to be


class Api(Handlers):
    """The handlers. A token counts for as long as it is in the database, and is looked up in the
    very transaction that reads or writes for it."""

    def __init__(self, shop: Shop, frame: Frame, waiting: Feed) -> None:
        super().__init__(shop, frame)
        self._feed = waiting
        self._document = openapi.document()
        self._etag = crypto.sha256(self._document).hex()[:32]
        self._noted: tuple[int, set[int]] = (0, set())  # an hour, and whose use in it is noted

    def routes(self) -> list[web.RouteDef]:
        by_path: dict[str, dict[str, Handler]] = {}
        for each in OPERATIONS:
            of_path = by_path.setdefault(_route_path(each.path), {})
            of_path[each.method] = handler = self._handler(each)
            if each.has_head:
                of_path["HEAD"] = handler
        by_path[openapi.PATH] = {"GET": self.openapi, "HEAD": self.openapi}
        made = []
        for path, of_path in by_path.items():
            other = _other_method(", ".join(sorted(of_path)))
            handlers = [*of_path.items(), ("*", other)]
            for method, handler in handlers:
                made.append(web.RouteDef(method, path, handler, _NO_HEAD.get(method, {})))
        return [*made, web.route("*", "/api/{rest:.*}", _nowhere)]

    async def openapi(self, request: web.Request) -> web.Response:
        """GET /openapi.json: open to everybody, since it is the same on every box."""
        answer = _json(self._document)
        answer.headers["Cache-Control"] = "no-cache"  # may be kept, but is asked for again
        answer.etag = self._etag
        known = [each.value for each in request.if_none_match or ()]
        if self._etag in known or "*" in known:
            answer.set_status(HTTPStatus.NOT_MODIFIED)
            answer.body = None
        return answer

    def _handler(self, operation: Operation) -> Handler:
        async def answer(request: web.Request) -> web.StreamResponse:
            match operation.act:
                case Looking() | File() as act:
                    return await self._read(operation, act, request)
                case Doing() as act:
                    return await self._change(operation, act, request)
                case Following(is_stream=True):
                    return await self._stream(operation, request)
                case Following():
                    return await self._changes(operation, request)

        return answer

    # Looking

    async def _read(
        self, operation: Operation, act: Looking | File, request: web.Request
    ) -> web.Response:
        def look(view: View) -> tuple[Token, bytes]:
            call = self._call(view, operation, request)
            asked = query_of(request.query, operation.query)
            found = act.look(view, replace(call, asked=asked))
            return call.token, found if isinstance(found, bytes) else msgspec.json.encode(found)

        token, body = await self._runner.read(look)
        await self._note_use(token)
        answer = _json(body, operation.status)
        if isinstance(act, File):
            name = f'attachment; filename="receipt-{request.match_info["id"]}.json"'
            answer.headers["Content-Disposition"] = name
        return answer

    # Doing

    async def _change(self, operation: Operation, act: Doing, request: web.Request) -> web.Response:
        call = await self._runner.read(lambda view: self._call(view, operation, request))
        await self._note_use(call.token)
        query_of(request.query, operation.query)
        call = replace(call, asked=await _body(request, operation))
        key = _idempotency_key(request)
        if act.prepare is not None and not await self._was_done(call.member, key):
            call = replace(call, prepared=await act.prepare(call))

        made: list[str] = []

        def do(tx: Tx) -> bytes:
            now = self._call(tx, operation, request)
            try:
                made.append(act.do(tx, replace(call, member=now.member, token=now.token)))
            except LimitExceeded as error:
                raise api_shown.exceeded(tx, error) from None
            return b"" if act.is_secret else made[-1].encode()

        done = await self._once(call.member, key, self._digest(request, call), do)
        if act.is_secret and not made:
            raise WrongState("this was shown already, once: ask for another one")
        reference = made[-1] if act.is_secret else done.decode()
        if act.is_trade:
            await self._tell_of_trade(call.member, reference)
        elif act.is_listing:
            self._shop.announce()
        shown = await self._runner.read(lambda view: act.show(view, call, reference))
        return _json(msgspec.json.encode(shown), operation.status)

    def _digest(self, request: web.Request, call: Call[Any]) -> bytes:
        """Return what was asked as a keyed hash: it may hold a PIN, which is easily guessed."""
        asked = msgspec.json.encode([request.method, request.path, call.asked])
        return crypto.derive(self._shop.session_key, asked.decode())

    async def _was_done(self, member: Member, key: str) -> bool:
        scope = views.scope(member)
        answer = await self._runner.read(lambda view: members.answered(view, scope, key))
        return answer is not None

    async def _tell_of_trade(self, member: Member, id_: str) -> None:
        found = await self._runner.read(lambda view: api_shown.own_swap(view, member, id_))
        if isinstance(found, Deal):
            self._shop.announce()  # what a listing has left may have changed
        else:
            await self._pass_on(found.subject)

    # Following

    async def _changes(self, operation: Operation, request: web.Request) -> web.Response:
        """GET /changes: at once if there are any, else after at most `wait_s`."""
        call = await self._authorized(operation, request)
        asked = query_of(request.query, ChangesQuery)
        if not asked.since:
            latest = await self._runner.read(lambda view: changes.latest(view, call.member))
            return _json(msgspec.json.encode(Changes([], latest.position.to_text(), False)))
        position = await self._reached(asked.since)
        found, _ = await self._changed(operation, request, position, asked.limit)
        if asked.wait_s and not found.changes:
            found = await self._wait(operation, request, call.member, position, asked)
        return _json(msgspec.json.encode(found))

    async def _wait(
        self,
        operation: Operation,
        request: web.Request,
        member: Member,
        position: Position,
        asked: ChangesQuery,
    ) -> Changes:
        end_s = self._shop.monotonic_s() + asked.wait_s
        with self._feed.waiting(request, member, position) as waiting:
            while True:
                found, _ = await self._changed(operation, request, position, asked.limit)
                left_s = end_s - self._shop.monotonic_s()
                if found.changes or left_s <= 0 or self._feed.is_ending:
                    return found
                woken = False
                with contextlib.suppress(ConnectionError):
                    woken = await waiting.wait(left_s)
                if not woken:
                    return found

    async def _stream(self, operation: Operation, request: web.Request) -> web.StreamResponse:
        """GET /events: until the reader leaves, the token is revoked, or the box stops."""
        call = await self._authorized(operation, request)
        since = query_of(request.query, operation.query).since  # type: ignore[attr-defined]
        position = feed.last_event_id(request)
        if position is None and since:
            position = Position.from_text(since)
        if position is None:
            latest = await self._runner.read(lambda view: changes.latest(view, call.member))
            position = latest.position
        await self._reached(position.to_text())

        async def look(after: Position) -> Found:
            found, places = await self._changed(operation, request, after, PAGE_DEFAULT)
            text = _events(found, places)
            return Found(text, Position.from_text(found.since), found.more)

        with self._feed.waiting(request, call.member, position) as waiting:
            return await feed.stream(request, self._feed, waiting, look)

    async def _changed(
        self, operation: Operation, request: web.Request, position: Position, limit: int
    ) -> tuple[Changes, list[Position | None]]:
        return await self._runner.read(
            lambda view: api_looks.changed(
                view, self._call(view, operation, request), position, limit
            )
        )

    async def _reached(self, text: str) -> Position:
        """Return a position at which this box has been. Raises InvalidInput, or Conflict for one
        at which it has not: it was set up again from an old copy since."""
        position = Position.from_text(text)
        records = await self._runner.read(lambda view: logs.size_of(view, OWN_LOG))
        is_behind = position.records > records
        try:
            async with asyncio.timeout(TOLD_S_MAX):  # readers see a batch just before it is told of
                await self._shop.committed(position.stamp_ms - 1)
        except TimeoutError:
            is_behind = True
        if is_behind:
            raise Conflict("this box has not come so far: begin again with since=0")
        return position

    # Who asks

    async def _authorized(self, operation: Operation, request: web.Request) -> Call[Any]:
        call = await self._runner.read(lambda view: self._call(view, operation, request))
        await self._note_use(call.token)
        return call

    def _call(self, view: View, operation: Operation, request: web.Request) -> Call[Any]:
        """Raises NotSignedIn, or Forbidden for a token without the scope."""
        member, token = tokens.holder(view, _bearer(request))
        if operation.scope not in token.scopes:
            raise Forbidden(
                f"this token does not have the scope {operation.scope}", scope=operation.scope
            )
        return Call(self._shop, member, token, request.match_info, None)

    async def _note_use(self, token: Token) -> None:
        """Note the use of a token, once an hour; that it cannot be noted stops nobody."""
        hour_ms = tokens.hour_of(self._now())
        if self._noted[0] != hour_ms:
            self._noted = (hour_ms, set())
        if token.used_ms >= hour_ms or token.id in self._noted[1]:
            return
        self._noted[1].add(token.id)
        with contextlib.suppress(BoxError):
            await self._runner.write(lambda tx: tokens.note_use(tx, token.id, hour_ms))


def query_of(query: Mapping[str, str], kind: type[Q]) -> Q:
    """Return a request's query parameters; InvalidInput for unknown, repeated or malformed ones."""
    pairs = list(query.items())
    fields = dict(pairs)
    try:
        found = msgspec.convert(fields, kind, strict=False)
    except msgspec.ValidationError as error:
        raise _invalid("not the parameters of this", error) from None
    if len(fields) != len(pairs):
        raise InvalidInput("a parameter is there twice")
    for name, text in pairs:
        value = getattr(found, name)
        if text != (value if isinstance(value, str) else msgspec.json.encode(value).decode()):
            raise InvalidInput(f"{name} is not in its one form", field=name)
    return found


async def challenge(request: web.Request, response: web.StreamResponse) -> None:
    """Say how to ask again (RFC 6750 section 3), and when: a signal of the application."""
    if not request.path.startswith(API_PATH):
        return
    if response.status == HTTPStatus.UNAUTHORIZED:
        response.headers["WWW-Authenticate"] = f'{BEARER} realm="village-edge"'
    if response.status in _LATER and WAIT_S not in request:
        response.headers.setdefault("Retry-After", "60")


def _bearer(request: web.Request) -> str:
    sent = request.headers.getall("Authorization", [])
    scheme, _, text = sent[0].partition(" ") if len(sent) == 1 else ("", "", "")
    if scheme.lower() != BEARER.lower():
        raise NotSignedIn("send your token as `Authorization: Bearer ve_...`")
    return text


def _idempotency_key(request: web.Request) -> str:
    sent = request.headers.getall(IDEMPOTENCY_KEY, [])
    if not sent:
        return ""
    if len(sent) > 1 or not _KEY.fullmatch(sent[0]):
        raise InvalidInput(f"{IDEMPOTENCY_KEY} is 1 to 64 ASCII characters without a space")
    return f"api:{sent[0]}"


async def _body(request: web.Request, operation: Operation) -> Struct | None:
    body = await read_body(request, BODY_BYTES_MAX)
    if operation.body is None:
        if body:
            raise InvalidInput("this takes no body")
        return None
    if not body:
        if operation.needs_body:
            raise InvalidInput(f"this takes a body, as {JSON}")
        return operation.body()
    if request.content_type != JSON:
        raise WrongMediaType(f"send it as {JSON}")
    check_depth(body)
    try:
        return msgspec.json.decode(body, type=operation.body)
    except canonical.UNREADABLE as error:
        raise _invalid("not what this takes", error) from None


def _invalid(what: str, error: Exception) -> InvalidInput:
    """Return the error that names the field which msgspec's text does, if it does."""
    text = str(error)
    at, named = _AT.search(text), _NAMED.search(text)
    path = [found[1] for found in (at, named) if found and found[1]]
    detail = f"{what}: {text[:200]}"
    return InvalidInput(detail, field=".".join(path)[:200]) if path else InvalidInput(detail)


def _other_method(allow: str) -> Handler:
    async def refuse(request: web.Request) -> web.StreamResponse:
        raise WrongMethod(f"this address takes {allow}", allow=allow)

    return refuse


async def _nowhere(request: web.Request) -> web.StreamResponse:
    raise UnknownPath(f"nothing is here: {openapi.PATH} has all that there is")


def _events(found: Changes, places: list[Position | None]) -> bytes:
    """Return changes as events, which say where the reader then is."""
    return b"".join(
        feed.event(
            str(each.__struct_config__.tag),
            msgspec.json.encode(each),
            place.to_text() if place else "",
        )
        for each, place in zip(found.changes, places, strict=True)
    )


def _route_path(path: str) -> str:
    for name, pattern in PATH_PARTS.items():
        path = path.replace(f"{{{name}}}", f"{{{name}:{pattern}}}")
    return API_PATH + path


def _json(body: bytes, status: int = HTTPStatus.OK) -> web.Response:
    return web.Response(body=body, status=status, content_type=JSON)
