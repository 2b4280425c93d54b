"""Another module's `__main__` in a process that finds some hosts elsewhere: a hosts file that knows
ports, too.

HOSTS holds `NAME=HOST:PORT` for each, with commas between; `python -m tests.net.hosts MODULE ...`
runs a module. Nothing of the module is changed: only what the resolver of its HTTP client says.
"""

import os
import runpy
import socket
import sys

import aiohttp.connector
from aiohttp.abc import ResolveResult

VARIABLE = "HOSTS"


class Hosts(aiohttp.ThreadedResolver):
    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        if host not in _places:
            return await super().resolve(host, port, family)
        there, there_port = _places[host]
        return [
            ResolveResult(
                hostname=host,
                host=there,
                port=there_port,
                family=socket.AF_INET,
                proto=socket.IPPROTO_TCP,
                flags=socket.AI_NUMERICHOST,
            )
        ]


def to_text(places: dict[str, tuple[str, int]]) -> str:
    return ",".join(f"{name}={host}:{port}" for name, (host, port) in places.items())


def from_text(text: str) -> dict[str, tuple[str, int]]:
    places = {}
    for line in filter(None, text.split(",")):
        name, _, address = line.partition("=")
        host, _, port = address.rpartition(":")
        places[name] = host, int(port)
    return places


_places = from_text(os.environ.get(VARIABLE, ""))

if __name__ == "__main__":
    aiohttp.connector.DefaultResolver = Hosts  # type: ignore[attr-defined]
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
