"""Signed notes: the C2SP and Go vectors, and that each note has one accepted form."""

import base64
import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from edge.core import crypto, limits, note
from edge.core.note import Note, NoteSignature, VerifierKey
from edge.errors import BadSignature, Malformed

VECTORS = Path(__file__).parents[1] / "vectors"
VECTOR: dict[str, Any] = json.loads((VECTORS / "signed_note.json").read_text("utf-8"))

KEY = crypto.SecretKey(bytes(range(32)))
OTHER = crypto.SecretKey(bytes(32))
VERIFIER = VerifierKey("village-001", note.ED25519, KEY.public)
TEXT = "first\n\nlast\n"
SIGNATURE = note.sign(TEXT, "village-001", KEY)
SIGNED = Note(TEXT, (SIGNATURE,)).to_text()


# Vectors


@pytest.mark.parametrize("vector", VECTOR["sign"])
def test_sign_vector(vector: dict[str, str]) -> None:
    name, _, typed_seed = vector["skey"].removeprefix("PRIVATE+KEY+").split("+", 2)
    typed = base64.b64decode(typed_seed)
    assert typed[0] == note.ED25519
    signature = note.sign(vector["text"], name, crypto.SecretKey(typed[1:]))
    signed = Note(vector["text"], (signature,))
    assert signed.to_text() == vector["signed"]
    assert Note.from_text(vector["signed"]) == signed


@pytest.mark.parametrize("vector", VECTOR["open_ok"], ids=lambda vector: vector["vkey"])
def test_open_vector(vector: dict[str, str]) -> None:
    verifier = VerifierKey.from_text(vector["vkey"])
    signed = Note.from_text(vector["note"])
    assert note.verify(signed, [verifier]) == (verifier,)
    assert signed.to_text() == vector["note"]


def test_a_note_of_two_keys() -> None:
    vectors = [vector for vector in VECTOR["open_ok"] if "EnochRoot" in vector["note"]]
    verifiers = tuple(VerifierKey.from_text(vector["vkey"]) for vector in vectors)
    assert len(verifiers) == 2
    assert note.verify(Note.from_text(vectors[0]["note"]), reversed(verifiers)) == verifiers


@pytest.mark.parametrize("vector", VECTOR["bad_vkeys"], ids=lambda vector: vector["why"])
def test_bad_verifier_key_vector(vector: dict[str, str]) -> None:
    with pytest.raises(Malformed):
        VerifierKey.from_text(vector["vkey"])


@pytest.mark.parametrize("vector", VECTOR["key_id_only"], ids=lambda vector: vector["vkey"])
def test_key_id_vector(vector: dict[str, Any]) -> None:
    key = VerifierKey.from_text(vector["vkey"])
    assert key.algorithm == vector["type"]
    assert key.to_text() == vector["vkey"]


# Reading


@pytest.mark.parametrize(
    "text", ["=", "AB==", "AAB=", "AAA", "AA==AAAA", "A A=", "AAAA\n", "AA-_", "é", "\ud800"]
)
def test_malformed_base64(text: str) -> None:
    with pytest.raises(Malformed):
        note.from_base64(text)


@pytest.mark.parametrize(
    "line",
    [
        "",
        "\n",
        "— a AAAAAAA=",
        "— a AAAAAAA=\n\n",
        "- a AAAAAAA=\n",
        "—— a AAAAAAA=\n",
        "— a b AAAAAAA=\n",
        "— a+b AAAAAAA=\n",
        "— a\ud800 AAAAAAA=\n",
        "— " + "a" * limits.NOTE_BYTES_MAX + " AAAAAAA=\n",
    ],
)
def test_malformed_signature_line(line: str) -> None:
    with pytest.raises(Malformed):
        NoteSignature.from_text(line)


VKEY = VERIFIER.to_text()


@pytest.mark.parametrize(
    "text",
    [
        "",
        VKEY.upper(),
        VKEY.replace("village-001", ""),
        VKEY.replace("village-001", "village 001"),
        VKEY.replace("village-001", "village\ud800"),
        VKEY.replace("+", " "),
        VKEY + "\n",
        VerifierKey("a" * limits.NOTE_BYTES_MAX, note.ED25519, KEY.public).to_text(),
        VerifierKey("village-001", 0x06, KEY.public).to_text(),
        VerifierKey("village-001", note.ED25519, KEY.public[:31]).to_text(),
        VerifierKey("village-001", note.ED25519, b"").to_text(),
    ],
)
def test_malformed_verifier_key(text: str) -> None:
    with pytest.raises(Malformed):
        VerifierKey.from_text(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n",
        "\n\n",
        TEXT,
        SIGNED.removesuffix("\n"),
        SIGNED + "\n",
        SIGNED + "more\n",
        SIGNED.replace("\n\n—", "\n—"),
        SIGNED.replace("\n", "\r\n"),
        SIGNED.replace("—", "--"),
        SIGNED.replace("—", " —"),
        SIGNED.replace("— ", "—"),
        SIGNED.replace("— ", "—  "),
        SIGNED.replace("—", "\N{EN DASH}"),
        SIGNED.replace("village-001", ""),
        SIGNED.replace("village-001", "village+001"),
        SIGNED.replace("village-001", "village 001"),
        SIGNED.replace("village-001", "village\N{NO-BREAK SPACE}001"),
        SIGNED.replace("village-001", "village\N{LINE SEPARATOR}001"),
        SIGNED.replace("village-001", "village\ud800"),
        SIGNED.replace("first", "fi\trst"),
        SIGNED.replace("first", "fi\0rst"),
        SIGNED.replace("first", "fi\ud800rst"),
        SIGNED.replace("=\n", "\n"),
        SIGNED.replace("=\n", "==\n"),
        SIGNED.replace("=\n", "= \n"),
        "text\n\n— village-001 \n",
        "text\n\n— village-001 AAAAAA==\n",  # a key ID without a signature
        "text\n\n— village-001 AAAAAAB=\n",  # bits beyond the last byte
        "text\n\n— village-001 AAAA-_A=\n",
        "— village-001 AAAAAAA=\n",
        "\n— village-001 AAAAAAA=\n",
    ],
)
def test_malformed_note(text: str) -> None:
    with pytest.raises(Malformed):
        Note.from_text(text)


def test_the_text_ends_at_the_last_empty_line() -> None:
    signed = Note.from_text("one\n\n— two\n\n\n— village-001 AAAAAAA=\n")
    assert signed.text == "one\n\n— two\n\n"
    assert signed.signatures == (NoteSignature("village-001", bytes(4), bytes(1)),)


def test_signatures_are_bounded() -> None:
    most = Note(TEXT, (SIGNATURE,) * limits.NOTE_SIGNATURES_MAX)
    assert Note.from_text(most.to_text()) == most
    assert note.verify(most, [VERIFIER]) == (VERIFIER,)
    with pytest.raises(Malformed):
        Note.from_text(most.to_text() + SIGNATURE.to_text())


def test_length_is_bounded_in_bytes() -> None:
    room = limits.NOTE_BYTES_MAX - len(SIGNED.encode())
    assert Note.from_text("x" * room + SIGNED).text == "x" * room + TEXT
    for longer in ("x" * (room + 1), "é" * (room // 2 + 1), "x" * 1_000_000):
        with pytest.raises(Malformed):
            Note.from_text(longer + SIGNED)


def characters(*without: str) -> st.SearchStrategy[str]:
    return st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="".join(without))


names = st.text(characters("+"), min_size=1, max_size=20).filter(
    lambda name: not any(character.isspace() for character in name)
)
texts = st.text(characters() | st.just("\n"), max_size=60).map(lambda text: f"{text}\n")
signatures = st.builds(
    NoteSignature, names, st.binary(min_size=4, max_size=4), st.binary(min_size=1, max_size=80)
)
notes = st.builds(Note, texts, st.lists(signatures, min_size=1, max_size=5).map(tuple))


@given(notes)
def test_a_note_comes_back_from_its_text(signed: Note) -> None:
    assert Note.from_text(signed.to_text()) == signed


@given(st.lists(signatures, min_size=1, max_size=5).map(tuple))
def test_signature_lines_come_back(found: tuple[NoteSignature, ...]) -> None:
    assert note.signatures_from_text(note.signatures_to_text(found)) == found


@given(names, st.sampled_from([note.ED25519, note.COSIGNATURE_V1]), st.binary(min_size=32))
def test_a_verifier_key_comes_back(name: str, algorithm: int, public: bytes) -> None:
    key = VerifierKey(name, algorithm, public[:32])
    assert VerifierKey.from_text(key.to_text()) == key


any_text = st.text() | st.binary().map(lambda data: data.decode("utf-8", "surrogateescape"))
pieces = st.lists(
    st.sampled_from(["\n", "\n\n", "— ", "village-001", " ", "+", "AAAAAAA=", "=", "0", "é"])
    | st.text(max_size=3),
    max_size=20,
).map("".join)


@given(any_text | pieces)
@example("— a AAAAAAA=\n" * 40)
@example("x" * 100_000)
@example("a+" * 100_000)
def test_any_text_is_a_value_in_its_one_form_or_malformed(text: str) -> None:
    for reader in (Note, NoteSignature, VerifierKey):
        with suppress(Malformed):
            assert reader.from_text(text).to_text() == text
    with suppress(Malformed):
        assert note.signatures_to_text(note.signatures_from_text(text)) == text
    with suppress(Malformed):
        assert note.to_base64(note.from_base64(text)) == text


@st.composite
def mutations(draw: st.DrawFn, text: str) -> str:
    """`text` with one character changed, added or removed."""
    place = draw(st.integers(0, len(text) - 1))
    added = draw(st.sampled_from("\n +=—A1\0\r") | st.characters() | st.just(""))
    mutated = text[:place] + added + text[place + draw(st.integers(0, 1)) :]
    assume(mutated != text)
    return mutated


@given(mutations(SIGNED))
def test_another_text_is_another_note(text: str) -> None:
    try:
        found = Note.from_text(text)
    except Malformed:
        return
    assert found != Note.from_text(SIGNED)
    assert found.to_text() == text
    with pytest.raises(BadSignature):
        note.verify(found, [VERIFIER])


@given(mutations(VERIFIER.to_text()))
def test_a_mistyped_verifier_key_is_malformed(text: str) -> None:
    with pytest.raises(Malformed):
        VerifierKey.from_text(text)


# Verifying


def test_unknown_keys_are_ignored() -> None:
    same_name = NoteSignature("village-001", bytes(4), b"nonsense")
    same_id = NoteSignature("village-002", SIGNATURE.key_id, b"nonsense")
    signed = Note(TEXT, (same_name, same_id, SIGNATURE))
    assert note.verify(signed, [VERIFIER]) == (VERIFIER,)
    with pytest.raises(BadSignature):
        note.verify(Note(TEXT, (same_name, same_id)), [VERIFIER])
    with pytest.raises(BadSignature):
        note.verify(signed, [])


@pytest.mark.parametrize("payload", [b"x", bytes(64), SIGNATURE.payload + b"x"])
def test_a_failing_signature_of_a_known_key_rejects_the_note(payload: bytes) -> None:
    other = VerifierKey("village-002", note.ED25519, OTHER.public)
    good = note.sign(TEXT, "village-002", OTHER)
    bad = NoteSignature("village-001", SIGNATURE.key_id, payload)
    for found in ((good, bad), (bad, good)):
        with pytest.raises(BadSignature):
            note.verify(Note(TEXT, found), [VERIFIER, other])
        assert note.verify(Note(TEXT, found), [other]) == (other,)


def test_a_signature_is_of_one_text() -> None:
    with pytest.raises(BadSignature):
        note.verify(Note(TEXT + "\n", (SIGNATURE,)), [VERIFIER])


def test_a_cosigner_key_does_not_verify_a_text() -> None:
    cosigner = VerifierKey("village-001", note.COSIGNATURE_V1, KEY.public)
    assert cosigner.key_id != VERIFIER.key_id
    with pytest.raises(AssertionError):
        note.verify(Note(TEXT, (SIGNATURE,)), [cosigner])


@pytest.mark.parametrize(
    ("text", "name"),
    [("no newline", "village-001"), ("tab\t\n", "village-001"), (TEXT, "a b"), (TEXT, "")],
)
def test_what_is_no_note_is_not_signed(text: str, name: str) -> None:
    with pytest.raises(AssertionError):
        note.sign(text, name, KEY)
