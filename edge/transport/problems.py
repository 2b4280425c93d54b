"""Where errors meet HTTP: one table, problem documents (RFC 9457), and the way back.

{"type": "urn:village-edge:problem:stale-request", "title": "Stale request", "status": 401,
 "detail": "...", "now": 1735689600, "nonce": "..."}
"""

import logging
import re
from collections.abc import Callable
from http import HTTPStatus
from typing import Final, TypeGuard

import msgspec
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from edge import errors
from edge.core import limits
from edge.errors import BoxError, PeerError, Refused, Unreachable

CONTENT_TYPE: Final = "application/problem+json"
TYPE_PREFIX: Final = "urn:village-edge:problem:"

# The nearest class in an error's ancestry counts.
ERROR_STATUS: Final[dict[type[BoxError], HTTPStatus]] = {
    BoxError: HTTPStatus.INTERNAL_SERVER_ERROR,
    errors.Refused: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.InvalidInput: HTTPStatus.BAD_REQUEST,
    errors.NotFound: HTTPStatus.NOT_FOUND,
    errors.LimitExceeded: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.WrongState: HTTPStatus.CONFLICT,
    errors.Conflict: HTTPStatus.CONFLICT,
    errors.NotSignedIn: HTTPStatus.UNAUTHORIZED,
    errors.Forbidden: HTTPStatus.FORBIDDEN,
    errors.WrongMethod: HTTPStatus.METHOD_NOT_ALLOWED,
    errors.WrongMediaType: HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    errors.TooMany: HTTPStatus.TOO_MANY_REQUESTS,
    errors.PeerError: HTTPStatus.BAD_REQUEST,
    errors.Malformed: HTTPStatus.BAD_REQUEST,
    errors.TooLarge: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    errors.UnknownVillage: HTTPStatus.FORBIDDEN,
    errors.UnknownOrigin: HTTPStatus.NOT_FOUND,
    errors.UntrustedCheckpoint: HTTPStatus.FORBIDDEN,
    errors.BadSignature: HTTPStatus.UNAUTHORIZED,
    errors.Misdirected: HTTPStatus.MISDIRECTED_REQUEST,
    errors.StaleRequest: HTTPStatus.UNAUTHORIZED,
    errors.ReplayedRequest: HTTPStatus.UNAUTHORIZED,
    errors.BadProof: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.StaleCheckpoint: HTTPStatus.CONFLICT,
    errors.ForkedLog: HTTPStatus.CONFLICT,
    errors.WrongVersion: HTTPStatus.BAD_REQUEST,
    errors.Unreachable: HTTPStatus.GATEWAY_TIMEOUT,
    errors.WrongPin: HTTPStatus.BAD_GATEWAY,
    errors.ConfigError: HTTPStatus.INTERNAL_SERVER_ERROR,
    errors.StorageError: HTTPStatus.INTERNAL_SERVER_ERROR,
    errors.DiskFull: HTTPStatus.INSUFFICIENT_STORAGE,
    errors.BoxBusy: HTTPStatus.SERVICE_UNAVAILABLE,
}

_MEMBER = re.compile(r"[a-z][a-z0-9_]{0,31}")
_STANDARD: Final = frozenset({"type", "title", "status", "detail", "instance", "self"})
_SHOWN: Final = (Refused, PeerError, Unreachable)  # the others may name our files
_log = logging.getLogger(__name__)
_decoder: Final = msgspec.json.Decoder(dict[str, object])


def status_of(kind: type[BoxError]) -> HTTPStatus:
    return next(ERROR_STATUS[each] for each in kind.__mro__ if each in ERROR_STATUS)


def to_problem(error: BoxError) -> tuple[int, bytes]:
    """Return status and body. Members from `error.more`; no detail of what is only ours to know."""
    assert not _STANDARD & error.more.keys(), "a member of `more` would hide a standard one"
    status = status_of(type(error))
    shown = isinstance(error, _SHOWN)
    detail = error.detail if shown else "this box has a fault of its own; its steward can see which"
    more = error.more if shown else {}
    return status, _document(TYPE_PREFIX + error.slug, _title(error.slug), status, detail, more)


def from_problem(status: int, body: bytes, peer: str = "the other village") -> BoxError:
    """Return the error that a peer's answer stands for: a PeerError or Refused with its `more`.

    A slug that is neither, or no problem document at all, gives PeerError, or Unreachable from
    status 500 on: whether the peer did what was asked is then unknown.
    """
    members = _read(body)
    slug = str(members.get("type", "")).removeprefix(TYPE_PREFIX)
    kind = _BY_SLUG.get(
        slug, Unreachable if status >= HTTPStatus.INTERNAL_SERVER_ERROR else PeerError
    )
    detail = _one_line(str(members.get("detail", "no reason given")))
    return kind(f"{peer} answered {status}: {detail}", **_more(members))


def middleware(on_broken_law: Callable[[AssertionError], None]) -> Middleware:
    """Return aiohttp middleware that turns whatever a handler raises into a problem document.

    A failed assertion is our own broken law: the caller is told and is to stop the process. Other
    surprises are logged with their traceback and answered with a bare 500.
    """

    @web.middleware
    async def problems(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except BoxError as error:
            return _answer_box_error(request, error)
        except web.HTTPException as error:
            if error.status < HTTPStatus.BAD_REQUEST:
                raise
            return _answer_http_error(error)
        except AssertionError as error:
            _log.critical("broken law in %s %s", request.method, request.path, exc_info=error)
            on_broken_law(error)
        except Exception as error:  # noqa: BLE001 - the last net: nothing of it leaves the box
            _log.error("fault in %s %s", request.method, request.path, exc_info=error)
        return _answer(*to_problem(BoxError("")))

    return problems


def _answer_box_error(request: web.Request, error: BoxError) -> web.Response:
    if not isinstance(error, _SHOWN):
        _log.error("fault in %s %s: %s", request.method, request.path, error.detail)
    answer = _answer(*to_problem(error))
    if isinstance(error, errors.TooMany) and "retry_after_s" in error.more:
        answer.headers["Retry-After"] = str(error.more["retry_after_s"])
    if isinstance(error, errors.WrongMethod):  # RFC 9110 section 15.5.6
        answer.headers["Allow"] = str(error.more["allow"])
    return answer


def _answer_http_error(error: web.HTTPException) -> web.Response:
    """Answer aiohttp's own 404, 405, 413: `about:blank`, the status says it all."""
    phrase = HTTPStatus(error.status).phrase
    answer = _answer(error.status, _document("about:blank", phrase, error.status, error.reason, {}))
    if "Allow" in error.headers:
        answer.headers["Allow"] = error.headers["Allow"]
    return answer


def _answer(status: int, body: bytes) -> web.Response:
    answer = web.Response(status=status, body=body, content_type=CONTENT_TYPE)
    if status == HTTPStatus.UNAUTHORIZED:  # RFC 9110 section 15.5.2 wants a challenge
        answer.headers["WWW-Authenticate"] = "village-edge"
    return answer


def _document(
    type_: str, title: str, status: int, detail: str, more: dict[str, str | int]
) -> bytes:
    members = {"type": type_, "title": title, "status": int(status), "detail": _one_line(detail)}
    return msgspec.json.encode(members | more)


def _title(slug: str) -> str:
    return slug.replace("-", " ").capitalize()


def _read(body: bytes) -> dict[str, object]:
    """Return the members, or none if this is no JSON object of a sane size."""
    if len(body) > limits.PROBLEM_BYTES_MAX:
        return {}
    try:
        return _decoder.decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return {}


def _more(members: dict[str, object]) -> dict[str, str | int]:
    """Return the extension members that an error may carry; the others are left out."""
    more: dict[str, str | int] = {}
    for name, value in members.items():
        fits = name not in _STANDARD and _MEMBER.fullmatch(name)
        if fits and len(more) < limits.PROBLEM_MEMBERS_MAX and _is_member_value(value):
            more[name] = value
    return more


def _is_member_value(value: object) -> TypeGuard[str | int]:
    if isinstance(value, str):
        return len(value) <= limits.PROBLEM_MEMBER_CHARS_MAX
    return type(value) is int and abs(value) <= limits.COUNTER_MINOR_MAX


def _one_line(text: str) -> str:
    """Return what a log or page may show: bounded, without control characters or surrogates."""
    shown = text[: limits.PROBLEM_MEMBER_CHARS_MAX]
    return "".join(char if char.isprintable() else " " for char in shown)


def _family(*roots: type[BoxError]) -> dict[str, type[BoxError]]:
    found: dict[str, type[BoxError]] = {}
    todo = list(roots)
    while todo:
        kind = todo.pop()
        found[kind.slug] = kind
        todo.extend(kind.__subclasses__())
    return found


_BY_SLUG: Final = _family(PeerError, Refused)
