"""The market page of a real box under `wrk`, beside a bare aiohttp application that sends the same
bytes: 500 members, 5,000 listings, 1,500 of them a neighbour's."""

import asyncio
import contextlib
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import aiohttp
import msgspec

from edge import app, control, desk
from edge.appliance.clock import Clock
from edge.appliance.randomness import random_bytes
from edge.core import crypto, limits
from edge.core.listing import Goods
from edge.core.trade import Quantity
from edge.storage import database, listings
from edge.storage.listings import Listed, Query
from edge.storage.tx import Identity, Tx, View
from edge.storage.writer import Writer
from tests.bench.table import Row
from tests.integration.boxes import RealBox, befriend, until

MEMBERS, OWN, NEIGHBOURS = 500, 3_500, 1_500
PIN = "correct horse"
CONNECTIONS, RUN_S, WARM_S = 16, 5, 1
THINGS: Final = "Apple Bread Chair Drill Egg Flour Goat Honey Iron Jam Kettle Lamp Milk".split()
WORDS: Final = (
    "fresh from the garden behind the mill, as good as new, little used, by hand, to be fetched on"
    " Saturday, ask for more, red, green, small, large, heavy, winter store, spare, repaired"
).split()
# What wrk does not print by itself. The numbers go out as JSON.
SCRIPT: Final = """
local asked = 0
function request()
  asked = asked + 1
  local q = os.getenv("SEARCHES") and "?q=" .. asked % 9973 or ""
  return wrk.format("GET", "/market" .. q)
end
function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format('{"requests":%d,"duration_us":%d,"p95_us":%d,"errors":%d}',
    summary.requests, summary.duration, latency:percentile(95),
    e.connect + e.read + e.write + e.status + e.timeout))
end
"""
# The least that an aiohttp application can do for the same answer.
BARE: Final = """
import pathlib, socket, sys, uvloop
from aiohttp import web
body = pathlib.Path(sys.argv[1]).read_bytes()
async def page(request):
    return web.Response(body=body, content_type="text/html", charset="utf-8")
application = web.Application()
application.add_routes([web.get("/market", page)])
uvloop.install()
sock = socket.socket()
sock.bind(("127.0.0.1", 0))
print(sock.getsockname()[1], flush=True)
web.run_app(application, sock=sock, access_log=None, print=None)
"""


class Load(msgspec.Struct, frozen=True):
    """What wrk and the processes say of one run."""

    per_s: float
    p95_ms: float
    server_s: float  # of one processor, for each second
    wrk_s: float

    def rows(self, what: str, aim: float | None = None) -> list[Row]:
        note = (
            f"p95 {self.p95_ms:.1f} ms, processor: server {self.server_s:.2f}, wrk"
            f" {self.wrk_s:.2f}, {self.per_s / self.server_s:,.0f} for each second of the server's"
        )
        return [Row(what, self.per_s, "requests/s", aim, note=note)]


async def rows(folder: Path) -> list[Row]:
    box = RealBox(folder, "ose-missouri-001", ["federation.heartbeat_s=3600"])
    other = RealBox(folder, "ose-california-001", ["federation.heartbeat_s=3600"])
    fill(box, MEMBERS, OWN)
    fill(other, NEIGHBOURS // limits.LISTINGS_PER_MEMBER_MAX, NEIGHBOURS)
    try:
        await box.start()
        await other.start()
        await befriend(box, other)
        await until(lambda: _has_all(box, other.village), "the neighbour's listings are here")
        other.stop()
        found = storage_rows(box.folder / app.LEDGER)
        if shutil.which("wrk") is None:
            return [*found, Row("market page (wrk is not installed)", 0, "requests/s", 1_000)]
        return [*found, *await _page_rows(box, folder)]
    finally:
        box.end()
        other.end()


def fill(box: RealBox, people: int, count: int) -> None:
    """Give a village members and listings before its box runs."""
    path = box.folder / app.LEDGER
    conn = database.open_writer(path)
    identity = Identity(box.village, app.read_identity(box.folder))
    writer, clock = Writer(conn, identity, random_bytes, path), Clock()
    pin = crypto.hash_pin(PIN)

    def add_people(tx: Tx) -> None:
        for number in range(people):
            desk.add_member(tx, f"Member {number}", pin if number == 0 else "no PIN")

    def add_goods(first: int) -> None:
        def add(tx: Tx) -> None:
            for number in range(first, min(first + 10, count)):
                listings.add(tx, number % people + 1, goods(number), tx.minute + 10_000)

        [(_, error)] = writer.run([add], clock.now_ms())
        assert error is None, error

    writer.run([add_people], clock.now_ms())
    for first in range(0, count, 10):
        add_goods(first)
    conn.close()


def goods(number: int) -> Goods:
    """Return a listing unlike the others: an offer or want of something, for AT, goods or nothing,
    with some fifteen words about it."""
    thing = THINGS[number % len(THINGS)].upper()
    prices = (Quantity("AT", "token", 2, 100 + number), Quantity("NAIL", "resource", 0, 3), None)
    text = " ".join(WORDS[(number * 7 + at * 5) % len(WORDS)] for at in range(15))
    side: Any = "want" if number % 4 == 3 else "offer"
    item = Quantity(thing, "resource", 0, 1 + number % 50)
    return Goods(side, item, prices[number % 3], f"{text} {number}")


# The search by itself


def storage_rows(path: Path) -> list[Row]:
    """Time searches over a database as one thread sees them: each kind, and from page to page."""
    conn = database.open_reader(path)
    view = View(conn)
    minute = Clock().now_ms() // limits.MINUTE_MS
    try:
        kinds = [_timed(view, query, minute)[0] for query in QUERIES for _ in range(40)]
        pages = _pages(view, minute)
    finally:
        conn.close()
    medians = [_median(each) for each in pages]
    first, slowest = medians[0], max(medians)
    note = f"{len(QUERIES)} kinds of search; the first page of all takes {first:.2f} ms"
    return [
        Row("one search among 5,000 listings, p95", _p95(kinds), "ms", 10, "less", note),
        Row(
            f"slowest of {len(pages)} pages, beside the first", slowest / first, "times", 5, "less"
        ),
    ]


QUERIES: Final = (
    Query(),
    Query(side="want"),
    Query(price="gift"),
    Query(price="goods"),
    Query(price="AT"),
    Query(village="ose-california-001"),
    Query(village="ose-missouri-001", side="want", price="goods"),
    Query(member=7),
    Query("honey"),
    Query("winter garden mill 4999"),
    Query("nothing has this in it"),
)


def _timed(view: View, query: Query, minute: int) -> tuple[float, list[Listed]]:
    began = time.perf_counter()
    found = listings.search(view, query, minute, listings.PAGE + 1)
    return (time.perf_counter() - began) * 1_000, found


def _pages(view: View, minute: int) -> list[list[float]]:
    """Return the milliseconds of each page, several times each."""
    times: list[list[float]] = []
    query, more = Query(), True
    while more:
        taken = []
        for _ in range(5):
            took, found = _timed(view, query, minute)
            taken.append(took)
        times.append(taken)
        more = len(found) > listings.PAGE
        last = found[: listings.PAGE][-1]
        query = Query(before=(last.listed_ms, last.village, last.id))
    return times


def _median(times: list[float]) -> float:
    return sorted(times)[len(times) // 2]


def _p95(times: list[float]) -> float:
    return sorted(times)[len(times) * 95 // 100]


# The page


async def _page_rows(box: RealBox, folder: Path) -> list[Row]:
    assert box.process is not None
    script = folder / "market.lua"
    script.write_text(SCRIPT)
    url = await _page_url(box)
    cookie, page = await _sign_in(url)
    (folder / "page.html").write_bytes(page)
    pid = box.process.pid
    found: list[Row] = []
    with _bare(folder / "page.html") as (bare_pid, bare_url):
        found += (await _load(script, bare_url, bare_pid)).rows("bare aiohttp, the same bytes")
    gzip = {"Accept-Encoding": "gzip"}
    found += (await _load(script, url, pid)).rows("market page, visitors", 1_000)
    found += (await _load(script, url, pid, gzip)).rows("market page, visitors, gzip", 1_000)
    found += (await _load(script, url, pid, {"Cookie": cookie})).rows(
        "market page, signed in", 1_000
    )
    found += (await _load(script, url, pid, {"Cookie": cookie} | gzip)).rows(
        "market page, signed in, gzip", 1_000
    )
    writing = asyncio.create_task(_keep_writing(box))
    found += (await _load(script, url, pid, {"Cookie": cookie})).rows(
        "market page, signed in, 20 payments/s beside it", 1_000
    )
    writing.cancel()
    await asyncio.gather(writing, return_exceptions=True)
    return found + (await _load(script, url, pid, searches=True)).rows(
        "market page, each search another one"
    )


async def _load(
    script: Path,
    url: str,
    pid: int,
    headers: dict[str, str] | None = None,
    *,
    searches: bool = False,
) -> Load:
    """Have wrk ask for a while, on a processor of its own if there are two."""
    one, two = _processors()
    for thread in (Path("/proc") / str(pid) / "task").iterdir():
        os.sched_setaffinity(int(thread.name), {one})
    command = ["wrk", "--threads=1", f"--connections={CONNECTIONS}", f"--script={script}"]
    for name, value in (headers or {}).items():
        command += ["--header", f"{name}: {value}"]
    environment = os.environ | ({"SEARCHES": "1"} if searches else {})

    def run(seconds: int) -> tuple[dict[str, int], float, float]:
        before, began = _processor_s(pid), resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(
            [*command, f"--duration={seconds}s", url],
            capture_output=True,
            check=True,
            env=environment,
            preexec_fn=lambda: os.sched_setaffinity(0, {two}),
        )
        ended = resource.getrusage(resource.RUSAGE_CHILDREN)
        wrk_s = ended.ru_utime + ended.ru_stime - began.ru_utime - began.ru_stime
        said = msgspec.json.decode(done.stdout[done.stdout.index(b"{") :])
        return said, _processor_s(pid) - before, wrk_s

    await asyncio.to_thread(run, WARM_S)
    said, server_s, wrk_s = await asyncio.to_thread(run, RUN_S)
    assert not said["errors"], said
    seconds = said["duration_us"] / 1e6
    return Load(
        said["requests"] / seconds, said["p95_us"] / 1e3, server_s / seconds, wrk_s / seconds
    )


async def _keep_writing(box: RealBox) -> None:
    await box.ask(control.Issue("Member 1", "1000"))
    while True:
        await box.ask(control.Pay("Member 1", "Member 2", "0.01", "AT", ""))
        await asyncio.sleep(0.05)


async def _page_url(box: RealBox) -> str:
    status = await box.ask(control.Status())
    return str(status["page_urls"][0]).replace("localhost", "127.0.0.1") + "market"


async def _sign_in(url: str) -> tuple[str, bytes]:
    """Return a member's cookie, and the page that this member is shown."""
    jar = aiohttp.CookieJar(unsafe=True)
    async with aiohttp.ClientSession(cookie_jar=jar) as session:
        said = {"name": "Member 0", "pin": PIN}
        async with session.post(url.replace("market", "sign-in"), json=said) as answer:
            assert answer.status == 200, await answer.text()
        async with session.get(url) as answer:
            page = await answer.read()
        assert b"Member 0" in page and page.count(b'class="card"') == listings.PAGE
        return "; ".join(f"{each.key}={each.value}" for each in jar), page


@contextlib.contextmanager
def _bare(page: Path) -> Iterator[tuple[int, str]]:
    """Give the bare application's process and address, while it runs."""
    process = subprocess.Popen([sys.executable, "-c", BARE, str(page)], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        yield process.pid, f"http://127.0.0.1:{int(process.stdout.readline())}/market"
    finally:
        process.terminate()
        process.wait()


def _processors() -> tuple[int, int]:
    """Return where the server and wrk run: the same one, if there is one only."""
    there = sorted(os.sched_getaffinity(0))
    return there[0], there[-1]


def _processor_s(pid: int) -> float:
    fields = (Path("/proc") / str(pid) / "stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def _has_all(box: RealBox, village: str) -> bool:
    conn = database.open_reader(box.folder / app.LEDGER)
    try:
        row = View(conn).one("SELECT count(*) FROM listing WHERE village = ?", village)
        return bool(row[0] >= NEIGHBOURS)
    finally:
        conn.close()
