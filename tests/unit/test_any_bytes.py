"""Any bytes at all give a value or exactly the errors that a parser promises."""

import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.core import (
    canonical,
    charter,
    checkpoint,
    invitation,
    log_proof,
    messages,
    misbehaviour,
    note,
    receipt,
    records,
    registry,
    replay,
    tiles,
    trade,
    witness,
)
from edge.errors import (
    BadProof,
    BadSignature,
    InvalidInput,
    Malformed,
    TooLarge,
    UntrustedCheckpoint,
    WrongVersion,
)
from tests.unit import examples, test_misbehaviour


class Parser(NamedTuple):
    parse: Callable[[bytes], object]
    good: tuple[bytes, ...]
    errors: tuple[type[Exception], ...]


def _text(parse: Callable[[str], object]) -> Callable[[bytes], object]:
    return lambda data: parse(data.decode("utf-8", "surrogateescape"))


RECORDS = tuple(records.encode(record) for record in examples.RECORDS)
NOTE = examples.SETTLED.evidence[0].checkpoint
ENTRY = registry.encode(examples.ENTRY)
EVIDENCE = examples.SETTLED.evidence[0]
LOG, WITNESS = (
    note.VerifierKey(village, note.ED25519, examples.KEYS[village].public)
    for village in (examples.A, examples.B)
)
HEAD = checkpoint.open_checkpoint(NOTE, LOG.name, LOG.public)
LINE = checkpoint.cosign(HEAD, examples.B, examples.KEYS[examples.B], 7).to_text().encode()
PROOF = log_proof.LogProof(EVIDENCE.index, EVIDENCE.proof, NOTE, EVIDENCE.record)
PARSERS = {
    "record": Parser(records.decode, RECORDS, (Malformed, TooLarge)),
    "said": Parser(replay.said_in, RECORDS, ()),
    "posting": Parser(
        records.decode_posting,
        (canonical.encode(examples.POSTING), canonical.encode(examples.LIMIT)),
        (Malformed, TooLarge),
    ),
    "personal part": Parser(
        records.decode_personal, (b'{"note":"a","other_party":"b"}',), (Malformed, TooLarge)
    ),
    "terms": Parser(trade.decode_terms, (examples.TERMS_BYTES,), (Malformed, TooLarge)),
    "charter": Parser(charter.decode, (examples.CHARTER,), (Malformed, TooLarge)),
    "registry entry": Parser(
        lambda data: registry.verify(registry.decode(data)),
        (ENTRY,),
        (Malformed, TooLarge, BadSignature),
    ),
    "registry file": Parser(
        registry.decode_list,
        (registry.encode_list([examples.ENTRY] * 2),),
        (InvalidInput, Malformed, BadSignature),
    ),
    "invitation": Parser(
        _text(invitation.from_text),
        (invitation.to_text(examples.INVITATION).encode(),),
        (InvalidInput,),
    ),
    "proof of misbehaviour": Parser(
        lambda data: misbehaviour.verify(misbehaviour.decode(data)),
        tuple(misbehaviour.encode(each) for each in test_misbehaviour.PROOFS.values()),
        (Malformed, TooLarge, BadProof),
    ),
    "exchange": Parser(
        messages.decode_exchange,
        (messages.encode(examples.EXCHANGE),),
        (Malformed, TooLarge, WrongVersion),
    ),
    "register": Parser(
        messages.decode_register,
        (messages.encode(examples.REGISTER),),
        (Malformed, TooLarge, WrongVersion),
    ),
    "registered": Parser(
        messages.decode_registered, (messages.encode(examples.REGISTERED),), (Malformed,)
    ),
    "receipt": Parser(
        lambda data: receipt.verify(receipt.decode(data)),
        (receipt.encode(examples.SETTLED), receipt.encode(examples.ABORTED)),
        (InvalidInput, BadProof),
    ),
    "note": Parser(_text(note.Note.from_text), (NOTE.encode(),), (Malformed,)),
    "checkpoint": Parser(
        _text(
            lambda text: checkpoint.open_checkpoint(
                text, examples.A, examples.KEYS[examples.A].public
            )
        ),
        (NOTE.encode(),),
        (Malformed, BadSignature),
    ),
    "verifier key": Parser(
        _text(note.VerifierKey.from_text), (LOG.to_text().encode(),), (Malformed,)
    ),
    "cosignature": Parser(
        lambda data: checkpoint.verify_cosignature(
            HEAD,
            note.NoteSignature.from_text(data.decode("utf-8", "surrogateescape")),
            WITNESS.name,
            WITNESS.public,
        ),
        (LINE,),
        (Malformed, BadSignature),
    ),
    "proof of a record": Parser(
        _text(
            lambda text: log_proof.verify(
                log_proof.LogProof.from_text(text), EVIDENCE.record, LOG, [WITNESS]
            )
        ),
        (PROOF.to_text().encode(),),
        (Malformed, BadProof),
    ),
    "path of a tile": Parser(
        _text(tiles.Tile.from_path),
        (b"tile/0/000", b"tile/entries/x001/x234/067.p/255"),
        (Malformed,),
    ),
    "tile of records": Parser(
        lambda data: tiles.decode_entries(data, 3),
        (tiles.encode_entries(RECORDS[:3]),),
        (Malformed,),
    ),
    "tile of hashes": Parser(
        lambda data: tiles.decode_hashes(data, 3), (bytes(range(96)),), (Malformed,)
    ),
    "add-checkpoint": Parser(
        lambda data: witness.check_signed(
            witness.AddCheckpoint.from_body(data), examples.KEYS[examples.A].public
        ),
        (witness.AddCheckpoint.of(3, [bytes(32)] * 2, NOTE).to_body(),),
        (Malformed, TooLarge, UntrustedCheckpoint),
    ),
}

# Values that a program might send where another is expected.
ODD: list[Any] = [
    *(0, -1, 1, 2**31, 2**53, 2**63 - 1, 2**63, 2**64, 10**30, 10**400, -(10**30)),
    *(1.5, -0.0, 1e308, 1e-400, None, True, False, "", "a", "\u0000", "٣", "\ud7ff", "x" * 9_000),
    *([], {}, [[]], [1, "a"], {"a": 1}, "AAAA", "AAAA==", "====", "A" * 43 + "=", "A" * 86 + "=="),
]


@st.composite
def odd_json(draw: st.DrawFn, good: bytes) -> bytes:
    """A good document with some of its parts replaced, added or taken away."""
    try:
        value = json.loads(good)
    except ValueError:
        return good[: draw(st.integers(0, len(good)))]
    for _ in range(draw(st.integers(1, 3))):
        found = list(examples.paths(value))
        value = examples.changed(value, draw(st.sampled_from(found)), draw(st.sampled_from(ODD)))
    return json.dumps(value, separators=(",", ":"), ensure_ascii=draw(st.booleans())).encode(
        "utf-8", "surrogatepass"
    )


@st.composite
def spliced(draw: st.DrawFn, good: bytes) -> bytes:
    """Good bytes of which a piece is replaced by any others."""
    start = draw(st.integers(0, len(good)))
    end = draw(st.integers(start, min(start + 8, len(good))))
    return good[:start] + draw(st.binary(max_size=8)) + good[end:]


@pytest.mark.parametrize("name", PARSERS)
def test_the_good_is_read(name: str) -> None:
    for good in PARSERS[name].good:
        PARSERS[name].parse(good)


@pytest.mark.parametrize("name", PARSERS)
@given(data=st.data())
def test_any_bytes(name: str, data: st.DataObject) -> None:
    parser = PARSERS[name]
    good = data.draw(st.sampled_from(parser.good))
    given_bytes = data.draw(
        st.one_of(odd_json(good), spliced(good), st.binary(max_size=64)), "bytes"
    )
    with suppress(*parser.errors):
        parser.parse(given_bytes)
