"""A rendered page with holes in it, into which goes what is one reader's own.

The pieces between are compressed once, each by itself; what goes in between is not, but stored as
it is (RFC 1951, section 3.2.4). So no length tells how a secret of the page resembles anything else
on it, which is how BREACH guesses one.
"""

import re
import zlib
from collections.abc import Sequence
from typing import Final

LEVEL: Final = 6
_RAW: Final = -15  # deflate without a header of zlib's, with the largest window
_HEAD: Final = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"  # RFC 1952: deflate, no time, no system
_END: Final = b"\x01\x00\x00\xff\xff"  # a last block, stored, with nothing in it
_REFUSED: Final = re.compile(r"gzip\s*;\s*q=0(\.0*)?\s*(,|$)")


class Pieces:
    """A page. `marks` are the texts that stand where its holes are: nobody can have foreseen them.

    Each hole is filled with the text at the same place of `fillings`, as HTML, below 64 KiB.
    """

    def __init__(self, page: str, marks: Sequence[str]) -> None:
        split = re.split(f"({'|'.join(map(re.escape, marks))})", page) if marks else [page]
        self._pieces = [each.encode() for each in split[::2]]
        self._holes = [marks.index(mark) for mark in split[1::2]]
        self._packed: list[bytes] = []

    @property
    def size(self) -> int:
        """Bytes of memory that this takes up, at most."""
        return 2 * sum(map(len, self._pieces)) + 1_024

    def plain(self, fillings: Sequence[str]) -> bytes:
        return b"".join(self._filled(self._pieces, [each.encode() for each in fillings]))

    def gzip(self, fillings: Sequence[str]) -> bytes:
        """Return the page as one gzip member (RFC 1952)."""
        if not self._packed:
            self._packed = [_compressed(each) for each in self._pieces]
        encoded = [each.encode() for each in fillings]
        checksum = size = 0
        for part in self._filled(self._pieces, encoded):
            checksum, size = zlib.crc32(part, checksum), size + len(part)
        blocks = self._filled(self._packed, [_stored(each) for each in encoded])
        tail = checksum.to_bytes(4, "little") + size.to_bytes(4, "little")
        return b"".join((_HEAD, *blocks, _END, tail))

    def _filled(self, pieces: Sequence[bytes], fillings: Sequence[bytes]) -> list[bytes]:
        parts = [pieces[0]]
        for hole, piece in zip(self._holes, pieces[1:], strict=True):
            parts += (fillings[hole], piece)
        return parts


def accepts_gzip(accept_encoding: str) -> bool:
    """Tell whether a request's Accept-Encoding field names gzip, and not to refuse it."""
    text = accept_encoding.lower()
    return "gzip" in text and not _REFUSED.search(text)


def _compressed(piece: bytes) -> bytes:
    """Return whole blocks of deflate that refer to nothing before them and are not the last."""
    packer = zlib.compressobj(LEVEL, zlib.DEFLATED, _RAW)
    return packer.compress(piece) + packer.flush(zlib.Z_FULL_FLUSH)


def _stored(filling: bytes) -> bytes:
    length = len(filling)
    return (
        b"\x00" + length.to_bytes(2, "little") + (length ^ 0xFFFF).to_bytes(2, "little") + filling
    )
