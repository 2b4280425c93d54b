"""No personal data in any public byte: plants names, notes and PINs, and walks everything for them.

What is not known to be private is public here: a new table, file or endpoint is walked without
anybody remembering to add it. Later kinds of public bytes are added to `public_bytes`.
"""

import asyncio
import base64
import binascii
import hashlib
import html
import json
import re
import sqlite3
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import aiohttp
import msgspec
import pytest

from edge import app, control, desk, market, peering, trade_escrow
from edge.core import checkpoint, crypto, limits, messages, note, tiles
from edge.core.crypto import SecretKey
from edge.core.messages import Register
from edge.core.trade import Proposal
from edge.errors import LimitExceeded
from edge.federation_client import SYNC_PATH, TRADE_PATH
from edge.market import Ask
from edge.storage import members, neighbours, trades
from edge.storage.tx import Tx
from edge.transport import tls
from edge.transport.client import Endpoint
from edge.transport.routes import VILLAGES_PATH
from tests.answering import answering
from tests.integration.boxes import RealBox, befriend, until
from tests.integration.served import call, entry_of, exchange_of, signed
from tests.simulation.world import Letter, Village, World

MISSOURI, CALIFORNIA = "ose-missouri-001", "ose-california-001"
STRANGER: Final = SecretKey(bytes(range(32)))

PEOPLE: Final = {
    "Xanthippe Quillfeather": "plover-7741",
    "Ignatius Thornbury": "wombat-3309",
    "Zebulon Ødegård": "9182736450",
    "Perpetua Wigglesworth": "heron 5566",
}
NOBODY: Final = "Barnaby Umbrellastand"  # whom neither village knows
NOTES: Final = ("midnight rhubarb dues", "für des Vikars Tandem", "too dear a bassoon")
ERRANDS: Final = ("errand-xylophone-31", "errand-marimba-32")
PRIVATE: Final = (*PEOPLE, NOBODY, *PEOPLE.values(), *NOTES, *ERRANDS)
PUBLIC: Final = ("ZIRCON-LATHE", MISSOURI, CALIFORNIA)

PRIVATE_TABLES: Final = frozenset({"member", "trade", "sealed", "request"})
DEPTH_MAX: Final = 4


# Looking for words


def needles(word: str) -> set[bytes]:
    """Return a word, its parts, and what stands for it: other letters, encodings, plain hashes."""
    words = {word, *(part for part in word.split() if len(part) >= 5)}
    spelt = {each for one in words for each in (one, one.lower(), one.upper())}
    found = set()
    for each in spelt:
        raw = each.encode()
        found |= {raw, each.encode("utf-16-le"), each.encode("utf-16-be")}
        found |= {json.dumps(each)[1:-1].encode(), html.escape(each).encode()}
        found |= {quote(each).encode(), raw.hex().encode(), raw[::-1]}
        found |= {base64_core(raw, offset) for offset in range(3)}
        for digest in (hashlib.sha256(raw).digest(), hashlib.sha1(raw).digest()):
            found |= {digest, digest.hex().encode(), base64.b64encode(digest).rstrip(b"=")}
    return {each.lower() for each in found if len(each) >= 4}


def base64_core(raw: bytes, offset: int) -> bytes:
    """Return the digits that stand for `raw` alone, wherever it begins in the encoded bytes."""
    whole = base64.b64encode(b"\0" * offset + raw)
    return whole[-(-offset * 8 // 6) : (offset + len(raw)) * 8 // 6]


def unwrapped(data: bytes, depth: int = 0) -> Iterator[bytes]:
    """Return some bytes, and whatever is encoded within them, layer by layer."""
    yield data
    if depth == DEPTH_MAX:
        return
    for run in re.findall(rb"[A-Za-z0-9+/_-]{8,}={0,2}", data):
        digits = run.rstrip(b"=").replace(b"-", b"+").replace(b"_", b"/")
        padded = digits + b"=" * (-len(digits) % 4)
        try:
            yield from unwrapped(base64.b64decode(padded), depth + 1)
        except binascii.Error:
            continue


def words_in(data: bytes, words: tuple[str, ...]) -> set[str]:
    layers = [layer.lower() for layer in unwrapped(data)]
    folded = [layer.decode("utf-8", "replace").casefold() for layer in layers]
    return {
        word
        for word in words
        if any(word.casefold() in text for text in folded)
        or any(needle in layer for needle in needles(word) for layer in layers)
    }


def test_the_search_finds_what_it_is_to_find() -> None:
    for word in PRIVATE:
        raw = word.encode()
        nested = base64.b64encode(b"xx" + base64.b64encode(b'{"a":"' + raw + b'"}'))
        for hidden in (
            raw,
            word.upper().encode(),
            b"x" + base64.b64encode(b"y" + raw),
            base64.urlsafe_b64encode(b"yy" + raw + b"z"),
            raw.hex().encode(),
            raw.hex().upper().encode(),
            json.dumps({"name": word}).encode(),
            word.encode("utf-16-le"),
            nested,
            hashlib.sha256(raw).digest(),
            hashlib.sha256(word.lower().encode()).hexdigest().encode(),
            max(word.split(), key=len).encode(),
        ):
            assert word in words_in(b"before " + hidden + b" after", PRIVATE), (word, hidden)
    assert words_in(b"nothing of it", PRIVATE) == set()


# Two real boxes


class Planted:
    """Two boxes whose people have done everything that there is to do, and what happened."""

    def __init__(self, folder: Path) -> None:
        self.missouri = RealBox(folder, MISSOURI)
        self.california = RealBox(folder, CALIFORNIA)
        self.boxes = (self.missouri, self.california)
        self.settled = ""

    async def start(self) -> None:
        await asyncio.gather(*(box.start() for box in self.boxes))
        await befriend(*self.boxes)
        await self._plant()
        await until(partial(self._knows_catalogue, "ZIRCON-LATHE"), "the catalogue has come")
        await self._trade()

    async def _plant(self) -> None:
        xanthippe, ignatius, zebulon, perpetua = PEOPLE
        here, there = self.missouri.ask, self.california.ask
        for ask, name in ((here, xanthippe), (here, ignatius), (there, zebulon), (there, perpetua)):
            await ask(control.MemberAdd(name, PEOPLE[name]))
        await here(control.Issue(xanthippe, "500", NOTES[0], ERRANDS[0]))
        await here(control.Pay(xanthippe, ignatius, "20", "AT", NOTES[1], ERRANDS[1]))
        await here(control.Limit(ignatius, "AT", "5"))
        with pytest.raises(LimitExceeded):
            await here(control.Pay(ignatius, xanthippe, "900", "AT", NOTES[2]))
        await there(control.Declare(zebulon, "Zircon Lathe", "9"))
        await there(control.Consume(zebulon, "Zircon Lathe", "1"))

    async def _trade(self) -> None:
        """One trade settles; others are declined, withdrawn, and sent to nobody."""
        xanthippe, _, zebulon, _ = PEOPLE
        ends = [("accept", zebulon), ("reject", zebulon), ("cancel", zebulon), ("none", NOBODY)]
        for end, to_user in ends:
            id_ = await self._propose(xanthippe, to_user)
            await until(partial(self.california.trade, id_), "the proposal has come")
            if end == "accept":
                await self.california.ask(control.TradeAccept(id_))
                self.settled = id_
            elif end == "reject":
                await self.california.ask(control.TradeReject(id_))
            elif end == "cancel":
                await self.missouri.ask(control.TradeCancel(id_))
            expected = {"accept": "SETTLED", "reject": "REJECTED", "cancel": "CANCELLED"}
            for box in self.boxes:
                status = expected.get(end, "PENDING")
                await until(partial(is_at, box, id_, status), f"{box.village}: {status}")

    async def _propose(self, member: str, to_user: str) -> str:
        offer, request = ("AT", "30"), ("Zircon Lathe", "1")
        made = await self.missouri.ask(
            control.TradePropose(member, to_user, CALIFORNIA, offer, request)
        )
        return str(made["id"])

    async def _knows_catalogue(self, code: str) -> bool:
        with closing(sqlite3.connect(self.missouri.folder / app.LEDGER)) as conn:
            return bool(conn.execute("SELECT 1 FROM asset WHERE code = ?", (code,)).fetchone())


async def is_at(box: RealBox, id_: str, status: str) -> bool:
    found = await box.trade(id_)
    return found is not None and found["status"] == status


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Planted]:
    made = Planted(tmp_path_factory.mktemp("planted"))
    try:
        asyncio.run(made.start())
        yield made
    finally:
        for box in made.boxes:
            box.end()


def tables(folder: Path, private: bool) -> Iterator[tuple[str, bytes]]:
    """Return each value of the private tables, or of all others, with where it stands."""
    with closing(sqlite3.connect(folder / app.LEDGER)) as conn:
        names = [name for (name,) in conn.execute("SELECT name FROM sqlite_schema")]
        real = [name for name in names if not name.startswith("sqlite_autoindex")]
        kinds = dict(conn.execute("SELECT name, type FROM sqlite_schema"))
        for table in (name for name in real if kinds[name] == "table"):
            if (table in PRIVATE_TABLES) == private:
                for row in conn.execute(f"SELECT * FROM {table}"):
                    for value in row:
                        yield (
                            f"table {table}",
                            value if isinstance(value, bytes) else str(value).encode(),
                        )


async def public_bytes(planted: Planted) -> AsyncIterator[tuple[str, bytes]]:
    """Return everything that others than the village's own people may see, with what it is."""
    for box in planted.boxes:
        for where, value in tables(box.folder, private=False):
            yield f"{box.village}: {where}", value
        for path in box.folder.iterdir():
            if path.is_file() and not path.name.startswith(app.LEDGER):
                yield f"{box.village}: file {path.name}", path.read_bytes()
        yield f"{box.village}: log", box.log.read_bytes()
        commands: tuple[control.AnyCommand, ...] = (
            control.ExportRegistry(),
            control.ExportTrades(),
            control.ExportReceipt(planted.settled),
            *(control.ExportProof(index, unwitnessed=True) for index in range(6)),
            control.Status(),
            control.PeerList(),
            control.PeerInvite(),
        )
        for command in commands:
            shown = await box.ask(command)
            text = shown if isinstance(shown, str) else json.dumps(shown, ensure_ascii=False)
            yield f"{box.village}: {type(command).__name__}", text.encode()
        async for what, answer in answers_to_strangers(box):
            yield f"{box.village}: {what}", answer


async def answers_to_strangers(box: RealBox) -> AsyncIterator[tuple[str, bytes]]:
    status = await box.ask(control.Status())
    pin = tls.spki_pin((box.folder / app.TLS_CERTIFICATE).read_bytes())
    there = Endpoint((status["federation_url"].removeprefix("https://"),), pin)
    villages = await call(there, VILLAGES_PATH, method="GET")
    assert villages.status == 200
    yield "villages", villages.body + repr(villages.headers).encode()
    for village in (MISSOURI, CALIFORNIA):
        async for what, served in log_by_tiles(there, village):
            yield f"{what} of {village}", served
    body = messages.encode(exchange_of("ose-texas-001", bytes(32)))
    mission = {"trade_id": "t", "from_village": MISSOURI, "to_village": CALIFORNIA}
    for path, sent in (
        (SYNC_PATH, body),
        (TRADE_PATH, body),
        (TRADE_PATH, json.dumps(mission).encode()),
        (peering.REGISTER_PATH, b"{}"),
        ("/federation/members", b"{}"),
    ):
        for headers in ({}, signed(path, sent, box.village, STRANGER, "ose-texas-001")):
            answer = await call(there, path, sent, headers)
            assert answer.problem["status"] >= 400
            yield f"{path} to a stranger", answer.body + repr(answer.headers).encode()
    offer = Register(limits.PROTOCOL_VERSION, entry_of("ose-texas-001", STRANGER))
    answer = await call(there, peering.REGISTER_PATH, messages.encode(offer))
    assert answer.status == 200
    yield "register", answer.body
    (page,) = status["page_urls"]
    async with aiohttp.ClientSession() as session:
        for path in ("", "nowhere", "trade/0123", "static/style.css"):
            async with session.get(page + path) as response:
                yield f"page /{path}", await response.read() + repr(response.headers).encode()


async def log_by_tiles(there: Endpoint, village: str) -> AsyncIterator[tuple[str, bytes]]:
    """Return what anybody reads of a log that a box keeps, its own or a copy."""
    prefix = f"/{crypto.sha256(village.encode()).hex()}"
    found = await call(there, f"{prefix}/checkpoint", method="GET")
    assert found.status == 200
    yield "checkpoint", found.body + repr(found.headers).encode()
    head = checkpoint.Checkpoint.from_text(note.Note.from_text(found.body.decode()).text)
    assert head.size > 5
    of_hashes = tuple(tiles.tiles_of(head.size))
    of_records = (each._replace(level=tiles.ENTRIES) for each in of_hashes if each.level == 0)
    for tile in (*of_hashes, *of_records):
        answer = await call(there, f"{prefix}/{tile.to_path()}", method="GET")
        assert answer.status == 200
        yield tile.to_path(), answer.body + repr(answer.headers).encode()


async def test_nothing_private_is_in_a_public_byte(planted: Planted) -> None:
    leaks, seen, walked = [], dict[str, set[str]](), 0
    async for where, data in public_bytes(planted):
        walked += 1
        if found := words_in(data, PRIVATE):
            leaks.append((where, found))
        for word in words_in(data, PUBLIC):
            seen.setdefault(word, set()).add(where.partition(": ")[2])
    assert leaks == []
    assert walked > 300
    # The walk does find what is there to be found.
    for what in ("table entry", "table asset", "table neighbour", "ExportTrades", "ExportReceipt"):
        assert what in seen["ZIRCON-LATHE"] | seen[MISSOURI], what
    for what in ("table entry", "table asset", "ExportTrades", "ExportReceipt"):
        assert what in seen["ZIRCON-LATHE"], what
    for what in ("villages", "ExportRegistry", "table checkpoint", "table charter", "log"):
        assert what in seen[CALIFORNIA], what


def test_what_is_private_is_where_it_belongs(planted: Planted) -> None:
    """Or else the walk above would look for what is nowhere. Of PINs only a hash is kept."""
    found: dict[str, set[str]] = {}
    for box in planted.boxes:
        for where, value in tables(box.folder, private=True):
            for word in words_in(value, PRIVATE):
                found.setdefault(word, set()).add(where)
    kept = {"table member", "table trade", "table sealed"}
    xanthippe, ignatius, zebulon, perpetua = PEOPLE
    assert found[xanthippe] == found[zebulon] == kept
    assert found[ignatius] == found[perpetua] == {"table member"}
    assert found[NOBODY] == {"table trade"}
    assert found[NOTES[0]] == found[NOTES[1]] == {"table sealed"}
    assert found[ERRANDS[0]] == found[ERRANDS[1]] == {"table request"}
    assert not {NOTES[2], *PEOPLE.values()} & found.keys()


def test_every_table_is_either_known_to_be_private_or_walked(planted: Planted) -> None:
    walked = {where for where, _ in tables(planted.missouri.folder, private=False)}
    kept = {where for where, _ in tables(planted.missouri.folder, private=True)}
    assert {f"table {name}" for name in PRIVATE_TABLES} == kept
    expected = {"log", "entry", "node", "checkpoint", "cosignature", "statement", "asset", "fact"}
    assert {f"table {name}" for name in expected} <= walked


# On the wire


@pytest.fixture
def two() -> tuple[Village, Village]:
    world = World("privacy")
    world.letters = deque()
    here, there = world.village(MISSOURI), world.village(CALIFORNIA)
    world.befriend(here, there)
    xanthippe, _, zebulon, _ = PEOPLE
    here.now(lambda tx: desk.add_member(tx, xanthippe, ""))
    here.now(lambda tx: desk.issue(tx, xanthippe, "500", NOTES[0]))
    there.now(lambda tx: desk.add_member(tx, zebulon, ""))
    there.now(lambda tx: desk.declare(tx, zebulon, "Zircon Lathe", "9"))
    return here, there


async def exchanged(sender: Village, receiver: Village) -> list[Letter]:
    """Exchange once, and return what went over the wire, both ways."""
    letters = sender.world.letters
    letters.clear()
    await sender.world.together([sender.client.exchange(receiver.name)])
    return list(letters)


def propose(here: Village, to_user: str) -> bytes:
    xanthippe = next(iter(PEOPLE))
    proposal = Proposal(CALIFORNIA, to_user, ("AT", "30"), ("Zircon Lathe", "1"))
    made = here.now(lambda tx: trade_escrow.propose(tx, members.named(tx, xanthippe), proposal))
    return made.subject


async def test_names_travel_once_in_the_proposal(two: tuple[Village, Village]) -> None:
    here, there = two
    xanthippe, _, zebulon, _ = PEOPLE
    assert all(not words_in(each.body, PRIVATE) for each in await exchanged(there, here))
    subject = propose(here, zebulon)
    letters = await exchanged(here, there)
    told = [each for each in letters if words_in(each.body, PRIVATE)]
    assert [(each.sender, each.receiver) for each in told] == [(MISSOURI, CALIFORNIA)]
    (subject_message,) = messages.decode_exchange(told[0].body).subjects
    assert subject_message.names == messages.Names(xanthippe, zebulon)
    without = msgspec.structs.replace(subject_message, names=None)
    assert not words_in(msgspec.json.encode(without), PRIVATE)

    there.now(
        lambda tx: trade_escrow.accept(
            tx, members.named(tx, zebulon), trades.by_subject(tx, subject)
        )
    )
    for sender, receiver in ((there, here), (here, there), (there, here)):
        for letter in await exchanged(sender, receiver):
            assert not words_in(letter.body, PRIVATE), letter
    for village in two:
        known = village.look(lambda view: trades.by_subject(view, subject))
        assert known.status == "SETTLED"


WRITTEN: Final = "one whirligig, to be fetched"  # what a member writes for all to read


async def test_a_listing_names_nobody(two: tuple[Village, Village]) -> None:
    """Its text goes to the neighbours, into no log, and out of their boxes when it is taken back;
    who made it is told to whom is bound with them, and not before."""
    here, there = two
    xanthippe, _, zebulon, _ = PEOPLE
    ask = Ask("offer", "Zircon Lathe", "3", price="30", text=WRITTEN)
    id_ = there.now(lambda tx: market.list_goods(tx, members.named(tx, zebulon), ask))
    letters = await exchanged(here, there)
    assert any(WRITTEN.encode() in each.body for each in letters)
    assert not any(words_in(each.body, PRIVATE) for each in letters)

    def answer(tx: Tx) -> bytes:
        proposal = answering(tx, CALIFORNIA, id_, "2")
        return trade_escrow.propose(tx, members.named(tx, xanthippe), proposal).subject

    subject = here.now(answer)
    letters = await exchanged(here, there) + await exchanged(there, here)
    assert {word for each in letters for word in words_in(each.body, PRIVATE)} == {xanthippe}
    there.now(
        lambda tx: trade_escrow.accept(
            tx, members.named(tx, zebulon), trades.by_subject(tx, subject)
        )
    )
    letters = await exchanged(there, here)
    told = [each for each in letters if words_in(each.body, (zebulon,))]
    assert {each.sender for each in told} == {CALIFORNIA}
    for each in told:
        message = messages.decode_exchange(each.body)
        assert not words_in(msgspec.json.encode(message.listings), PRIVATE)
        without = [msgspec.structs.replace(about, names=None) for about in message.subjects]
        assert not words_in(msgspec.json.encode(without), PRIVATE)

    there.now(lambda tx: market.take_back(tx, members.named(tx, zebulon), id_))
    assert WRITTEN in "".join(here.conn.iterdump())
    await exchanged(there, here)
    for village in two:
        assert WRITTEN not in "".join(village.conn.iterdump())
        for (record,) in village.conn.execute("SELECT record FROM entry"):
            assert not words_in(record, (*PRIVATE, WRITTEN))


async def test_why_a_trade_ended_does_not_travel(two: tuple[Village, Village]) -> None:
    """The reason names a person; each box makes its own words of it."""
    here, there = two
    xanthippe, _, zebulon, _ = PEOPLE
    await exchanged(there, here)
    for by, step in ((there, trade_escrow.reject), (here, trade_escrow.cancel)):
        subject = propose(here, zebulon)
        await exchanged(here, there)
        name = zebulon if by is there else xanthippe
        by.now(lambda tx: step(tx, members.named(tx, name), trades.by_subject(tx, subject)))  # noqa: B023
        letters = await exchanged(by, here if by is there else there)
        assert letters
        assert not any(words_in(each.body, PRIVATE) for each in letters)


async def test_an_unknown_addressee_is_answered_like_a_known_one(
    two: tuple[Village, Village],
) -> None:
    here, there = two
    zebulon = list(PEOPLE)[2]
    await exchanged(there, here)
    answers: list[Any] = []
    for to_user in (zebulon, NOBODY):
        subject = propose(here, to_user)
        answer = (await exchanged(here, there))[-1]
        assert (answer.sender, answer.receiver) == (CALIFORNIA, MISSOURI)
        said = messages.decode_exchange(answer.body)
        (about,) = said.subjects
        assert crypto.sha256(bytes(about.terms)) == subject
        same = {"terms": msgspec.Raw(b"{}"), "from_signature": b""}
        about = msgspec.structs.replace(about, **same)
        answers.append(msgspec.structs.replace(said, subjects=(about,), have=0, number=0, heard=0))
    assert answers[0] == answers[1]
    known = there.look(lambda view: neighbours.named(view, MISSOURI))
    assert known.trouble == ""
