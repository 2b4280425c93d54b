"""The mission's JSON from a member's program."""

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.core import names
from edge.core.trade import Status
from edge.errors import BoxError, Forbidden, InvalidAmount, InvalidInput
from edge.storage.members import Member
from edge.web import member_trade

ALICE = Member(1, "Alice", "-", 0)
MISSION = b"""{
  "trade_id": "trade_001",
  "from_village": "ose-missouri-001",
  "to_village": "ose-california-001",
  "from_user": "Alice",
  "to_user": "Bob",
  "offer": {"AT": 100},
  "request": {"Resource": "Solar Panel"},
  "status": "PENDING"
}"""


def changed(**fields: Any) -> bytes:
    return json.dumps(json.loads(MISSION) | fields).encode()


def proposal(body: bytes) -> Any:
    return member_trade.proposal_of(member_trade.decode(body), "ose-missouri-001", ALICE)


def test_the_missions_example_is_taken_as_it_stands() -> None:
    found = proposal(MISSION)
    assert (found.to_village, found.to_user) == ("ose-california-001", "Bob")
    assert found.offer == ("AT", "100")
    assert found.request == ("SOLAR-PANEL", "1")


def test_the_answer_is_the_example_with_its_state() -> None:
    answer = member_trade.encode(member_trade.decode(MISSION), Status.SETTLED, "0123", "Done.")
    assert json.loads(answer) == json.loads(MISSION) | {
        "status": "SETTLED",
        "id": "0123",
        "message": "Done.",
    }


@pytest.mark.parametrize(
    ("side", "expected"),
    [
        ({"AT": 100}, ("AT", "100")),
        ({"AT": "100.10"}, ("AT", "100.10")),
        ({"at": "1"}, ("AT", "1")),
        ({"SOLAR-PANEL": 2}, ("SOLAR-PANEL", "2")),
        ({"Solar Panel": "2"}, ("SOLAR-PANEL", "2")),
        ({"Resource": "Solar Panel"}, ("SOLAR-PANEL", "1")),
    ],
)
def test_a_side_names_one_asset(side: dict[str, Any], expected: tuple[str, str]) -> None:
    assert proposal(changed(offer=side)).offer == expected


@pytest.mark.parametrize(
    ("number", "expected"),
    [("100.10", "100.10"), ("1e2", "100"), ("0.1", "0.1"), ("0.30000000000000004", None)],
)
def test_numbers_are_exact(number: str, expected: str | None) -> None:
    found = proposal(MISSION.replace(b'{"AT": 100}', f'{{"AT": {number}}}'.encode()))
    assert found.offer == ("AT", expected or number)


@given(st.integers(1, 10**12), st.integers(0, 6))
def test_an_amount_arrives_as_it_was_written(minor: int, decimals: int) -> None:
    written = names.amount_text(minor, decimals)
    for value in (written.encode(), f'"{written}"'.encode()):
        found = proposal(MISSION.replace(b'{"AT": 100}', b'{"AT": ' + value + b"}"))
        assert names.amount(found.offer[1], decimals, "AT") == minor


@pytest.mark.parametrize(
    "value",
    [
        b"true",
        b"null",
        b"[]",
        b'{"a": 1}',
        b"1e400",
        b"-1e400",
        b"1e99999999999999999999",
        b"9" * 40,
    ],
)
def test_what_is_no_amount_is_refused(value: bytes) -> None:
    with pytest.raises(InvalidAmount):
        proposal(MISSION.replace(b'{"AT": 100}', b'{"AT": ' + value + b"}"))


@pytest.mark.parametrize("value", [b"NaN", b"Infinity", b"1_000", b"+1", b"01", b"9" * 5_000])
def test_what_is_no_json_is_refused(value: bytes) -> None:
    with pytest.raises(InvalidInput):
        proposal(MISSION.replace(b'{"AT": 100}', b'{"AT": ' + value + b"}"))


@pytest.mark.parametrize("value", [-1, 0, "0", "-0", "NaN", "1e400", "", " 1", "1.234", "+1", "１"])
def test_amounts_that_only_the_asset_can_judge_are_refused_with_it(value: object) -> None:
    found = proposal(changed(offer={"AT": value}))
    with pytest.raises(InvalidAmount):
        names.amount(found.offer[1], 2, "AT")


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        ({"trade_id": ""}, InvalidInput),
        ({"trade_id": "form:1"}, InvalidInput),
        ({"from_village": "ose-texas-001"}, InvalidInput),
        ({"to_village": "Texas"}, InvalidInput),
        ({"from_user": "Carol"}, Forbidden),
        ({"to_user": ""}, InvalidInput),
        ({"to_user": 7}, InvalidInput),
        ({"status": "SETTLED"}, InvalidInput),
        ({"status": None}, InvalidInput),
        ({"fee": 1}, InvalidInput),
        ({"offer": {}}, InvalidInput),
        ({"offer": {"AT": 1, "Flour": 1}}, InvalidInput),
        ({"offer": [1]}, InvalidInput),
        ({"offer": {"Resource": 2}}, InvalidInput),
        ({"offer": {"Resource": "AT; DROP"}}, InvalidInput),
        ({"request": {"": 1}}, InvalidInput),
    ],
)
def test_other_content_is_refused(fields: dict[str, Any], kind: type[BoxError]) -> None:
    with pytest.raises(kind):
        proposal(changed(**fields))


@pytest.mark.parametrize("body", [b"", b"[]", b"\xff", b'{"offer":' + b"[" * 100_000, b"{}"])
def test_anything_else_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidInput):
        proposal(body)


def test_the_status_may_be_left_out_and_case_of_names_does_not_count() -> None:
    fields = json.loads(changed(from_user="ALICE"))
    del fields["status"]
    assert proposal(json.dumps(fields).encode()).to_user == "Bob"


def test_decimals_are_given_back_as_numbers() -> None:
    posted = member_trade.decode(MISSION.replace(b'{"AT": 100}', b'{"AT": 100.10}'))
    assert posted.offer == {"AT": Decimal("100.10")}
    assert b'"offer":{"AT":100.10}' in member_trade.encode(posted, Status.PENDING, "", "")
