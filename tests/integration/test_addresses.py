"""Addresses that no page of ours links to: ways up and out, long ones, and line breaks that would
begin a header. They are sent as they are, which an ordinary client does not do."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.integration.web_boxes import MISSOURI, Browser, WebBox, Wire

ID = "0123456789abcdef"
SAID_BY_ALL = ("content-security-policy", "x-content-type-options", "referrer-policy")


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: str


@pytest.fixture
async def box(tmp_path: Path) -> AsyncIterator[WebBox]:
    async with WebBox(Wire(), tmp_path, MISSOURI, "Factor e Farm") as box:
        await box.member("Alice")
        yield box


async def ask(box: WebBox, target: str, cookie: str = "") -> Answer:
    """Send a GET for exactly this target; return what comes until the box closes."""
    reader, writer = await asyncio.open_connection(box.server.host, box.server.port)
    lines = [f"GET {target} HTTP/1.1", "Host: localhost", "Connection: close"]
    lines += [f"Cookie: {cookie}"] if cookie else []
    writer.write("\r\n".join([*lines, "", ""]).encode("latin-1"))
    async with asyncio.timeout(10):
        text = (await reader.read()).decode()
    writer.close()
    head, _, body = text.partition("\r\n\r\n")
    first, *rest = head.split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in rest)
    return Answer(int(first.split()[1]), headers, body)


@pytest.mark.parametrize(
    "target",
    [
        "/..",
        "/../../../../etc/passwd",
        "/%2e%2e/%2e%2e/%2e%2e/etc/passwd",
        "/static/../pages.py",
        "/static/..%2f..%2fpages.py",
        "/static/%2e%2e/%2e%2e/pages.py",
        "/static/..\\..\\pages.py",
        "/static//etc/passwd",
        "/static/style.css%00.js",
        "/%00",
        "/%ff%fe",
        "//example.net/",
        "/\\example.net",
        f"/market/../trades/{ID}",
        f"/market/{MISSOURI}/..%2f..%2fwallet",
        f"/market/{MISSOURI}/{ID}/../../../wallet",
        f"/market/..%2f{MISSOURI}/{ID}",
        f"/trades/{ID}%0d%0aX-Ran:%20yes",
        f"/trades/{ID}/receipt%0d%0a",
        "/a" * 4_000,
        "/" + "a" * 7_000,
        "/market/" + "a" * 7_000 + f"/{ID}",
        f"/market/{MISSOURI}/" + "0" * 7_000,
    ],
)
async def test_no_way_leads_out(box: WebBox, target: str) -> None:
    async with Browser(box.server) as alice:
        await alice.sign_in("Alice")
        cookies = alice.session.cookie_jar.filter_cookies(alice.url)
        cookie = "; ".join(f"{name}={morsel.value}" for name, morsel in cookies.items())
    for given in ("", cookie):
        answer = await ask(box, target, given)
        assert 400 <= answer.status < 500, answer
        assert "x-ran" not in answer.headers
        assert "root:" not in answer.body and "import " not in answer.body
        if answer.status != 400:  # those the parser of HTTP itself refuses reach no page
            assert answer.headers.keys() >= {*SAID_BY_ALL}
    assert box.broken == []


@pytest.mark.parametrize(
    "target",
    [
        "/?paid=%0d%0aX-Ran:%20yes%0d%0a%0d%0a<script>",
        "/market?q=%0d%0aX-Ran:%20yes",
        "/market?q=%0d%0aSet-Cookie:%20ran=yes",
        "/market?side=%0d%0aX-Ran:%20yes",
        "/market?village=%0d%0aLocation:%20//example.net",
        "/market?after=%0d%0aX-Ran:%20yes",
        "/market/new?side=%0d%0aX-Ran:%20yes",
        "/market?%0d%0aX-Ran:%20yes=1",
        "/market?q=" + "a" * 7_000,
        "/market?q=" + "%F0%9F%8C%BB" * 500,
        "/wallet/statement.csv?from=%0d%0aX-Ran:%20yes&to=2026-11-23",
        "/wallet?before=" + "9" * 7_000,
    ],
)
async def test_a_query_begins_no_header(box: WebBox, target: str) -> None:
    async with Browser(box.server) as alice:
        await alice.sign_in("Alice")
        cookies = alice.session.cookie_jar.filter_cookies(alice.url)
        cookie = "; ".join(f"{name}={morsel.value}" for name, morsel in cookies.items())
    for given in ("", cookie):
        answer = await ask(box, target, given)
        assert answer.status in (200, 400, 401), answer
        assert not {"x-ran", "location"} & answer.headers.keys()
        assert "ran=" not in answer.headers.get("set-cookie", "")
        assert answer.headers.keys() >= {*SAID_BY_ALL}
    assert box.broken == []


async def test_a_line_far_too_long_is_refused(box: WebBox) -> None:
    answer = await ask(box, "/market?q=" + "a" * 20_000)
    assert answer.status == 400
    assert box.broken == []
