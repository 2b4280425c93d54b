"""Who is signed in: an encrypted cookie, and the token that each form must bring back."""

from collections.abc import Callable
from typing import Final

from aiohttp import web
from aiohttp_session import AbstractStorage, Session, get_session, new_session
from aiohttp_session.nacl_storage import NaClCookieStorage

from edge.core import crypto
from edge.errors import Forbidden, NotSignedIn
from edge.storage import members
from edge.storage.members import Member
from edge.storage.tx import Runner

SESSION_S_MAX: Final = 30 * 86_400
TOKEN_BYTES: Final = 16


class CookieStorage(AbstractStorage):
    """Sessions in cookies of two names, one for each scheme, both with the village's id in them.

    Cookies are shared by all ports of a host: without the id two boxes on one computer would sign
    each other out. Over HTTPS the cookie is Secure and `__Host-`, so that nothing served over plain
    HTTP can set or replace it; over plain HTTP (this computer only) neither is possible.
    """

    def __init__(self, key: bytes, village: str) -> None:
        super().__init__()
        self._plain = _storage(key, f"village-edge-{village}", secure=False)
        self._secure = _storage(key, f"__Host-village-edge-{village}", secure=True)

    async def load_session(self, request: web.Request) -> Session:
        storage = self._of(request)
        try:
            return await storage.load_session(request)
        except ValueError:  # not text of ours at all
            return storage.empty_session()

    async def save_session(
        self, request: web.Request, response: web.StreamResponse, session: Session
    ) -> None:
        storage = self._of(request)
        if session.empty:  # a browser lets go of a `__Host-` cookie only if told so securely
            response.del_cookie(storage.cookie_name, path="/", secure=request.secure, httponly=True)
            return
        await storage.save_session(request, response, session)

    async def new_session(self) -> Session:
        return await self._plain.new_session()

    def _of(self, request: web.Request) -> NaClCookieStorage:
        return self._secure if request.secure else self._plain


async def begin(request: web.Request, member: Member, random: Callable[[int], bytes]) -> None:
    """Sign a member in, with a session and token that nobody has seen before."""
    session = await new_session(request)
    session["member"], session["epoch"] = member.id, member.session_epoch
    session["csrf"] = random(TOKEN_BYTES).hex()


async def end(request: web.Request) -> None:
    (await get_session(request)).invalidate()


async def member_of(request: web.Request, runner: Runner) -> Member:
    """Return the member who is signed in. Raises NotSignedIn, also if the PIN has changed since."""
    session = await get_session(request)
    id_, epoch = session.get("member"), session.get("epoch")
    if isinstance(id_, int):
        member = await runner.read(lambda view: members.by_id(view, id_))
        if member is not None and member.session_epoch == epoch:
            return member
    raise NotSignedIn("you are not signed in, or not any more: nothing was done; sign in first")


async def token(request: web.Request, random: Callable[[int], bytes]) -> str:
    """Return what the forms of this session must carry."""
    session = await get_session(request)
    if "csrf" not in session:
        session["csrf"] = random(TOKEN_BYTES).hex()
    known: str = session["csrf"]
    return known


async def check_token(request: web.Request, sent: str) -> None:
    """Raise Forbidden unless a form comes from a page that this session was shown."""
    known = (await get_session(request)).get("csrf", "")
    if not known or not crypto.same(known.encode(), sent.encode()):
        raise Forbidden(
            "this form is from an earlier visit, or the browser keeps no cookies: nothing was "
            "done; open the page again and repeat it there"
        )


def _storage(key: bytes, name: str, secure: bool) -> NaClCookieStorage:
    return NaClCookieStorage(
        key,
        cookie_name=name,
        max_age=SESSION_S_MAX,
        path="/",
        secure=secure,
        httponly=True,
        samesite="Strict",
    )
