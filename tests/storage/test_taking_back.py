"""A village that was set back to any moment of its life takes back what it has said since."""

import asyncio
import random
import sqlite3
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, Final, TypeVar

import pytest

from edge import desk, peering, taking_back, trade_delivery, trade_escrow
from edge.catching_up import CatchingUp
from edge.core import tiles as tile_paths
from edge.core.tiles import ENTRIES, Tile
from edge.errors import NotFound, SetBack, Unreachable
from edge.exchange import compose
from edge.storage import logs, members, neighbours, set_back, tiles, trades
from edge.storage.audit import audit
from edge.storage.tx import OWN_LOG, Tx, View
from edge.transport.client import Endpoint
from tests.storage import villages
from tests.storage.villages import Village, accept, cancel, propose, sync

T = TypeVar("T")
A: Final = "ose-missouri-001"
Spoil = Callable[[str, bytes], bytes]


class Inline:
    """Runs transactions where they are asked for."""

    def __init__(self, village: Village) -> None:
        self._village = village

    async def write(self, fn: Callable[[Tx], T]) -> T:
        return self._village.write(fn)

    async def read(self, fn: Callable[[View], T]) -> T:
        return fn(self._village.view)


class Served:
    """What neighbours serve to anybody, spoiled by those that lie."""

    def __init__(self, *served: Village) -> None:
        self.villages = {each.name: each for each in served}
        self.spoil: dict[str, Spoil] = {}
        self.asked: list[str] = []

    async def exchange(self, village: str, path: str, body: bytes) -> bytes:
        raise AssertionError("nothing is said while it is set back")

    async def read(self, village: str, endpoint: Endpoint, path: str, bytes_max: int) -> bytes:
        if village not in self.villages:
            raise Unreachable(f"{village} does not answer")
        assert endpoint.addresses == (f"{village}:7440",)
        self.asked.append(path)
        origin, _, rest = path[1:].partition("/")
        body = _read(self.villages[village].view, origin, rest)
        assert len(body) <= bytes_max
        spoil = self.spoil.get(village)
        return spoil(rest, body) if spoil is not None else body


def _read(view: View, origin: str, path: str) -> bytes:
    log = tiles.log_of(view, origin)
    if path == "checkpoint":
        return tiles.published(view, log).signed.encode()
    tile = Tile.from_path(path)
    assert tile.level == ENTRIES
    return tile_paths.encode_entries(tiles.read_entries(view, log, tile, 0, 1 << 40))


@contextmanager
def moments(village: Village) -> Iterator[list[bytes]]:
    """Collect the village's whole database after each of its writes."""
    found: list[bytes] = []
    write_all = village.write_all

    def noted(fns: list[Callable[[Tx], Any]]) -> list[Any]:
        outcomes = write_all(fns)
        found.append(village.conn.serialize())
        return outcomes

    village.write_all = noted  # type: ignore[method-assign]
    try:
        yield found
    finally:
        del village.write_all


def restored(lost: Village, saved: bytes) -> Village:
    """Return a village's box as `restore` makes it from an old database."""
    made = Village.__new__(Village)
    made.name, made.identity, made.profile = lost.name, lost.identity, lost.profile
    made.rng, made.now_ms = random.Random("another life"), lost.now_ms
    made.conn = sqlite3.connect(":memory:", isolation_level=None)
    made.conn.deserialize(saved)
    made.conn.execute("PRAGMA foreign_keys = ON")
    made.start()
    made.write(set_back.mark_restored)
    made.write(lambda tx: peering.refresh_entry(tx, made.profile))
    return made


def catch_up(village: Village, served: Served, passes: int = 1) -> None:
    """Do what a box does until it may speak, or has asked so many times."""
    asking = CatchingUp(Inline(village), served, village.identity, 0.01)

    async def go() -> None:
        await asking.at_start()
        for _ in range(passes):
            if (stood := set_back.standing(village.view)) is not None:
                await asking._try(stood)

    asyncio.run(go())


def trouble(village: Village) -> str:
    stood = set_back.standing(village.view)
    return "" if stood is None else stood.trouble


def head(village: Village) -> tuple[int, bytes]:
    size, root, _ = logs.last_checkpoint(village.view, OWN_LOG) or (0, b"", "")
    return size, root


def live(a: Village, b: Village) -> None:
    """Have two neighbours do most of what villages do."""
    a.write(lambda tx: desk.pay(tx, "Alice", "Carol", "12.34", note="for the cheese"))
    first = propose(a, b, fee=100).subject
    sync(a, b)
    accept(b, first)
    sync(a, b)
    aborted = propose(a, b).subject
    sync(a, b)
    accept(b, aborted)
    cancel(a, aborted)
    sync(a, b)
    goods = propose(a, b, ("Flour", "0.5"), ("Solar Panel", "1")).subject
    sync(a, b)
    accept(b, goods)
    sync(a, b)
    for village, name in ((a, "Alice"), (b, "Bob")):
        village.write(lambda tx: after(tx, trade_delivery.deliver, name, goods))  # noqa: B023
    sync(a, b)
    a.write(lambda tx: after(tx, trade_delivery.dispute, "Alice", first, "It is cracked."))
    sync(a, b)
    a.write(lambda tx: desk.issue(tx, "Carol", "5"))
    propose(a, b)
    sync(a, b)


def after(tx: Tx, do: Callable[..., object], name: str, subject: bytes, *more: str) -> object:
    return do(tx, members.named(tx, name), trades.by_subject(tx, subject), *more)


@pytest.fixture(scope="module")
def life() -> tuple[Village, Village, list[bytes]]:
    a, b = villages.neighbours_with_goods()
    a.write(lambda tx: desk.declare(tx, "Alice", "Flour", "2.500", decimals=3))
    b.write(lambda tx: desk.approve(tx, "Flour", 3))
    with moments(a) as saved:
        live(a, b)
    return a, b, saved


def copied(village: Village) -> Village:
    """Return a village as it is, to be changed."""
    made = Village.__new__(Village)
    made.__dict__.update(village.__dict__)
    made.conn = sqlite3.connect(":memory:", isolation_level=None)
    made.conn.deserialize(village.conn.serialize())
    made.rng = random.Random("a copy")
    made.start()
    return made


def test_the_life_is_a_full_one(life: tuple[Village, Village, list[bytes]]) -> None:
    a, b, saved = life
    kinds = {kind for (kind,) in a.view.all("SELECT kind FROM statement WHERE log = 0")}
    assert kinds >= {"hold", "no-hold", "settle"}
    assert {kind for (kind,) in a.view.all("SELECT kind FROM delivery")} == {
        "delivered",
        "disputed",
    }
    assert len(saved) > 30
    audit(a.view)
    audit(b.view)


@pytest.mark.parametrize("part", range(4))
def test_from_every_moment(life: tuple[Village, Village, list[bytes]], part: int) -> None:
    """Whatever the backup's age: the log comes back to the last byte, the books agree with it, and
    both villages go on."""
    lost, b, saved = life
    for at, backup in list(enumerate(saved))[part::4]:
        a, other = restored(lost, backup), copied(b)
        catch_up(a, Served(other))
        assert (head(a), trouble(a)) == (head(lost), ""), at
        report = audit(a.view)
        assert (report.lost > 0) == (report.sealed < audit(lost.view).sealed), at
        statuses = (  # of what bound this village; other ends are told by the other
            "SELECT subject, status FROM trade WHERE status IN"
            " ('SETTLED', 'DELIVERED', 'DISPUTED', 'ABORTED') ORDER BY 1"
        )
        assert a.view.all(statuses) == lost.view.all(statuses), at
        sync(a, other)
        again = propose(a, other).subject
        sync(a, other)
        accept(other, again)
        sync(a, other)
        assert trades.by_subject(a.view, again).status == "SETTLED", at
        for village in (a, other):
            audit(village.view)
            assert [each.trouble for each in neighbours.everyone(village.view)] == [""], at


def test_nothing_is_entered_or_said_meanwhile(
    life: tuple[Village, Village, list[bytes]],
) -> None:
    lost, b, saved = life
    a = restored(lost, saved[3])
    before = head(a)
    with pytest.raises(SetBack):
        a.write(lambda tx: desk.issue(tx, "Carol", "5"))
    with pytest.raises(SetBack):
        compose(a.view, trade_escrow, b.name)
    with pytest.raises(SetBack):
        villages.say(copied(b), a)
    catch_up(a, Served())  # nobody answers
    assert (head(a), set_back.standing(a.view) is None) == (before, False)
    assert "does not answer" in trouble(a)
    a.write(taking_back.go_on)
    a.write(lambda tx: desk.issue(tx, "Carol", "5"))


def _cut(path: str, body: bytes) -> bytes:
    return body[:-1] if path != "checkpoint" else body


def _altered(path: str, body: bytes) -> bytes:
    return body.replace(b'"minute":2', b'"minute":3') if path != "checkpoint" else body


def _other_note(path: str, body: bytes) -> bytes:
    return body.replace(b"\n1", b"\n2", 1) if path == "checkpoint" else body


def _nonsense(path: str, body: bytes) -> bytes:
    return b"\xff\x00nonsense"


@pytest.mark.parametrize("spoil", [_cut, _altered, _other_note, _nonsense])
def test_a_neighbour_that_gives_back_what_was_not_said(
    life: tuple[Village, Village, list[bytes]], spoil: Spoil
) -> None:
    """It is named, it has not been asked, and nothing of it is kept; another may give it back."""
    lost, b, saved = life
    a = restored(lost, saved[5])
    before, served = head(a), Served(copied(b))
    served.spoil[b.name] = spoil
    catch_up(a, served)
    assert head(a) == before
    assert b.name in trouble(a)
    assert a.view.one("SELECT count(*) FROM returned") == (0,)
    served.spoil.clear()
    catch_up(a, served)
    assert (head(a), trouble(a)) == (head(lost), "")


def test_a_neighbour_that_has_nothing_of_ours(
    life: tuple[Village, Village, list[bytes]],
) -> None:
    lost, b, saved = life
    a = restored(lost, saved[-1])

    class Empty(Served):
        async def read(self, village: str, endpoint: Endpoint, path: str, _: int) -> bytes:
            raise NotFound("nothing of it is published")

    catch_up(a, Empty(b))
    assert set_back.standing(a.view) is None


def test_a_cut_in_the_middle(
    life: tuple[Village, Village, list[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was fetched is not fetched again, and what was taken in is a part of the same log."""
    lost, b, saved = life
    monkeypatch.setattr(taking_back, "STEP_RECORDS", 2)
    for cut in range(1, 8):
        a, served = restored(lost, saved[0]), Served(copied(b))
        asking = CatchingUp(Inline(a), served, a.identity, 0.01)
        stood = set_back.standing(a.view)
        assert stood is not None
        writes, write = 0, a.write

        def dying(fn: Callable[[Tx], Any], cut: int = cut, write: Any = write) -> Any:
            nonlocal writes
            writes += 1
            if writes > cut:
                raise KeyboardInterrupt
            return write(fn)

        a.write = dying  # type: ignore[method-assign]
        with pytest.raises(KeyboardInterrupt):
            _run(asking._try(stood))
        del a.write
        a.start()  # what is on the disk can be begun with
        catch_up(a, served)
        assert head(a) == head(lost)
        audit(a.view)


def test_two_histories_are_not_mended(life: tuple[Village, Village, list[bytes]]) -> None:
    """An old copy that has entered something of its own keeps silent, and says why."""
    lost, b, saved = life
    a = copied(lost)
    a.conn.deserialize(saved[4])
    a.start()
    a.write(lambda tx: desk.issue(tx, "Carol", "5"))
    before = head(a)
    catch_up(a, Served(copied(b)), passes=2)
    assert head(a) == before
    assert "not what this village has signed" in trouble(a)


def test_a_village_that_the_backup_does_not_know(
    life: tuple[Village, Village, list[bytes]],
) -> None:
    """It waits until the two are neighbours again, since its books need that; the two do not speak
    before the other has taken up the new charter, for which there is no way yet."""
    lost, b, saved = life
    a = copied(lost)
    c = Village("ose-texas-001")
    c.write(lambda tx: desk.add_member(tx, "Bob", "-"))
    c.write(lambda tx: desk.declare(tx, "Bob", "Solar Panel", "9"))
    villages.befriend(a, c)
    sync(a, c)
    subject = propose(a, c).subject
    sync(a, c)
    accept(c, subject)
    sync(a, c)
    other = copied(b)
    sync(a, other)
    again = restored(a, saved[-1])
    served = Served(other, c)
    catch_up(again, served)
    assert "become neighbours" in trouble(again)
    villages.befriend(again, c)
    catch_up(again, served)
    assert (head(again), trouble(again)) == (head(a), "")
    audit(again.view)


def _run(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(work)
