"""The pages of a village's box: sign in, pay, trade. Rendered here, no script needed.

What a form asks and cannot have comes back with what was typed and the reason beside it; what it
does ends in a redirect, and is done once: each form has an id.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final, TypeVar

import aiohttp_session
import msgspec
from aiohttp import web

from edge import desk, trade_escrow
from edge.core import names, receipt, trade, words
from edge.errors import Conflict, InvalidInput, NotSignedIn, PeerError, Refused, TooMany
from edge.storage import members, trades
from edge.storage.members import Member
from edge.storage.trades import Trade
from edge.storage.tx import Runner, Tx, View
from edge.trade_escrow import Proposal
from edge.transport import problems
from edge.transport.signed import check_depth, read_body
from edge.web import forms, member_trade, sessions, views
from edge.web.forms import Form, PayForm, ProposeForm, SignInForm
from edge.web.frame import Frame
from edge.web.sign_in import RunBlocking, SignIn

BODY_BYTES_MAX: Final = 16_384
ANSWER_LOOKS: Final = 40  # how long a page waits for the other box before it says "waiting"
ANSWER_LOOK_EVERY_S: Final = 0.05
TRADE_PATH: Final = "/federation/trade"
JSON: Final = "application/json"
STEPS: Final[Mapping[str, Callable[[Tx, Member, Trade], Trade]]] = {
    "accept": trade_escrow.accept,
    "reject": trade_escrow.reject,
    "cancel": trade_escrow.cancel,
}
_WAIT_S: Final = web.RequestKey("wait_s", int)
F = TypeVar("F", bound=Form)


@dataclass(frozen=True, slots=True)
class Shop:
    """What the pages need of the box.

    `kick(village)`: exchange with that neighbour now. `session_key`: 32 bytes. `run_blocking` runs
    a function on another thread. `random(count)` gives that many bytes.
    """

    runner: Runner
    kick: Callable[[str], None]
    session_key: bytes
    village: str
    village_name: str
    fee_basis_points: int
    run_blocking: RunBlocking
    now_ms: Callable[[], int]
    monotonic_s: Callable[[], float]
    random: Callable[[int], bytes]
    on_broken_law: Callable[[AssertionError], None]


def make_page(shop: Shop) -> web.Application:
    """Return the application; it may be served on several sockets, with and without TLS."""
    frame = Frame(shop.village, shop.village_name, shop.random)
    pages, program = Pages(shop, frame), Program(shop)
    app = web.Application(
        middlewares=[
            aiohttp_session.session_middleware(
                sessions.CookieStorage(shop.session_key, shop.village)
            ),
            frame.errors_as_pages,
            problems.middleware(shop.on_broken_law),
        ],
        client_max_size=BODY_BYTES_MAX,
    )
    frame.attach(app)
    app.add_routes(pages.routes())
    app.add_routes(program.routes())
    return app
