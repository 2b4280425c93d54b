"""A log read as an auditor reads it: checkpoint and tiles of a box, over TLS, by any means."""

import asyncio
import contextlib
import gzip
import random
import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest
import yarl

from edge import control
from edge.core import checkpoint, crypto, merkle, messages, note, records, tiles
from edge.core.checkpoint import Checkpoint
from edge.core.tiles import ENTRIES, WIDTH, Tile
from edge.storage import logs
from edge.storage import tiles as kept
from edge.storage.tx import OWN_LOG, Tx
from edge.transport import log_routes, tls
from edge.transport.log_routes import FOR_EVER, PART_BYTES
from tests.integration.boxes import until
from tests.integration.served import Answered, Served, call, served

BOX, OHIO = "ose-missouri-001", "ose-ohio-001"
KEY: Final = crypto.SecretKey(crypto.sha256(OHIO.encode()))
SIZE: Final = 300


@pytest.fixture
async def box(tmp_path: Path) -> AsyncIterator[Served]:
    """A box of 300 records that another village has cosigned, and one more that none has."""
    async with served(tmp_path / BOX, BOX) as box:
        size = await box.app.store.read(lambda view: logs.size_of(view, OWN_LOG))
        await append(box, SIZE - size)
        await cosign(box)
        await append(box, 1)
        yield box


async def append(box: Served, count: int) -> None:
    def write(tx: Tx) -> None:
        for _ in range(count):
            tx.append(records.SealedRecord(tx.minute, tx.random(32)))

    await box.app.store.write(write)


async def cosign(box: Served) -> None:
    """Have the newest checkpoint cosigned, as a neighbour does."""

    def write(tx: Tx) -> None:
        size, root, _ = logs.last_checkpoint(tx, OWN_LOG) or (0, b"", "")
        line = checkpoint.cosign(Checkpoint(BOX, size, root), OHIO, KEY, tx.stamp_ms // 1000)
        assert logs.keep_cosignature(
            tx, OHIO, KEY.public, messages.CosignatureLine(size, line.to_text())
        )

    await box.app.store.write(write)


async def get(box: Served, path: str, method: str = "GET", **headers: str) -> Answered:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return await call(box.endpoint, path, headers=named, method=method)


async def tile(box: Served, wanted: Tile, prefix: str = "") -> bytes:
    answer = await get(box, f"{prefix}/{wanted.to_path()}")
    assert (answer.status, answer.type) == (200, "application/octet-stream"), answer
    assert answer.headers["cache-control"] == FOR_EVER == "public, max-age=31536000, immutable"
    packed = answer.headers.get("content-encoding") == "gzip"
    assert packed or int(answer.headers["content-length"]) == len(answer.body)
    return answer.body


async def whole_log(box: Served, head: Checkpoint, prefix: str = "") -> list[bytes]:
    """Return a log's records, checked by its tiles of hashes up to the root that was signed."""
    found: list[bytes] = []
    while len(found) < head.size:
        width = min(WIDTH, head.size - len(found))
        wanted = Tile(ENTRIES, len(found) // WIDTH, width)
        found += tiles.decode_entries(await tile(box, wanted, prefix), width)
    edge, nodes = merkle.extend(0, [], leaves := [merkle.leaf_hash(each) for each in found])
    assert merkle.root_from_edge(edge) == head.root
    hashes = {(level, index): made for level, index, made in nodes}
    hashes |= {(0, index): made for index, made in enumerate(leaves)}
    for wanted in tiles.tiles_of(head.size):
        level, start = wanted.first
        body = await tile(box, wanted, prefix)
        assert tiles.decode_hashes(body, wanted.width) == [
            hashes[level, index] for index in range(start, start + wanted.width)
        ]
    return found


async def test_an_auditor_reads_the_whole_log(box: Served) -> None:
    answer = await get(box, "/checkpoint")
    assert (answer.status, answer.headers["content-type"]) == (200, "text/plain; charset=utf-8")
    assert answer.headers["cache-control"] == "public, max-age=5"
    head = checkpoint.open_checkpoint(answer.body.decode(), BOX, box.key.public)
    assert head.size == SIZE
    _, line = note.Note.from_text(answer.body.decode()).signatures
    assert checkpoint.verify_cosignature(head, line, OHIO, KEY.public)
    found = await whole_log(box, head)
    stored = await box.app.store.read(
        lambda view: logs.records_from(view, OWN_LOG, 0, SIZE + 1, 10**9)
    )
    assert found == stored[:-1], "and nothing of the record that nobody has cosigned"
    assert isinstance(records.decode(found[0]), records.VillageRecord)


async def test_what_was_read_stays_as_the_log_grows(box: Served) -> None:
    before = {each: await tile(box, each) for each in tiles.tiles_of(SIZE)}
    partial = Tile(ENTRIES, 1, SIZE - WIDTH)
    entries = await tile(box, partial)
    await append(box, WIDTH)
    assert (await get(box, "/tile/0/001")).status == 404
    await cosign(box)
    assert {each: await tile(box, each) for each in before} == before
    assert await tile(box, partial) == entries
    assert (await tile(box, partial._replace(width=WIDTH))).startswith(entries)


@pytest.mark.parametrize(
    ("path", "status", "slug"),
    [
        ("/tile/", 400, "malformed"),
        ("/tile/0/0", 400, "malformed"),
        ("/tile/0/000/", 400, "malformed"),
        ("/tile/0/000?x=1", 400, "malformed"),
        ("/tile/0/000?", 400, "malformed"),
        ("/tile/%30/000", 400, "malformed"),
        ("/tile/0/x000/000", 400, "malformed"),
        ("/tile/0/000.p/256", 400, "malformed"),
        ("/tile/64/000", 400, "malformed"),
        ("/tile/data/000", 400, "malformed"),
        ("/tile/8/0/000", 400, "malformed"),
        ("/tile/" + "x" * 7_000, 400, "malformed"),
        ("/tile/0/001", 404, "not-found"),
        ("/tile/0/001.p/45", 404, "not-found"),
        ("/tile/entries/001.p/45", 404, "not-found"),
        ("/tile/entries/x999/x999/x999/x999/x999/999", 404, "not-found"),
        ("/tile/1/000", 404, "not-found"),
        ("/tile/2/000.p/1", 404, "not-found"),
        ("/tile/63/x999/x999/x999/x999/x999/999.p/255", 404, "not-found"),
        (f"/{'0' * 64}/checkpoint", 404, "unknown-origin"),
        (f"/{'0' * 64}/tile/0/000", 404, "unknown-origin"),
        (f"/{'0' * 64}/tile/entries/000", 404, "unknown-origin"),
        (f"/{'0' * 64}/tile/00/000", 400, "malformed"),
    ],
    ids=lambda value: str(value)[:40],
)
async def test_no_such_tile(box: Served, path: str, status: int, slug: str) -> None:
    answer = await get_raw(box, path)
    assert (answer.status, answer.slug) == (status, slug)
    assert len(answer.body) < 1_000
    assert "cache-control" not in answer.headers


async def test_any_target_is_answered(box: Served) -> None:
    """Good targets with a piece changed: each gets a tile, or a refusal of one of three kinds."""
    rng = random.Random(7)
    origin = crypto.sha256(BOX.encode()).hex()
    good = [each.to_path() for each in (*tiles.tiles_of(SIZE), Tile(ENTRIES, 0), Tile(1, 0, 1))]
    targets = [f"{prefix}/{path}" for path in good for prefix in ("", f"/{origin}")]
    targets += ["/checkpoint", f"/{origin}/checkpoint"]
    pieces = [*"0123456789x/.p%?#&=+-_~", "%2f", "%00", "..", "//", "entries", "a" * 99]
    seen = set()
    async with aiohttp.ClientSession() as session:
        for _ in range(600):
            target = rng.choice(targets)
            for _ in range(rng.randrange(3)):
                place = rng.randrange(len(target))
                target = target[:place] + rng.choice(pieces) + target[place + rng.randrange(3) :]
            url = yarl.URL(f"https://{box.endpoint.addresses[0]}/{target[1:]}", encoded=True)
            async with session.get(url, ssl=tls.SpkiPin(box.endpoint.pin)) as answer:
                body = await answer.read()
            found = Answered(answer.status, answer.content_type, {}, body)
            seen.add(found.status)
            if found.status != 200:
                named = found.problem["type"].rpartition(":")[2]
                assert named in ("malformed", "not-found", "unknown-origin", "blank"), target
                assert found.status in (400, 404) and len(body) < 1_000, target
    assert seen == {200, 400, 404}


async def get_raw(box: Served, target: str, *lines: str) -> Answered:
    """Send one request with exactly this target."""
    reader, writer = await connect(box)
    head = "\r\n".join([f"GET {target} HTTP/1.1", "Host: a", "Connection: close", *lines, "", ""])
    writer.write(head.encode())
    status, _, rest = (await reader.read()).partition(b"\r\n")
    writer.close()
    fields, _, body = rest.partition(b"\r\n\r\n")
    named = [line.partition(": ") for line in fields.decode().split("\r\n")]
    headers = {name.lower(): value for name, _, value in named}
    return Answered(int(status.split()[1]), headers["content-type"], headers, body)


async def connect(box: Served) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect with little room for what is not read."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    host, port = box.endpoint.addresses[0].split(":")
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    sock.connect((host, int(port)))
    return await asyncio.open_connection(sock=sock, ssl=context, server_hostname="")


async def test_only_reading(box: Served) -> None:
    for path in ("/checkpoint", "/tile/0/000", "/tile/entries/000"):
        answer = await call(box.endpoint, path, b"", method="POST")
        assert (answer.status, answer.headers["allow"]) == (405, "GET,HEAD")
        asked = await get(box, path, Accept_Encoding="identity")
        head = await get(box, path, method="HEAD", Accept_Encoding="identity")
        assert (head.status, head.body) == (200, b"")
        same = ("content-length", "content-type", "cache-control")
        assert [head.headers[name] for name in same] == [asked.headers[name] for name in same]


async def test_nothing_is_published_that_nobody_has_cosigned(tmp_path: Path) -> None:
    async with served(tmp_path / BOX, BOX) as box:
        for path in ("/checkpoint", "/tile/0/000.p/1", "/tile/entries/000.p/1"):
            answer = await get(box, path)
            assert (answer.status, answer.slug) == (404, "not-found")
        await cosign(box)
        assert (await get(box, "/checkpoint")).status == 200


async def test_records_travel_compressed_if_the_reader_takes_that(box: Served) -> None:
    path = "/tile/entries/000"
    plain = await get_raw(box, path)
    assert "content-encoding" not in plain.headers
    assert plain.headers["vary"] == "Accept-Encoding"
    for refused in ("identity", "br", "gzip;q=0", "gzip; q=0.000", "xgzip"):
        answer = await get_raw(box, path, f"Accept-Encoding: {refused}")
        assert answer.body == plain.body
    packed = await get_raw(box, path, "Accept-Encoding: br, GZIP;q=0.5")
    assert packed.headers["content-encoding"] == "gzip"
    assert packed.headers["vary"] == "Accept-Encoding"
    assert "content-length" not in packed.headers
    assert unchunked(packed.body) == plain.body
    hashes = await get_raw(box, "/tile/0/000", "Accept-Encoding: gzip")
    assert "content-encoding" not in hashes.headers, "hashes do not shrink"


def unchunked(body: bytes) -> bytes:
    data = b""
    while body:
        size, _, body = body.partition(b"\r\n")
        data, body = data + body[: int(size, 16)], body[int(size, 16) + 2 :]
    return gzip.decompress(data)


async def test_long_records_are_sent_in_parts(box: Served, monkeypatch: Any) -> None:
    """Whatever it holds, a tile of records takes little memory at a time."""
    whole = await tile(box, Tile(ENTRIES, 0))
    parts = []
    encode = tiles.encode_entries

    def counted(found: list[bytes]) -> bytes:
        parts.append(len(found))
        return encode(found)

    monkeypatch.setattr(log_routes, "PART_BYTES", 2_000)
    monkeypatch.setattr(log_routes, "encode_entries", counted)
    assert await tile(box, Tile(ENTRIES, 0)) == whole
    assert len(parts) > 10 and sum(parts) == WIDTH


async def test_a_reader_that_takes_nothing_is_let_go(
    tmp_path: Path, monkeypatch: Any, caplog: Any
) -> None:
    """It holds its room while it is slow, and cannot take what it has for the whole."""
    monkeypatch.setattr(log_routes, "PARTS_OF_ONE_BYTES_MAX", PART_BYTES)
    monkeypatch.setattr(log_routes, "PART_S_MAX", 1.0)
    length = 60_000
    async with served(tmp_path / BOX, BOX) as box:
        await cosign(box)
        monkeypatch.setattr(kept, "entries_bytes", lambda *_: WIDTH * (2 + length))
        monkeypatch.setattr(kept, "read_entries", lambda *_: [bytes(length)])
        reader, writer = await connect(box)
        writer.write(b"GET /tile/entries/000 HTTP/1.1\r\nHost: a\r\n\r\n")
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        busy = await get(box, "/tile/entries/000")
        assert (busy.status, busy.slug) == (429, "too-many")
        assert busy.headers["retry-after"] == "5"
        assert (await get(box, "/checkpoint")).status == 200

        async def has_room() -> bool:
            return (await get(box, "/tile/entries/000", method="HEAD")).status == 200

        await until(has_room, "the slow one let go", 20)
        rest = b""
        with contextlib.suppress(ConnectionError):
            while part := await reader.read(1_000_000):
                rest += part
        assert len(rest) < WIDTH * length
        writer.close()
    assert [each for each in caplog.records if each.levelname in ("ERROR", "CRITICAL")] == []


async def test_one_address_may_read_so_often(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(log_routes, "READS_AT_ONCE", 6)
    monkeypatch.setattr(log_routes, "READS_PER_S", 0.01)
    async with served(tmp_path / BOX, BOX) as box:
        await cosign(box)
        paths = ["/checkpoint", "/tile/0/000.p/1", "/tile/entries/000.p/1", "/tile/x"]
        assert [(await get(box, path)).status for path in paths] == [200, 200, 200, 400]
        paths += [f"/{'0' * 64}/checkpoint", "/tile/0/999"]
        assert [(await get(box, path)).status for path in paths[-2:]] == [404, 404]
        for path in paths:
            answer = await get(box, path)
            assert (answer.status, answer.slug) == (429, "too-many")
            assert answer.headers["retry-after"] == "100"
        assert (await get(box, "/federation/villages")).status == 200


async def test_a_neighbour_serves_the_same_log(tmp_path: Path) -> None:
    """Below the SHA-256 of its origin, as C2SP's mirrors do."""
    async with (
        served(tmp_path / BOX, BOX, federation__heartbeat_s=0.1) as box,
        served(tmp_path / OHIO, OHIO, federation__heartbeat_s=0.1) as ohio,
    ):
        await ohio.ask(control.PeerAdd(await box.invitation()))
        await append(box, SIZE)
        size = await box.app.store.read(lambda view: logs.size_of(view, OWN_LOG))

        async def is_cosigned() -> bool:
            log = (await box.ask(control.Status()))["log"]
            return bool(log["cosigned_size"] == log["size"] >= size)

        await until(is_cosigned, "cosigned by the neighbour")
        prefix = f"/{crypto.sha256(BOX.encode()).hex()}"
        own = (await get(box, "/checkpoint")).body.decode()
        copied = (await get(ohio, f"{prefix}/checkpoint")).body.decode()
        assert checkpoint.without_others(own, BOX, box.key.public) == checkpoint.without_others(
            copied, BOX, box.key.public
        )
        head = checkpoint.open_checkpoint(copied, BOX, box.key.public)
        [line] = [each for each in note.Note.from_text(copied).signatures if each.name == OHIO]
        assert checkpoint.verify_cosignature(head, line, OHIO, ohio.key.public)
        assert await whole_log(ohio, head, prefix) == await whole_log(box, head)
        assert (await get(box, f"{prefix}/checkpoint")).body.decode() == own
