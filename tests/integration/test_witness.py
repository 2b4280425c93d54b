"""`POST /add-checkpoint` of a real box, over TLS: for a neighbour, an auditor, and a liar."""

import asyncio
import base64
import os
import re
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest

from edge import app, control
from edge.core import checkpoint, crypto, limits, merkle, note, records
from edge.core.checkpoint import Checkpoint
from edge.core.witness import AddCheckpoint
from edge.transport import tls
from edge.transport.client import Endpoint
from edge.transport.routes import ADD_CHECKPOINTS_AT_ONCE
from tests.integration.boxes import WAIT_S_MAX, RealBox, befriend, environment_of, until
from tests.integration.liar import LIAR, root, tree
from tests.integration.real_liar import RealLiar
from tests.integration.served import Answered, call

BOX, TEXAS, OHIO = "ose-missouri-001", "ose-texas-001", "ose-ohio-001"
PATH: Final = "/add-checkpoint"
PAGE: Final = Path(__file__).parents[2] / "firmware-notes" / "federation-protocol.md"
FORK: Final = bytes(31) + b"f"


@pytest.fixture
async def box(tmp_path: Path) -> AsyncIterator[RealBox]:
    box = RealBox(tmp_path, BOX)
    try:
        await box.start()
        yield box
    finally:
        box.end()


@pytest.fixture
async def liar(box: RealBox) -> AsyncIterator[RealLiar]:
    """A neighbour with three records, all of them stored and cosigned."""
    made = RealLiar(box)
    await made.join()
    await made.say()
    yield made
    await made.close()


async def endpoint(box: RealBox) -> Endpoint:
    url = (await box.ask(control.Status()))["federation_url"].removeprefix("https://")
    return Endpoint((url,), tls.spki_pin((box.folder / app.TLS_CERTIFICATE).read_bytes()))


def signed(liar: RealLiar, size: int, of: bytes | None = None, origin: str = LIAR) -> str:
    head = Checkpoint(origin, size, of or root(liar.log[:size]))
    return checkpoint.sign_checkpoint(head, liar.key)


def request(liar: RealLiar, old: int, size: int, of: bytes | None = None) -> AddCheckpoint:
    proof: list[bytes] = []
    if old < size:
        proof = merkle.consistency_proof(old, size, tree(liar.log))
    return AddCheckpoint.of(old, proof, signed(liar, size, of))


async def ask(box: RealBox, asked: AddCheckpoint | bytes, **more: Any) -> Answered:
    body = asked if isinstance(asked, bytes) else asked.to_body()
    return await call(await endpoint(box), PATH, body, **more)


def grow(liar: RealLiar, count: int) -> None:
    for _ in range(count):
        posting = crypto.sha256(b"%d" % len(liar.log))
        liar.append(records.SealedRecord(liar.minute, posting))


async def trouble(box: RealBox) -> str:
    [neighbour] = (await box.ask(control.PeerList()))["neighbours"]
    return str(neighbour["trouble"])


async def key_of(box: RealBox) -> bytes:
    listed = await call(await endpoint(box), "/federation/villages", method="GET")
    return base64.b64decode(re.findall(rb'"public_key":"([^"]+)"', listed.body)[0])


def assert_size(answer: Answered, size: int, waits: bool = False) -> None:
    """C2SP: the size in decimal and a newline, and exactly this type."""
    assert (answer.status, answer.body) == (409, f"{size}\n".encode())
    assert answer.headers["content-type"] == "text/x.tlog.size"
    assert ("retry-after" in answer.headers) == waits


async def test_a_log_has_its_checkpoints_cosigned(box: RealBox, liar: RealLiar) -> None:
    """From the first question to the line, as records come, and after a power cut."""
    assert_size(await ask(box, request(liar, 0, 3)), 3)
    answer = await ask(box, request(liar, 3, 3))
    assert (answer.status, answer.headers["content-type"]) == (200, "text/plain; charset=utf-8")
    head = Checkpoint(LIAR, 3, root(liar.log[:3]))
    line = note.NoteSignature.from_text(answer.body.decode())
    assert checkpoint.verify_cosignature(head, line, BOX, await key_of(box))
    grow(liar, 4)
    for size in (4, 7):
        assert_size(await ask(box, request(liar, 3, size)), 3, waits=True)
    await liar.say()
    assert_size(await ask(box, request(liar, 3, 7)), 7)
    newer = await ask(box, request(liar, 7, 7))
    assert newer.status == 200
    box.kill()
    await box.start()
    again = await ask(box, request(liar, 7, 7))
    assert (again.status, again.body) == (200, newer.body)
    assert await trouble(box) == ""
    box.stop()
    assert "agree" in box.audit()


async def test_replays_and_smaller_ones_change_nothing(box: RealBox, liar: RealLiar) -> None:
    first = (await ask(box, request(liar, 3, 3))).body
    for _ in range(5):
        assert (await ask(box, request(liar, 3, 3))).body == first
    for old, size in ((0, 1), (1, 1), (0, 2), (1, 2), (2, 2), (1, 3), (2, 3)):
        assert_size(await ask(box, request(liar, old, size)), 3)
    assert await trouble(box) == ""


@pytest.mark.parametrize(("size", "status"), [(2, 409), (3, 422)])
async def test_a_fork_is_shown_by_anybody(
    box: RealBox, liar: RealLiar, size: int, status: int
) -> None:
    answer = await ask(box, AddCheckpoint.of(size, [], signed(liar, size, FORK)))
    assert answer.status == status
    assert await trouble(box) == f"{LIAR} has signed two different logs of {size} records"
    assert (await ask(box, request(liar, 3, 3))).status == 200, "of the log that it holds"
    box.kill()
    await box.start()
    assert "two different logs" in await trouble(box)


async def test_hostile_requests(box: RealBox, liar: RealLiar) -> None:
    """Each is refused by its kind, none is kept, and the box goes on."""
    grow(liar, 4)
    stranger = crypto.SecretKey(bytes(32))
    head = Checkpoint(LIAR, 7, root(liar.log))
    proof = request(liar, 3, 7).proof
    forged = checkpoint.sign_checkpoint(head, stranger)
    own = signed(liar, 3, origin=BOX)
    body = request(liar, 3, 7).to_body()
    hash_line = note.to_base64(bytes(32)).encode() + b"\n"
    expected: list[tuple[AddCheckpoint | bytes, int, str]] = [
        (AddCheckpoint.of(3, proof, forged), 403, "untrusted-checkpoint"),
        (AddCheckpoint.of(3, [], signed(liar, 3, origin=TEXAS)), 404, "unknown-origin"),
        (AddCheckpoint.of(0, [], own), 404, "unknown-origin"),
        (AddCheckpoint.of(8, [], signed(liar, 7)), 400, "malformed"),
        (AddCheckpoint.of(3, [], signed(liar, 7)), 422, "bad-proof"),
        (AddCheckpoint.of(3, proof[::-1], signed(liar, 7)), 422, "bad-proof"),
        (AddCheckpoint.of(3, proof, signed(liar, 7, FORK)), 422, "bad-proof"),
        (AddCheckpoint.of(3, [bytes(32)] * 63, signed(liar, 7)), 422, "bad-proof"),
        (AddCheckpoint.of(3, [bytes(32)], signed(liar, 3)), 422, "bad-proof"),
        (body.replace(b"old 3\n", b"old 3\n" + hash_line * 64), 400, "malformed"),
        (body.replace(b"old 3\n", b"old 03\n"), 400, "malformed"),
        (b"", 400, "malformed"),
        (b"\xff" * 1_000, 400, "malformed"),
        (b"\n" * limits.ADD_CHECKPOINT_BYTES_MAX, 400, "malformed"),
        (b"x" * (limits.ADD_CHECKPOINT_BYTES_MAX + 1), 413, "too-large"),
    ]
    for asked, status, slug in expected:
        answer = await ask(box, asked)
        assert (answer.status, answer.slug) == (status, slug), asked
    packed = await ask(box, body, headers={"Content-Encoding": "gzip"})
    assert (packed.status, packed.slug) == (400, "malformed")
    assert (await call(await endpoint(box), PATH, method="GET")).status == 405
    assert await trouble(box) == "", "nothing of it was proof of a fork"
    assert_size(await ask(box, body), 3, waits=True)


async def test_a_body_without_end_is_answered_before_it(box: RealBox) -> None:
    answered = asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        yield b"x" * (limits.ADD_CHECKPOINT_BYTES_MAX + 1)
        await answered.wait()

    to = await endpoint(box)
    url = f"https://{to.addresses[0]}{PATH}"
    async with (
        asyncio.timeout(limits.BODY_READ_S_MAX / 2),
        aiohttp.ClientSession() as session,
        session.post(url, data=endless(), ssl=tls.SpkiPin(to.pin)) as response,
    ):
        assert response.status == 413
        answered.set()
    assert (await ask(box, b"")).status == 400


async def test_one_address_may_ask_so_often(box: RealBox, liar: RealLiar) -> None:
    asked = request(liar, 3, 3)
    answers = await asyncio.gather(*(ask(box, asked) for _ in range(ADD_CHECKPOINTS_AT_ONCE // 3)))
    assert {each.status for each in answers} == {200}
    seen: list[Answered] = []
    while not seen or seen[-1].status == 200:
        seen.append(await ask(box, asked))
        assert len(seen) < 20 * ADD_CHECKPOINTS_AT_ONCE
    assert len(seen) > ADD_CHECKPOINTS_AT_ONCE // 2
    assert (seen[-1].status, seen[-1].slug) == (429, "too-many")
    assert seen[-1].headers["retry-after"] == "1"
    await liar.say()  # whoever signs its requests is not held up

    async def is_answered() -> bool:
        return (await ask(box, asked)).status == 200

    assert await until(is_answered, "room again", 10)


@pytest.mark.needs("curl")
async def test_an_auditor_asks_two_villages_by_the_page(tmp_path: Path) -> None:
    """The lines of the page: a checkpoint of one box, taken to its neighbour."""
    block = re.search(r"^```sh\n(curl .*?)^```$", PAGE.read_text("utf-8"), re.M | re.S)
    assert block is not None
    boxes = [RealBox(tmp_path, village) for village in (TEXAS, OHIO)]
    texas, ohio = boxes
    try:
        for box in boxes:
            await box.start()
        await befriend(texas, ohio)

        async def is_cosigned() -> Any:
            log = (await ohio.ask(control.Status()))["log"]
            return log if log["cosigned_size"] == log["size"] else None

        log, to = await until(is_cosigned, "cosigned by sync"), await endpoint(texas)
        key = crypto.SecretKey(bytes.fromhex((ohio.folder / app.IDENTITY).read_text()))
        head = Checkpoint(OHIO, log["size"], bytes.fromhex(log["root"]))
        text = checkpoint.sign_checkpoint(head, key)
        for old, expected in ((0, f"{head.size}\n"), (head.size, f"— {TEXAS} ")):
            (tmp_path / "request").write_bytes(AddCheckpoint.of(old, [], text).to_body())
            done = subprocess.run(
                ["bash", "-euo", "pipefail", "-c", block[1]],
                cwd=tmp_path,
                env=environment_of(
                    {
                        "PIN": note.to_base64(to.pin),
                        "VILLAGE": to.addresses[0],
                        "PATH": os.environ["PATH"],
                    }
                ),
                capture_output=True,
                text=True,
                timeout=WAIT_S_MAX,
                check=True,
            )
            assert done.stdout.startswith(expected)
        line = note.NoteSignature.from_text(done.stdout)
        assert checkpoint.verify_cosignature(head, line, TEXAS, await key_of(texas))
    finally:
        for box in boxes:
            box.end()
