"""What a box remembers of having said, until it is known to have arrived."""

from typing import Any

from edge.core.messages import Exchange
from edge.core.registry import Location, RegistryEntry
from edge.exchange import Said
from edge.federation_client import FederationClient, Why, _Peer
from edge.storage.neighbours import Neighbour
from edge.storage.telling import SaidOf
from edge.storage.tx import Urgent
from edge.told import Told

ONE, OTHER = bytes(32), bytes([1]) * 32
ENTRY = RegistryEntry(
    "v", "V", Location(0, 0), bytes(32), True, (), 1, (), bytes(32), 1, bytes(64), 0
)
NEIGHBOUR = Neighbour("v", 1, *(bytes(32),) * 3, ENTRY, (), 0, 0, 0, "", 0, 0)


def test_our_own_words_are_a_part_of_all() -> None:
    told = Told()
    told.keep([], [SaidOf(ONE, 5, False), SaidOf(OTHER, 7, True)])
    assert told.until_ms(ONE, whole=False) == 5 and told.until_ms(ONE, whole=True) == -1
    assert told.until_ms(OTHER, whole=False) == told.until_ms(OTHER, whole=True) == 7
    assert told.has(Urgent("v", ONE, 5)) and not told.has(Urgent("v", ONE, 6))


def test_what_is_on_disk_as_told_is_forgotten() -> None:
    told = Told()
    told.keep([(ONE, 5)], [SaidOf(ONE, 5, False), SaidOf(ONE, 5, True)])
    told.drop([(ONE, 4)], [SaidOf(ONE, 4, True)])
    assert len(told) == 2 and told.rows  # later words than those
    told.drop([(ONE, 5)], [SaidOf(ONE, 5, True)])
    assert len(told) == 0 and not told.rows


def test_an_answer_that_was_not_heard_is_said_again() -> None:
    for heard, is_stored in ((3, True), (2, False), (0, False)):
        peer = _Peer()
        peer.told.keep([], [SaidOf(ONE, 5, True)])
        said = Exchange(1, "v", bytes(32), 0, 0, number=3)
        peer.answered = Said(NEIGHBOUR, said, ())
        assert (peer.stored(heard) is not None) == is_stored == bool(len(peer.told))
        assert peer.stored(heard) is None  # once


async def test_what_was_heard_meanwhile_keeps_nobody_busy() -> None:
    """It was urgent when it was written, and has been acknowledged since."""
    nobody: Any = None
    client = FederationClient(nobody, nobody, nobody, bytes)
    client._peers["v"] = peer = _Peer()
    peer.urgent.add(Urgent("v", ONE, 5))
    composed = []

    async def compose(*_: object, **__: object) -> Said:
        composed.append(peer.urgent)
        return Said(NEIGHBOUR, Exchange(1, "v", bytes(32), 0, 0), (), is_empty=True)

    client._compose = compose  # type: ignore[method-assign]
    await client._exchange_once("v", Why.URGENT)
    assert composed == [set()] and not peer._wake.is_set()
