"""What a box remembers of having said, until it is known to have arrived."""

from edge.core.messages import Exchange
from edge.core.registry import Location, RegistryEntry
from edge.exchange import Said
from edge.federation_client import _Peer
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
