"""Checkpoints, a log's signed tree heads, and the cosignatures of those who checked them.

C2SP tlog-checkpoint v1.0.0 in a signed note; C2SP tlog-cosignature, the Ed25519 type. The log's key
name is its origin. Extension lines, which C2SP advises against, are refused.
"""

import re
import struct
from collections.abc import Iterable
from typing import Final, Self

import msgspec

from edge.core import crypto, limits, merkle, note
from edge.errors import BadSignature, Malformed

TIMESTAMP_S_MAX: Final = 2**63 - 1


class Checkpoint(msgspec.Struct, frozen=True):
    """The log `origin` had `size` records, and `root` is the root of their Merkle tree."""

    origin: str
    size: int
    root: bytes

    def to_text(self) -> str:
        """Return the note text: three lines."""
        return f"{self.origin}\n{self.size}\n{note.to_base64(self.root)}\n"

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Read a note text. Raises Malformed."""
        lines = text.split("\n") if note.is_text(text) else []
        if len(lines) != 4 or not lines[0]:
            raise Malformed("a checkpoint is origin, size and root, a line each")
        if _SIZE.fullmatch(lines[1]) is None:
            raise Malformed("not the size of a tree")
        found = cls(lines[0], int(lines[1]), note.from_base64(lines[2]))
        if found.size > limits.TREE_SIZE_MAX or len(found.root) != merkle.HASH_BYTES:
            raise Malformed("the size of the tree or of its root is out of bounds")
        if found.to_text() != text:
            raise Malformed("not the canonical checkpoint")
        return found


def sign_checkpoint(checkpoint: Checkpoint, key: crypto.SecretKey) -> str:
    """Return the log's own note of `checkpoint`."""
    text = checkpoint.to_text()
    return note.Note(text, (note.sign(text, checkpoint.origin, key),)).to_text()


def open_checkpoint(note_text: str, origin: str, public: bytes) -> Checkpoint:
    """Return the checkpoint that the log `origin` signed with the key `public`.

    Cosignatures beside it are not looked at. Raises Malformed, also when it is another log's, and
    BadSignature.
    """
    signed = note.Note.from_text(note_text)
    checkpoint = Checkpoint.from_text(signed.text)
    if checkpoint.origin != origin:
        raise Malformed("the checkpoint is of another log")
    note.verify(signed, [note.VerifierKey(origin, note.ED25519, public)])
    return checkpoint


def without_others(note_text: str, origin: str, public: bytes) -> str:
    """Return an opened checkpoint's note with the log's own signature and nobody else's."""
    signed = note.Note.from_text(note_text)
    own = (origin, note.key_id(origin, note.ED25519, public))
    kept = next(line for line in signed.signatures if (line.name, line.key_id) == own)
    return note.Note(signed.text, (kept,)).to_text()


def cosign(
    checkpoint: Checkpoint, name: str, key: crypto.SecretKey, timestamp_s: int
) -> note.NoteSignature:
    """Return the statement of `name`: at this time, this is the largest tree I saw of that log.

    The cosigner has checked that it extends every earlier one. One key serves one cosigner, since
    the message does not contain the name.
    """
    assert note.is_name(name), "this would be no signature line"
    key_id = note.key_id(name, note.COSIGNATURE_V1, key.public)
    signature = key.sign(cosigned_message(checkpoint, timestamp_s))
    return note.NoteSignature(name, key_id, _TIMESTAMP.pack(timestamp_s) + signature)


def verify_cosignature(
    checkpoint: Checkpoint, signature: note.NoteSignature, name: str, public: bytes
) -> int:
    """Return the time, in Unix seconds, at which `name` cosigned. Raises BadSignature."""
    key_id = note.key_id(name, note.COSIGNATURE_V1, public)
    if signature.name != name or signature.key_id != key_id:
        raise BadSignature(f"not a cosignature of {name}")
    timestamp_s = time_of(signature)
    message = cosigned_message(checkpoint, timestamp_s)
    if not crypto.verify(public, message, signature.payload[_TIMESTAMP.size :]):
        raise BadSignature(f"the cosignature of {name} fails")
    return timestamp_s


def time_of(signature: note.NoteSignature) -> int:
    """Return the time, in Unix seconds, that a cosignature states, which may not hold. Raises
    BadSignature."""
    if len(signature.payload) != _TIMESTAMP.size + crypto.SIGNATURE_BYTES:
        raise BadSignature("a cosignature is a time and a signature")
    timestamp_s = cosigned_s(signature)
    if timestamp_s > TIMESTAMP_S_MAX:
        raise BadSignature("the time of a cosignature is out of bounds")
    return timestamp_s


def cosigned_s(signature: note.NoteSignature) -> int:
    """Return the time, in Unix seconds, that a cosignature says it was made at: its signer's word,
    any number of 64 bits. Requires a cosignature's length."""
    timestamp_s: int = _TIMESTAMP.unpack_from(signature.payload)[0]
    return timestamp_s


def cosigned_message(checkpoint: Checkpoint, timestamp_s: int) -> bytes:
    """Return the bytes that an Ed25519 cosigner signs."""
    return f"cosignature/v1\ntime {timestamp_s}\n{checkpoint.to_text()}".encode()


def with_signatures(note_text: str, extra: Iterable[note.NoteSignature]) -> str:
    """Return the note with more signatures, which the caller has verified.

    A key has one line, and the later signature takes the place of the earlier. Those beyond
    NOTE_SIGNATURES_MAX are left out. Raises Malformed, also when the note then is too long.
    """
    signed = note.Note.from_text(note_text)
    lines = {(line.name, line.key_id): line for line in (*signed.signatures, *extra)}
    kept = tuple(lines.values())[: limits.NOTE_SIGNATURES_MAX]
    text = note.Note(signed.text, kept).to_text()
    if not note.is_text(text):
        raise Malformed("no room for more signatures")
    return text


_SIZE: Final = re.compile(r"[0-9]{1,16}")
_TIMESTAMP: Final = struct.Struct(">Q")
