"""Two villages, a trade between them, and all that is signed about it, made with the core alone."""

import json
from collections.abc import Iterator
from typing import Any, Final

import msgspec

from edge.core import (
    canonical,
    charter,
    checkpoint,
    council,
    crypto,
    invitation,
    merkle,
    messages,
    receipt,
    records,
    registry,
    trade,
)
from edge.core.accounts import Entry
from edge.core.council import Certificate, Seat
from edge.core.receipt import Evidence, Receipt
from edge.core.records import LimitChange, Personal, Posting
from edge.core.registry import Location, RegistryEntry
from edge.core.trade import Quantity, Terms

A: Final = "ose-missouri-001"
B: Final = "ose-california-001"
C: Final = "ose-ohio-001"
D: Final = "ose-texas-001"
KEYS: Final = {
    village: crypto.SecretKey(bytes([number] * 32))
    for number, village in enumerate((A, B, C, D), 1)
}
SEATS: Final = (Seat(A, KEYS[A].public), Seat(B, KEYS[B].public))
FOUR: Final = tuple(Seat(village, key.public) for village, key in KEYS.items())
CHARTER: Final = charter.genesis((SEATS[0], SEATS[1]), bytes(range(16)))
NETWORK: Final = charter.digest(CHARTER)
MINUTE: Final = 29_333_333

TERMS: Final = Terms(
    context=trade.TERMS_CONTEXT,
    network=NETWORK,
    charter=NETWORK,
    from_village=A,
    to_village=B,
    trade_id="0123456789abcdef",
    seats=SEATS,
    offer=Quantity("AT", "token", 2, 10_000),
    request=Quantity("SOLAR-PANEL", "resource", 0, 1),
    from_fee=100,
    to_fee=0,
    deadline_minute=MINUTE + 1_440,
    window_s=600,
    nonce=bytes(range(16)),
    refund_of=None,
)
TERMS_BYTES: Final = trade.encode_terms(TERMS)
SUBJECT: Final = trade.subject_of(TERMS_BYTES)
SIGNATURES: Final = (KEYS[A].sign(TERMS_BYTES), KEYS[B].sign(TERMS_BYTES))


def votes(value: council.Value, *villages: str) -> list[council.Vote]:
    return [
        council.precommit(KEYS[village], village, NETWORK, SUBJECT, value) for village in villages
    ]


def certificate(value: council.Value = "COMMIT") -> Certificate:
    found = council.certificate_of(votes(value, A, B), SEATS)
    assert found is not None
    return found


POSTING: Final = Posting(
    "pay",
    MINUTE * 60_000 + 7,
    (Entry("member:1", "AT", -5), Entry("member:2", "AT", 5)),
)
LIMIT: Final = Posting("limit", MINUTE * 60_000, (), (LimitChange("member:1", "AT", 2_000),))
PERSONAL: Final = Personal("for the cheese", "Bob")
TERMS_RAW: Final = msgspec.Raw(TERMS_BYTES)
VILLAGE = records.VillageRecord(MINUTE, A, KEYS[A].public)
HOLD = records.HoldRecord(MINUTE, TERMS_RAW, *SIGNATURES, bytes(32), bytes(32))
NO_HOLD = records.NoHoldRecord(MINUTE, TERMS_RAW, *SIGNATURES)
RECORDS: Final[tuple[records.Record, ...]] = (
    VILLAGE,
    records.AssetRecord(MINUTE, "SOLAR-PANEL", "resource", 0),
    records.SealedRecord(MINUTE, bytes(range(32))),
    records.SealedRecord(MINUTE, bytes(range(32)), bytes(32)),
    HOLD,
    records.HoldRecord(MINUTE, TERMS_RAW, *SIGNATURES, bytes(32)),
    NO_HOLD,
    records.SettleRecord(MINUTE, SUBJECT, certificate("COMMIT")),
    records.ReleaseRecord(MINUTE, SUBJECT, certificate("ABORT")),
    records.DeliveredRecord(MINUTE, SUBJECT, "SOLAR-PANEL"),
    records.DisputedRecord(MINUTE, SUBJECT, "SOLAR-PANEL"),
)

ENTRY: Final = registry.sign(
    RegistryEntry(
        village_id=A,
        name="Missouri",
        location=Location(38.45, -93.85),
        public_key=KEYS[A].public,
        federation_enabled=True,
        trusted_villages=(B,),
        protocol=1,
        endpoints=("missouri.example:7440", "[2001:db8::1]:7440"),
        spki_sha256=bytes(range(32)),
        stamp_ms=MINUTE * 60_000,
        signature=b"",
        last_sync=0,
    ),
    KEYS[A],
)
INVITATION: Final = invitation.Invitation(
    A,
    KEYS[A].public,
    bytes(range(32)),
    ("missouri.example:7440",),
    bytes(32),
    bytes(32),
    MINUTE,
    bytes(range(16)),
)


# Receipts


def evidence(village: str, statement: records.Record, *cosigners: str) -> Evidence:
    """Return the proof of a statement in a log of four records."""
    own = records.VillageRecord(MINUTE, village, KEYS[village].public)
    log = [records.encode(record) for record in (own, RECORDS[1], statement, RECORDS[2])]
    leaves = [merkle.leaf_hash(record) for record in log]
    edge, nodes = merkle.extend(0, [], leaves)
    hashes = {merkle.Node(0, index): leaf for index, leaf in enumerate(leaves)}
    hashes |= {merkle.Node(level, index): hash_ for level, index, hash_ in nodes}
    head = checkpoint.Checkpoint(village, len(log), merkle.root_from_edge(edge))
    signed = checkpoint.sign_checkpoint(head, KEYS[village])
    lines = [checkpoint.cosign(head, each, KEYS[each], 1_760_000_000) for each in cosigners]
    return Evidence(
        village,
        2,
        log[2],
        tuple(merkle.inclusion_proof(2, len(log), hashes)),
        checkpoint.with_signatures(signed, lines),
    )


SETTLED: Final = Receipt(
    receipt.FORMAT,
    TERMS_RAW,
    *SIGNATURES,
    certificate("COMMIT"),
    (evidence(A, HOLD, B), evidence(B, HOLD, A)),
)
ABORTED: Final = Receipt(
    receipt.FORMAT,
    TERMS_RAW,
    *SIGNATURES,
    certificate("ABORT"),
    (evidence(A, NO_HOLD, B), evidence(B, HOLD, A)),
)


# Messages

EXCHANGE: Final = messages.Exchange(
    protocol=1,
    sender=A,
    network=NETWORK,
    have=7,
    entry_stamp_ms=MINUTE * 60_000,
    entry=ENTRY,
    push=messages.Push(
        3,
        tuple(records.encode(record) for record in RECORDS),
        (bytes(32), bytes(range(32))),
        SETTLED.evidence[0].checkpoint,
    ),
    cosignature=messages.CosignatureLine(5, "— a b\n"),
    subjects=(
        messages.SubjectMessage(
            TERMS_RAW,
            SIGNATURES[0],
            messages.Names("Alice", "Bob"),
            "cancelled",
            tuple(votes("COMMIT", A, B)),
            certificate("COMMIT"),
            (messages.DisputeText(A, "It is cracked."), messages.DisputeText(B, "")),
        ),
        messages.SubjectMessage(TERMS_RAW, SIGNATURES[0]),
    ),
)
REGISTER: Final = messages.Register(
    1, ENTRY, messages.Joining(bytes(16), msgspec.Raw(CHARTER), KEYS[A].sign(CHARTER))
)
REGISTERED: Final = messages.Registered("neighbour", ENTRY, KEYS[B].sign(CHARTER))


# Bytes that are not in the one form


def other_forms(data: bytes, opaque: str = "") -> Iterator[bytes]:
    """Yield JSON that means what `data` means, written otherwise; but not within `opaque`."""
    text = data.decode()
    value = json.loads(text)
    yield from (b" " + data, data + b"\n", b"\xef\xbb\xbf" + data, data + data, data + b"\x00")
    yield text.replace(":", ": ", 1).encode()
    yield text.replace(",", " ,", 1).encode()
    yield json.dumps(value, indent=1).encode()
    if isinstance(value, dict):
        yield from _other_objects(data, value)
    for path in paths(value):
        if path[:1] != (opaque,):
            yield from _respelled(value, path)


def _other_objects(data: bytes, value: dict[str, Any]) -> Iterator[bytes]:
    name, first = next(iter(value.items()))
    pair = canonical.encode({name: first})[1:-1]
    if len(value) > 1:
        yield canonical.encode(dict(reversed(value.items())))
    yield b"{" + pair + b"," + data[1:]  # the same pair twice
    yield data[:-1] + b"," + pair + b"}"
    yield data[:-1] + b',"more":1}'
    yield data.replace(name.encode(), f"\\u{ord(name[0]):04x}{name[1:]}".encode(), 1)


def _respelled(value: Any, path: tuple[Any, ...]) -> Iterator[bytes]:
    """Yield the document with one number or text of it written in another way."""
    leaf = value
    for step in path:
        leaf = leaf[step]
    spellings: list[str] = []
    if isinstance(leaf, int) and not isinstance(leaf, bool):
        spellings = [f"{leaf}.0", f"{leaf}e0", f"0{leaf}", f"+{leaf}", f'"{leaf}"']
    elif isinstance(leaf, str) and leaf:
        spellings = [f'"\\u{ord(leaf[0]):04x}{json.dumps(leaf[1:])[1:]}']
        if leaf.endswith("="):
            short = leaf.rstrip("=")
            spellings += [f'"{short}"', f'"{leaf}="', f'"{short}\\n="', f'"{_next(short)}="']
    hole = canonical.encode(changed(value, path, "<hole>")).decode()
    for spelling in spellings:
        yield hole.replace('"<hole>"', spelling).encode()


def _next(text: str) -> str:
    """Return base64 whose last letter carries bits that stand for nothing."""
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    return text[:-1] + letters[letters.index(text[-1]) + 1]


def paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path to each part of a JSON value."""
    yield path
    if isinstance(value, dict):
        for name, part in value.items():
            yield from paths(part, (*path, name))
    elif isinstance(value, list):
        for index, part in enumerate(value):
            yield from paths(part, (*path, index))


def changed(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    """Return a JSON value with one part of it replaced."""
    if not path:
        return new
    copy = value.copy()
    copy[path[0]] = changed(value[path[0]], path[1:], new)
    return copy
