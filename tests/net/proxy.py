"""A TCP proxy that makes a line bad: slow, thin, lossy, cut one way or both, resetting, refusing.

A proxy carries the connections that one box dials to another. What leaves an end is taken as TCP
segments, and each of the two ways has settings of its own. The model:

- A segment (at most SEGMENT_BYTES) arrives `delay_ms`, and up to `jitter_ms` more, after it left.
  Bytes keep their order: what arrives early waits for what left before it.
- `rate_bits_s` holds for the way as a whole, shared by all connections; 0 is no limit. Headers and
  acknowledgements are neither counted nor carried.
- `loss` is the chance that a segment is lost. It is sent again, and counted again, after a
  retransmission time of twice the round trip and at least RTO_S_MIN, which doubles with each
  further loss up to RTO_S_MAX. The segments after it have left meanwhile, and wait for it.
- A way that is `cut` loses everything: the segment at its entrance is sent again at times that
  double as above, and none after it leaves. What had left arrives. So a connection stays open over
  a cut, and goes on some time after it has healed, unless an end has given it up; even then, what
  that end had sent still comes.
- A connection begins with one segment there and one back (SYN and SYN-ACK), each sent again after
  SYN_RTO_S if lost, before its first byte leaves. The dialler's connect() returns at once though,
  since this machine answers it; what it sends waits for the above. Where nothing listens, the
  dialler is reset, as late as an answer would have come.
- The end of a stream, by FIN or RST, travels as its last segment.
- Left out: slow start and congestion control, but for WINDOW_BYTES in flight on each connection and
  way; after that the sender is held up.
"""

import asyncio
import contextlib
import socket
import struct
from collections import deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final, NamedTuple, TypedDict, Unpack

LOOPBACK: Final = "127.0.0.1"
SEGMENT_BYTES: Final = 1_460
WINDOW_BYTES: Final = 256 * 1_024
READ_BYTES: Final = 65_536
RTO_S_MIN, RTO_S_MAX, SYN_RTO_S = 0.2, 60.0, 1.0
BURST_S: Final = 0.005  # how far a rate may be ahead of the clock before the sender waits
SEEN_MAX: Final = 10_000
_TCP_ESTABLISHED: Final = 1
_RESET_AT_CLOSE: Final = struct.pack("ii", 1, 0)


class Settings(TypedDict, total=False):
    """The settings of a way: see the top of this module."""

    delay_ms: float
    jitter_ms: float
    rate_bits_s: float
    loss: float
    cut: bool


@dataclass(slots=True)
class Way:
    """One way over a line. What is set holds for what leaves from then on.

    `sent_bytes` are the payloads that left, the lost ones too."""

    delay_ms: float = 0.0
    jitter_ms: float = 0.0
    rate_bits_s: float = 0.0
    loss: float = 0.0
    cut: bool = False
    sent_bytes: int = 0
    lost_segments: int = 0
    _free_at_s: float = field(default=0.0, repr=False)

    def set(self, **settings: Unpack[Settings]) -> None:
        for name, value in settings.items():
            assert name in Settings.__annotations__, name
            setattr(self, name, value)
        assert 0 <= self.loss < 1, "a way that loses everything is `cut`"

    async def leave(self, size: int, rto_s: float, random: Random) -> float:
        """Wait until a segment has left; return the loop's time at which it arrives."""
        while self.cut:
            self._lose(size)
            await asyncio.sleep(rto_s)
            rto_s = min(2 * rto_s, RTO_S_MAX)
        tries, stalled_s = 1, 0.0
        while random.random() < self.loss:
            self._lose(size)
            tries += 1
            stalled_s += rto_s
            rto_s = min(2 * rto_s, RTO_S_MAX)
        self.sent_bytes += size
        delay_s = (self.delay_ms + random.random() * self.jitter_ms) / 1_000
        left_at_s = self._queue(size * tries)
        await _sleep_until(left_at_s - BURST_S)
        return left_at_s + stalled_s + delay_s

    def _lose(self, size: int) -> None:
        self.sent_bytes += size
        self.lost_segments += 1

    def _queue(self, size: int) -> float:
        """Return when bytes have left that get into the queue for this way now."""
        self._free_at_s = max(self._free_at_s, asyncio.get_running_loop().time())
        if self.rate_bits_s:
            self._free_at_s += size * 8 / self.rate_bits_s
        return self._free_at_s


@dataclass(slots=True)
class Seen:
    """One connection as its two ends saw it: the bytes that reached the box dialled (`there`) and
    the dialler (`back`), and how long after the dialling the first did, None before.

    `turns` counts how often the dialler spoke after it had heard: with the handshake of TCP the
    connection has taken turns + 1 round trips."""

    there_bytes: int = 0
    back_bytes: int = 0
    first_there_s: float | None = None
    first_back_s: float | None = None
    turns: int = 0
    is_open: bool = True
    _began_s: float = field(default_factory=lambda: asyncio.get_running_loop().time())
    _may_turn: bool = True

    def left(self, is_there: bool, size: int) -> None:
        if is_there and size and self._may_turn:
            self.turns += 1
            self._may_turn = False

    def arrived(self, is_there: bool, size: int) -> None:
        age_s = asyncio.get_running_loop().time() - self._began_s
        if is_there:
            self.there_bytes += size
            self.first_there_s = self.first_there_s or age_s
        else:
            self.back_bytes += size
            self.first_back_s = self.first_back_s or age_s
            self._may_turn = True


class Proxy:
    """Carries connections to `target`. Enter it as an async context.

    `there` and `back` may be shared with other proxies over the same line. With the same `seed`,
    the n-th connection draws the same chances for its segments.
    """

    def __init__(
        self,
        target: tuple[str, int],
        seed: int | str = 0,
        there: Way | None = None,
        back: Way | None = None,
    ) -> None:
        self.there = there or Way()
        self.back = back or Way()
        self.seen: deque[Seen] = deque(maxlen=SEEN_MAX)
        self.dialled = 0
        self._target = target
        self._seed = seed
        self._place = reserve_port()
        self._server: asyncio.Server | None = None
        self._open: dict[_Connection, asyncio.Task[None]] = {}

    @property
    def port(self) -> int:
        """The port of this proxy on LOOPBACK, the same for all its life."""
        return port_of(self._place)

    @property
    def open_connections(self) -> int:
        return len(self._open)

    async def __aenter__(self) -> "Proxy":
        await self.allow()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Nothing of the proxy runs on."""
        await self.refuse()
        await self.reset()
        self._place.close()

    def set(self, **settings: Unpack[Settings]) -> None:
        """Change settings of both ways."""
        self.there.set(**settings)
        self.back.set(**settings)

    async def allow(self) -> None:
        """Take new connections (again)."""
        if self._server is None:
            place = _bound(self.port)
            self._server = await asyncio.start_server(self._accept, sock=place, limit=READ_BYTES)

    async def refuse(self) -> None:
        """Refuse new connections; those that are open go on."""
        if self._server is not None:
            self._server.close()
            self._server = None
            await asyncio.sleep(0)  # the loop closes the listener in its next turn

    async def reset(self) -> int:
        """Reset all connections at both ends now; return how many there were."""
        open_now = dict(self._open)
        for connection, task in open_now.items():
            connection.abort()
            task.cancel()
        await asyncio.gather(*open_now.values(), return_exceptions=True)
        return len(open_now)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.dialled += 1
        connection = _Connection(_Leg(reader, writer), self.there, self.back, Seen())
        self.seen.append(connection.seen)
        run = connection.run(self._target, f"{self._seed} {self.dialled}")
        task = asyncio.create_task(run, name=f"line {self.port} {self.dialled}")
        self._open[connection] = task
        task.add_done_callback(lambda _: self._end(connection))

    def _end(self, connection: "_Connection") -> None:
        connection.seen.is_open = False
        del self._open[connection]


class _Leg(NamedTuple):
    """The connection between the proxy and one of the two ends."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    def has_left(self) -> bool:
        """Tell whether the end has closed its side, read or unread."""
        place = self.writer.get_extra_info("socket")
        state: int = place.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]
        return state != _TCP_ESTABLISHED

    def abort(self) -> None:
        """Reset the connection, unless it has ended."""
        if not self.writer.transport.is_closing():
            place = self.writer.get_extra_info("socket")
            place.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_AT_CLOSE)
        self.writer.transport.abort()

    async def close(self) -> None:
        self.writer.close()
        with contextlib.suppress(OSError):
            await self.writer.wait_closed()


class _Connection:
    def __init__(self, dialler: _Leg, there: Way, back: Way, seen: Seen) -> None:
        self.seen = seen
        self._legs = [dialler]
        self._there = there
        self._back = back

    async def run(self, target: tuple[str, int], seed: str) -> None:
        """Carry until both ends have ended or one has reset. Raises nothing but cancellation."""
        there = _Pump(self._there, self._back, Random(f"{seed} there"))
        back = _Pump(self._back, self._there, Random(f"{seed} back"))
        try:
            await self._dial(target, there, back)
            dialler, dialled = self._legs
            await _together(
                there.take(dialler.reader, lambda size: self.seen.left(True, size)),
                there.deliver(dialled.writer, lambda size: self.seen.arrived(True, size)),
                back.take(dialled.reader, lambda size: self.seen.left(False, size)),
                back.deliver(dialler.writer, lambda size: self.seen.arrived(False, size)),
            )
        except OSError:
            self.abort()
        finally:
            for leg in self._legs:
                await leg.close()

    def abort(self) -> None:
        for leg in self._legs:
            leg.abort()

    async def _dial(self, target: tuple[str, int], there: "_Pump", back: "_Pump") -> None:
        """Add the leg to the target. Raises OSError if an end is not there."""
        await there.shake_hands()
        if self._legs[0].has_left():
            raise ConnectionAbortedError
        try:
            self._legs.append(_Leg(*await asyncio.open_connection(*target, limit=READ_BYTES)))
        except OSError:
            await back.shake_hands()
            raise
        await back.shake_hands()


class _Pump:
    """One way of one connection: takes segments where they leave, delivers them when they arrive.

    A segment b"" is a FIN, None an RST."""

    def __init__(self, way: Way, other: Way, random: Random) -> None:
        self._way = way
        self._other = other
        self._random = random
        self._flight: deque[tuple[float, bytes | None]] = deque()
        self._flight_bytes = 0
        self._has_news = asyncio.Event()
        self._has_room = asyncio.Event()
        self._has_room.set()

    async def shake_hands(self) -> None:
        await _sleep_until(await self._way.leave(0, SYN_RTO_S, self._random))

    async def take(self, source: asyncio.StreamReader, note: Callable[[int], None]) -> None:
        """Let segments leave until their stream ends."""
        segment: bytes | None = None
        arrives_s = 0.0
        while segment != b"":
            await self._has_room.wait()
            try:
                segment = await source.read(self._segment_bytes())
            except OSError:
                segment = None
            size = len(segment or b"")
            note(size)
            arrives_s = max(arrives_s, await self._way.leave(size, self._rto_s(), self._random))
            self._put(arrives_s, segment)
            if segment is None:
                return

    async def deliver(self, sink: asyncio.StreamWriter, note: Callable[[int], None]) -> None:
        """Write segments when they arrive. Raises ConnectionResetError when an RST does."""
        is_gone = False
        while segment := await self._next():
            note(len(segment))
            try:
                if not is_gone:
                    sink.write(segment)
                    await sink.drain()
            except OSError:
                is_gone = True  # the end of its own stream is under way, and will say so
        if segment is None:
            raise ConnectionResetError
        with contextlib.suppress(OSError):
            sink.write_eof()

    def _rto_s(self) -> float:
        return max(RTO_S_MIN, 2 * (self._way.delay_ms + self._other.delay_ms) / 1_000)

    def _segment_bytes(self) -> int:
        """Where nothing depends on single segments, larger pieces do as well and cost less."""
        way = self._way
        return SEGMENT_BYTES if way.loss or way.rate_bits_s or way.jitter_ms else READ_BYTES

    def _put(self, arrives_s: float, segment: bytes | None) -> None:
        self._flight.append((arrives_s, segment))
        self._flight_bytes += len(segment or b"")
        self._has_news.set()
        if self._flight_bytes >= WINDOW_BYTES:
            self._has_room.clear()

    async def _next(self) -> bytes | None:
        await self._has_news.wait()
        arrives_s, segment = self._flight[0]
        await _sleep_until(arrives_s)
        self._flight.popleft()
        self._flight_bytes -= len(segment or b"")
        if not self._flight:
            self._has_news.clear()
        if self._flight_bytes < WINDOW_BYTES:
            self._has_room.set()
        return segment


def reserve_port() -> socket.socket:
    """Return a socket that keeps a free port of LOOPBACK for a listener that reuses addresses, and
    where connections are refused while there is none."""
    return _bound(0)


def port_of(place: socket.socket) -> int:
    port: int = place.getsockname()[1]
    return port


def _bound(port: int) -> socket.socket:
    place = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        place.bind((LOOPBACK, port))
    except OSError:
        place.close()
        raise
    return place


async def _together(*parts: Coroutine[Any, Any, None]) -> None:
    """Run all to their ends; if one fails, stop the others and raise what it raised."""
    tasks = [asyncio.create_task(part) for part in parts]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _sleep_until(at_s: float) -> None:
    ahead_s = at_s - asyncio.get_running_loop().time()
    if ahead_s > 0:
        await asyncio.sleep(ahead_s)
