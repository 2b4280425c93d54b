"""`village-edge` that counts what it does, in a file that can be read while it runs.

COUNTS names the file: numbers of 64 bits, in the order of `Counts`.
"""

import mmap
import os
import struct
import sys
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, NamedTuple

from edge import cli
from edge.core import crypto
from edge.core.crypto import SecretKey
from edge.transport.client import PeerClient

VARIABLE: Final = "COUNTS"
MODULE: Final = "tests.bench.counted"


class Counts(NamedTuple):
    """Ed25519 signatures made, and verified (those remembered are not); messages to other villages
    that were sent and answered, the answer counted with its message."""

    signed: int = 0
    verified: int = 0
    exchanges: int = 0


_FORMAT: Final = struct.Struct(f"={len(Counts._fields)}Q")


def read(path: Path) -> Counts:
    return Counts(*_FORMAT.unpack(path.read_bytes()))


def make(path: Path) -> None:
    path.write_bytes(bytes(_FORMAT.size))


def _count_all(path: str) -> None:
    with Path(path).open("r+b") as file:
        counts = memoryview(mmap.mmap(file.fileno(), _FORMAT.size)).cast("Q")
    sign, verify, exchange = SecretKey.sign, crypto._verify, PeerClient.exchange

    def counted_sign(key: SecretKey, message: bytes) -> bytes:
        counts[0] += 1
        return sign(key, message)

    def counted_verify(public: bytes, message: bytes, signature: bytes) -> bool:
        counts[1] += 1
        return verify(public, message, signature)

    async def counted_exchange(client: PeerClient, *message: Any) -> bytes:
        counts[2] += 1
        return await exchange(client, *message)

    SecretKey.sign = counted_sign  # type: ignore[method-assign, assignment]
    PeerClient.exchange = counted_exchange  # type: ignore[method-assign, assignment]
    crypto._verify = counted_verify
    crypto._verify_remembered = lru_cache(1_024)(counted_verify)


if __name__ == "__main__":
    _count_all(os.environ[VARIABLE])
    sys.exit(cli.main())
