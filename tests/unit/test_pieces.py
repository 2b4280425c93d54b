"""A page with holes: whole again when packed, and no length tells what is in a hole."""

import gzip
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.web.pieces import Pieces, accepts_gzip

TOKEN, NAME = "<<token>>", "<<name>>"
TEXTS = st.text(st.characters(exclude_characters="<>", exclude_categories=["Cs"]), max_size=300)
PAGES = st.lists(st.one_of(TEXTS, st.sampled_from((TOKEN, NAME)))).map("".join)


@given(PAGES, TEXTS, TEXTS)
def test_packed_it_is_the_same_page(page: str, token: str, name: str) -> None:
    whole = page.replace(TOKEN, token).replace(NAME, name).encode()
    pieces = Pieces(page, (TOKEN, NAME))
    assert pieces.plain((token, name)) == whole
    for _ in range(2):
        assert gzip.decompress(pieces.gzip((token, name))) == whole


@given(PAGES)
def test_without_holes_it_is_one_piece(page: str) -> None:
    assert Pieces(page, ()).plain(()) == page.encode()
    assert gzip.decompress(Pieces(page, ()).gzip(())) == page.encode()


def test_no_length_tells_what_is_in_a_hole() -> None:
    secret, guess = "5d41402abc4b2a76b9719d911017c592", "0123456789abcdef0123456789abcdef"
    page = f'<a href="?q=csrf-{guess}">csrf-{TOKEN} {guess}'
    pieces = Pieces(page, (TOKEN,))
    lengths = {len(pieces.gzip((token,))) for token in (secret, guess)}
    assert len(lengths) == 1
    whole = [zlib.compress(page.replace(TOKEN, token).encode()) for token in (secret, guess)]
    assert len(whole[0]) > len(whole[1]), "packed as one, the right guess makes it shorter"


@pytest.mark.parametrize(
    ("field", "accepted"),
    [
        ("gzip", True),
        ("gzip, deflate, br, zstd", True),
        ("br;q=1.0, GZIP;q=0.8", True),
        ("gzip;q=0.001", True),
        ("", False),
        ("identity", False),
        ("br, deflate", False),
        ("gzip;q=0", False),
        ("gzip ; q=0.000, br", False),
        ("br, gzip;q=0.0", False),
    ],
)
def test_only_those_who_take_gzip_get_it(field: str, accepted: bool) -> None:
    assert accepts_gzip(field) is accepted
