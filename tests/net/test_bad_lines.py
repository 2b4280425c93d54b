"""Two real boxes trade over lines as bad as they get: every trade ends, on both sides alike."""

import asyncio
import functools
import time
from collections.abc import AsyncIterator, Iterable
from itertools import product
from pathlib import Path

import pytest

from edge import control
from tests.integration.boxes import RealBox, befriend, until
from tests.net.links import PORT_ADVERTISED, Links
from tests.net.proxy import Way

BUYER, SELLER = "ose-missouri-001", "ose-california-001"
HEALED_S_MAX = 60


@pytest.fixture
async def links(tmp_path: Path) -> AsyncIterator[Links]:
    """Two villages with something to trade, neighbours over a line that is still good."""
    async with Links(tmp_path, (BUYER, SELLER), 1, ["federation.heartbeat_s=60"]) as links:
        buyer, seller = links.boxes[BUYER], links.boxes[SELLER]
        await links.start()
        await buyer.ask(control.MemberAdd("Alice", "1234"))
        await buyer.ask(control.Issue("Alice", "500"))
        await seller.ask(control.MemberAdd("Bob", "1234"))
        await seller.ask(control.Declare("Bob", "Apple", "1000"))
        await befriend(seller, buyer)
        await until(lambda: knows_catalogue(buyer), "the seller's catalogue is synced")
        yield links


async def test_far_thin_and_lossy_lines(
    links: Links, pytestconfig: pytest.Config, capsys: pytest.CaptureFixture[str]
) -> None:
    """No box knows where another really listens, so all of it goes over these lines."""
    for box in links.boxes.values():
        [peer] = (await box.ask(control.PeerList()))["neighbours"]
        assert [f"{host}:{PORT_ADVERTISED}" for host in box.hosts] == peer["addresses"]
    told = [await trade(links, "nothing")]
    links.set(delay_ms=150)
    told.append(await trade(links, "300 ms"))
    links.set(delay_ms=300, rate_bits_s=64_000, loss=0.05)
    told.append(await trade(links, "600 ms, 64 kbit/s, 5 % loss"))
    await all_is_well(links)
    with capsys.disabled():
        for line in ("", *told):
            pytestconfig.get_terminal_writer().line(line)


async def test_a_line_that_is_cut_one_way_in_the_middle(links: Links) -> None:
    """The seller has accepted over a connection that it keeps, and hears no answer: the buyer has
    heard of it where the way to it is whole, and else not."""
    await settled(links, [await accepted(links)])
    for cut, buyer_meanwhile in (((BUYER, SELLER), "HELD"), ((SELLER, BUYER), "PENDING")):
        await trade_over_a_cut(links, links.ways[cut], buyer_meanwhile)
    await all_is_well(links)


async def test_a_line_that_resets_all_connections(links: Links) -> None:
    ids = [await accepted(links)]  # from the first trade on the buyer has a limit for apples
    await links.boxes[BUYER].ask(control.Limit(SELLER, "Apple", "1000"))
    links.set(delay_ms=20)
    resetting = asyncio.create_task(reset_for(links, 5))
    while not resetting.done():
        ids.append(await accepted(links))
    assert await resetting >= 5
    await settled(links, ids)
    await all_is_well(links)


async def trade_over_a_cut(links: Links, way: Way, buyer_meanwhile: str) -> None:
    buyer, seller = links.boxes[BUYER], links.boxes[SELLER]
    id_ = await propose(links)
    assert any(seen.is_open for seen in links.proxies[SELLER, BUYER].seen)
    way.set(cut=True)
    accepting = asyncio.create_task(seller.ask(control.TradeAccept(id_)))
    await until(lambda: has_status(seller, id_, "ACCEPTED"), "the seller is bound")
    await until(lambda: has_status(buyer, id_, buyer_meanwhile), "the buyer has heard, or not")
    lost = way.lost_segments
    await until(lambda: _is(way.lost_segments >= lost + 2), "it is said again")
    assert await has_status(seller, id_, "ACCEPTED")
    assert await has_status(buyer, id_, buyer_meanwhile)
    way.set(cut=False)
    await settled(links, [id_])
    await accepting


async def trade(links: Links, line: str) -> str:
    """Do a trade over the lines as they are now; return what it took."""
    began_s, sent, round_trips = time.monotonic(), links.sent_bytes, links.round_trips
    lost = sum(way.lost_segments for way in links.ways.values())
    id_ = await propose(links)
    proposed_s = time.monotonic() - began_s
    await links.boxes[SELLER].ask(control.TradeAccept(id_))
    await settled(links, [id_])
    took_s = time.monotonic() - began_s
    lost = sum(way.lost_segments for way in links.ways.values()) - lost
    return (
        f"{line}: proposed in {proposed_s:.2f} s, settled at both after {took_s:.2f} s;"
        f" {links.sent_bytes - sent:,} bytes on the wire, {lost} segments lost,"
        f" {links.round_trips - round_trips} round trips"
    )


async def propose(links: Links) -> str:
    """Propose a trade and wait until the seller knows of it."""
    proposal = control.TradePropose("Alice", "Bob", SELLER, ("AT", "1"), ("Apple", "1"))
    made = await links.boxes[BUYER].ask(proposal)
    id_ = str(made["id"])
    await until(lambda: links.boxes[SELLER].trade(id_), "the proposal has come")
    return id_


async def accepted(links: Links) -> str:
    id_ = await propose(links)
    await links.boxes[SELLER].ask(control.TradeAccept(id_))
    return id_


async def settled(links: Links, ids: Iterable[str]) -> None:
    """Both boxes come to the same end of each trade, with a receipt."""
    for box, id_ in product(links.boxes.values(), ids):
        is_settled = functools.partial(has_status, box, id_, "SETTLED")
        await until(is_settled, f"{box.village} has settled", HEALED_S_MAX)
        assert "COMMIT" in await box.ask(control.ExportReceipt(id_))


async def all_is_well(links: Links) -> None:
    """The ledgers agree with their logs, and nothing went wrong inside a box."""
    for box in links.boxes.values():
        assert "agree" in await asyncio.to_thread(box.audit)
        assert "Traceback" not in box.log.read_text()


async def reset_for(links: Links, seconds: float) -> int:
    """Reset all connections every 200 ms; return how many were reset."""
    count = 0
    for _ in range(round(seconds / 0.2)):
        await asyncio.sleep(0.2)
        count += await links.reset()
    return count


async def knows_catalogue(box: RealBox) -> bool:
    peers = (await box.ask(control.PeerList()))["neighbours"]
    return bool(peers) and peers[0]["records_held"] >= 4


async def has_status(box: RealBox, id_: str, status: str) -> bool:
    found = await box.trade(id_)
    return found is not None and found["status"] == status


async def _is(value: bool) -> bool:
    return value
