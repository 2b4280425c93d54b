"""Checkpoints and cosignatures: vectors, strict reading, and what must not verify."""

import base64
import json
import struct
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import assume, given
from hypothesis import strategies as st

from edge.core import checkpoint as checkpoints
from edge.core import crypto, limits, merkle, note
from edge.core.checkpoint import Checkpoint
from edge.core.note import Note, NoteSignature
from edge.errors import BadProof, BadSignature, Malformed

VECTORS = Path(__file__).parents[1] / "vectors"
VECTOR: dict[str, Any] = json.loads((VECTORS / "tlog_checkpoint.json").read_text("utf-8"))
WITNESS: dict[str, Any] = json.loads(
    (VECTORS / "tlog_witness_add_checkpoint.json").read_text("utf-8")
)

ORIGIN = "village-001"
LOG_KEY = crypto.SecretKey(bytes(range(32)))
WITNESS_KEY = crypto.SecretKey(bytes(32))
CHECKPOINT = Checkpoint(ORIGIN, 5, sha256(b"root").digest())
SIGNED = checkpoints.sign_checkpoint(CHECKPOINT, LOG_KEY)
NOW_S = 1_700_000_000
COSIGNATURE = checkpoints.cosign(CHECKPOINT, "village-002", WITNESS_KEY, NOW_S)


# Vectors


@pytest.mark.parametrize("vector", VECTOR["ok"], ids=lambda vector: vector["origin"])
def test_ok_vector(vector: dict[str, Any]) -> None:
    """Upstream's parser takes a root of any length; a root of RFC 9162 has 32 bytes."""
    if "hash_utf8" in vector:
        assert len(vector["hash_utf8"]) != merkle.HASH_BYTES
        with pytest.raises(Malformed):
            Checkpoint.from_text(vector["body"])
        return
    found = Checkpoint.from_text(vector["body"])
    assert vector["hash"] == "leaf hash of 'hello world'"
    root = merkle.leaf_hash(b"hello world")
    assert found == Checkpoint(vector["origin"], vector["size"], root)
    assert found.to_text() == vector["body"]


@pytest.mark.parametrize("text", VECTOR["bad"])
def test_bad_vector(text: str) -> None:
    with pytest.raises(Malformed):
        Checkpoint.from_text(text)


def test_cosigned_message_vector() -> None:
    vector = VECTOR["cosignature_v1_message"]
    found = Checkpoint.from_text(vector["body"])
    message = checkpoints.cosigned_message(found, vector["timestamp"])
    assert message == vector["message"].encode()


def test_cosignature_line_vector() -> None:
    vector = VECTOR["cosignature_v1_line_layout"]
    line = NoteSignature.from_text(vector["line"])
    assert line.key_id.hex() == vector["key_id_hex"]
    assert len(line.key_id + line.payload) == vector["total_bytes"]
    assert struct.unpack_from(">Q", line.payload) == (vector["timestamp"],)


def test_witness_vectors() -> None:
    """What a witness checks, in C2SP's order, over one log's life.

    Upstream made the failing signature by editing base64 into a form that is not canonical, which
    is refused here before any key is asked.
    """
    origin, public = WITNESS["log_origin"], bytes.fromhex(WITNESS["log_ed25519_pub_hex"])
    assert note.key_id(origin, note.ED25519, public).hex() == WITNESS["log_key_id_hex"]
    size, root = 0, merkle.EMPTY_ROOT
    for step in WITNESS["sequence"]:
        head, _, note_text = step["body"].partition("\n\n")
        old, *proof = head.split("\n")
        try:
            found = Checkpoint.from_text(Note.from_text(note_text).text)
            if found.origin != origin:
                assert step["want_status_c2sp_2026"] == 404
                continue
            assert checkpoints.open_checkpoint(note_text, origin, public) == found
            if old != f"old {size}":
                assert step["want_status_c2sp_2026"] == 409
                continue
            hashes = [note.from_base64(line) for line in proof]
            merkle.verify_consistency(size, found.size, hashes, root, found.root)
        except Malformed:
            assert step["want_status_c2sp_2026"] == 403
            with pytest.raises(BadSignature):
                checkpoints.open_checkpoint(note_text.replace("6gx=", "6gw="), origin, public)
        except BadProof:
            assert step["want_status_c2sp_2026"] == 422
        else:
            assert step["want_status_c2sp_2026"] == 200
            size, root = found.size, found.root
    assert size == 5


# Reading

BODY = CHECKPOINT.to_text()


@pytest.mark.parametrize(
    "text",
    [
        "",
        BODY.removesuffix("\n"),
        BODY + "\n",
        BODY + "extension\n",
        BODY.replace(ORIGIN, ""),
        BODY.replace(ORIGIN, "village\t001"),
        BODY.replace(ORIGIN, "village\ud800"),
        BODY.replace(ORIGIN, "x" * limits.NOTE_BYTES_MAX),
        BODY.replace("\n5\n", "\n\n"),
        BODY.replace("\n5\n", "\n05\n"),
        BODY.replace("\n5\n", "\n+5\n"),
        BODY.replace("\n5\n", "\n-5\n"),
        BODY.replace("\n5\n", "\n 5\n"),
        BODY.replace("\n5\n", "\n5.0\n"),
        BODY.replace("\n5\n", "\n1_0\n"),
        BODY.replace("\n5\n", "\n\N{ARABIC-INDIC DIGIT FIVE}\n"),
        BODY.replace("\n5\n", f"\n{limits.TREE_SIZE_MAX + 1}\n"),
        BODY.replace("\n5\n", "\n" + "9" * 5_000 + "\n"),
        BODY.replace("=\n", "\n"),
        BODY.replace("\n", "\r\n"),
        f"{ORIGIN}\n5\n{base64.b64encode(bytes(31)).decode()}\n",
        f"{ORIGIN}\n5\n{base64.b64encode(bytes(33)).decode()}\n",
    ],
)
def test_malformed_checkpoint(text: str) -> None:
    assert text != BODY
    with pytest.raises(Malformed):
        Checkpoint.from_text(text)


origins = st.text(
    st.characters(exclude_categories=("Cs", "Cc", "Z"), exclude_characters="+"),
    min_size=1,
    max_size=40,
)
found_checkpoints = st.builds(
    Checkpoint,
    origins,
    st.integers(0, limits.TREE_SIZE_MAX),
    st.binary(min_size=32, max_size=32),
)


@given(found_checkpoints)
def test_a_checkpoint_comes_back(found: Checkpoint) -> None:
    assert Checkpoint.from_text(found.to_text()) == found
    signed = checkpoints.sign_checkpoint(found, LOG_KEY)
    assert checkpoints.open_checkpoint(signed, found.origin, LOG_KEY.public) == found


any_text = st.text() | st.binary().map(lambda data: data.decode("utf-8", "surrogateescape"))
lines = st.lists(
    st.sampled_from([ORIGIN, "0", "5", BODY.split("\n")[2], "", "AAAA"]) | st.text(max_size=5),
    max_size=6,
).map("\n".join)


@given(any_text | lines)
def test_any_text_is_a_value_in_its_one_form_or_malformed(text: str) -> None:
    with suppress(Malformed):
        assert Checkpoint.from_text(text).to_text() == text
    with pytest.raises((Malformed, BadSignature)):
        checkpoints.open_checkpoint(text, ORIGIN, LOG_KEY.public)


@st.composite
def mutations(draw: st.DrawFn, text: str) -> str:
    """`text` with one character changed, added or removed."""
    place = draw(st.integers(0, len(text) - 1))
    added = draw(st.sampled_from("\n +=—A1\0\r") | st.characters() | st.just(""))
    mutated = text[:place] + added + text[place + draw(st.integers(0, 1)) :]
    assume(mutated != text)
    return mutated


@given(mutations(BODY))
def test_another_text_is_another_checkpoint(text: str) -> None:
    try:
        found = Checkpoint.from_text(text)
    except Malformed:
        return
    assert found != CHECKPOINT
    assert found.to_text() == text


@given(mutations(SIGNED))
def test_a_changed_note_does_not_open(text: str) -> None:
    with pytest.raises((Malformed, BadSignature)):
        checkpoints.open_checkpoint(text, ORIGIN, LOG_KEY.public)


# Signing


def test_another_implementation_signs_the_same() -> None:
    """Both kinds of signature line, built here from the specifications alone."""

    def line(name: str, algorithm: int, seed: bytes, message: bytes, time: bytes) -> str:
        key = Ed25519PrivateKey.from_private_bytes(seed)
        public = key.public_key().public_bytes_raw()
        key_id = sha256(name.encode() + b"\n" + bytes([algorithm]) + public).digest()[:4]
        return f"— {name} {base64.b64encode(key_id + time + key.sign(message)).decode()}\n"

    body = f"{ORIGIN}\n5\n{base64.b64encode(CHECKPOINT.root).decode()}\n"
    assert f"{body}\n{line(ORIGIN, 1, LOG_KEY.seed, body.encode(), b'')}" == SIGNED
    message = f"cosignature/v1\ntime {NOW_S}\n{body}".encode()
    time = NOW_S.to_bytes(8, "big")
    assert line("village-002", 4, WITNESS_KEY.seed, message, time) == COSIGNATURE.to_text()


def test_opening_wants_this_log_and_this_key() -> None:
    with pytest.raises(BadSignature):
        checkpoints.open_checkpoint(SIGNED, ORIGIN, WITNESS_KEY.public)
    with pytest.raises(Malformed):
        checkpoints.open_checkpoint(SIGNED, "village-002", LOG_KEY.public)
    foreign = Checkpoint("village-002", 5, CHECKPOINT.root).to_text()
    signed = Note(foreign, (note.sign(foreign, ORIGIN, LOG_KEY),)).to_text()
    with pytest.raises(Malformed):
        checkpoints.open_checkpoint(signed, ORIGIN, LOG_KEY.public)
    with pytest.raises(BadSignature):
        checkpoints.open_checkpoint(signed, "village-002", LOG_KEY.public)


def test_a_cosignature_alone_does_not_open_a_checkpoint() -> None:
    own = checkpoints.cosign(CHECKPOINT, ORIGIN, LOG_KEY, NOW_S)
    with pytest.raises(BadSignature):
        checkpoints.open_checkpoint(Note(BODY, (own,)).to_text(), ORIGIN, LOG_KEY.public)


# Cosigning


@given(found_checkpoints, st.integers(0, checkpoints.TIMESTAMP_S_MAX))
def test_a_cosignature_tells_its_time(found: Checkpoint, timestamp_s: int) -> None:
    signature = checkpoints.cosign(found, "village-002", WITNESS_KEY, timestamp_s)
    assert len(signature.payload) == 72
    again = NoteSignature.from_text(signature.to_text())
    public = WITNESS_KEY.public
    assert checkpoints.verify_cosignature(found, again, "village-002", public) == timestamp_s


@pytest.mark.parametrize(
    "checkpoint",
    [
        Checkpoint("village-003", 5, CHECKPOINT.root),
        Checkpoint(ORIGIN, 6, CHECKPOINT.root),
        Checkpoint(ORIGIN, 5, sha256(b"other").digest()),
    ],
)
def test_a_cosignature_is_of_one_checkpoint(checkpoint: Checkpoint) -> None:
    with pytest.raises(BadSignature):
        verify_cosignature(COSIGNATURE, checkpoint)


def test_a_cosignature_is_of_one_cosigner() -> None:
    with pytest.raises(BadSignature):
        verify_cosignature(COSIGNATURE, name="village-003")
    with pytest.raises(BadSignature):
        verify_cosignature(COSIGNATURE, public=LOG_KEY.public)
    for named, key_id in (("village-003", COSIGNATURE.key_id), ("village-002", bytes(4))):
        with pytest.raises(BadSignature):
            verify_cosignature(NoteSignature(named, key_id, COSIGNATURE.payload))
    plain = note.sign(BODY, "village-002", WITNESS_KEY)
    with pytest.raises(BadSignature):
        verify_cosignature(plain)


@pytest.mark.parametrize("place", [0, 7, 8, 71])
def test_a_tampered_cosignature_fails(place: int) -> None:
    payload = bytearray(COSIGNATURE.payload)
    payload[place] ^= 1
    with pytest.raises(BadSignature):
        verify_cosignature(with_payload(bytes(payload)))


@pytest.mark.parametrize("payload", [b"x", COSIGNATURE.payload[:-1], COSIGNATURE.payload + b"x"])
def test_a_cosignature_of_another_length_fails(payload: bytes) -> None:
    with pytest.raises(BadSignature):
        verify_cosignature(with_payload(payload))


def test_the_time_of_a_cosignature_is_bounded() -> None:
    beyond = checkpoints.TIMESTAMP_S_MAX + 1
    signature = WITNESS_KEY.sign(checkpoints.cosigned_message(CHECKPOINT, beyond))
    with pytest.raises(BadSignature):
        verify_cosignature(with_payload(struct.pack(">Q", beyond) + signature))


def with_payload(payload: bytes) -> NoteSignature:
    return NoteSignature(COSIGNATURE.name, COSIGNATURE.key_id, payload)


def verify_cosignature(
    signature: NoteSignature,
    checkpoint: Checkpoint = CHECKPOINT,
    name: str = "village-002",
    public: bytes = WITNESS_KEY.public,
) -> int:
    return checkpoints.verify_cosignature(checkpoint, signature, name, public)


# Notes with more signatures


def test_cosignatures_stand_below_the_log_signature() -> None:
    both = checkpoints.with_signatures(SIGNED, [COSIGNATURE])
    assert both == SIGNED + COSIGNATURE.to_text()
    assert checkpoints.open_checkpoint(both, ORIGIN, LOG_KEY.public) == CHECKPOINT
    assert checkpoints.with_signatures(both, []) == both


def test_a_later_cosignature_replaces_the_earlier() -> None:
    later = checkpoints.cosign(CHECKPOINT, "village-002", WITNESS_KEY, NOW_S + 60)
    other = checkpoints.cosign(CHECKPOINT, "village-003", WITNESS_KEY, NOW_S)
    found = checkpoints.with_signatures(SIGNED, [COSIGNATURE, other, later])
    assert found == SIGNED + later.to_text() + other.to_text()


def test_more_signatures_than_a_note_may_have() -> None:
    extra = [
        checkpoints.cosign(CHECKPOINT, f"village-{number:03}", WITNESS_KEY, NOW_S)
        for number in range(2, 100)
    ]
    found = Note.from_text(checkpoints.with_signatures(SIGNED, extra))
    kept = limits.NOTE_SIGNATURES_MAX - 1
    assert found.signatures == (*Note.from_text(SIGNED).signatures, *extra[:kept])


def test_a_full_note_takes_no_more() -> None:
    junk = NoteSignature("junk", bytes(4), bytes(12_000))
    full = checkpoints.with_signatures(SIGNED, [junk])
    assert len(full.encode()) <= limits.NOTE_BYTES_MAX
    more = NoteSignature("more", bytes(4), bytes(1_000))
    with pytest.raises(Malformed):
        checkpoints.with_signatures(full, [more])
