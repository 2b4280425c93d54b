"""A neighbour driven by hand against a real box: over TLS, with signed requests, by invitation."""

import os
import time
from collections.abc import Sequence
from hashlib import sha256

import msgspec

from edge import control
from edge.core import (
    charter,
    checkpoint,
    crypto,
    invitation,
    limits,
    merkle,
    messages,
    records,
    registry,
    trade,
)
from edge.core.council import Seat
from edge.core.messages import Exchange, Names, Push, SubjectMessage
from edge.core.registry import Location, RegistryEntry
from edge.core.trade import Terms
from edge.errors import BoxError
from edge.federation_client import SYNC_PATH
from edge.transport.client import Endpoint, PeerClient
from tests.integration.boxes import RealBox
from tests.integration.liar import HUNDRED, LIAR, PANEL


class RealLiar:
    """The village next door of one box. Close it at the end."""

    def __init__(self, box: RealBox) -> None:
        self.box = box
        self.key = crypto.SecretKey(sha256(b"liar").digest())
        self.minute = now_s() // 60
        self.network = bytes(32)
        self.log: list[bytes] = []
        for record in (
            records.VillageRecord(self.minute, LIAR, self.key.public),
            records.AssetRecord(self.minute, "AT", "token", 2),
            records.AssetRecord(self.minute, "SOLAR-PANEL", "resource", 0),
        ):
            self.append(record)
        self._there = Endpoint((), bytes(32))
        self._client = PeerClient(LIAR, self.key, lambda _: self._there, now_s, os.urandom)

    async def close(self) -> None:
        await self._client.close()

    async def join(self, addresses: Sequence[str] = ("127.0.0.1:9",)) -> None:
        """Take up an invitation of the box. Raises what it answers."""
        made = await self.box.ask(control.PeerInvite())
        invited = invitation.from_text(made["invitation"])
        self._there = Endpoint(invited.addresses, invited.spki_sha256)
        self.seat = Seat(invited.village_id, invited.key)
        text = charter.genesis((Seat(LIAR, self.key.public), self.seat), bytes(16))
        joining = messages.Joining(invited.secret, msgspec.Raw(text), self.key.sign(text))
        asked = messages.Register(limits.PROTOCOL_VERSION, self.entry(addresses), joining)
        body = messages.encode(asked)
        path = "/federation/register"
        await self._client.post_to(self.box.village, self._there, path, body, signed=False)
        self.network = charter.digest(text)

    async def say(self, *subjects: SubjectMessage) -> Exchange:
        """Send its whole log and some words on trades. Raises what the box answers."""
        message = Exchange(
            protocol=limits.PROTOCOL_VERSION,
            sender=LIAR,
            network=self.network,
            have=0,
            entry_stamp_ms=0,
            push=Push(0, tuple(self.log), (), self._signed()),
            subjects=subjects,
        )
        body = messages.encode(message)
        return messages.decode_exchange(
            await self._client.exchange(self.box.village, SYNC_PATH, body)
        )

    async def refused(self, *subjects: SubjectMessage) -> str:
        """Send the same and return as which problem it is refused."""
        try:
            await self.say(*subjects)
        except BoxError as error:
            return error.slug
        return ""

    def append(self, record: records.Record) -> None:
        self.log.append(records.encode(record))

    def proposal(self, **changes: object) -> SubjectMessage:
        """Return its signed proposal to Alice: a solar panel for 100 AT."""
        made = Terms(
            context=trade.TERMS_CONTEXT,
            network=self.network,
            charter=self.network,
            from_village=LIAR,
            to_village=self.box.village,
            trade_id="a-trade",
            seats=(Seat(LIAR, self.key.public), self.seat),
            offer=PANEL,
            request=HUNDRED,
            from_fee=0,
            to_fee=0,
            deadline_minute=self.minute + 60,
            window_s=600,
            nonce=bytes(16),
            refund_of=None,
        )
        text = trade.encode_terms(msgspec.structs.replace(made, **changes))
        return SubjectMessage(msgspec.Raw(text), self.key.sign(text), Names("Bob", "Alice"))

    def entry(self, addresses: Sequence[str]) -> RegistryEntry:
        made = RegistryEntry(
            village_id=LIAR,
            name="The village next door",
            location=Location(36.74, -119.79),
            public_key=self.key.public,
            federation_enabled=True,
            trusted_villages=(),
            protocol=limits.PROTOCOL_VERSION,
            endpoints=tuple(addresses),
            spki_sha256=bytes(32),
            stamp_ms=now_s() * 1000,
            signature=b"",
            last_sync=0,
        )
        return registry.sign(made, self.key)

    def _signed(self) -> str:
        edge, _ = merkle.extend(0, [], [merkle.leaf_hash(record) for record in self.log])
        head = checkpoint.Checkpoint(LIAR, len(self.log), merkle.root_from_edge(edge))
        return checkpoint.sign_checkpoint(head, self.key)


def now_s() -> int:
    return int(time.time())
