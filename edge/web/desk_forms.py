"""The forms of the steward's desk."""

import re
from typing import Final

import msgspec

from edge.core import crypto
from edge.core.charter import COUNCIL_SEATS_DEFAULT
from edge.core.names import TOKEN
from edge.errors import InvalidInput
from edge.peering import INVITATION_S_DEFAULT
from edge.web.forms import Form

_NUMBER: Final = re.compile(r"0|[1-9][0-9]{0,3}")


class PinForm(Form, frozen=True):
    pin: str = ""

    def asked_with(self, key: bytes) -> bytes:
        """As `asked`. The database keeps a digest of it: with a short PIN in it, anyone who has the
        file could find the PIN, so a key that is not in there goes in first."""
        kept = msgspec.structs.replace(self, pin=crypto.commitment(key, self.pin.encode()).hex())
        return kept.asked


class AddForm(PinForm, frozen=True):
    """`steward`: `yes` for one."""

    name: str = ""
    steward: str = ""


class StewardForm(Form, frozen=True):
    steward: str = ""


class LimitForm(Form, frozen=True):
    asset: str = TOKEN
    amount: str = ""


class IssueForm(Form, frozen=True):
    payee: str = ""
    amount: str = ""
    note: str = ""


class ApproveForm(Form, frozen=True):
    resource: str = ""
    decimals: str = "0"


class DeclareForm(ApproveForm, frozen=True):
    owner: str = ""
    amount: str = "1"


class RetryForm(Form, frozen=True):
    pass


class AbandonForm(Form, frozen=True):
    """`sure`: `yes`. `evidence`: a receipt's file, if one is brought."""

    sure: str = ""
    reason: str = ""
    evidence: bytes = b""


class LineForm(Form, frozen=True):
    village: str = ""
    asset: str = TOKEN
    amount: str = ""


class InviteForm(Form, frozen=True):
    """`seats`: how many villages at most decide the trades of the two."""

    hours: str = str(INVITATION_S_DEFAULT // 3_600)
    seats: str = str(COUNCIL_SEATS_DEFAULT)


class JoinForm(Form, frozen=True):
    invitation: str = ""

    @property
    def line(self) -> str:
        """The invitation as one line: mail and phones break long ones."""
        return "".join(self.invitation.split())


def whole(text: str, what: str) -> int:
    """Return a small whole number. Raises InvalidInput."""
    if not _NUMBER.fullmatch(text):
        raise InvalidInput(f"{what} must be a whole number")
    return int(text)
