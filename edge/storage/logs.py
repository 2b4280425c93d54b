"""Logs in the database: heads, records, proofs, checkpoints, cosignatures, neighbours' logs."""

from collections.abc import Iterable, Sequence

import msgspec

from edge.core import checkpoint, limits, merkle, messages, note, records, replay
from edge.core.accounts import Asset
from edge.core.council import Seat
from edge.core.merkle import Node
from edge.core.receipt import Evidence
from edge.core.replay import Delivery, Statement
from edge.errors import BadProof, ForkedLog, Malformed
from edge.storage import deliveries, set_back
from edge.storage.tx import OWN_LOG, Head, Tx, View, insert_nodes, position

_BLOCK = 1 << 40  # positions of one level
_FORKED = " has signed two different logs"


def add_log(tx: Tx, log: int, village: str, key: bytes) -> None:
    tx.run("INSERT INTO log (id, village, public_key) VALUES (?, ?, ?)", log, village, key)


def size_of(view: View, log: int) -> int:
    """Return how many records of a log are stored."""
    first = position(log, 0, 0)
    row = view.one(
        "SELECT max(position) FROM entry WHERE position >= ? AND position < ?",
        first,
        first + _BLOCK,
    )
    return 0 if row[0] is None else row[0] - first + 1


def read_nodes(view: View, log: int, wanted: Iterable[Node]) -> dict[Node, bytes]:
    """Read the hashes that a plan of core/merkle asks for."""
    found = {}
    for node in wanted:
        if node.level == 0:
            row = view.one(
                "SELECT leaf FROM entry WHERE position = ?", position(log, 0, node.index)
            )
        else:
            row = view.one("SELECT hash FROM node WHERE position = ?", position(log, *node))
        assert row is not None, f"log {log} lacks the tree node {node}"
        found[node] = row[0]
    return found


def head_of(view: View, log: int) -> Head:
    """Return the stored right edge of a log."""
    size = size_of(view, log)
    nodes = merkle.edge_nodes(size)
    hashes = read_nodes(view, log, nodes)
    return Head(size, tuple(hashes[node] for node in nodes))


def root_of(view: View, log: int, size: int) -> bytes:
    """Return the root of a log's first `size` records, all of them stored."""
    nodes = merkle.edge_nodes(size)
    hashes = read_nodes(view, log, nodes)
    return merkle.root_from_edge([hashes[node] for node in nodes])


def record_at(view: View, log: int, index: int) -> bytes:
    row = view.one("SELECT record FROM entry WHERE position = ?", position(log, 0, index))
    assert row is not None, f"log {log} has no record {index}"
    return bytes(row[0])


def records_from(view: View, log: int, start: int, count: int, bytes_max: int) -> list[bytes]:
    """Return up to `count` records, at most `bytes_max` bytes (at least one if there is one)."""
    first = position(log, 0, start)
    found: list[bytes] = []
    total = 0
    for (record,) in view.conn.execute(
        "SELECT record FROM entry WHERE position >= ? AND position < ? ORDER BY position",
        (first, min(first + count, position(log, 0, 0) + _BLOCK)),
    ):
        total += len(record)
        if found and total > bytes_max:
            break
        found.append(record)
    return found


# Checkpoints


def last_checkpoint(view: View, log: int) -> tuple[int, bytes, str] | None:
    """Return (size, root, signed note) of a log's newest checkpoint."""
    row: tuple[int, bytes, str] | None = view.one(
        "SELECT size, root, note FROM checkpoint WHERE log = ? ORDER BY size DESC LIMIT 1", log
    )
    return row


def keep_checkpoint(tx: Tx, log: int, head: checkpoint.Checkpoint, text: str) -> None:
    tx.run(
        "INSERT INTO checkpoint (log, size, root, note) VALUES (?, ?, ?, ?)"
        " ON CONFLICT (log, size) DO NOTHING",
        log,
        head.size,
        head.root,
        text,
    )


def last_cosigned(view: View, log: int) -> tuple[int, list[str]]:
    """Return the newest cosigned size of a log and who has cosigned it; (0, []) if none."""
    row = view.one("SELECT max(size) FROM cosignature WHERE log = ?", log)
    if row[0] is None:
        return 0, []
    cosigners = view.all(
        "SELECT village FROM cosignature WHERE log = ? AND size = ? ORDER BY village", log, row[0]
    )
    return row[0], [village for (village,) in cosigners]


def last_cosigned_size(view: View, above: int) -> int:
    """Return the newest size of the own log, above one, that a neighbour has cosigned; 0 if none
    has."""
    row = view.one("SELECT max(size) FROM cosignature WHERE log = ? AND size > ?", OWN_LOG, above)
    return row[0] or 0


def is_cosigned(view: View, log: int, note_text: str) -> bool:
    """Tell whether this is the newest checkpoint that we keep of a log, and have cosigned."""
    last = last_checkpoint(view, log)
    return last is not None and last[2] == note_text


def cosignature_for(view: View, log: int, village: str) -> messages.CosignatureLine | None:
    """Return the newest cosignature by `village` on a log."""
    row = view.one(
        "SELECT size, line FROM cosignature WHERE log = ? AND village = ?"
        " ORDER BY size DESC LIMIT 1",
        log,
        village,
    )
    return messages.CosignatureLine(*row) if row else None


def keep_cosignature(tx: Tx, cosigner: str, key: bytes, line: messages.CosignatureLine) -> bool:
    """Keep a neighbour's cosignature on one of our checkpoints; tell whether it was new.

    Raises Malformed, BadSignature, or BadProof if it is on a checkpoint that we never signed.
    """
    known = tx.one(
        "SELECT line FROM cosignature WHERE log = ? AND size = ? AND village = ?",
        OWN_LOG,
        line.size,
        cosigner,
    )
    if known == (line.line,):
        return False
    row = tx.one("SELECT root, note FROM checkpoint WHERE log = ? AND size = ?", OWN_LOG, line.size)
    if row is None:
        raise BadProof("the cosignature is on a checkpoint that was never made here")
    head = checkpoint.Checkpoint(tx.identity.village, line.size, row[0])
    signature = note.NoteSignature.from_text(line.line)
    checkpoint.verify_cosignature(head, signature, cosigner, key)
    return bool(
        tx.run(
            "INSERT INTO cosignature (log, size, village, line) VALUES (?, ?, ?, ?)"
            " ON CONFLICT DO NOTHING",
            OWN_LOG,
            line.size,
            cosigner,
            line.line,
        )
    )


# Statements about trades


def statements(view: View, subject: bytes, log: int) -> list[tuple[int, str]]:
    """Return (index, kind) of a log's statements about a subject, in log order."""
    return view.all(
        "SELECT idx, kind FROM statement WHERE subject = ? AND log = ? ORDER BY idx", subject, log
    )


def said_since(view: View, log: int, start: int) -> list[bytes]:
    """Return the subjects of which a log's records from `start` on say anything, in its order."""
    rows = view.all(
        "SELECT subject FROM (SELECT subject, idx FROM statement WHERE log = ?1 AND idx >= ?2"
        " UNION ALL SELECT subject, idx FROM delivery WHERE log = ?1 AND idx >= ?2) ORDER BY idx",
        log,
        start,
    )
    return [subject for (subject,) in rows]


def keep_statement(tx: Tx, log: int, index: int, subject: bytes, kind: str) -> None:
    tx.run(
        "INSERT INTO statement (subject, log, idx, kind) VALUES (?, ?, ?, ?)",
        subject,
        log,
        index,
        kind,
    )


def proven_size(view: View, log: int, owner: str, cosigners: Sequence[str], needed: int) -> int:
    """Return the greatest size of a log that `needed` seats, its owner counted, have signed."""
    others = [village for village in cosigners if village != owner]
    if needed <= 1:
        row = view.one("SELECT max(size) FROM checkpoint WHERE log = ?", log)
    else:
        marks = ",".join("?" * len(others))
        row = view.one(
            f"SELECT size FROM cosignature WHERE log = ? AND village IN ({marks})"  # noqa: S608
            " GROUP BY size HAVING count(*) >= ? ORDER BY size DESC LIMIT 1",
            log,
            *others,
            needed - 1,
        )
    return row[0] if row and row[0] is not None else 0


def evidence(
    view: View, log: int, owner: str, index: int, seats: Sequence[Seat], needed: int
) -> Evidence:
    """Return the proof that record `index` stands in a log, against a cosigned checkpoint.

    Requires index < proven_size.
    """
    size = proven_size(view, log, owner, [seat.village for seat in seats], needed)
    assert index < size, "evidence was asked for a record that is not proven"
    (text,) = view.one("SELECT note FROM checkpoint WHERE log = ? AND size = ?", log, size)
    marks = ",".join("?" * len(seats))
    lines = view.all(
        f"SELECT line FROM cosignature WHERE log = ? AND size = ? AND village IN ({marks})"  # noqa: S608
        " ORDER BY village",
        log,
        size,
        *(seat.village for seat in seats),
    )
    hashes = read_nodes(view, log, merkle.nodes_for_inclusion(index, size))
    return Evidence(
        owner,
        index,
        record_at(view, log, index),
        tuple(merkle.inclusion_proof(index, size, hashes)),
        checkpoint.with_signatures(text, [note.NoteSignature.from_text(line) for (line,) in lines]),
    )


# Catalogues


def asset_in(view: View, log: int, code: str) -> Asset | None:
    row = view.one("SELECT code, kind, decimals FROM asset WHERE log = ? AND code = ?", log, code)
    return Asset(*row) if row else None


def assets(view: View, log: int, limit: int = -1) -> list[Asset]:
    """Return a log's catalogue by code, all of it unless there is a limit."""
    sql = "SELECT code, kind, decimals FROM asset WHERE log = ? ORDER BY code LIMIT ?"
    rows = view.all(sql, log, limit)
    return [Asset(*row) for row in rows]


def append_asset(tx: Tx, asset: Asset) -> None:
    """Put an asset into the own catalogue and log."""
    tx.append(records.AssetRecord(tx.minute, asset.code, asset.kind, asset.decimals))
    tx.run(
        "INSERT INTO asset (log, code, kind, decimals) VALUES (?, ?, ?, ?)",
        OWN_LOG,
        asset.code,
        asset.kind,
        asset.decimals,
    )


# Pushing and taking in


class Taken(msgspec.Struct, frozen=True):
    """How many records of a log are stored now, and the trades that the new ones speak of."""

    size: int
    stated: tuple[bytes, ...] = ()


def push_for(
    view: View, start: int, unproven: int | None = None, bytes_max: int = limits.PUSH_BYTES_MAX
) -> messages.Push | None:
    """Return what a neighbour that holds `start` of our records lacks, as much as one message may
    carry, `bytes_max` of records; None if we have no checkpoint. `start` above our size is a
    neighbour that knows more than we do: then nothing is pushed.

    `unproven`: the first record that waits for the cosignatures of several neighbours. They prove
    it on one size only, so this one first gets what another has cosigned already.
    """
    last = last_checkpoint(view, OWN_LOG)
    if last is None or start > last[0]:
        return None
    size, _, text = last
    if unproven is not None and (cosigned := last_cosigned_size(view, start)) > unproven:
        size = cosigned
        (text,) = view.one("SELECT note FROM checkpoint WHERE log = ? AND size = ?", OWN_LOG, size)
    count = min(size - start, limits.PUSH_RECORDS_MAX)
    found = records_from(view, OWN_LOG, start, count, bytes_max) if count else []
    end = start + len(found)
    proof: list[bytes] = []
    if 0 < end < size:
        nodes = read_nodes(view, OWN_LOG, merkle.nodes_for_consistency(end, size))
        proof = merkle.consistency_proof(end, size, nodes)
    return messages.Push(start, tuple(found), tuple(proof), text)


def take_in(tx: Tx, log: int, village: str, key: bytes, push: messages.Push) -> Taken:
    """Keep a neighbour's pushed records once they are recomputed to the root that it signed, and
    cosign its checkpoint if all of it is held now.

    A gap, a part of what is held, or a smaller, older checkpoint changes nothing. Raises Malformed,
    BadSignature, BadProof, or ForkedLog (two roots of one size, or a log that is shown to begin
    otherwise).
    """
    if not push.records and is_cosigned(tx, log, push.checkpoint):
        return Taken(size_of(tx, log))
    signed = checkpoint.open_checkpoint(push.checkpoint, village, key)
    _check_one_root(tx, log, signed)
    head = head_of(tx, log)
    if push.start > head.size or signed.size < head.size:
        return Taken(head.size)
    fresh = push.records[head.size - push.start :]
    if head.size + len(fresh) > signed.size:
        raise Malformed("more records are pushed than the checkpoint has")
    leaves = [merkle.leaf_hash(record) for record in fresh]
    edge, nodes = merkle.extend(head.size, head.edge, leaves)
    grown = Head(head.size + len(fresh), tuple(edge))
    try:
        merkle.verify_consistency(grown.size, signed.size, push.proof, grown.root, signed.root)
    except BadProof:
        _check_beginning(tx, log, push, signed)
        if push.start + len(push.records) < head.size:
            return Taken(head.size)
        raise
    stated = _store_copy(tx, log, village, key, head.size, fresh, leaves, nodes)
    if grown.size == signed.size:
        cosign(tx, log, signed, checkpoint.without_others(push.checkpoint, village, key))
    return Taken(grown.size, stated)


def cosign(tx: Tx, log: int, signed: checkpoint.Checkpoint, text: str) -> None:
    """Sign what is stored whole; kept in the same transaction, before anyone is told.

    Raises SetBack."""
    set_back.check(tx)
    keep_checkpoint(tx, log, signed, text)
    signature = checkpoint.cosign(signed, tx.identity.village, tx.identity.key, tx.stamp_ms // 1000)
    tx.run(
        "INSERT INTO cosignature (log, size, village, line) VALUES (?, ?, ?, ?)"
        " ON CONFLICT DO NOTHING",
        log,
        signed.size,
        tx.identity.village,
        signature.to_text(),
    )


def forked(village: str, size: int) -> ForkedLog:
    return ForkedLog(f"{village}{_FORKED} of {size} records")


def is_fork_of(village: str, trouble: str) -> bool:
    """Tell whether this is the trouble of a log that `forked`."""
    return trouble.startswith(f"{village}{_FORKED}")


def _check_one_root(view: View, log: int, signed: checkpoint.Checkpoint) -> None:
    row = view.one("SELECT root FROM checkpoint WHERE log = ? AND size = ?", log, signed.size)
    if row is not None and row[0] != signed.root:
        raise forked(signed.origin, signed.size)


def _check_beginning(
    view: View, log: int, push: messages.Push, signed: checkpoint.Checkpoint
) -> None:
    """Raise ForkedLog if a push shows that the log of a signed checkpoint begins otherwise than the
    newest checkpoint held: by records that differ, or by its proof alone."""
    last = last_checkpoint(view, log)
    if last is None or push.start > last[0]:
        return
    size, end = last[0], push.start + len(push.records)
    try:
        merkle.verify_consistency(
            end, signed.size, push.proof, _shown_root(view, log, push, end), signed.root
        )
        shared = min(size, end)
        shown = _shown_root(view, log, push, shared)
    except BadProof:
        if end > size:
            return
        try:
            shared, shown = end, merkle.prefix_root(end, signed.size, push.proof, signed.root)
        except BadProof:
            return
    if shown != root_of(view, log, shared):
        raise forked(signed.origin, size)


def _shown_root(view: View, log: int, push: messages.Push, size: int) -> bytes:
    """Return the root of so many records: those pushed, after those stored before them."""
    nodes = merkle.edge_nodes(push.start)
    hashes = read_nodes(view, log, nodes)
    leaves = [merkle.leaf_hash(record) for record in push.records[: size - push.start]]
    edge, _ = merkle.extend(push.start, [hashes[node] for node in nodes], leaves)
    return merkle.root_from_edge(edge)


def _store_copy(
    tx: Tx,
    log: int,
    village: str,
    key: bytes,
    start: int,
    fresh: Sequence[bytes],
    leaves: Sequence[bytes],
    nodes: Sequence[tuple[int, int, bytes]],
) -> tuple[bytes, ...]:
    if start == 0 and fresh:
        first = records.decode(fresh[0])
        if not isinstance(first, records.VillageRecord) or (first.village_id, first.key) != (
            village,
            key,
        ):
            raise Malformed(f"the log does not begin with the village record of {village}")
    at = position(log, 0, start)
    rows = [(at + i, leaf, fresh[i]) for i, leaf in enumerate(leaves)]
    tx.conn.executemany("INSERT INTO entry (position, leaf, record) VALUES (?, ?, ?)", rows)
    insert_nodes(tx, log, nodes)
    stated = []
    for index, record in enumerate(fresh, start):
        said = replay.said_in(record)
        if isinstance(said, Statement):
            keep_statement(tx, log, index, *said)
            stated.append(said.subject)
        elif isinstance(said, Delivery):
            deliveries.keep_copied(tx, log, index, said)
        elif said is not None:
            keep_copied_asset(tx, log, said)
    return tuple(stated)


def keep_copied_asset(tx: Tx, log: int, asset: Asset) -> None:
    """Keep a catalogue entry that is in a log; the first of one code counts."""
    tx.run(
        "INSERT INTO asset (log, code, kind, decimals) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
        log,
        asset.code,
        asset.kind,
        asset.decimals,
    )
