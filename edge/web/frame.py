"""What all pages share: templates, the stylesheet, headers, and errors shown as pages."""

import gzip
import hashlib
import html
from collections.abc import Callable, Mapping
from http import HTTPStatus
from importlib import resources
from typing import Any, Final

import aiohttp_jinja2
import jinja2
import msgspec
from aiohttp import web
from aiohttp.typedefs import Handler

from edge.core import words
from edge.errors import BoxError
from edge.storage.members import Member
from edge.transport import problems
from edge.web import sessions
from edge.web.pieces import Pieces, accepts_gzip

JSON: Final = "application/json"
FORM_ID_BYTES: Final = 16
FOR_PROGRAMS: Final = ("/federation/", "/api/", "/openapi.json", "/events")
HEADERS: Final = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; "
    "connect-src 'self'; img-src 'self' data:; form-action 'self'; frame-ancestors 'none'; "
    "base-uri 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "Server": "village-edge",
    "X-Content-Type-Options": "nosniff",
}
VARY: Final = {"Vary": "Accept-Encoding"}
GZIP: Final = {"Content-Encoding": "gzip"}
# What HTTP's own errors mean to a person.
PLAIN: Final[dict[int, str]] = {
    HTTPStatus.NOT_FOUND: "there is no such page here",
    HTTPStatus.METHOD_NOT_ALLOWED: "this address is not opened that way",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "that is too much at once",
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: "this is not a form of this page",
}
_KEPT: Final = ("Allow", "Retry-After")  # of an error, on its page
WAIT_S: Final = web.RequestKey("wait_s", int)  # a handler sets it for Retry-After


class Asset:
    """A file of the pages. Its address changes with its content, so a browser may keep it for
    ever."""

    def __init__(self, name: str, content_type: str) -> None:
        self._body = (resources.files("edge.web") / "static" / name).read_bytes()
        self._packed = gzip.compress(self._body, mtime=0)
        self._content_type = content_type
        stem, _, ending = name.partition(".")
        digest = hashlib.sha256(self._body).hexdigest()[:16]
        self.path = f"/static/{stem}-{digest}.{ending}"

    async def send(self, request: web.Request) -> web.Response:
        headers = {"Cache-Control": "public, max-age=31536000, immutable", **VARY}
        body = self._body
        if _takes_gzip(request):
            body, headers = self._packed, headers | GZIP
        return web.Response(body=body, content_type=self._content_type, headers=headers)


class Frame:
    """Renders templates for one village. `random(count)` gives that many bytes."""

    def __init__(self, village: str, name: str, random: Callable[[int], bytes]) -> None:
        self._village = {"village": village, "village_name": name}
        self._random = random
        self._style = Asset("style.css", "text/css")
        self._script = Asset("trade_market.js", "text/javascript")

    def attach(self, app: web.Application) -> None:
        """Give an application its templates, stylesheet and headers."""
        environment = aiohttp_jinja2.setup(
            app,
            loader=jinja2.PackageLoader("edge.web"),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
            default_helpers=False,
        )
        environment.filters["sentence"] = words.sentence
        environment.globals.update(
            self._village,
            style=self._style.path,
            script=self._script.path,
            form_id=self.form_id,
            nothing=words.NOTHING,
            member=None,
            here="",
            at="",
            is_error=False,
        )
        app.on_response_prepare.append(_add_headers)
        for asset in (self._style, self._script):
            app.router.add_get(asset.path, asset.send)

    def form_id(self) -> str:
        """Return a new id for one form."""
        return self._random(FORM_ID_BYTES).hex()

    async def page(
        self,
        request: web.Request,
        template: str,
        context: Mapping[str, Any],
        status: int = HTTPStatus.OK,
    ) -> web.Response:
        """Return a rendered page whose forms carry the session's token."""
        csrf = await sessions.token(request, self._random)
        whole = {**context, "csrf": csrf}
        response = aiohttp_jinja2.render_template(template, request, whole, status=status)
        if status == HTTPStatus.UNAUTHORIZED:  # RFC 9110 section 15.5.2 wants a challenge
            response.headers["WWW-Authenticate"] = "village-edge"
        return response

    def pieces(
        self, request: web.Request, template: str, context: Mapping[str, Any], member: Member | None
    ) -> Pieces:
        """Render a page to be kept and sent to many with `send`. Their names and tokens are left
        out, and no form of it may have an id."""
        marks = (self.form_id(), self.form_id())
        anyone = msgspec.structs.replace(member, name=marks[1]) if member else None
        whole = {**context, "member": anyone, "csrf": marks[0], "form_id": None}
        return Pieces(aiohttp_jinja2.render_string(template, request, whole), marks)

    async def send(
        self, request: web.Request, page: Pieces, member: Member | None, *, may_pack: bool
    ) -> web.Response:
        """Return a page made by `pieces`, for a member or a visitor. Visitors get no cookie: it has
        no form that wants their token."""
        fillings: tuple[str, ...] = ()
        if member is not None:
            fillings = await sessions.token(request, self._random), html.escape(member.name)
        if may_pack and _takes_gzip(request):
            body, headers = page.gzip(fillings), VARY | GZIP
        else:
            body, headers = page.plain(fillings), VARY
        return web.Response(body=body, content_type="text/html", charset="utf-8", headers=headers)

    @web.middleware
    async def errors_as_pages(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Show problem documents (transport.problems) to people as pages."""
        answer = await handler(request)
        if not isinstance(answer, web.Response) or answer.content_type != problems.CONTENT_TYPE:
            return answer
        if is_program(request) or not isinstance(answer.body, bytes):
            return answer
        problem = msgspec.json.decode(answer.body)
        detail = problem["detail"] if problem["type"] != "about:blank" else PLAIN.get(answer.status)
        title = problem["title"]  # whose page it would have been is not known here
        context = {"title": title, "detail": detail or title, "is_error": True}
        page = await self.page(request, "error.html", context, answer.status)
        page.headers.update({k: v for k, v in answer.headers.items() if k in _KEPT})
        return page


def is_program(request: web.Request) -> bool:
    """Tell whether an error goes to a program: JSON was sent, which no browser's form does and no
    foreign page without our leave, or the address is for programs."""
    return request.content_type == JSON or is_for_programs(request.path)


def is_for_programs(path: str) -> bool:
    """Tell whether an address is one for programs."""
    return path.startswith(FOR_PROGRAMS)


def status_of(error: BoxError) -> int:
    return problems.status_of(type(error))


def _takes_gzip(request: web.Request) -> bool:
    return accepts_gzip(request.headers.get("Accept-Encoding", ""))


async def _add_headers(request: web.Request, response: web.StreamResponse) -> None:
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    response.headers["Server"] = HEADERS["Server"]
    if WAIT_S in request:
        response.headers["Retry-After"] = str(request[WAIT_S])
