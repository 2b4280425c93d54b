"""What a neighbour gives to dial, and what goes wrong while this box talks with it: the other
neighbours hear of nothing."""

import asyncio
import logging
from typing import Final

import msgspec
import pytest

from edge import trade_escrow
from edge.core import registry
from edge.core.crypto import SecretKey
from edge.errors import AuditDifference, Malformed, Unreachable
from edge.federation_client import FederationClient
from edge.storage import audit, neighbours
from edge.transport.client import Endpoint, PeerClient, Timeouts
from tests.integration.boxes import until
from tests.integration.liar import LIAR, Liar, digest, honest_village
from tests.simulation.world import SimulatedTransport, Village

UNDIALLABLE: Final = ("[zzz]:1", "[::::]:1", "a..b:1", "a" * 64 + ":1")
THIRD: Final = "ose-nowhere-001"


@pytest.mark.parametrize("address", [*UNDIALLABLE, "[v1.a]:1", "-.b:1", "host:65536"])
def test_an_entry_with_an_address_that_is_none(address: str) -> None:
    honest = honest_village()
    liar = Liar(honest)
    entry = liar.entry(endpoints=("liar:7440", address), stamp_ms=1_760_000_000_001)
    before = digest(honest)
    with pytest.raises(Malformed, match="malformed endpoint"):
        liar.say(entry=entry)
    assert digest(honest) == before
    with pytest.raises(Malformed, match="malformed endpoint"):
        registry.decode_list(registry.encode_list([entry]))


async def test_dialling_what_cannot_be_dialled() -> None:
    """Whatever is kept from before: nobody answers there, and the next address is tried."""
    key = SecretKey(bytes(range(32)))
    there = Endpoint((*UNDIALLABLE, "127.0.0.1:1"), bytes(32))
    client = PeerClient(LIAR, key, lambda _: there, lambda: 0, bytes, Timeouts(2, 2, 10))
    try:
        with pytest.raises(Unreachable) as caught:
            await client.exchange(THIRD, "/federation/sync", b"{}")
    finally:
        await client.close()
    assert [address for address in there.addresses if address not in caught.value.detail] == []


def test_an_entry_that_is_kept_from_before_does_not_fail_the_audit() -> None:
    """What was taken as an address once is the neighbour's fault, and not one of this ledger."""
    honest = honest_village()
    liar = Liar(honest)
    entry = liar.entry(endpoints=("a..b:1",), stamp_ms=1_760_000_000_001)
    known = honest.look(lambda view: neighbours.named(view, LIAR))
    honest.now(lambda tx: neighbours.keep_entry(tx, known, entry))
    honest.look(audit.audit)
    forged = msgspec.structs.replace(entry, endpoints=("b:1",), stamp_ms=entry.stamp_ms + 1)
    honest.now(lambda tx: neighbours.keep_entry(tx, known, forged))
    with pytest.raises(AuditDifference, match="its registry entry"):
        honest.look(audit.audit)


class Faulty:
    """A neighbour with which something goes wrong that nobody has thought of."""

    def __init__(self) -> None:
        self.tried = 0

    async def answer(self, village: str, body: bytes) -> bytes:
        self.tried += 1
        raise ValueError("nobody has thought of this")


async def test_a_fault_with_one_neighbour(caplog: pytest.LogCaptureFixture) -> None:
    """It is logged and tried again; the others are talked with meanwhile."""
    honest = honest_village()
    Liar(honest)
    third = honest.world.village(THIRD)
    honest.world.befriend(honest, third)
    faulty = honest.world.strangers[LIAR] = Faulty()
    transport = SimulatedTransport(honest)
    client = FederationClient(honest.runner, transport, trade_escrow, honest.rng.randbytes, 0.01)
    with caplog.at_level(logging.INFO):
        running = asyncio.create_task(client.run())
        heard = exchanges(honest)
        try:
            await until(lambda: _of(faulty.tried >= 3 or running.done()), "it was tried again")
            before = exchanges(honest)
            await until(lambda: _of(exchanges(honest) > before or running.done()), "others hear")
            assert not running.done()
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
    assert exchanges(honest) > heard
    assert f"no sync with {LIAR}: a fault of this box" in caplog.text
    assert "nobody has thought of this" in caplog.text


def exchanges(honest: Village) -> int:
    """Return when the third village was last talked with."""
    honest.world.now_ms += 1
    return honest.look(lambda view: neighbours.named(view, THIRD).last_contact_ms)


async def _of(value: bool) -> bool:
    return value


def test_an_entry_that_is_good_is_taken() -> None:
    """What is refused above is refused for its address."""
    honest = honest_village()
    liar = Liar(honest)
    addresses = ("liar:7440", "[::1]:1", "10.0.0.7:7440", "a-b.example:65535")
    liar.say(entry=liar.entry(endpoints=addresses, stamp_ms=1_760_000_000_001))
    known = honest.look(lambda view: neighbours.named(view, LIAR))
    assert known.addresses == addresses
