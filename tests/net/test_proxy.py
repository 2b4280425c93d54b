"""The proxy itself: each setting does what it says, and nothing of it runs on."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from random import Random
from typing import NamedTuple

import pytest

from tests.integration.boxes import until
from tests.net.proxy import LOOPBACK, WINDOW_BYTES, Proxy, Way

ROUND_S = 0.2  # a round trip at delay_ms=100


class Ends(NamedTuple):
    proxy: Proxy
    target: "Target"


class Target:
    """Echoes what it hears, unless told to leave it unread. Counts what it has read."""

    def __init__(self) -> None:
        self.heard = bytearray()
        self.accepted = 0
        self.ended: list[str] = []
        self.reads = asyncio.Event()
        self.reads.set()

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        try:
            await self._echo(reader, writer)
            self.ended.append("closed")
        except OSError:
            self.ended.append("reset")
        finally:
            writer.close()

    async def _echo(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await self.reads.wait()
            data = await reader.read(65_536)
            if not data:
                return
            self.heard += data
            writer.write(data)
            await writer.drain()


class Dialler:
    """One connection through a proxy. Enter it as an async context."""

    def __init__(self, proxy: Proxy) -> None:
        self._proxy = proxy

    async def __aenter__(self) -> "Dialler":
        self.reader, self.writer = await asyncio.open_connection(LOOPBACK, self._proxy.port)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.writer.transport.abort()

    async def echoed(self, data: bytes) -> float:
        """Send some bytes, wait until they have come back; return how many seconds that took."""
        began_s = now_s()
        self.writer.write(data)
        async with asyncio.timeout(30):
            assert await self.reader.readexactly(len(data)) == data
        return now_s() - began_s

    async def is_reset(self) -> bool:
        try:
            await self.reader.read(1)
        except ConnectionResetError:
            return True
        return False


@pytest.fixture
async def ends() -> AsyncIterator[Ends]:
    tasks_before = asyncio.all_tasks()
    target = Target()
    server = await asyncio.start_server(target, LOOPBACK, 0)
    async with Proxy(server.sockets[0].getsockname()[:2], seed=7) as proxy:
        yield Ends(proxy, target)
    assert proxy.open_connections == 0
    server.close()
    mine = {asyncio.current_task()}
    await until(lambda: _is(asyncio.all_tasks() - mine <= tasks_before), "no task runs on")


async def test_a_clean_line_carries_everything_and_counts_it(ends: Ends) -> None:
    data = bytes(range(256)) * 20_000
    async with Dialler(ends.proxy) as dialler:
        await dialler.echoed(data)
        await dialler.echoed(b"again")
        seen = ends.proxy.seen[0]
        assert seen.there_bytes == seen.back_bytes == len(data) + 5
        assert ends.proxy.there.sent_bytes == ends.proxy.back.sent_bytes == len(data) + 5
        assert 0 < (seen.first_there_s or 0) < (seen.first_back_s or 0) < 5
        assert seen.is_open
    await until(lambda: _is(not seen.is_open), "the connection has ended")
    assert ends.proxy.dialled == 1


async def test_the_end_of_one_way_leaves_the_other_open(ends: Ends) -> None:
    async with Dialler(ends.proxy) as dialler:
        dialler.writer.write(b"bye")
        dialler.writer.write_eof()
        assert await dialler.reader.read(-1) == b"bye"
    await until(lambda: _is(ends.proxy.open_connections == 0), "the connection has ended")
    assert ends.target.ended == ["closed"]


async def test_delay_costs_a_round_trip_for_each_turn_and_one_to_connect(ends: Ends) -> None:
    ends.proxy.set(delay_ms=ROUND_S * 500)
    async with Dialler(ends.proxy) as dialler:
        assert 2 * ROUND_S <= await dialler.echoed(b"first") < 2 * ROUND_S + 1
        assert ROUND_S <= await dialler.echoed(b"second") < ROUND_S + 1
        seen = ends.proxy.seen[0]
        assert seen.turns == 2
        assert 1.5 * ROUND_S <= (seen.first_there_s or 0) <= (seen.first_back_s or 0) - ROUND_S / 2
        ends.proxy.set(delay_ms=0)
        assert await dialler.echoed(b"third") < ROUND_S


async def test_jitter_keeps_the_order(ends: Ends) -> None:
    ends.proxy.set(delay_ms=1, jitter_ms=30)
    data = bytes(range(256)) * 100
    async with Dialler(ends.proxy) as dialler:
        assert await dialler.echoed(data) >= 0.002


async def test_a_rate_is_shared_by_all_connections(ends: Ends) -> None:
    ends.proxy.there.set(rate_bits_s=400_000)
    async with Dialler(ends.proxy) as one, Dialler(ends.proxy) as other:
        began_s = now_s()
        await asyncio.gather(one.echoed(bytes(20_000)), other.echoed(bytes(20_000)))
        took_s = now_s() - began_s
    assert 0.75 < took_s < 3  # 320,000 bits
    assert ends.proxy.there.sent_bytes == 40_000


async def test_a_lost_segment_holds_up_what_follows(ends: Ends) -> None:
    ends.proxy.there.set(loss=0.2)
    data = bytes(range(256)) * 120
    async with Dialler(ends.proxy) as dialler:
        took_s = await dialler.echoed(data)
    lost = ends.proxy.there.lost_segments
    assert 1 <= lost <= 20
    assert took_s >= 0.2
    assert ends.proxy.there.sent_bytes > len(data)
    assert ends.proxy.back.lost_segments == 0


async def test_the_same_seed_loses_the_same_segments() -> None:
    async def delays(seed: str) -> list[float]:
        way, random = Way(loss=0.3, jitter_ms=100), Random(seed)
        began_s = now_s()
        return [await way.leave(9, 0.2, random) - began_s for _ in range(200)]

    first = await delays("a")
    assert await delays("a") == pytest.approx(first, abs=0.09) != await delays("b")
    assert max(first) >= 0.2 + 0.4  # one was lost twice


async def test_a_cut_holds_everything_and_the_stream_goes_on_after_it(ends: Ends) -> None:
    async with Dialler(ends.proxy) as dialler:
        await dialler.echoed(b"before")
        ends.proxy.set(cut=True)
        waiting = asyncio.create_task(dialler.echoed(b"during"))
        await until(lambda: _is(ends.proxy.there.lost_segments >= 2), "it is sent again")
        assert not waiting.done() and bytes(ends.target.heard) == b"before"
        ends.proxy.set(cut=False)
        await waiting
        assert bytes(ends.target.heard) == b"beforeduring"


async def test_a_way_cut_back_still_carries_there(ends: Ends) -> None:
    async with Dialler(ends.proxy) as dialler:
        await dialler.echoed(b"before")
        ends.proxy.back.set(cut=True)
        waiting = asyncio.create_task(dialler.echoed(b"during"))
        await until(lambda: _is(ends.target.heard == b"beforeduring"), "it has come")
        await until(lambda: _is(ends.proxy.back.lost_segments >= 1), "the answer is lost")
        assert not waiting.done()
        ends.proxy.back.set(cut=False)
        await waiting


async def test_a_new_connection_hangs_in_a_cut(ends: Ends) -> None:
    ends.proxy.there.set(cut=True)
    async with Dialler(ends.proxy) as dialler:
        waiting = asyncio.create_task(dialler.echoed(b"hello"))
        await until(lambda: _is(ends.proxy.there.lost_segments >= 1), "its SYN is lost")
        assert ends.target.accepted == 0 and not waiting.done()
        ends.proxy.there.set(cut=False)
        await waiting
        assert ends.target.accepted == 1


async def test_a_dialler_that_has_left_in_a_cut_never_arrives(ends: Ends) -> None:
    ends.proxy.there.set(cut=True)
    async with Dialler(ends.proxy) as dialler:
        dialler.writer.write(b"hello")
        await until(lambda: _is(ends.proxy.there.lost_segments >= 1), "its SYN is lost")
    ends.proxy.there.set(cut=False)
    await until(lambda: _is(ends.proxy.open_connections == 0), "the connection has ended")
    assert ends.target.accepted == 0


async def test_reset_reaches_both_ends(ends: Ends) -> None:
    async with Dialler(ends.proxy) as dialler:
        await dialler.echoed(b"before")
        assert await ends.proxy.reset() == 1
        assert await dialler.is_reset()
        await until(lambda: _is(ends.target.ended == ["reset"]), "the target is reset, too")
    async with Dialler(ends.proxy) as dialler:
        await dialler.echoed(b"after")


async def test_one_end_s_reset_reaches_the_other(ends: Ends) -> None:
    async with Dialler(ends.proxy) as dialler:
        await dialler.echoed(b"before")
        place = dialler.writer.get_extra_info("socket")
        place.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    await until(lambda: _is(ends.target.ended == ["reset"]), "the target is reset, too")


async def test_refuse_refuses_only_new_connections(ends: Ends) -> None:
    async with Dialler(ends.proxy) as dialler:
        await dialler.echoed(b"before")
        await ends.proxy.refuse()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(LOOPBACK, ends.proxy.port)
        await dialler.echoed(b"during")
    await ends.proxy.allow()
    async with Dialler(ends.proxy) as dialler:
        await dialler.echoed(b"after")


async def test_a_dialler_is_reset_where_nothing_listens() -> None:
    with socket.create_server((LOOPBACK, 0)) as gone:
        place = gone.getsockname()[:2]
    async with asyncio.timeout(10), Proxy(place) as proxy, Dialler(proxy) as dialler:
        assert await dialler.is_reset()


async def test_a_target_that_does_not_read_holds_its_sender_up(ends: Ends) -> None:
    """What the proxy keeps is bounded, so the rest stays with the sender."""
    ends.target.reads.clear()
    async with Dialler(ends.proxy) as dialler:
        data = bytes(64 * WINDOW_BYTES)
        waiting = asyncio.create_task(dialler.echoed(data))
        taken = await settled(lambda: ends.proxy.there.sent_bytes)
        assert 0 < taken < len(data)
        ends.target.reads.set()
        await waiting
    assert ends.proxy.there.sent_bytes == len(data)


async def settled(count: Callable[[], int]) -> int:
    """Return a growing count once it has stood still for a while."""
    was, since_s = -1, now_s()

    async def stands_still() -> bool:
        nonlocal was, since_s
        if count() != was:
            was, since_s = count(), now_s()
        return now_s() - since_s > 0.3

    await until(stands_still, "it stands still")
    return was


def now_s() -> float:
    return asyncio.get_running_loop().time()


async def _is(value: bool) -> bool:
    return value
