"""A form that brings a file, as browsers send it and as others might."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.errors import InvalidInput
from edge.web import uploads

NAME = b'Content-Disposition: form-data; name="%s"'


def whole(*parts: tuple[bytes, bytes], boundary: bytes = b"b") -> bytes:
    """Return a body of parts, each a head and a content."""
    written = b"".join(b"--%s\r\n%s\r\n\r\n%s\r\n" % (boundary, *each) for each in parts)
    return written + b"--%s--\r\n" % boundary


@given(
    st.dictionaries(st.from_regex(r"[a-z_]{1,32}", fullmatch=True), st.binary(), min_size=1),
    st.from_regex(r"-{4}[0-9A-Za-z]{16}", fullmatch=True),
)
def test_what_a_browser_sends_is_read(fields: dict[str, bytes], boundary: str) -> None:
    if len(fields) > 32 or any(boundary.encode() in each for each in fields.values()):
        return
    parts = [(NAME % name.encode(), content) for name, content in fields.items()]
    assert uploads.parse(whole(*parts, boundary=boundary.encode()), boundary) == fields


def test_a_file_has_a_name_and_a_type() -> None:
    head = NAME % b"evidence" + b'; filename="a b.json"\r\nContent-Type: application/json'
    found = uploads.parse(whole((NAME % b"sure", b"yes"), (head, b"{}\r\n")), "b")
    assert found == {"sure": b"yes", "evidence": b"{}\r\n"}


@pytest.mark.parametrize(
    ("body", "boundary"),
    [
        (b"", "b"),
        (whole(), "b"),
        (whole((NAME % b"a", b"")), "other"),
        (whole((NAME % b"a", b"")), ""),
        (whole((NAME % b"a", b"")), "b\r\n"),
        (whole((NAME % b"a", b""))[:-6], "b"),
        (whole((NAME % b"a", b"1"), (NAME % b"a", b"2")), "b"),
        (whole((NAME % b"a" + b"\r\n" + NAME % b"c", b"")), "b"),
        (whole((NAME % b"A B", b"")), "b"),
        (whole((NAME % b"a" + b'; filename="x\n"', b"")), "b"),
        (whole((b"Content-Type: text/plain", b"")), "b"),
        (b"--b\r\nContent-Disposition: form-data; name=a\r\n\r\n\r\n--b--", "b"),
        (b"--b\r\n" + NAME % b"a" + b"\r\n--b--", "b"),
        (whole(*((NAME % b"a", b"") for _ in range(40))), "b"),
    ],
)
def test_what_no_browser_sends_is_refused(body: bytes, boundary: str) -> None:
    with pytest.raises(InvalidInput):
        uploads.parse(body, boundary)


@given(st.binary(max_size=200), st.sampled_from(["b", "--", "x" * 70]))
def test_any_bytes_are_read_or_refused(body: bytes, boundary: str) -> None:
    with pytest.raises(InvalidInput):
        uploads.parse(body, boundary)
