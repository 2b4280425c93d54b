"""A trade's state in plain words."""

import re
from datetime import UTC, datetime, timedelta, timezone

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.core import limits, names, trade, words
from edge.core.council import Seat
from edge.core.trade import CARRIED_OUT, ENDED, Quantity, Role, Status, Terms

MISSOURI, CALIFORNIA = "ose-missouri-001", "ose-california-001"
DEADLINE = "Tue 24 Nov 2026, 08:50 UTC"
PANEL = Quantity("SOLAR-PANEL", "resource", 0, 1)
EVERY: list[tuple[Role, Status]] = [(role, status) for role in ("from", "to") for status in Status]


def terms(offer: Quantity | None = None, request: Quantity = PANEL, from_fee: int = 0) -> Terms:
    minute = int(datetime(2026, 11, 24, 8, 50, tzinfo=UTC).timestamp()) // 60
    return Terms(
        context=trade.TERMS_CONTEXT,
        network=bytes(32),
        charter=bytes(32),
        from_village=MISSOURI,
        to_village=CALIFORNIA,
        trade_id="t",
        seats=(Seat(MISSOURI, bytes(32)), Seat(CALIFORNIA, bytes([1]) * 32)),
        offer=offer or Quantity("AT", "token", 2, 10_000),
        request=request,
        from_fee=from_fee,
        to_fee=0,
        deadline_minute=minute,
        window_s=600,
        nonce=bytes(16),
        refund_of=None,
    )


def said(role: Role, status: Status, of: Terms | None = None, **more: object) -> str:
    return words.describe(role, status, of or terms(), "Alice", "Bob", **more)  # type: ignore[arg-type]


def test_each_role_has_a_sentence_for_each_status() -> None:
    assert set(words.SENTENCES) == set(EVERY)


@pytest.mark.parametrize("yours", [True, False])
@pytest.mark.parametrize(("role", "status"), EVERY)
def test_sentences_are_whole(role: Role, status: Status, yours: bool) -> None:
    text = said(role, status, reason="Bob declined it", yours=yours)
    assert not re.search(r"[{}]|\s\s|\.\.", text)
    assert re.fullmatch(r"[A-Z].*[.]", text)
    assert bool(re.search(r"\b[Yy]ou", text)) <= yours


def test_a_proposal_says_whom_it_waits_for_what_is_set_aside_and_when_that_comes_back() -> None:
    assert said("from", Status.PENDING, terms(from_fee=100)) == (
        "Waiting for Bob of ose-california-001 to accept or decline. Your 100.00 AT and the fee of "
        "1.00 AT are set aside, and come back if Bob declines, if the offer is withdrawn, or if "
        f"nobody has accepted it by {DEADLINE}. That village does not say who its members are: if "
        "nobody answers, check the name."
    )
    assert said("to", Status.PENDING) == (
        "Waiting for your answer. Once accepted, your 1 Solar Panel is held until the trade has "
        f"ended. Nothing is held now, and without an answer the offer ends after {DEADLINE}."
    )


def test_a_proposal_to_a_name_that_nobody_has_says_so_where_it_came_and_only_there() -> None:
    """The proposer hears the same as for a known name: who is a member is not given away."""
    for yours in (True, False):
        assert said("to", Status.PENDING, addressed="nobody", yours=yours) == (
            "Addressed to Bob, and nobody here has that name: nobody can accept it. Nothing is "
            f"held, and it ends by itself after {DEADLINE}."
        )
    hint = "check the name"
    assert hint in said("from", Status.PENDING)
    assert hint not in said("from", Status.PENDING, told=False)
    assert hint not in said("from", Status.PENDING, addressed="listing")
    others = [
        (role, status) for role, status in EVERY if (role, status) != ("from", Status.PENDING)
    ]
    assert not any(hint in said(role, status) for role, status in others)


def test_a_proposal_that_has_not_arrived_says_so() -> None:
    text = said("from", Status.PENDING, told=False, silent_since="Mon 23 Nov 2026, 08:00 UTC")
    assert text.endswith(
        "The box of ose-california-001 has not been reached yet; this box keeps trying. "
        "That box was last heard from on Mon 23 Nov 2026, 08:00 UTC."
    )
    assert "reached" not in said("from", Status.PENDING, told=True)


@pytest.mark.parametrize("role", ["from", "to"])
def test_a_bound_trade_says_that_no_clock_ends_it(role: Role) -> None:
    text = said(role, Status.HELD, silent_since="Mon 23 Nov 2026, 08:00 UTC")
    other = CALIFORNIA if role == "from" else MISSOURI
    assert "Both villages are bound" in text
    assert f"Waiting for the box of {other} to confirm" in text
    assert "ends by itself as soon as that box is reached; until then no clock ends it" in text
    assert "last heard from on Mon 23 Nov 2026, 08:00 UTC" in text
    assert DEADLINE not in text


@pytest.mark.parametrize("status", [Status.ACCEPTED, Status.HELD])
def test_a_trade_that_a_council_decides_says_who_does(status: Status) -> None:
    seats = (*terms().seats, Seat("ose-texas-001", bytes(32)), Seat("ose-vermont-001", bytes(32)))
    text = said("to", status, msgspec.structs.replace(terms(), seats=seats))
    assert (
        "Any 3 of the 4 villages ose-missouri-001, ose-california-001, ose-texas-001 and "
        "ose-vermont-001 decide it together." in text
    )
    assert "until then no clock" not in text
    if status is Status.ACCEPTED:
        assert f"what is held comes back soon after {DEADLINE}" in text
    else:
        assert "to confirm" not in text


def test_one_is_and_several_are() -> None:
    one, two = terms(), terms(request=Quantity("SOLAR-PANEL", "resource", 0, 2))
    assert "Your 1 Solar Panel is free again." in said("to", Status.ABORTED, one)
    assert "Your 2 Solar Panel are free again." in said("to", Status.ABORTED, two)
    panel_and_fee = terms(offer=PANEL, request=Quantity("AT", "token", 2, 1), from_fee=5)
    assert "Your 1 Solar Panel and the fee of 0.05 AT are free" in said(
        "from", Status.ABORTED, panel_and_fee
    )


def test_ends_say_why() -> None:
    for status in ENDED - CARRIED_OUT:
        assert "the moon was wrong" in said("from", status, reason="the moon was wrong")
    assert said("from", Status.SETTLED, terms(from_fee=100)) == (
        "Done, in both ledgers: you gave 100.00 AT and the fee of 1.00 AT and got 1 Solar Panel."
    )


def test_names_are_not_templates() -> None:
    text = words.describe("from", Status.PENDING, terms(), "Alice", "{reason} {0}")
    assert "Waiting for {reason} {0} of ose-california-001" in text


def test_times_are_shown_as_given() -> None:
    eight = words.moment(1_795_510_200_000)
    assert words.when(eight) == DEADLINE
    assert "by next week." in said("from", Status.PENDING, deadline="next week")


@given(st.integers())
def test_any_number_has_a_moment(ms: int) -> None:
    """Also in the time zones that are ahead or behind; what calendars can show is not changed."""
    found = words.moment(ms)
    for hours in (-24, 24):
        zone = timezone(timedelta(hours=hours) - timedelta(minutes=1) * (hours // 24))
        assert words.when(found.astimezone(zone))
    if 0 <= ms <= limits.DEADLINE_MINUTE_MAX * limits.MINUTE_MS:
        assert round(found.timestamp() * 1000) == ms


def test_a_fee_alone_is_given_too() -> None:
    """A gift on which the receiver pays a fee is no gift to them."""
    of = terms(request=Quantity("AT", "token", 2, 0))
    assert "this is a gift to you" in said("to", Status.PENDING, of)
    paid = msgspec.structs.replace(of, to_fee=5_00)
    assert "your fee of 5.00 AT is held" in said("to", Status.PENDING, paid)
    assert "Your fee of 5.00 AT is free again." in said("to", Status.ABORTED, paid)
    for role, status in EVERY:
        assert not re.search(r"[{}]|\s\s|\.\.|nothing and", said(role, status, paid))


@pytest.mark.parametrize(("role", "status"), EVERY)
def test_nothing_is_given_or_got_but_as_a_gift(role: Role, status: Status) -> None:
    nothing = Quantity("AT", "token", 2, 0)
    for of in (terms(request=nothing), terms(offer=nothing, request=PANEL)):
        text = said(role, status, of)
        assert not re.search(r"[{}]|\s\s|\.\.|(?<!\d)0\.00|(gave|got|[Yy]our) nothing", text), text
        if status is Status.SETTLED:
            assert text.endswith(" as a gift.")


@pytest.mark.parametrize("me", ["", "Carol"])
@pytest.mark.parametrize(("role", "status"), sorted(words.DEALS))
def test_a_deal_is_told_to_its_members_and_to_others(role: Role, status: Status, me: str) -> None:
    for gives, gets in (("1 Egg", "2.00 AT"), ("1 Egg", "nothing"), ("nothing", "1 Egg")):
        text = words.describe_deal(role, status, gives, gets, "Alice", DEADLINE, me=me)
        assert re.fullmatch(r"[A-Z].*[.]", text)
        assert not re.search(r"[{}]|\s\s|\.\.|(gave|got|[Yy]our) nothing|'s nothing", text), text
        assert not (me and re.search(r"\b[Yy]ou", text)), text
        if status is Status.SETTLED:
            assert ("as a gift" in text) == ("nothing" in (gives, gets))


def test_a_trade_has_a_name() -> None:
    assert words.exchange("1 Egg", "2.00 AT") == "Your 1 Egg for 2.00 AT"
    assert words.exchange("1 Egg", words.NOTHING) == "Your 1 Egg as a gift"
    assert words.exchange(words.NOTHING, "1 Egg") == "1 Egg as a gift to you"


@pytest.mark.parametrize(
    ("detail", "expected"),
    [("no such page", "No such page."), ("Done!", "Done!"), ("", ".")],
)
def test_details_become_sentences(detail: str, expected: str) -> None:
    assert words.sentence(detail) == expected


@given(st.from_regex(r"[A-Z][A-Z0-9]{0,8}(-[A-Z0-9]{1,8}){0,2}", fullmatch=True))
def test_an_assets_words_lead_back_to_its_code(code: str) -> None:
    assert names.asset_code(words.asset_text(code)) == code
