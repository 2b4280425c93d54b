"""A neighbour driven by hand, against one village that runs the product's own code.

All that the liar says is well made, until a test makes it wrong: its log, proofs, signatures and
messages. It keeps no rule of its own.
"""

import asyncio
from collections.abc import Sequence
from hashlib import sha256
from typing import Any, Final

import msgspec

from edge import desk, peering, trade_escrow
from edge.core import (
    charter,
    checkpoint,
    council,
    crypto,
    limits,
    merkle,
    messages,
    records,
    registry,
    trade,
)
from edge.core.council import Certificate, Seat, Vote
from edge.core.merkle import Node
from edge.core.messages import CosignatureLine, Exchange, Names, Push, SubjectMessage
from edge.core.registry import Location, RegistryEntry
from edge.core.trade import Proposal, Quantity, Terms
from edge.storage import facts, logs, members, neighbours, trades
from edge.storage.members import Member
from edge.storage.trades import Trade
from edge.storage.tx import OWN_LOG
from tests.simulation.world import Village, World

HONEST: Final = "ose-missouri-001"
LIAR: Final = "ose-california-001"
PANEL: Final = Quantity("SOLAR-PANEL", "resource", 0, 1)
HUNDRED: Final = Quantity("AT", "token", 2, 100_00)


class Liar:
    """The village next door. `log` are its records; `heard` is the honest village's log, as far as
    its answers brought it, with its last checkpoint."""

    name = LIAR

    def __init__(self, honest: Village) -> None:
        self.honest = honest
        self.key = crypto.SecretKey(sha256(b"liar").digest())
        self.minute = honest.clock_ms() // limits.MINUTE_MS
        self.log: list[bytes] = []
        self.heard: list[bytes] = []
        self.heard_checkpoint: checkpoint.Checkpoint | None = None
        self.append(records.VillageRecord(self.minute, self.name, self.key.public))
        self.append(records.AssetRecord(self.minute, "AT", "token", 2))
        self.append(records.AssetRecord(self.minute, "SOLAR-PANEL", "resource", 0))
        self.network = self._join()

    # What it says

    def say(self, *subjects: SubjectMessage, sign_as: str = "", **changes: Any) -> Exchange:
        """Send one message, with anything in it replaced, and return the answer. Raises what the
        honest village refuses it with."""
        message = msgspec.structs.replace(self.message(*subjects), **changes)
        return self.send(messages.encode(message), sign_as or message.sender)

    def send(self, body: bytes, village: str = LIAR) -> Exchange:
        return self.listen(asyncio.run(self.honest.client.answer(village, body)))

    def message(self, *subjects: SubjectMessage) -> Exchange:
        return Exchange(
            protocol=limits.PROTOCOL_VERSION,
            sender=self.name,
            network=self.network,
            have=len(self.heard),
            entry_stamp_ms=self.honest.look(facts.own_entry).stamp_ms,
            push=self.push(),
            cosignature=self.cosignature(),
            subjects=subjects,
        )

    def listen(self, body: bytes) -> Exchange:
        """Take in what the honest village says, whatever it is."""
        answer = messages.decode_exchange(body)
        if answer.push is not None:
            self.heard[answer.push.start :] = answer.push.records
            origin, key = self.honest.name, self.honest.key.public
            found = checkpoint.open_checkpoint(answer.push.checkpoint, origin, key)
            if found.size == len(self.heard):
                self.heard_checkpoint = found
        return answer

    # Its log

    def append(self, record: records.Record) -> int:
        self.log.append(records.encode(record))
        return len(self.log) - 1

    def push(self, start: int = 0, end: int | None = None, size: int | None = None) -> Push:
        """Push records start...end, of the log as it was at `size`."""
        size = len(self.log) if size is None else size
        end = size if end is None else end
        wanted = merkle.nodes_for_consistency(end, size) if 0 < end < size else []
        found = tree(self.log)
        proof = merkle.consistency_proof(end, size, found) if wanted else []
        return Push(start, tuple(self.log[start:end]), tuple(proof), self.signed(size))

    def signed(self, size: int, log: Sequence[bytes] | None = None) -> str:
        """Return the note of its checkpoint, or one of another log."""
        head = checkpoint.Checkpoint(self.name, size, root((log or self.log)[:size]))
        return checkpoint.sign_checkpoint(head, self.key)

    def cosignature(self) -> CosignatureLine | None:
        head = self.heard_checkpoint
        if head is None:
            return None
        line = checkpoint.cosign(head, self.name, self.key, 1_760_000_000)
        return CosignatureLine(head.size, line.to_text())

    # Trades

    def terms(self, **changes: Any) -> Terms:
        """Return the terms of a proposal of its own: a solar panel for 100 AT."""
        made = Terms(
            context=trade.TERMS_CONTEXT,
            network=self.network,
            charter=self.network,
            from_village=self.name,
            to_village=self.honest.name,
            trade_id="a-trade",
            seats=(Seat(self.name, self.key.public), Seat(HONEST, self.honest.key.public)),
            offer=PANEL,
            request=HUNDRED,
            from_fee=0,
            to_fee=0,
            deadline_minute=self.minute + 60,
            window_s=600,
            nonce=bytes(16),
            refund_of=None,
        )
        return msgspec.structs.replace(made, **changes)

    def proposal(
        self, terms: Terms | None = None, to_user: str = "Alice", **changes: Any
    ) -> SubjectMessage:
        """Return its signed proposal, with anything in it replaced."""
        text = trade.encode_terms(terms or self.terms())
        made = SubjectMessage(msgspec.Raw(text), self.key.sign(text), Names("Bob", to_user))
        return msgspec.structs.replace(made, **changes)

    def about(self, known: Trade, **changes: Any) -> SubjectMessage:
        """Return what there is to say of a trade that the honest village has."""
        made = SubjectMessage(msgspec.Raw(known.terms_bytes), known.from_signature)
        return msgspec.structs.replace(made, **changes)

    def hold(self, known: Trade, **changes: Any) -> int:
        """Append its hold of a trade."""
        made = records.HoldRecord(
            self.minute,
            msgspec.Raw(known.terms_bytes),
            known.from_signature,
            self._acceptance(known),
            bytes(32),
        )
        return self.append(msgspec.structs.replace(made, **changes))

    def no_hold(self, known: Trade) -> int:
        return self.append(
            records.NoHoldRecord(
                self.minute,
                msgspec.Raw(known.terms_bytes),
                known.from_signature,
                self._acceptance(known),
            )
        )

    def _acceptance(self, known: Trade) -> bytes:
        """Return the acceptor's signature: its own, or what the honest village has given."""
        given = self.honest.look(lambda view: trades.by_subject(view, known.subject)).to_signature
        return given or self.key.sign(known.terms_bytes)

    def vote(self, known: Trade, value: council.Value, **changes: Any) -> Vote:
        made = council.precommit(self.key, self.name, self.network, known.subject, value)
        return msgspec.structs.replace(made, **changes)

    def certificate(self, known: Trade, value: council.Value = "COMMIT") -> Certificate:
        """Return what it can make alone: its own vote, and one in the other's name."""
        own = self.vote(known, value).signature
        votes = {self.name: own, self.honest.name: own}
        seats = tuple((seat.village, votes[seat.village]) for seat in known.terms.seats)
        return Certificate(value, 0, seats)

    def _join(self) -> bytes:
        """Take up an invitation; return the network's id, which is its charter's digest."""
        invitation = self.honest.now(peering.invite)
        seats = (Seat(self.name, self.key.public), Seat(invitation.village_id, invitation.key))
        text = charter.genesis(seats, bytes(16))
        joining = messages.Joining(invitation.secret, msgspec.Raw(text), self.key.sign(text))
        register = messages.Register(limits.PROTOCOL_VERSION, self.entry(), joining)
        self.honest.now(lambda tx: peering.answer(tx, register, self.honest.profile))
        return charter.digest(text)

    def entry(self, **changes: Any) -> RegistryEntry:
        made = RegistryEntry(
            village_id=self.name,
            name="The village next door",
            location=Location(36.74, -119.79),
            public_key=self.key.public,
            federation_enabled=True,
            trusted_villages=(self.honest.name,),
            protocol=limits.PROTOCOL_VERSION,
            endpoints=("liar:7440",),
            spki_sha256=bytes(32),
            stamp_ms=1_760_000_000_000,
            signature=b"",
            last_sync=0,
        )
        return registry.sign(msgspec.structs.replace(made, **changes), self.key)


def honest_village() -> Village:
    """Alice has 500 AT and two solar panels, Carol 50 AT."""
    village = World(1).village(HONEST)
    for name, tokens in (("Alice", "500"), ("Carol", "50")):
        village.now(lambda tx, name=name: desk.add_member(tx, name, ""))  # type: ignore[misc]
        village.now(lambda tx, name=name, tokens=tokens: desk.issue(tx, name, tokens))  # type: ignore[misc]
    village.now(lambda tx: desk.declare(tx, "Alice", "Solar Panel", "2"))
    return village


def alice(village: Village, name: str = "Alice") -> Member:
    return village.look(lambda view: members.named(view, name))


def propose(village: Village, to_user: str = "Bob", name: str = "Alice", **changes: Any) -> Trade:
    """Alice offers 100 AT for one solar panel of the liar's village."""
    proposal = Proposal(LIAR, to_user, ("AT", "100"), ("Solar Panel", "1"))
    asked = msgspec.structs.replace(proposal, **changes)
    return village.now(lambda tx: trade_escrow.propose(tx, alice(village, name), asked, 1_00))


def accept(village: Village, known: Trade, name: str = "Alice") -> Trade:
    return village.now(lambda tx: trade_escrow.accept(tx, alice(village, name), known))


def look_at(village: Village, known: Trade) -> Trade:
    return village.look(lambda view: trades.by_subject(view, known.subject))


def the_trade(village: Village) -> Trade:
    [known] = village.look(trades.everyone)
    return known


def trouble(village: Village) -> str:
    return village.look(lambda view: neighbours.named(view, LIAR).trouble)


def copied(village: Village) -> int:
    """Return how much of the liar's log the honest village has stored."""
    return village.look(lambda view: logs.size_of(view, neighbours.log_of(view, LIAR)))


def own_kinds(village: Village, known: Trade) -> list[str]:
    """Return what the honest village's log says of a trade."""
    said = village.look(lambda view: logs.statements(view, known.subject, OWN_LOG))
    return [kind for _, kind in said]


def digest(village: Village) -> str:
    """Return a hash of all tables."""
    return sha256("\n".join(village.conn.iterdump()).encode()).hexdigest()


def tree(log: Sequence[bytes]) -> dict[Node, bytes]:
    leaves = [merkle.leaf_hash(record) for record in log]
    _, nodes = merkle.extend(0, [], leaves)
    found = {Node(0, index): leaf for index, leaf in enumerate(leaves)}
    return found | {Node(level, index): hash_ for level, index, hash_ in nodes}


def root(log: Sequence[bytes]) -> bytes:
    edge, _ = merkle.extend(0, [], [merkle.leaf_hash(record) for record in log])
    return merkle.root_from_edge(edge)
