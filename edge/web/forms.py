"""What a browser's form sends: one flat set of known fields, read strictly, tidied where people
type."""

import re
import unicodedata
from typing import Final, TypeVar
from urllib.parse import parse_qsl

import msgspec
from aiohttp import web

from edge.core import names
from edge.core.listing import Side
from edge.core.names import TOKEN
from edge.core.trade import Proposal
from edge.errors import InvalidInput
from edge.market import Ask
from edge.transport.signed import read_body

CONTENT_TYPE: Final = "application/x-www-form-urlencoded"
BODY_BYTES_MAX: Final = 16_384
FIELDS_MAX: Final = 32
AS_TYPED: Final = frozenset({"pin", "old_pin", "new_pin", "new_pin_again"})
_FORM_ID = re.compile(r"[0-9a-f]{32}")
_DAYS = re.compile(r"[0-9]{1,3}")
_MINOR = re.compile(r"[0-9]{1,15}")


class Form(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`csrf` is the session's token; `form` names this one form, so that it works once."""

    csrf: str
    form: str = ""

    @property
    def asked(self) -> bytes:
        """What the form asks for, whoever's session brings it."""
        return msgspec.json.encode([type(self).__name__, msgspec.structs.replace(self, csrf="")])


class SignInForm(Form, frozen=True):
    name: str = ""
    pin: str = ""


class PayForm(Form, frozen=True):
    payee: str = ""
    amount: str = ""
    asset: str = TOKEN
    note: str = ""


class RefundForm(Form, frozen=True):
    """`tokens`: how much of the AT is given back; empty for all."""

    tokens: str = ""


class ProposeForm(Form, frozen=True):
    """An empty amount is nothing: then it is a gift. `fee`: the fee in AT minor units that the page
    has shown, to which this agrees."""

    to_village: str = ""
    to_user: str = ""
    give_amount: str = ""
    give_asset: str = TOKEN
    get_amount: str = ""
    get_asset: str = ""
    fee: str = "0"

    @property
    def agreed_fee(self) -> int:
        return int(self.fee) if _MINOR.fullmatch(self.fee) else 0

    @property
    def proposal(self) -> Proposal:
        """What is proposed. Raises InvalidInput."""
        if self.get_asset and not self.get_amount:
            raise InvalidInput("say how much you get, or leave both fields empty to get nothing")
        gives = _side(self.give_asset, self.give_amount)
        gets = _side(self.get_asset, self.get_amount)
        if gives is None and gets is None:
            raise InvalidInput("say how much you give, or how much you get")
        if gives is not None and gets is not None and gives[0] == gets[0]:
            raise InvalidInput("a trade gives one thing for another: these two are the same")
        village, user = names.village_id(self.to_village), names.member_name(self.to_user)
        return Proposal(village, user, gives, gets)


class ListForm(Form, frozen=True):
    side: str = "offer"
    item: str = ""
    quantity: str = "1"
    price_asset: str = TOKEN
    price: str = ""
    text: str = ""
    days: str = "30"

    @property
    def ask(self) -> Ask:
        """What is listed. Raises InvalidInput."""
        if self.side not in ("offer", "want"):
            raise InvalidInput("a listing is an offer or a want")
        days = int(self.days) if _DAYS.fullmatch(self.days) else 0
        side: Side = "want" if self.side == "want" else "offer"
        return Ask(
            side, self.item, self.quantity, self.price_asset or TOKEN, self.price, self.text, days
        )


class AnswerForm(Form, frozen=True):
    """`digest`: of the listing as it was shown. `fee`: as in ProposeForm."""

    digest: str = ""
    amount: str = "1"
    fee: str = "0"

    @property
    def agreed_fee(self) -> int:
        return int(self.fee) if _MINOR.fullmatch(self.fee) else 0


class DisputeForm(Form, frozen=True):
    """An empty reason erases what was written."""

    reason: str = ""


F = TypeVar("F", bound=Form)


async def read(request: web.Request, kind: type[F]) -> F:
    """Return the form that a request carries.

    Raises InvalidInput; TooLarge or Malformed for a body that is over the limit or broken off;
    HTTPUnsupportedMediaType for anything but a plain form.
    """
    if request.content_type != CONTENT_TYPE:
        raise web.HTTPUnsupportedMediaType(reason="Unsupported Media Type")
    return parse(await read_body(request, BODY_BYTES_MAX), kind)


def parse(body: bytes, kind: type[F]) -> F:
    """Return a form's fields, tidied; InvalidInput for unknown, repeated or missing ones."""
    try:
        pairs = parse_qsl(
            body.decode("ascii"),
            keep_blank_values=True,
            strict_parsing=True,
            errors="strict",
            max_num_fields=FIELDS_MAX,
        )
        fields = {name: value if name in AS_TYPED else tidy(value) for name, value in pairs}
        form = msgspec.convert(fields, kind)
    except ValueError as error:  # msgspec's and Unicode's errors are such, too
        raise InvalidInput(f"not a form of this page: {str(error)[:200]}") from None
    if len(fields) != len(pairs):
        raise InvalidInput("not a form of this page: a field is there twice")
    return with_id(form)


def with_id(form: F) -> F:
    """Return the form, if its id is one of ours or it has none. Raises InvalidInput."""
    if form.form and not _FORM_ID.fullmatch(form.form):
        raise InvalidInput("not a form of this page: it has another id")
    return form


def _side(asset: str, amount: str) -> tuple[str, str] | None:
    return (names.asset_code(asset), amount) if amount else None


def tidy(text: str) -> str:
    """Return what was typed without stray spaces, in Unicode's NFC form: phones add both."""
    return unicodedata.normalize("NFC", " ".join(text.split()))
