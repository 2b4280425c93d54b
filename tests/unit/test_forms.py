"""What a browser's form sends, read strictly."""

import contextlib
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.errors import InvalidInput
from edge.web import forms
from edge.web.forms import PayForm, ProposeForm, SignInForm

FORM = "0123456789abcdef" * 2


def test_fields_are_tidied_but_for_the_pin() -> None:
    body = urlencode({"csrf": "t", "name": " Zoe\u0308  Q\u00a0", "pin": " 1  2 "}).encode()
    assert forms.parse(body, SignInForm) == SignInForm("t", name="Zo\u00eb Q", pin=" 1  2 ")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"csrf",
        b"name=Alice",
        b"csrf=t&csrf=t",
        b"csrf=t&amount=1&amount=2",
        b"csrf=t&colour=green",
        b"csrf=t&amount=%ff",
        "csrf=t&payee=Zoë".encode(),
        b"csrf=t&form=x",
        b"csrf=t&form=" + FORM.upper().encode(),
        b"csrf=t" + b"&a=1" * 40,
    ],
)
def test_other_bodies_are_refused(body: bytes) -> None:
    with pytest.raises(InvalidInput):
        forms.parse(body, PayForm)


@given(st.binary(max_size=200))
def test_any_bytes_give_a_form_or_one_error(body: bytes) -> None:
    with contextlib.suppress(InvalidInput):
        forms.parse(body, ProposeForm)


def test_what_is_asked_does_not_depend_on_the_session() -> None:
    one, two = PayForm("a", FORM, "Carol", "1"), PayForm("b", FORM, "Carol", "1")
    assert one.asked == two.asked
    assert one.asked != PayForm("a", FORM, "Carol", "2").asked
    assert one.asked != ProposeForm("a", FORM).asked


def test_an_empty_amount_is_nothing() -> None:
    gift = ProposeForm("t", FORM, "ose-california-001", "Bob", "2", "AT", "", "")
    assert (gift.proposal.offer, gift.proposal.request) == (("AT", "2"), None)
    asked = ProposeForm("t", FORM, "ose-california-001", "Bob", "", "AT", "2", "AT")
    assert (asked.proposal.offer, asked.proposal.request) == (None, ("AT", "2"))
    for give, get, of, said in (("", "", "", "how much you give"), ("2", "", "Corn", "both")):
        with pytest.raises(InvalidInput, match=said):
            _ = ProposeForm("t", FORM, "ose-california-001", "Bob", give, "AT", get, of).proposal


def test_a_proposal_is_of_two_different_things() -> None:
    form = ProposeForm("t", FORM, "ose-california-001", "Bob", "100", "AT", "1", "solar panel")
    assert form.proposal.offer == ("AT", "100")
    assert form.proposal.request == ("SOLAR-PANEL", "1")
    with pytest.raises(InvalidInput, match="same"):
        _ = ProposeForm("t", FORM, "ose-california-001", "Bob", "1", "AT", "2", "at").proposal


@pytest.mark.parametrize(("text", "agreed"), [("100", 100), ("0", 0), ("", 0), ("-5", 0), ("٣", 0)])
def test_a_fee_that_is_no_number_is_not_agreed_to(text: str, agreed: int) -> None:
    assert ProposeForm("t", fee=text).agreed_fee == agreed
