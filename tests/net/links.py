"""Real boxes with a bad line between each two of them.

Every village advertises one name, as its signed registry entry then says, and every box finds the
names of the others at proxies of its own (see hosts.py). So a box dials what it would dial at home,
first contact by an invitation included, and which line that takes depends on who dials.
"""

import asyncio
import contextlib
from collections.abc import Iterable
from itertools import permutations
from pathlib import Path
from typing import Unpack

from tests.integration.boxes import RealBox
from tests.net.proxy import LOOPBACK, Proxy, Settings, Way, port_of, reserve_port

PORT_ADVERTISED = 7440


class Links:
    """Boxes of some villages, not yet started, and the lines between them. Enter it as an async
    context; at its end the boxes are killed.

    `ways[a, b]` is what happens to bytes from a to b, whoever dialled; `proxies[a, b]` carries what
    a dials to b.
    """

    def __init__(
        self, home: Path, villages: Iterable[str], seed: int = 0, settings: Iterable[str] = ()
    ) -> None:
        self.boxes: dict[str, RealBox] = {}
        self.ways: dict[tuple[str, str], Way] = {}
        self.proxies: dict[tuple[str, str], Proxy] = {}
        self._home = home
        self._villages = tuple(villages)
        self._seed = seed
        self._settings = tuple(settings)
        self._stack = contextlib.AsyncExitStack()

    async def __aenter__(self) -> "Links":
        async with contextlib.AsyncExitStack() as stack:
            ports = {}
            for village in self._villages:
                place = stack.enter_context(contextlib.closing(reserve_port()))
                ports[village] = port_of(place)
            pairs = list(permutations(self._villages, 2))
            self.ways = {pair: Way() for pair in pairs}
            for a, b in pairs:
                target, seed = (LOOPBACK, ports[b]), f"{self._seed} {a} {b}"
                proxy = Proxy(target, seed, self.ways[a, b], self.ways[b, a])
                self.proxies[a, b] = await stack.enter_async_context(proxy)
            for village in self._villages:
                self.boxes[village] = self._box(village, ports[village])
                stack.callback(self.boxes[village].end)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def start(self) -> None:
        """Start all boxes."""
        await asyncio.gather(*(box.start() for box in self.boxes.values()))

    def set(self, **settings: Unpack[Settings]) -> None:
        """Change settings of every way."""
        for way in self.ways.values():
            way.set(**settings)

    def between(self, a: str, b: str, **settings: Unpack[Settings]) -> None:
        """Change settings of a line, both ways."""
        self.ways[a, b].set(**settings)
        self.ways[b, a].set(**settings)

    async def reset(self) -> int:
        """Reset all connections; return how many there were."""
        return sum([await proxy.reset() for proxy in self.proxies.values()])

    @property
    def sent_bytes(self) -> int:
        """All payloads of TCP that left so far, those sent again included."""
        return sum(way.sent_bytes for way in self.ways.values())

    @property
    def round_trips(self) -> int:
        """Those of all connections so far, handshakes of TCP and TLS included."""
        return sum(seen.turns + 1 for proxy in self.proxies.values() for seen in proxy.seen)

    def _box(self, village: str, port: int) -> RealBox:
        settings = [
            f"listen.federation={LOOPBACK}:{port}",
            f"federation.advertise={host_of(village)}:{PORT_ADVERTISED}",
        ]
        box = RealBox(self._home, village, [*settings, *self._settings])
        dialled = {b: proxy for (a, b), proxy in self.proxies.items() if a == village}
        box.hosts = {host_of(b): (LOOPBACK, proxy.port) for b, proxy in dialled.items()}
        return box


def host_of(village: str) -> str:
    """Return the name that a village advertises; `test` is nobody's (RFC 6761)."""
    return f"{village}.test"
