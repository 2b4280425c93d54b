"""Invitations: one line, whole and unaltered, or a clear word."""

import base64
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.core import canonical, crypto, invitation, limits
from edge.errors import InvalidInput
from tests.unit.examples import INVITATION

replace = msgspec.structs.replace
TEXT = invitation.to_text(INVITATION)


def test_an_invitation_is_one_line_of_plain_letters() -> None:
    assert TEXT.startswith("village-invitation:")
    assert TEXT.isascii()
    assert not set(TEXT) & set(" \n\"'\\&=+/")
    assert invitation.from_text(TEXT) == INVITATION


@pytest.mark.parametrize("around", [" {}", "{} ", "{}\n", "\r\n\t{}\r\n", "\u00a0{}"])
def test_space_around_it_does_no_harm(around: str) -> None:
    assert invitation.from_text(around.format(TEXT)) == INVITATION


def test_each_changed_letter_is_noticed() -> None:
    for at in range(len(TEXT)):
        for letter in "Aa0_-é ":
            if letter != TEXT[at]:
                with pytest.raises(InvalidInput):
                    invitation.from_text(TEXT[:at] + letter + TEXT[at + 1 :])


def test_what_is_wrong_is_said() -> None:
    other = "not an invitation: it is one line that begins with village-invitation:"
    for text in ("", "hello", TEXT.removeprefix("village-"), TEXT.removeprefix(invitation.PREFIX)):
        with pytest.raises(InvalidInput) as error:
            invitation.from_text(text)
        assert error.value.detail == other
    middle = len(TEXT) // 2
    swapped = TEXT[:middle] + TEXT[middle:][1] + TEXT[middle:][0] + TEXT[middle + 2 :]
    for text in (TEXT[:-8], swapped):
        with pytest.raises(InvalidInput, match="cut short or altered: copy the whole line"):
            invitation.from_text(text)


def test_councils_of_seven() -> None:
    seven = replace(INVITATION, council_seats=7)
    assert canonical.encode(seven) == canonical.encode(INVITATION)[:-1] + b',"council_seats":7}'
    assert invitation.from_text(invitation.to_text(seven)) == seven
    with pytest.raises(InvalidInput, match="not a village's"):
        invitation.from_text(invitation.to_text(replace(INVITATION, council_seats=5)))


def test_an_invitation_at_its_bounds() -> None:
    most = replace(
        INVITATION,
        addresses=(".".join(["a" * 63] * 3 + ["b" * 61]) + ":1",) * limits.ADDRESSES_MAX,
        expires_minute=2**40 - 1,
    )
    assert invitation.from_text(invitation.to_text(most)) == most


def test_each_cut_is_noticed() -> None:
    for end in range(len(TEXT)):
        with pytest.raises(InvalidInput):
            invitation.from_text(TEXT[:end])


def test_it_has_one_form() -> None:
    """Padding, other letters for the same bits, and bits that stand for nothing."""
    tail = TEXT[-1]
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    others = [TEXT[:-1] + letter for letter in letters if letter != tail]
    others += [TEXT + "=", TEXT + "==", TEXT + "A", TEXT.replace("-", "+"), TEXT + TEXT]
    for other in others:
        if other != TEXT:
            with pytest.raises(InvalidInput):
                invitation.from_text(other)


def test_what_is_too_long_is_not_looked_at() -> None:
    with pytest.raises(InvalidInput, match="not an invitation"):
        invitation.from_text(invitation.PREFIX + "A" * 4_097)


BAD: list[dict[str, Any]] = [
    {"village_id": "Missouri"},
    {"key": bytes(31)},
    {"spki_sha256": bytes(33)},
    {"network": b""},
    {"charter": bytes(31)},
    {"addresses": ()},
    {"addresses": ("a:1",) * (limits.ADDRESSES_MAX + 1)},
    {"addresses": ("no port",)},
    {"expires_minute": 0},
    {"expires_minute": 2**40},
    {"secret": bytes(15)},
]


@pytest.mark.parametrize("changes", BAD)
def test_what_is_not_a_villages_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput, match="something that is not a village's"):
        invitation.from_text(invitation.to_text(replace(INVITATION, **changes)))


def test_a_checksum_does_not_make_it_an_invitation() -> None:
    for body in (b"{}", b"null", b"\xff", canonical.encode(INVITATION) + b" "):
        whole = body + crypto.sha256(body)[:4]
        text = invitation.PREFIX + base64.urlsafe_b64encode(whole).decode().rstrip("=")
        with pytest.raises(InvalidInput, match="cannot be read"):
            invitation.from_text(text)


@given(st.text())
def test_any_text_is_an_invitation_or_is_refused(text: str) -> None:
    for candidate in (text, invitation.PREFIX + text):
        with pytest.raises(InvalidInput):
            invitation.from_text(candidate)
