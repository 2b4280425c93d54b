"""The log's entries: their bytes, their bounds, and that none of them has room for a person."""

import msgspec
import pytest

from edge.core import limits, records
from edge.core.accounts import Entry
from edge.core.records import Personal, Posting
from edge.errors import Malformed, TooLarge
from tests.unit.examples import MINUTE, RECORDS, TERMS_BYTES

ZEROS = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        (
            records.VillageRecord(MINUTE, "ose-missouri-001", bytes(32)),
            f'{{"kind":"village","minute":29333333,"village_id":"ose-missouri-001","key":"{ZEROS}"}}',
        ),
        (
            records.AssetRecord(MINUTE, "GOLD", "resource", 0),
            '{"kind":"asset","minute":29333333,"code":"GOLD","asset_kind":"resource","decimals":0}',
        ),
        (
            records.SealedRecord(MINUTE, bytes(32)),
            f'{{"kind":"sealed","minute":29333333,"posting":"{ZEROS}"}}',
        ),
        (
            records.SealedRecord(MINUTE, bytes(32), bytes(32)),
            f'{{"kind":"sealed","minute":29333333,"posting":"{ZEROS}","personal":"{ZEROS}"}}',
        ),
    ],
)
def test_the_bytes_of_a_record(record: records.Record, expected: str) -> None:
    assert records.encode(record) == expected.encode()


def test_the_bytes_of_a_hold_contain_the_terms_as_they_were_signed() -> None:
    for record in RECORDS:
        if isinstance(record, records.HoldRecord | records.NoHoldRecord):
            assert b'"terms":' + TERMS_BYTES + b"," in records.encode(record)


def test_the_bytes_of_private_parts() -> None:
    posting = Posting("pay", 7, (Entry("member:1", "AT", -5),))
    assert msgspec.json.encode(posting) == (
        b'{"operation":"pay","stamp_ms":7,"entries":[["member:1","AT",-5]]}'
    )
    assert msgspec.json.encode(Personal(note="for the cheese")) == b'{"note":"for the cheese"}'


@pytest.mark.parametrize("minute", [-1, 2**40, 2**63, 2**64, 10**30])
def test_a_minute_out_of_range_is_refused(minute: int) -> None:
    record = records.encode(RECORDS[1]).replace(b"29333333", b"%d" % minute)
    with pytest.raises(Malformed):
        records.decode(record)


@pytest.mark.parametrize("minute", [0, 2**40 - 1])
def test_a_minute_at_its_bound_is_read(minute: int) -> None:
    record = records.encode(RECORDS[1]).replace(b"29333333", b"%d" % minute)
    assert records.decode(record).minute == minute


@pytest.mark.parametrize(
    "text",
    [
        '{"kind":"gift","minute":1}',
        '{"kind":"village"}',
        '{"minute":1}',
        '{"kind":1,"minute":1}',
        '{"kind":"asset","minute":1,"code":"AT","asset_kind":"promise","decimals":2}',
        '{"kind":"asset","minute":1,"code":"AT","asset_kind":"token","decimals":2,"note":"x"}',
        '{"kind":"asset","minute":true,"code":"AT","asset_kind":"token","decimals":2}',
        '{"kind":"sealed","minute":1,"posting":"not base64!"}',
        '{"kind":"settle","minute":1,"subject":"AAAA","certificate":null}',
        '{"kind":"settle","minute":1,"subject":"AAAA","certificate":{"value":"MAYBE"}}',
    ],
)
def test_what_is_no_record_is_refused(text: str) -> None:
    with pytest.raises(Malformed):
        records.decode(text.encode())


def test_a_record_of_the_greatest_size_is_read() -> None:
    empty = len(records.encode(records.AssetRecord(1, "", "resource", 0)))
    name = "x" * (limits.RECORD_BYTES_MAX - empty)
    largest = records.encode(records.AssetRecord(1, name, "resource", 0))
    assert len(largest) == limits.RECORD_BYTES_MAX
    records.decode(largest)
    with pytest.raises(TooLarge):
        records.decode(largest + b" ")


def test_no_record_has_room_for_a_person() -> None:
    """The texts in public records are names of villages and assets; the rest is bytes."""
    texts = set()
    for kind in records.Record.__args__:
        for field in msgspec.structs.fields(kind):
            assert (
                field.type in (int, str, bytes, bytes | None)
                or "Raw" in str(field.type)
                or (field.name in ("certificate", "asset_kind"))
            )
            if field.type is str:
                texts.add(field.name)
    assert texts == {"village_id", "code", "asset"}


def test_an_empty_posting_says_so_shortly() -> None:
    posting = Posting("limit", 7)
    assert records.decode_posting(b'{"operation":"limit","stamp_ms":7}') == posting
    with pytest.raises(Malformed):
        records.decode_posting(b'{"operation":"limit","stamp_ms":7,"entries":[]}')
