"""A village's public entry: the mission's JSON plus what is needed to reach and check the village.

The village signs the entry's canonical JSON without `signature` and `last_sync`; `last_sync` is the
exporter's own observation. A list of entries is the exchange form (`federation_registry.json`).
"""

from collections.abc import Iterable

import msgspec

from edge.core import canonical, crypto, limits, names
from edge.errors import BadSignature, InvalidInput, Malformed

CONTEXT = "village-edge/registry/v1"
NO_NETWORK = bytes(32)
ENTRY_BYTES_MAX = 16_384
REGISTRY_BYTES_MAX = 4 * 1024 * 1024


class Location(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Degrees, two decimals (about a kilometre): a place, not a house."""

    lat: float
    lon: float


class _Listed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The signed fields, in the order in which they are signed."""

    village_id: str
    name: str
    location: Location
    public_key: bytes
    federation_enabled: bool
    trusted_villages: tuple[str, ...]
    protocol: int
    endpoints: tuple[str, ...]
    spki_sha256: bytes
    stamp_ms: int


class RegistryEntry(_Listed, frozen=True, forbid_unknown_fields=True):
    """One village as `GET /federation/villages` and `federation_registry.json` show it.

    `last_sync` is in whole seconds of UTC, 0 for never.
    """

    signature: bytes
    last_sync: int


_codec = canonical.Codec(RegistryEntry, "registry entry", ENTRY_BYTES_MAX)
_lenient = msgspec.json.Decoder(tuple[RegistryEntry, ...])


def sign(unsigned: RegistryEntry, key: crypto.SecretKey) -> RegistryEntry:
    """Return the entry with its village's signature."""
    return msgspec.structs.replace(unsigned, signature=key.sign(_signed_part(unsigned)))


def verify(entry: RegistryEntry) -> None:
    """Raise Malformed or BadSignature unless the entry is well formed and signed by its own key."""
    for wrong, what in _faults(entry):
        if wrong:
            raise Malformed(f"registry entry of {entry.village_id[:63]!r}: {what}")
    verify_signature(entry)


def verify_signature(entry: RegistryEntry) -> None:
    """Raise BadSignature unless the entry is signed by its own key, whatever it says: one that was
    well formed when it came stays what it was."""
    if not crypto.verify(entry.public_key, _signed_part(entry), entry.signature):
        raise BadSignature(f"the registry entry of {entry.village_id} is not signed by its own key")


def encode(entry: RegistryEntry) -> bytes:
    """Return the entry in its canonical form."""
    return canonical.encode(entry)


def decode(entry: bytes) -> RegistryEntry:
    """Return an entry from its canonical form. It is verified when it comes, not each time that it
    is read. Raises Malformed."""
    return _codec.decode(entry)


def encode_list(entries: Iterable[RegistryEntry]) -> bytes:
    """Return the mission's registry file, readable by people."""
    return msgspec.json.format(canonical.encode(list(entries)), indent=2) + b"\n"


def decode_list(file: bytes) -> tuple[RegistryEntry, ...]:
    """Return the verified entries of a registry file, however it is indented.

    Raises InvalidInput if it is not one, Malformed or BadSignature naming the first bad entry.
    """
    if len(file) > REGISTRY_BYTES_MAX:
        raise InvalidInput(f"the registry file is over {REGISTRY_BYTES_MAX} bytes")
    try:
        entries = _lenient.decode(file)
    except canonical.UNREADABLE as error:
        raise InvalidInput(f"not a registry file: {str(error)[:200]}") from None
    for entry in entries:
        verify(entry)
    return entries


def _signed_part(entry: RegistryEntry) -> bytes:
    signed = _Listed(*(getattr(entry, field) for field in _Listed.__struct_fields__))
    return crypto.signed_bytes(CONTEXT, NO_NETWORK, canonical.encode(signed))


def _faults(entry: RegistryEntry) -> list[tuple[bool, str]]:
    lat, lon = entry.location.lat, entry.location.lon
    return [
        (_refuses(names.village_id, entry.village_id), "not a village id"),
        (_refuses(names.village_name, entry.name), "not a name"),
        (not (-90 <= lat <= 90 and -180 <= lon <= 180), "no such place"),
        ((round(lat, 2), round(lon, 2)) != (lat, lon), "the location has more than two decimals"),
        (len(entry.public_key) != crypto.KEY_BYTES, "the key has 32 bytes"),
        (len(entry.spki_sha256) != 32, "the pin has 32 bytes"),
        (len(entry.endpoints) > limits.ADDRESSES_MAX, "too many endpoints"),
        (any(_refuses(names.address, a) for a in entry.endpoints), "malformed endpoint"),
        (len(entry.trusted_villages) > limits.NEIGHBOURS_MAX, "too many trusted villages"),
        (any(_refuses(names.village_id, v) for v in entry.trusted_villages), "malformed trust"),
        (entry.protocol != limits.PROTOCOL_VERSION, "another protocol version"),
        (not 0 <= entry.stamp_ms < 2**53 or not 0 <= entry.last_sync < 2**53, "malformed stamp"),
    ]


def _refuses(check: names.Check, text: str) -> bool:
    return not names.accepts(check, text)
