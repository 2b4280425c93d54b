"""What villages say to each other: one encoder and decoder each, every list and number bounded."""

from typing import Any

import msgspec
import pytest

from edge.core import limits, messages
from edge.core.messages import CosignatureLine, Exchange, Push
from edge.errors import Malformed, TooLarge, WrongVersion
from tests.unit.examples import EXCHANGE, REGISTER, REGISTERED

replace = msgspec.structs.replace
assert EXCHANGE.push is not None
PUSH: Push = EXCHANGE.push


def test_messages_are_read_as_they_were_written() -> None:
    assert messages.decode_exchange(messages.encode(EXCHANGE)) == EXCHANGE
    assert messages.decode_register(messages.encode(REGISTER)) == REGISTER
    assert messages.decode_registered(messages.encode(REGISTERED)) == REGISTERED


def test_the_shortest_exchange() -> None:
    shortest = Exchange(1, "a-b-001", bytes(32), 0, 0)
    assert messages.decode_exchange(messages.encode(shortest)) == shortest


@pytest.mark.parametrize("version", [0, 2, -1, 10**30])
def test_another_version_is_told_which_is_spoken(version: int) -> None:
    text = messages.encode(EXCHANGE).replace(b'"protocol":1', b'"protocol":%d' % version, 1)
    for decode in (messages.decode_exchange, messages.decode_register):
        with pytest.raises((WrongVersion, Malformed)) as error:
            decode(text)
        if isinstance(error.value, WrongVersion):
            assert error.value.more == {"protocol": limits.PROTOCOL_VERSION}
        else:
            assert version == 10**30


def test_another_version_may_have_other_fields() -> None:
    with pytest.raises(WrongVersion):
        messages.decode_exchange(b'{"protocol":2,"greeting":["hello"]}')


def with_push(**changes: Any) -> Exchange:
    return replace(EXCHANGE, push=replace(PUSH, **changes))


TOO_LARGE = {
    "subjects": replace(
        EXCHANGE, subjects=EXCHANGE.subjects[1:] * (limits.SUBJECTS_PER_MESSAGE_MAX + 1)
    ),
    "votes": replace(
        EXCHANGE,
        subjects=(replace(EXCHANGE.subjects[0], votes=EXCHANGE.subjects[0].votes * 8),),
    ),
    "records": with_push(records=(b"",) * (limits.PUSH_RECORDS_MAX + 1)),
    "a record": with_push(records=(bytes(limits.RECORD_BYTES_MAX + 1),)),
    "proof": with_push(proof=(bytes(32),) * (limits.PROOF_HASHES_MAX + 1)),
    "checkpoint": with_push(checkpoint="x" * (limits.NOTE_BYTES_MAX + 1)),
    "start": with_push(start=limits.TREE_SIZE_MAX + 1),
    "a negative start": with_push(start=-1),
}


@pytest.mark.parametrize("message", TOO_LARGE.values(), ids=TOO_LARGE)
def test_more_than_one_message_may_hold(message: Exchange) -> None:
    with pytest.raises(TooLarge, match="the message holds more than one message may"):
        messages.decode_exchange(messages.encode(message))


def test_as_much_as_one_message_may_hold() -> None:
    message = replace(
        with_push(
            start=limits.TREE_SIZE_MAX,
            proof=(bytes(32),) * limits.PROOF_HASHES_MAX,
            records=(bytes(limits.RECORD_BYTES_MAX),),
            checkpoint="x" * limits.NOTE_BYTES_MAX,
        ),
        have=limits.TREE_SIZE_MAX,
        entry_stamp_ms=limits.COUNTER_MINOR_MAX,
        subjects=EXCHANGE.subjects[1:] * limits.SUBJECTS_PER_MESSAGE_MAX,
    )
    assert messages.decode_exchange(messages.encode(message)) == message
    voted = replace(EXCHANGE.subjects[0], votes=EXCHANGE.subjects[0].votes * limits.SEATS_MAX)
    message = replace(
        with_push(start=0, records=(b"",) * limits.PUSH_RECORDS_MAX), subjects=(voted,)
    )
    assert messages.decode_exchange(messages.encode(message)) == message


@pytest.mark.parametrize(
    "message",
    [
        replace(EXCHANGE, have=-1),
        replace(EXCHANGE, have=limits.TREE_SIZE_MAX + 1),
        replace(EXCHANGE, entry_stamp_ms=-1),
        replace(EXCHANGE, entry_stamp_ms=2**63),
        replace(EXCHANGE, cosignature=CosignatureLine(-1, "")),
        replace(EXCHANGE, cosignature=CosignatureLine(2**63, "")),
    ],
)
def test_a_number_out_of_bounds_is_refused(message: Exchange) -> None:
    """Nothing that the database could not even compare gets there."""
    with pytest.raises(Malformed, match="message: "):
        messages.decode_exchange(messages.encode(message))


def test_a_body_too_long_is_not_looked_at() -> None:
    body = b"[" * (limits.BODY_BYTES_MAX + 1)
    for decode in (messages.decode_exchange, messages.decode_register):
        with pytest.raises(TooLarge, match=f"the body is over {limits.BODY_BYTES_MAX} bytes"):
            decode(body)
        with pytest.raises(Malformed):
            decode(body[:-1])


JUNK = [
    b"",
    b"null",
    b"[]",
    b"{}",
    b'{"protocol":1}',
    b'{"protocol":true}',
    b'{"protocol":"1"}',
    b'{"protocol":1.0}',
    b"\xff\xfe",
    b'{"protocol":1,"sender":"\xff"}',
    b"[" * 100_000,
    b'{"a":' * 100_000,
    messages.encode(EXCHANGE)[:-1],
    messages.encode(EXCHANGE) + b"}",
    messages.encode(EXCHANGE)[:-1] + b',"more":1}',
]


@pytest.mark.parametrize("body", JUNK, ids=range(len(JUNK)))
def test_junk_is_refused(body: bytes) -> None:
    for decode in (messages.decode_exchange, messages.decode_register, messages.decode_registered):
        with pytest.raises(Malformed):
            decode(body)


def test_the_names_of_people_stand_in_one_place_only() -> None:
    """In `names` of a subject, which no log and no receipt carries."""
    body = messages.encode(replace(EXCHANGE, subjects=EXCHANGE.subjects[1:]))
    assert b"Alice" not in body
    assert b"Alice" in messages.encode(EXCHANGE)


def test_a_push_without_records_is_a_checkpoint() -> None:
    message = replace(EXCHANGE, push=Push(7, (), (), "note"))
    assert messages.decode_exchange(messages.encode(message)) == message
