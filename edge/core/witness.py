"""What a witness is asked, and what it answers (C2SP tlog-witness, `add-checkpoint`).

old <size of the log that the proof begins at>
<base64 of one hash of the consistency proof>       none to 63 lines
<empty line>
<checkpoint, a signed note, to the end>

A witness of C2SP keeps a size and a root for each log. A village keeps the records too, and cosigns
nothing else: so it may know that a checkpoint is good and not cosign it yet.
"""

import re
from collections.abc import Sequence
from typing import Final, Self

import msgspec

from edge.core import checkpoint, limits, merkle, note
from edge.core.checkpoint import Checkpoint
from edge.errors import (
    BadProof,
    BadSignature,
    Malformed,
    PeerError,
    StaleCheckpoint,
    TooLarge,
    UntrustedCheckpoint,
)

RETRY_S: Final = 60  # until the records that are missing may have come


class AddCheckpoint(msgspec.Struct, frozen=True):
    """Asks for a cosignature on `head`, which stands in `signed`, a note; `proof` leads there from
    the log of `old` records. Nothing is verified yet, and the lines of signatures are not read."""

    old: int
    proof: tuple[bytes, ...]
    head: Checkpoint
    signed: str

    def to_body(self) -> bytes:
        proof = "".join([f"{note.to_base64(each)}\n" for each in self.proof])
        return f"old {self.old}\n{proof}\n{self.signed}".encode()

    @classmethod
    def of(cls, old: int, proof: Sequence[bytes], signed: str) -> Self:
        """Make a request from a signed checkpoint. Raises Malformed."""
        if not note.is_text(signed):
            raise Malformed("the checkpoint is not the text of a note")
        text, _, _ = signed.rpartition("\n\n")
        return cls(old, tuple(proof), Checkpoint.from_text(f"{text}\n"), signed)

    @classmethod
    def from_body(cls, body: bytes) -> Self:
        """Read the body of a request. Raises TooLarge or Malformed."""
        if len(body) > limits.ADD_CHECKPOINT_BYTES_MAX:
            raise TooLarge(f"the body is over {limits.ADD_CHECKPOINT_BYTES_MAX} bytes")
        try:
            lines, _, signed = body.decode().partition("\n\n")
        except UnicodeDecodeError:
            raise Malformed("the body is not UTF-8") from None
        old, *proof = lines.split("\n", limits.PROOF_HASHES_MAX + 1)
        if len(proof) > limits.PROOF_HASHES_MAX:
            raise Malformed(f"a proof has at most {limits.PROOF_HASHES_MAX} hashes")
        found = cls.of(_old_size(old), [_hash(line) for line in proof], signed)
        if found.to_body() != body:
            raise Malformed("not the canonical request")
        return found


class Known(msgspec.Struct, frozen=True):
    """What is stored of a log: size and root of the newest checkpoint that was cosigned here, 0 and
    that of no records if there is none; and the root of as many records of the copy as the
    checkpoint at hand has, None if the copy has fewer."""

    size: int
    root: bytes
    copy_root: bytes | None


class Verdict(msgspec.Struct, frozen=True):
    """`refusal`: what is answered in place of a cosignature, None if it is due; `is_fork`: whatever
    is answered, the log has signed another root than the one of the records that are stored, or a
    log that begins otherwise."""

    refusal: PeerError | None
    is_fork: bool


def check_signed(asked: AddCheckpoint, public: bytes) -> None:
    """Check that the log signed its checkpoint with its key. Raises UntrustedCheckpoint."""
    try:
        checkpoint.open_checkpoint(asked.signed, asked.head.origin, public)
    except (BadSignature, Malformed) as error:
        raise UntrustedCheckpoint(f"not signed by {asked.head.origin}: {error.detail}") from None


def decide(asked: AddCheckpoint, known: Known) -> Verdict:
    """Return what is due for a checkpoint that its log has signed; the first check of C2SP's that
    fails counts.

    The refusal is Malformed, StaleCheckpoint (with `size`, the one to prove from, and if records
    are missing `retry_after_s`) or BadProof.
    """
    is_other = known.copy_root is not None and known.copy_root != asked.head.root
    is_fork = is_other or _leaves_before(asked, known)
    try:
        _check(asked, known)
    except PeerError as refusal:
        return Verdict(refusal, is_fork)
    return Verdict(None, is_fork)


def _check(asked: AddCheckpoint, known: Known) -> None:
    head = asked.head
    if asked.old > head.size:
        raise Malformed("the old size is greater than the checkpoint's")
    if asked.old != known.size:
        raise StaleCheckpoint(f"{known.size} records are cosigned here", size=known.size)
    merkle.verify_consistency(asked.old, head.size, asked.proof, known.root, head.root)
    if known.copy_root is None:
        raise StaleCheckpoint(
            "not all of these records are stored here yet", size=known.size, retry_after_s=RETRY_S
        )
    if known.copy_root != head.root:
        raise BadProof("this is not the root of the records that are stored here")


def _leaves_before(asked: AddCheckpoint, known: Known) -> bool:
    """Tell whether the proof shows that the checkpoint is of a log with another beginning than what
    its village signed before, and this one cosigned."""
    if asked.old != known.size:
        return False
    try:
        shown = merkle.prefix_root(asked.old, asked.head.size, asked.proof, asked.head.root)
    except BadProof:
        return False
    return shown != known.root


def _old_size(line: str) -> int:
    found = _OLD.fullmatch(line)
    if found is None or int(found[1]) > limits.TREE_SIZE_MAX:
        raise Malformed("the first line is not `old` and the size of a log")
    return int(found[1])


def _hash(line: str) -> bytes:
    found = note.from_base64(line)
    if len(found) != merkle.HASH_BYTES:
        raise Malformed("a line of the proof is one hash")
    return found


_OLD: Final = re.compile(r"old ([0-9]{1,13})")
