"""All that is signed or logged has one form: any other is refused, a change is another value."""

from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec
import pytest

from edge.core import canonical, charter, council, records, registry, trade
from edge.errors import Malformed, TooLarge
from tests.unit import examples


class Kind(NamedTuple):
    """One parser, what it reads, and the part that it takes as it stands."""

    decode: Callable[[bytes], Any]
    value: Any
    bytes_max: int
    opaque: str = ""

    @property
    def data(self) -> bytes:
        return canonical.encode(self.value)


_certificates = canonical.Codec(council.Certificate, "certificate", 8_192)
KINDS = {
    **{
        f"{type(record).__name__} {number}": Kind(records.decode, record, 60_000, "terms")
        for number, record in enumerate(examples.RECORDS)
    },
    "posting": Kind(records.decode_posting, examples.POSTING, 60_000),
    "limit": Kind(records.decode_posting, examples.LIMIT, 60_000),
    "personal part": Kind(records.decode_personal, examples.PERSONAL, 60_000),
    "terms": Kind(trade.decode_terms, examples.TERMS, 8_192),
    "charter": Kind(charter.decode, charter.decode(examples.CHARTER), 60_000),
    "registry entry": Kind(registry.decode, examples.ENTRY, 16_384),
    "certificate": Kind(_certificates.decode, examples.certificate(), 8_192),
}


@pytest.fixture(params=list(KINDS))
def kind(request: pytest.FixtureRequest) -> Kind:
    return KINDS[request.param]


def test_what_is_written_is_read(kind: Kind) -> None:
    assert kind.decode(kind.data) == kind.value


def test_other_forms_of_the_same_are_refused(kind: Kind) -> None:
    forms = list(examples.other_forms(kind.data, kind.opaque))
    assert len(forms) > 10
    assert kind.data not in forms
    for form in forms:
        with pytest.raises(Malformed):
            kind.decode(form)


def test_each_changed_byte_is_refused_or_means_something_else(kind: Kind) -> None:
    data, refused = kind.data, 0
    for at in range(len(data)):
        for change in (0x01, 0x20, 0x80):
            other = data[:at] + bytes([data[at] ^ change]) + data[at + 1 :]
            try:
                value = kind.decode(other)
            except Malformed:
                refused += 1
                continue
            assert value != kind.value
            assert canonical.encode(value) == other
    assert refused > len(data)


def test_each_cut_is_refused(kind: Kind) -> None:
    for end in range(len(kind.data)):
        with pytest.raises(Malformed):
            kind.decode(kind.data[:end])


def test_a_missing_field_is_refused_and_so_is_null(kind: Kind) -> None:
    fields = msgspec.json.decode(kind.data)
    for name in fields:
        if name == kind.opaque:
            continue
        fewer = {key: value for key, value in fields.items() if key != name}
        for other in (canonical.encode(fewer), canonical.encode(fields | {name: None})):
            if other == kind.data:
                continue  # `refund_of` is null
            try:
                value = kind.decode(other)
            except Malformed:
                continue
            assert (name, value != kind.value) in [
                ("personal", True),
                ("entries", True),
                ("limits", True),
                ("note", True),
                ("other_party", True),
            ]


def test_what_is_too_long_is_not_looked_at(kind: Kind) -> None:
    with pytest.raises(TooLarge, match=f"is over {kind.bytes_max} bytes"):
        kind.decode(b"[" * (kind.bytes_max + 1))
    with pytest.raises(Malformed):
        kind.decode(b"[" * kind.bytes_max)


@pytest.mark.parametrize(
    "junk",
    [
        b"",
        b"null",
        b"1",
        b'"text"',
        b"[]",
        b"{}",
        b"\xff",
        b'{"kind":"\xff"}',
        b'{"\xff":1}',
        b"\x00",
    ],
)
def test_junk_is_refused(kind: Kind, junk: bytes) -> None:
    try:
        value = kind.decode(junk)
    except Malformed:
        return
    assert (junk, value) == (b"{}", records.Personal())
