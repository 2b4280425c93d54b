"""Registry entries and the mission's registry file."""

import base64
import json
from typing import Any

import msgspec
import pytest

from edge.core import limits, registry
from edge.core.registry import Location, RegistryEntry
from edge.errors import BadSignature, InvalidInput, Malformed
from tests.unit.examples import ENTRY, KEYS, A, B

replace = msgspec.structs.replace


def signed(**changes: Any) -> RegistryEntry:
    return registry.sign(replace(ENTRY, **changes), KEYS[A])


def test_an_entry_is_signed_by_its_own_key() -> None:
    registry.verify(ENTRY)
    assert registry.decode(registry.encode(ENTRY)) == ENTRY


def test_the_fields_of_the_mission() -> None:
    fields = json.loads(registry.encode(ENTRY))
    assert list(fields)[:6] == [
        "village_id",
        "name",
        "location",
        "public_key",
        "federation_enabled",
        "trusted_villages",
    ]
    assert fields["location"] == {"lat": 38.45, "lon": -93.85}
    assert base64.b64decode(fields["public_key"]) == KEYS[A].public


CHANGES: dict[str, Any] = {
    "village_id": B,
    "name": "Somewhere else",
    "location": Location(38.46, -93.85),
    "public_key": KEYS[B].public,
    "federation_enabled": False,
    "trusted_villages": (),
    "endpoints": ("evil.example:1",),
    "spki_sha256": bytes(32),
    "stamp_ms": 1,
    "signature": bytes(64),
}


@pytest.mark.parametrize("field", CHANGES)
def test_every_field_is_signed(field: str) -> None:
    with pytest.raises(BadSignature, match="is not signed by its own key"):
        registry.verify(replace(ENTRY, **{field: CHANGES[field]}))


def test_only_the_last_sync_is_the_readers_own() -> None:
    registry.verify(replace(ENTRY, last_sync=1_760_000_000))
    unsigned = {"signature", "last_sync", "protocol"}  # another protocol is refused before
    assert set(RegistryEntry.__struct_fields__) == CHANGES.keys() | unsigned


BAD: list[tuple[dict[str, Any], str]] = [
    ({"village_id": "Missouri"}, "not a village id"),
    ({"name": ""}, "not a name"),
    ({"name": "x" * 81}, "not a name"),
    ({"name": "a\u202eb"}, "not a name"),
    ({"location": Location(90.01, 0.0)}, "no such place"),
    ({"location": Location(0.0, -180.01)}, "no such place"),
    ({"location": Location(float("nan"), 0.0)}, "no such place"),
    ({"location": Location(38.451, 0.0)}, "the location has more than two decimals"),
    ({"public_key": bytes(31)}, "the key has 32 bytes"),
    ({"spki_sha256": bytes(31)}, "the pin has 32 bytes"),
    ({"endpoints": ("a:1",) * (limits.ADDRESSES_MAX + 1)}, "too many endpoints"),
    ({"endpoints": ("missouri.example",)}, "malformed endpoint"),
    ({"endpoints": ("missouri.example:0",)}, "malformed endpoint"),
    ({"endpoints": ("missouri.example:65536",)}, "malformed endpoint"),
    ({"endpoints": ("http://missouri.example:7440",)}, "malformed endpoint"),
    ({"trusted_villages": (B,) * (limits.NEIGHBOURS_MAX + 1)}, "too many trusted villages"),
    ({"trusted_villages": ("x",)}, "malformed trust"),
    ({"protocol": 2}, "another protocol version"),
    ({"stamp_ms": -1}, "malformed stamp"),
    ({"stamp_ms": 2**53}, "malformed stamp"),
    ({"last_sync": -1}, "malformed stamp"),
]


@pytest.mark.parametrize(("changes", "what"), BAD)
def test_a_bad_entry_is_named_though_it_is_signed(changes: dict[str, Any], what: str) -> None:
    with pytest.raises(Malformed) as error:
        registry.verify(signed(**changes))
    village = changes.get("village_id", A)
    assert error.value.detail == f"registry entry of {village!r}: {what}"


@pytest.mark.parametrize(
    "changes",
    [
        {"location": Location(90.0, 180.0)},
        {"location": Location(-90.0, -180.0)},
        {"endpoints": ("a:1",) * limits.ADDRESSES_MAX},
        {"endpoints": ()},
        {"trusted_villages": (B,) * limits.NEIGHBOURS_MAX},
        {"stamp_ms": 0, "last_sync": 0},
        {"stamp_ms": 2**53 - 1, "last_sync": 2**53 - 1},
        {"name": "x" * 80},
    ],
)
def test_a_good_entry_at_its_bounds(changes: dict[str, Any]) -> None:
    registry.verify(signed(**changes))


# The file


def test_the_file_is_readable_and_read() -> None:
    other = registry.sign(
        replace(ENTRY, village_id=B, public_key=KEYS[B].public, name="Kalifornien ☀"), KEYS[B]
    )
    file = registry.encode_list([ENTRY, other])
    assert file.startswith(b"[\n  {\n")
    assert file.endswith(b"]\n")
    assert "Kalifornien ☀".encode() in file
    assert registry.decode_list(file) == (ENTRY, other)
    assert registry.decode_list(json.dumps(json.loads(file)).encode()) == (ENTRY, other)
    assert registry.decode_list(b"[]") == ()


@pytest.mark.parametrize(
    "file", [b"", b"{}", b"null", b"[1]", b"[{}]", b"[\xff]", b'["\xff"]', b"[" * 100_000]
)
def test_what_is_no_registry_file(file: bytes) -> None:
    with pytest.raises(InvalidInput, match="not a registry file: "):
        registry.decode_list(file)


def test_a_file_too_long_is_not_looked_at() -> None:
    with pytest.raises(InvalidInput, match="is over 4194304 bytes"):
        registry.decode_list(b"[" * (registry.REGISTRY_BYTES_MAX + 1))
    assert registry.decode_list(b"[]" + b" " * (registry.REGISTRY_BYTES_MAX - 2)) == ()


def test_a_file_with_one_bad_entry_is_refused() -> None:
    with pytest.raises(BadSignature):
        registry.decode_list(registry.encode_list([ENTRY, replace(ENTRY, name="Other")]))
    with pytest.raises(Malformed):
        registry.decode_list(registry.encode_list([ENTRY, signed(village_id="x")]))
