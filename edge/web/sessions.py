"""Who is signed in: an encrypted cookie, and the token that each form must bring back."""

import contextlib
import warnings
from collections.abc import Callable
from typing import Final

import msgspec
from aiohttp import web
from aiohttp_session import AbstractStorage, Session, get_session, new_session
from aiohttp_session.nacl_storage import NaClCookieStorage

from edge.core import crypto
from edge.errors import Forbidden, NotSignedIn
from edge.storage import endings, members
from edge.storage.members import Member
from edge.storage.tx import Runner, View

# aiohttp-session 2.12 keeps its session under a text key, against which aiohttp 3.14 warns.
warnings.filterwarnings("ignore", category=web.NotAppKeyWarning, module="aiohttp_session")

SESSION_S_MAX: Final = 30 * 86_400
TOKEN_BYTES: Final = 16
ID_BYTES: Final = 16


class CookieStorage(AbstractStorage):
    """Sessions in encrypted cookies, named after the village, the scheme and what they are for.

    Cookies are shared by all ports of a host: without the id two boxes on one computer would sign
    each other out. Over HTTPS a cookie is Secure and `__Host-`, so that nothing served over plain
    HTTP can set or replace it; over plain HTTP (this computer only) neither is possible. The token
    of a sign-in form has a cookie of its own: a visitor who comes by a link from elsewhere brings
    no SameSite=Strict cookie, and must not lose the one that is there.
    """

    def __init__(self, key: bytes, village: str) -> None:
        super().__init__()
        self._cookies = {
            (secure, signed_in): _cookie(key, f"village-edge-{village}", secure, signed_in)
            for secure in (False, True)
            for signed_in in (False, True)
        }

    async def load_session(self, request: web.Request) -> Session:
        for signed_in in (True, False):
            cookie = self._cookies[request.secure, signed_in]
            with contextlib.suppress(ValueError):  # not text of ours at all
                session = await cookie.load_session(request)
                if not session.empty:
                    return session
        return await self.new_session()

    async def save_session(
        self, request: web.Request, response: web.StreamResponse, session: Session
    ) -> None:
        cookie = self._cookies[request.secure, session.empty or "member" in session]
        if session.empty:  # a browser lets go of a `__Host-` cookie only if told so securely
            name = cookie.cookie_name
            response.del_cookie(name, path="/", secure=request.secure, httponly=True)
        else:
            await cookie.save_session(request, response, session)

    async def new_session(self) -> Session:
        return Session(None, data=None, new=True, max_age=SESSION_S_MAX)


async def begin(request: web.Request, member: Member, random: Callable[[int], bytes]) -> None:
    """Sign a member in, with a session and token that nobody has seen before."""
    session = await new_session(request)
    session["id"] = random(ID_BYTES).hex()
    session["member"], session["epoch"] = member.id, member.session_epoch
    session["csrf"] = random(TOKEN_BYTES).hex()


async def end(request: web.Request, runner: Runner) -> None:
    """Sign out here: the browser lets go of the cookie, and a copy of it is worth nothing."""
    session = await get_session(request)
    id_, member = session.get("id"), session.get("member")
    session.invalidate()
    if isinstance(id_, str) and isinstance(member, int):
        await runner.write(lambda tx: endings.end(tx, member, id_, SESSION_S_MAX * 1000))


class Claim(msgspec.Struct, frozen=True):
    """Whose session a cookie of this box says that it is. It may have ended since."""

    id: str
    member: int
    epoch: int


async def claim_of(request: web.Request) -> Claim | None:
    """Return what the request's cookie says, None if it is of nobody who has signed in."""
    session = await get_session(request)
    id_, member, epoch = session.get("id"), session.get("member"), session.get("epoch")
    if not (isinstance(id_, str) and isinstance(member, int) and isinstance(epoch, int)):
        return None
    return Claim(id_, member, epoch)


def check(view: View, claim: Claim) -> Member | None:
    """Return the member who is signed in, None if the session was ended or the PIN has changed."""
    if endings.has_ended(view, claim.id):
        return None
    found = members.by_id(view, claim.member)
    return found if found is not None and found.session_epoch == claim.epoch else None


async def member_of(request: web.Request, runner: Runner) -> Member:
    """Return the member who is signed in. Raises NotSignedIn, also if the PIN has changed since, or
    the session was ended."""
    claim = await claim_of(request)
    found = await runner.read(lambda view: check(view, claim)) if claim is not None else None
    if found is None:
        raise NotSignedIn("you are not signed in, or not any more: nothing was done; sign in first")
    return found


def check_still(view: View, member: Member) -> None:
    """Raise NotSignedIn if, since a request began, the member's PIN or office has changed."""
    now = members.by_id(view, member.id)
    if now is None or (now.session_epoch, now.steward) != (member.session_epoch, member.steward):
        raise NotSignedIn("you are not signed in as before: nothing was done; sign in again")


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


def _cookie(key: bytes, name: str, secure: bool, signed_in: bool) -> NaClCookieStorage:
    return NaClCookieStorage(
        key,
        cookie_name=("__Host-" if secure else "") + name + ("" if signed_in else "-door"),
        max_age=SESSION_S_MAX,
        path="/",
        secure=secure,
        httponly=True,
        samesite="Strict",
    )
