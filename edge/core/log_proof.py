"""Proof that a record is in a log, in one file that needs no network (C2SP tlog-proof v1).

c2sp.org/tlog-proof@v1
extra <base64>            of what else a reader needs: here the record; no such line without it
index <n>
<base64 of a hash>        none or more lines: the record's inclusion proof
<empty line>
<checkpoint, a signed note with its cosignatures, to the end>
"""

import re
from collections.abc import Sequence
from typing import Final, Self

import msgspec

from edge.core import checkpoint, limits, merkle, note
from edge.core.checkpoint import Checkpoint
from edge.core.note import VerifierKey
from edge.errors import BadProof, BadSignature, Malformed

HEADER: Final = "c2sp.org/tlog-proof@v1"


class LogProof(msgspec.Struct, frozen=True):
    """That the record `index` is in the log of the checkpoint in `signed`, a note. Nothing is
    verified yet; `extra` is nobody's word until it is."""

    index: int
    hashes: tuple[bytes, ...]
    signed: str
    extra: bytes | None = None

    def to_text(self) -> str:
        extra = "" if self.extra is None else f"extra {note.to_base64(self.extra)}\n"
        hashes = "".join([f"{note.to_base64(each)}\n" for each in self.hashes])
        return f"{HEADER}\n{extra}index {self.index}\n{hashes}\n{self.signed}"

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Read a file. Raises Malformed."""
        if len(text) > limits.LOG_PROOF_BYTES_MAX:
            raise Malformed(f"the proof is over {limits.LOG_PROOF_BYTES_MAX} bytes")
        head, _, signed = text.partition("\n\n")
        header, *lines = head.split("\n", limits.PROOF_HASHES_MAX + 3)
        if header != HEADER or not signed or not note.is_text(signed):
            raise Malformed("not a proof of a record in a log")
        extra = None
        if lines and (found := _EXTRA.fullmatch(lines[0])):
            extra = note.from_base64(found[1])
            lines = lines[1:]
        if not lines or not (found := _INDEX.fullmatch(lines[0])):
            raise Malformed("the proof does not say which record of the log it is of")
        if len(lines) > 1 + limits.PROOF_HASHES_MAX:
            raise Malformed(f"a proof has at most {limits.PROOF_HASHES_MAX} hashes")
        hashes = tuple([_hash(line) for line in lines[1:]])
        made = cls(int(found[1]), hashes, signed, extra)
        if made.index > limits.TREE_SIZE_MAX or made.to_text() != text:
            raise Malformed("the proof is not in its one form")
        return made


class Proven(msgspec.Struct, frozen=True):
    """What a proof shows: the record of that index is in the log of `head`; who of those asked for
    has cosigned it and when, in seconds of UTC; and whose signatures nobody has looked at."""

    head: Checkpoint
    cosigned: tuple[tuple[str, int], ...]
    unchecked: tuple[str, ...]


def is_one(text: str) -> bool:
    """Tell whether a file says of itself that it is such a proof."""
    return text.startswith(f"{HEADER}\n")


def verify(
    proof: LogProof, record: bytes, log: VerifierKey, witnesses: Sequence[VerifierKey]
) -> Proven:
    """Check that the log signed a tree that has this record, and that each witness cosigned it.

    `log` has its name for an origin. A witness is a name and a key, of either algorithm. Raises
    BadProof, which says what does not hold.
    """
    try:
        return _verify(proof, record, log, witnesses)
    except (Malformed, BadSignature) as error:
        raise BadProof(f"the proof does not hold: {error.detail}") from None


def _verify(
    proof: LogProof, record: bytes, log: VerifierKey, witnesses: Sequence[VerifierKey]
) -> Proven:
    head = checkpoint.open_checkpoint(proof.signed, log.name, log.public)
    leaf = merkle.leaf_hash(record)
    merkle.verify_inclusion(proof.index, head.size, leaf, proof.hashes, head.root)
    lines = [(line.name, line.key_id) for line in note.Note.from_text(proof.signed).signatures]
    known = {(log.name, note.key_id(log.name, note.ED25519, log.public))}
    cosigned = []
    for name, public in dict.fromkeys((each.name, each.public) for each in witnesses):
        if name == log.name:
            raise BadProof(f"{name} is no witness of its own log")
        known.add((name, note.key_id(name, note.COSIGNATURE_V1, public)))
        cosigned.append((name, _cosigned_s(proof, head, name, public)))
    others = dict.fromkeys(name for name, key_id in lines if (name, key_id) not in known)
    return Proven(head, tuple(cosigned), tuple(others))


def _cosigned_s(proof: LogProof, head: Checkpoint, name: str, public: bytes) -> int:
    """Return when a witness last cosigned; each line of its key must hold."""
    key_id = note.key_id(name, note.COSIGNATURE_V1, public)
    times_s = [
        checkpoint.verify_cosignature(head, line, name, public)
        for line in note.Note.from_text(proof.signed).signatures
        if (line.name, line.key_id) == (name, key_id)
    ]
    if not times_s:
        raise BadProof(f"{name} has not cosigned the checkpoint, or with another key")
    return max(times_s)


def _hash(line: str) -> bytes:
    found = note.from_base64(line)
    if len(found) != merkle.HASH_BYTES:
        raise Malformed("a line of the proof is one hash")
    return found


_EXTRA: Final = re.compile("extra ([A-Za-z0-9+/=]+)")
_INDEX: Final = re.compile("index ([0-9]{1,13})")
