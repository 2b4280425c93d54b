"""Signed notes: a text and the signatures of one or more keys under it (C2SP signed-note v1.0.0).

<text, which ends in a newline>
<empty line>
— <key name> <base64 of key ID and signature>
"""

import binascii
import re
from collections.abc import Iterable
from typing import Final, Self

import msgspec

from edge.core import crypto, limits
from edge.errors import BadSignature, Malformed

ED25519: Final = 0x01  # the signature is over the text
COSIGNATURE_V1: Final = 0x04  # over a time and the text; `edge.core.checkpoint` makes and checks it
KEY_ID_BYTES: Final = 4


class NoteSignature(msgspec.Struct, frozen=True):
    """One signature line. (name, key_id) tells which key signed and how `payload` is to be read."""

    name: str
    key_id: bytes
    payload: bytes

    def to_text(self) -> str:
        """Return the line with its newline."""
        return f"— {self.name} {to_base64(self.key_id + self.payload)}\n"

    @classmethod
    def from_text(cls, line: str) -> Self:
        """Read one line with its newline. Raises Malformed."""
        parts = line.removesuffix("\n").split(" ")
        if len(line) > limits.NOTE_BYTES_MAX or len(parts) != 3 or not is_name(parts[1]):
            raise Malformed("not a signature line")
        data = from_base64(parts[2])
        if len(data) <= KEY_ID_BYTES:
            raise Malformed("a signature line without a signature")
        found = cls(parts[1], data[:KEY_ID_BYTES], data[KEY_ID_BYTES:])
        if found.to_text() != line:
            raise Malformed("not a signature line")
        return found


class Note(msgspec.Struct, frozen=True):
    """A text, its last newline included, and at least one signature. Nothing is verified yet."""

    text: str
    signatures: tuple[NoteSignature, ...]

    def to_text(self) -> str:
        return f"{self.text}\n{signatures_to_text(self.signatures)}"

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Read a note, divided at its last empty line. Raises Malformed."""
        if not is_text(text):
            raise Malformed("not the text of a note")
        body, _, lines = text.rpartition("\n\n")
        found = cls(f"{body}\n", signatures_from_text(lines))
        if found.to_text() != text:
            raise Malformed("no empty line before the signatures")
        return found


class VerifierKey(msgspec.Struct, frozen=True):
    """A public key under a name, for one algorithm: what a verifier is configured with."""

    name: str
    algorithm: int
    public: bytes

    @property
    def key_id(self) -> bytes:
        return key_id(self.name, self.algorithm, self.public)

    def to_text(self) -> str:
        """Return the vkey: name, key ID in hex and base64 of algorithm and key, joined by `+`."""
        typed = to_base64(bytes([self.algorithm]) + self.public)
        return f"{self.name}+{self.key_id.hex()}+{typed}"

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Read a vkey of an Ed25519 key. Raises Malformed."""
        parts = text.split("+", 2)
        if len(text) > limits.NOTE_BYTES_MAX or len(parts) != 3 or not is_name(parts[0]):
            raise Malformed("not a verifier key")
        typed = from_base64(parts[2])
        if len(typed) != 1 + crypto.KEY_BYTES or typed[0] not in (ED25519, COSIGNATURE_V1):
            raise Malformed("not a verifier key of a known algorithm")
        found = cls(parts[0], typed[0], typed[1:])
        if found.to_text() != text:
            raise Malformed("the key ID of a verifier key is wrong")
        return found


def key_id(name: str, algorithm: int, public: bytes) -> bytes:
    """Return the 4 bytes that, with the name, tell a key from others. No protection by itself."""
    return crypto.sha256(f"{name}\n".encode() + bytes([algorithm]) + public)[:KEY_ID_BYTES]


def sign(text: str, name: str, key: crypto.SecretKey) -> NoteSignature:
    """Return the ED25519 signature line of `text`, which ends in a newline."""
    assert is_text(text), "this would be no note"
    assert text.endswith("\n"), "this would be no note"
    assert is_name(name), "this would be no signature line"
    return NoteSignature(name, key_id(name, ED25519, key.public), key.sign(text.encode()))


def verify(note: Note, verifiers: Iterable[VerifierKey]) -> tuple[VerifierKey, ...]:
    """Return the keys that signed, each once; `verifiers` are of algorithm ED25519.

    Signatures of unknown keys are ignored. Raises BadSignature when one of a known key fails, and
    when there is none.
    """
    known = {(key.name, key.key_id): key for key in verifiers}
    assert all(key.algorithm == ED25519 for key in known.values()), "not a signature of the text"
    text, signers = note.text.encode(), dict[VerifierKey, None]()
    for signature in note.signatures:
        key = known.get((signature.name, signature.key_id))
        if key is None:
            continue
        if not crypto.verify(key.public, text, signature.payload):
            raise BadSignature(f"the signature of {key.name} fails")
        signers[key] = None
    if not signers:
        raise BadSignature("no known key signed this note")
    return tuple(signers)


def signatures_to_text(signatures: Iterable[NoteSignature]) -> str:
    """Return the lines, each with its newline."""
    return "".join([signature.to_text() for signature in signatures])


def signatures_from_text(lines: str) -> tuple[NoteSignature, ...]:
    """Read one or more signature lines, each with its newline. Raises Malformed."""
    found = lines.split("\n", limits.NOTE_SIGNATURES_MAX)
    if found.pop() or not found:
        raise Malformed("too few or too many signature lines, or the last is without a newline")
    return tuple([NoteSignature.from_text(f"{line}\n") for line in found])


def is_text(text: str) -> bool:
    """Tell whether `text` may stand in a note: valid UTF-8, no control character but newlines."""
    if len(text) > limits.NOTE_BYTES_MAX or _TEXT.fullmatch(text) is None:
        return False
    return len(text.encode()) <= limits.NOTE_BYTES_MAX


def is_name(text: str) -> bool:
    """Tell whether `text` may be a key's name: not empty, no Unicode space, no `+`."""
    return _NAME.fullmatch(text) is not None


def to_base64(data: bytes) -> str:
    """Return standard base64 with padding (RFC 4648 section 4), as all C2SP formats have it."""
    return binascii.b2a_base64(data, newline=False).decode("ascii")


def from_base64(text: str) -> bytes:
    """Read the one base64 text of some bytes. Raises Malformed."""
    try:
        data = binascii.a2b_base64(text)
    except ValueError as error:
        raise Malformed("not base64") from error
    if to_base64(data) != text:
        raise Malformed("not the canonical base64")
    return data


_TEXT: Final = re.compile(r"[^\x00-\x09\x0b-\x1f\ud800-\udfff]*")
_NAME: Final = re.compile(r"[^\s+\x00-\x1f\ud800-\udfff]+")
