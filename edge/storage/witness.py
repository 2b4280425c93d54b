"""Cosigning a neighbour's checkpoint for whoever asks: what is stored whole, and kept with it."""

import msgspec

from edge.core import checkpoint, witness
from edge.core.witness import AddCheckpoint, Known, Verdict
from edge.errors import TooMany, UnknownOrigin
from edge.storage import allowance, logs, neighbours
from edge.storage.neighbours import Neighbour
from edge.storage.tx import Runner, Tx, View


async def add_checkpoint(runner: Runner, own: str, asked: AddCheckpoint) -> str:
    """Return this village's cosignature line on the checkpoint, once it is on disk.

    It is made once; whoever asks for it again gets the same, and has nothing written. Raises
    UnknownOrigin, UntrustedCheckpoint, and what witness.decide refuses with; TooMany if the log's
    village has used up what is taken in of it.
    """
    found = await runner.read(lambda view: _look(view, own, asked))
    if found.is_news:
        found = await runner.write(lambda tx: _keep(tx, asked))
    if found.verdict.refusal is not None:
        raise found.verdict.refusal
    return found.line


class _Found(msgspec.Struct, frozen=True):
    """`line`: the cosignature, if it is stored; `is_news`: there is something to write."""

    neighbour: Neighbour
    verdict: Verdict
    line: str

    @property
    def is_news(self) -> bool:
        return self.is_new_fork or (self.verdict.refusal is None and not self.line)

    @property
    def is_new_fork(self) -> bool:
        known = logs.is_fork_of(self.neighbour.village, self.neighbour.trouble)
        return self.verdict.is_fork and not known


def _look(view: View, own: str, asked: AddCheckpoint) -> _Found:
    origin, size = asked.head.origin, asked.head.size
    neighbour = neighbours.find(view, origin)
    if neighbour is None:
        raise UnknownOrigin(f"no log of {origin[:63]} is kept here")
    witness.check_signed(asked, neighbour.key)
    last = logs.cosignature_for(view, neighbour.log, own)
    cosigned = 0 if last is None else last.size
    is_copied = size <= logs.size_of(view, neighbour.log)
    root = logs.root_of(view, neighbour.log, cosigned)
    copy_root = logs.root_of(view, neighbour.log, size) if is_copied else None
    verdict = witness.decide(asked, Known(cosigned, root, copy_root))
    is_stored = last is not None and verdict.refusal is None and size == cosigned
    return _Found(neighbour, verdict, last.line if last is not None and is_stored else "")


def _keep(tx: Tx, asked: AddCheckpoint) -> _Found:
    """Decide again, now that nobody else writes, and keep what comes of it."""
    found = _look(tx, tx.identity.village, asked)
    if found.is_new_fork:
        fork = logs.forked(found.neighbour.village, asked.head.size)
        neighbours.set_trouble(tx, found.neighbour.village, fork.detail)
    if found.verdict.refusal is not None or found.line:
        return found
    return _Found(found.neighbour, found.verdict, _cosign(tx, found.neighbour, asked))


def _cosign(tx: Tx, neighbour: Neighbour, asked: AddCheckpoint) -> str:
    if not allowance.has_room(tx, neighbour, tx.stamp_ms):
        raise TooMany(f"no more of {neighbour.village}'s log is taken in today")
    text = checkpoint.without_others(asked.signed, neighbour.village, neighbour.key)
    logs.cosign(tx, neighbour.log, asked.head, text)
    allowance.count(tx, neighbour, records=0, size=0)
    made = logs.cosignature_for(tx, neighbour.log, tx.identity.village)
    assert made is not None and made.size == asked.head.size, "a smaller checkpoint was cosigned"
    return made.line
