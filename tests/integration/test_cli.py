"""`village-edge` as a steward types it: real processes, their output and their exit codes.

What needs only an answer of the same code runs in this process (`quick`), ten times faster.
"""

import argparse
import asyncio
import contextlib
import io
import json
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest

from edge import app, cli, config, control
from edge.appliance import recovery
from edge.config import VillageSettings
from edge.core import crypto, note
from edge.core.invitation import PREFIX
from edge.errors import Unreachable
from tests.integration.boxes import Done, RealBox, befriend, environment_of, until, village_edge

MISSOURI, CALIFORNIA = "ose-missouri-001", "ose-california-001"
STOP_S_MAX: Final = 5
Line = list[str | Path]
PROPOSE: Final = (
    *("trade", "propose", "Alice", f"Bob@{CALIFORNIA}"),
    *("--offer", "1", "AT", "--request", "1", "Solar Panel"),
)


# Running commands


def quick(*arguments: str | Path, stdin: bytes = b"") -> Done:
    """Run one command in this process."""
    out, err = io.StringIO(), io.StringIO()
    before, sys.stdin = sys.stdin, io.TextIOWrapper(io.BytesIO(stdin))
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                code = cli.main([*map(str, arguments)])
            except SystemExit as stopped:
                code = int(stopped.code or 0)
    finally:
        sys.stdin = before
    return Done(code, out.getvalue(), err.getvalue())


def together(*commands: Sequence[str | Path]) -> list[Done]:
    """Run commands in processes of their own, two at a time."""
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(lambda command: village_edge(*command), commands))


def answer(*arguments: str | Path) -> Any:
    """Return what a command prints with --json; it must be done."""
    done = quick(*arguments, "--json")
    assert (done.code, done.err) == (0, ""), done
    return json.loads(done.out)


def assert_refused(done: Done, code: int, *said: str) -> None:
    """A refusal is one line on stderr, nothing on stdout, and its exit code."""
    assert done.code == code, done
    assert done.out == "", done
    assert done.err.startswith("village-edge: ") and done.err.count("\n") == 1, done
    for each in said:
        assert each in done.err, done


# Villages


def found(folder: Path, village: str = MISSOURI) -> Path:
    app.create_village(folder, VillageSettings(village, f"Village {village}", 38.45, -93.85))
    return folder


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A village of its own, without a running box: Alice has 100 AT, Bob a line of 10."""
    folder = found(tmp_path / "village")
    at = ("--dir", folder)
    for line in (
        ("member", "add", "Alice", "--pin", "1234"),
        ("member", "add", "Bob", "--pin", "5678"),
        ("issue", "Alice", "100"),
        ("limit", "Bob", "AT", "10"),
    ):
        assert quick(*line, *at).code == 0
    return folder


@pytest.fixture
def box(tmp_path: Path) -> Iterator[RealBox]:
    made = RealBox(tmp_path, MISSOURI)
    yield made
    made.end()


class Pair:
    """Two real boxes, neighbours; a trade is settled between Alice and Bob."""

    def __init__(self, folder: Path) -> None:
        self.proposer, self.acceptor = RealBox(folder, MISSOURI), RealBox(folder, CALIFORNIA)
        self.trade = ""

    async def start(self) -> None:
        for each in (self.proposer, self.acceptor):
            await each.start()
        await befriend(self.proposer, self.acceptor)
        await self.proposer.ask(control.MemberAdd("Alice", "1234"))
        await self.proposer.ask(control.Issue("Alice", "500"))
        await self.acceptor.ask(control.MemberAdd("Bob", "1234"))
        await self.acceptor.ask(control.Declare("Bob", "Solar Panel", "9"))
        await until(self.knows_catalogue, "the catalogue is synced")
        self.trade = await self.propose()
        await until(lambda: self.acceptor.trade(self.trade), "the proposal has come")
        await self.acceptor.ask(control.TradeAccept(self.trade))
        for each in (self.proposer, self.acceptor):
            await until(partial(is_settled, each, self.trade), "it has settled")

    async def knows_catalogue(self) -> bool:
        peers = (await self.proposer.ask(control.PeerList()))["neighbours"]
        return bool(peers) and peers[0]["records_held"] >= 4

    async def propose(self) -> str:
        offer, request = ("AT", "100"), ("Solar Panel", "1")
        made = await self.proposer.ask(
            control.TradePropose("Alice", "Bob", CALIFORNIA, offer, request)
        )
        return str(made["id"])

    def end(self) -> None:
        self.proposer.end()
        self.acceptor.end()


async def is_settled(box: RealBox, id_: str) -> bool:
    found_ = await box.trade(id_)
    return found_ is not None and found_["status"] == "SETTLED"


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    made = Pair(tmp_path_factory.mktemp("pair"))
    try:
        asyncio.run(made.start())
        yield made
    finally:
        made.end()


@pytest.fixture(scope="module")
def receipt(pair: Pair, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The settled trade's receipt, as the proposer's box writes it."""
    path = tmp_path_factory.mktemp("receipt") / "trade.receipt"
    done = quick("export", "receipt", pair.trade, "--output", path, "--dir", pair.proposer.folder)
    assert done == Done(0, f"Wrote {path}.\n", "")
    return path


def damage(folder: Path) -> None:
    """Overwrite pages in the middle of the database."""
    path = folder / app.LEDGER
    with sqlite3.connect(path) as conn:
        conn.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    conn.close()
    with path.open("r+b") as file:
        file.seek(4_096)
        file.write(os.urandom(8 * 4_096))


def flip_byte(folder: Path) -> None:
    """Change one byte of the log's second record, behind the triggers' back."""
    conn = sqlite3.connect(folder / app.LEDGER)
    conn.execute("DROP TRIGGER entry_fixed")
    (record,) = conn.execute("SELECT record FROM entry WHERE position = 1").fetchone()
    changed = record.replace(b'"AT"', b'"AU"')
    assert changed != record
    conn.execute("UPDATE entry SET record = ? WHERE position = 1", (changed,))
    conn.execute(
        "CREATE TRIGGER entry_fixed BEFORE UPDATE ON entry"
        " BEGIN SELECT RAISE(ABORT, 'the log only grows'); END"
    )
    conn.commit()
    conn.close()


# init


def test_init_shows_the_phrase_once_and_keeps_what_is_private(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "village"
    line: Line = ["init", "--dir", folder, "--id", MISSOURI, "--name", "Factor e Farm"]
    line += ["--lat", "38.4567", "--lon", "-93.85"]
    made = village_edge(*line)
    assert (made.code, made.err) == (0, "")
    phrase = next(text.strip() for text in made.out.splitlines() if len(text.split()) == 12)
    assert made.out.count(phrase) == 1
    seed = recovery.identity_seed(phrase)
    assert (folder / app.IDENTITY).read_text() == f"{seed.hex()}\n"
    files = {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir()}
    private = {app.IDENTITY, app.TLS_KEY, app.LEDGER, "lock"}
    assert {name for name, mode in files.items() if mode == 0o600} == private
    assert {name for name, mode in files.items() if mode == 0o644} == files.keys() - private
    assert folder.stat().st_mode & 0o777 == 0o700
    content = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert not any(phrase.encode() in each for each in content.values())
    assert "lat = 38.46\n" in (folder / config.FILE).read_text()

    again = village_edge(*line)
    assert_refused(again, 2, str(folder), "already holds a village")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == content
    assert list(folder.parent.iterdir()) == [folder]

    printed = village_edge(*line, "--json", "--dir", tmp_path / "other")
    shown = json.loads(printed.out)
    assert shown.keys() == {"village", "recovery_phrase"} and shown["village"] == MISSOURI
    assert shown["recovery_phrase"] != phrase


@pytest.mark.parametrize(
    ("flag", "value", "said"),
    [
        ("--id", "Missouri", "'Missouri' is not a village id"),
        ("--id", "ose-missouri", "is not a village id"),
        ("--id", "ose-missouri-0001", "is not a village id"),
        ("--id", f"{'a' * 60}-001", "is not a village id"),
        ("--name", "", "name"),
        ("--name", "two\nlines", "name"),
        ("--name", " space", "name"),
        ("--lat", "90.1", "latitude"),
        ("--lat", "nan", "latitude"),
        ("--lat", "inf", "latitude"),
        ("--lon", "-180.1", "longitude"),
    ],
)
def test_init_refuses_what_no_village_can_be(
    tmp_path: Path, flag: str, value: str, said: str
) -> None:
    line = {"--id": MISSOURI, "--name": "Farm", "--lat": "38", "--lon": "-93"} | {flag: value}
    words = [f"{name}={text}" for name, text in line.items()]
    assert_refused(quick("init", "--dir", tmp_path / "village", *words), 2, said)
    assert list(tmp_path.iterdir()) == []


def test_init_refuses_a_place_that_cannot_be_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = ("init", "--id", MISSOURI, "--name", "Farm", "--lat", "38", "--lon", "-93")
    (tmp_path / "file").write_text("mine")
    assert_refused(quick(*line, "--dir", tmp_path / "file"), 2, "file", "Not a directory")
    assert_refused(quick(*line, "--dir", tmp_path / "file" / "in"), 2, "file/in")
    assert (tmp_path / "file").read_text() == "mine"
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    for here in (".", tmp_path / "here", "../here"):
        assert_refused(quick(*line, "--dir", here), 2, "new folder")
    assert list((tmp_path / "here").iterdir()) == []
    assert quick(*line, "--dir", "inside").code == 0
    assert (tmp_path / "here" / "inside" / app.IDENTITY).exists()


def test_an_interrupted_init_leaves_no_village_and_can_be_repeated(tmp_path: Path) -> None:
    """Its power goes at the first file, at the settings, and at the last step of all."""
    line = ("--id", MISSOURI, "--name", "Farm", "--lat", "38", "--lon", "-93")
    for rename in (1, 4, 5):
        folder = tmp_path / f"village-{rename}"
        assert village_edge("init", "--dir", folder, *line, odd=f"rename {rename}").code == -9
        assert not folder.exists()
        assert_refused(quick("status", "--dir", folder), 2, "village-edge init")
        assert quick("init", "--dir", folder, *line).code == 0
        assert answer("audit", "--dir", folder)["agrees"] is True
        assert not list(tmp_path.glob(".village*"))


def test_init_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(app.database, "open_writer", fail)  # type: ignore[attr-defined]
    line = ("init", "--id", MISSOURI, "--name", "Farm", "--lat", "38", "--lon", "-93")
    assert_refused(quick(*line, "--dir", tmp_path / "village"), 2, "No space left")
    assert list(tmp_path.iterdir()) == []


def test_of_several_inits_of_one_folder_one_is_done_and_whole(tmp_path: Path) -> None:
    villages = [f"ose-missouri-{number:03}" for number in range(3)]
    at = ("--name", "Farm", "--lat", "38", "--lon", "-93", "--dir", tmp_path / "village")
    with ThreadPoolExecutor(3) as pool:
        lines = [("init", "--id", each, *at) for each in villages]
        done = list(pool.map(lambda line: village_edge(*line), lines))
    assert sorted(each.code for each in done) == [0, 2, 2]
    made = villages[[each.code for each in done].index(0)]
    for each in done:
        if each.code:
            assert_refused(each, 2, "village")
    assert answer("status", "--dir", tmp_path / "village")["village"] == made
    assert answer("audit", "--dir", tmp_path / "village")["village"] == made
    assert list(tmp_path.iterdir()) == [tmp_path / "village"]


# Beside a running box, and without one


def test_status_says_who_and_where_as_programs_need_it(pair: Pair) -> None:
    shown = answer("status", "--dir", pair.proposer.folder)
    assert shown.keys() == {
        *("village", "name", "version", "serving", "federation_url", "page_urls"),
        *("verifier_key", "log", "neighbours", "open_trades"),
        *("health", "reasons", "disk", "clock", "deciding", "misbehaviour"),
    }
    assert shown["federation_url"].startswith("https://127.0.0.1:")
    key = note.VerifierKey.from_text(shown["verifier_key"])
    secret = app.read_identity(pair.proposer.folder)
    assert (key.name, key.algorithm, key.public) == (MISSOURI, note.ED25519, secret.public)
    assert shown["serving"] is True
    assert shown["log"].keys() == {
        *("size", "root", "time", "cosigned_size", "cosigned_by", "cosigners", "cosigned_times"),
    }
    assert shown["log"]["cosigners"].keys() == shown["log"]["cosigned_times"].keys()
    assert shown["disk"].keys() == {"free_bytes", "total_bytes"}
    assert shown["clock"] in ("synchronized", "unconfirmed")
    assert (shown["health"] == "All is well.") is (shown["reasons"] == [])
    (neighbour,) = shown["neighbours"]
    assert neighbour.keys() == {
        *("village", "last_contact", "is_silent", "clock_difference_s", "trouble", "decide_too"),
    }
    assert (neighbour["village"], neighbour["clock_difference_s"]) == (CALIFORNIA, 0)


def test_every_look_is_the_same_beside_a_box_and_without_one(tmp_path: Path, pair: Pair) -> None:
    """The village without a box is a copy of the other's folder."""
    folder = pair.proposer.folder
    pair.proposer.stop()
    try:
        copy = tmp_path / "copy"
        shutil.copytree(folder, copy)
    finally:
        asyncio.run(pair.proposer.start())
    looks = (
        ("status", "--json"),
        ("peer", "list", "--json"),
        ("trade", "list", "--json"),
        ("export", "registry"),
        ("export", "trades"),
        ("export", "receipt", pair.trade),
        ("audit", "--json"),
        ("member", "list", "--json"),
    )
    beside, without = (
        together(*((*look, "--dir", place) for look in looks[:2]))
        + [quick(*look, "--dir", place) for look in looks[2:]]
        for place in (folder, copy)
    )
    for look, one, other in zip(looks, beside, without, strict=True):
        assert (one.code, one.err, other.code, other.err) == (0, "", 0, ""), look
        assert still(json.loads(one.out)) == still(json.loads(other.out)), look
    status, peers, trades = (json.loads(done.out) for done in beside[:3])
    assert status["log"]["cosigned_by"] == [CALIFORNIA]
    assert peers["neighbours"][0].keys() == {
        *("village", "name", "addresses", "records_held", "holds_of_ours", "last_contact"),
        *("open_trades", "trouble", "misbehaviour", "lines", "decide_too"),
    }
    assert json.loads(without[0].out)["health"] == "Not all is well: the box is not running."
    assert trades[0].keys() == {
        *("id", "trade_id", "from_village", "to_village", "offer", "request", "status"),
        *("subject", "deadline", "from_user", "to_user", "fee", "message"),
        *("refund_of", "refund", "disputes"),
    }
    public = json.loads(beside[4].out)
    private = {"from_user", "to_user", "fee", "message", "refund_of", "refund", "disputes"}
    assert public[0].keys() == trades[0].keys() - private
    assert (public[0]["id"], public[0]["trade_id"]) == (pair.trade, trades[0]["trade_id"])
    assert (trades[0]["from_user"], trades[0]["offer"]) == ("Alice", {"AT": "100.00"})
    audited = json.loads(beside[6].out)
    assert (audited["agrees"], audited["settled"], len(audited["copies"])) == (True, 1, 1)
    alice = {"id": 1, "name": "Alice", "steward": False, "balance": "400.00", "assets": 2}
    assert json.loads(beside[7].out) == [alice]


def still(shown: Any) -> Any:
    """Return an answer without what goes on while a box runs."""
    moving = {"serving", "page_urls", "last_contact", "last_sync", "is_silent"}
    moving |= {"health", "reasons", "disk"}
    if isinstance(shown, dict):
        return {name: still(value) for name, value in shown.items() if name not in moving}
    return [still(each) for each in shown] if isinstance(shown, list) else shown


def test_every_change_is_the_same_beside_a_box_and_without_one(box: RealBox) -> None:
    """The same changes, first beside a box, then without one."""
    changes: tuple[tuple[str, ...], ...] = (
        ("member", "add", "NAME", "--pin", "1234"),
        ("issue", "NAME", "100", "--note", "to begin with"),
        ("issue", "treasury", "5.50"),
        ("pay", "NAME", "treasury", "2.25", "--note", "dues"),
        ("declare", "NAME", "NAME Corn", "3.5", "--decimals", "1"),
        ("consume", "NAME", "NAME Corn", "0.5"),
        ("limit", "NAME", "AT", "20"),
        ("peer", "invite", "--hours", "1"),
        ("member", "pin", "NAME", "--pin", "4321"),
        ("member", "steward", "NAME"),
    )

    def done_for(name: str) -> list[Any]:
        lines = [[word.replace("NAME", name) for word in change] for change in changes]
        at = ("--json", "--dir", box.folder)
        done = [(village_edge if line[0] == "pay" else quick)(*line, *at) for line in lines]
        assert [(each.code, each.err) for each in done] == [(0, "")] * len(done), done
        return [json.loads(each.out) for each in done]

    asyncio.run(box.start())  # once, so that the village has an address to invite to
    beside = done_for("Alice")
    assert box.stop() == 0
    without = done_for("Bob")
    assert [each.keys() for each in beside] == [each.keys() for each in without]
    for each, name in ((beside, "Alice"), (without, "Bob")):
        assert each[0] == {"member": name, "steward": False}
        assert each[8:] == [{"member": name}, {"member": name, "steward": True}]
    counted = [each["record"] for each in beside[1:7] + without[1:7]]
    assert counted == sorted(counted)
    # A new resource is two records, catalogue and declaration.
    assert [each - counted[0] for each in counted] == [0, 1, 2, 4, 5, 6, 7, 8, 9, 11, 12, 13]
    for each in (beside, without):
        assert each[7]["invitation"].startswith(PREFIX)
    assert "agree" in box.audit()


def test_a_trade_can_be_made_without_a_box_of_ones_own(tmp_path: Path, pair: Pair) -> None:
    """Propose, cancel, reject and accept while the own box is off and the neighbour's is on."""
    ours = ("--json", "--dir", pair.proposer.folder)
    theirs = ("--json", "--dir", pair.acceptor.folder)
    line = PROPOSE
    assert pair.proposer.stop() == 0
    try:
        proposed = [json.loads(village_edge(*line, *ours).out)]
        proposed += [json.loads(quick(*line, *ours).out) for _ in range(2)]
        assert {each["status"] for each in proposed} == {"PENDING"}
        cancelled, rejected, accepted = (each["id"] for each in proposed)
        done = json.loads(quick("trade", "cancel", cancelled, *ours).out)
        assert done["status"] == "CANCELLED"
        there = {each["id"]: each["status"] for each in answer("trade", "list", *theirs[1:])}
        assert (there[cancelled], there[rejected], there[accepted]) == (
            "CANCELLED",
            "PENDING",
            "PENDING",
        )
    finally:
        asyncio.run(pair.proposer.start())
    assert pair.acceptor.stop() == 0
    try:
        done = json.loads(quick("trade", "reject", rejected, *theirs).out)
        assert done["status"] == "REJECTED"
        assert_refused(
            quick("trade", "accept", rejected, *theirs[1:]),
            1,
            "the trade was declined: it can no longer be accepted",
        )
        assert_refused(quick("trade", "cancel", accepted, *theirs[1:]), 1)
        done = json.loads(village_edge("trade", "accept", accepted, *theirs).out)
        assert done["status"] == "SETTLED"
    finally:
        asyncio.run(pair.acceptor.start())
    for each in (pair.proposer, pair.acceptor):
        assert "agree" in each.audit()


def test_a_trade_at_home_is_made_with_the_same_commands(home: Path) -> None:
    """The other member is named with the own village, or without any."""
    at = ("--dir", home)
    assert quick("asset", "approve", "Goat Milk", "--decimals", "1", *at) == Done(
        0, "Goat Milk is in the catalogue now.\n", ""
    )
    assert quick("declare", "Bob", "Goat Milk", "2.5", *at).code == 0
    line = ("trade", "propose", "Alice", "Bob", "--offer", "5", "AT")
    full = ("trade", "propose", "Alice", f"Bob@{MISSOURI}", "--offer", "2", "AT")
    made = [
        answer(*line, "--request", "1.5", "goat_milk", "--id", "once", *at),
        answer(*line, "--request", "1.5", "goat_milk", "--id", "once", *at),
        answer(*full, *at),
        answer("trade", "propose", "Alice", "Bob", "--request", "1", "Goat Milk", *at),
    ]
    ids = [each["id"] for each in made]
    assert ids[0] == ids[1] and len({*ids}) == 3
    listed = answer("trade", "list", *at)
    assert {each["id"] for each in listed} == {*ids}
    assert made[0] | {"deadline": 0} == {
        "id": ids[0], "trade_id": None, "subject": None, "deadline": 0, "fee": "0.00",
        "from_village": MISSOURI, "to_village": MISSOURI, "from_user": "Alice", "to_user": "Bob",
        "offer": {"AT": "5.00"}, "request": {"GOAT-MILK": "1.5"}, "status": "PENDING",
        "message": made[0]["message"], "refund_of": None, "refund": None, "disputes": {},
    }  # fmt: skip
    assert made[0]["message"].startswith(
        "Waiting for Bob to accept or decline. Alice's 5.00 AT are set aside"
    )
    assert (made[2]["offer"], made[2]["request"]) == ({"AT": "2.00"}, {})
    shown = quick("trade", "list", *at).out
    for said in ("5.00 AT for 1.5 Goat Milk of", "2.00 AT to Bob", "asks for 1.0 Goat Milk of"):
        assert said in shown
    assert "as a gift" in shown and "nothing for" not in shown
    assert answer("trade", "accept", ids[0][:9], *at)["message"] == (
        "Done: Alice gave 5.00 AT and got 1.5 Goat Milk."
    )
    assert_refused(quick("trade", "reject", ids[0], *at), 1, "is done")
    assert answer("trade", "cancel", ids[2], *at)["status"] == "CANCELLED"
    assert answer("trade", "reject", ids[3], *at)["status"] == "REJECTED"
    assert_refused(quick("export", "receipt", ids[0], *at), 1, "within the village")
    assert json.loads(quick("export", "trades", *at).out) == []
    assert "agree" in quick("audit", *at).out


def test_beside_a_box_a_neighbour_that_is_off_costs_nothing(pair: Pair) -> None:
    """The proposal is kept, and said to be not told yet."""
    line = (*PROPOSE, "--dir", pair.proposer.folder)
    pair.acceptor.stop()
    try:
        done = village_edge(*line, "--json")
        made = json.loads(done.out)
        assert (done.code, made["status"]) == (0, "PENDING")
        assert "has not been reached yet" in made["message"]
    finally:
        asyncio.run(pair.acceptor.start())
    id_ = made["id"]
    asyncio.run(until(lambda: pair.acceptor.trade(id_), "it comes when the box is back"))
    assert quick("trade", "cancel", id_, "--dir", pair.proposer.folder).code == 0


# Exit codes and one-line errors


def test_arguments_that_argparse_refuses(home: Path) -> None:
    for line in (
        ("status", "--verbose"),
        ("trade", "forget"),
        ("pay", "Alice"),
        ("peer",),
        ("init",),
        ("peer", "invite", "--hours", "many"),
        (),
    ):
        done = quick(*line)
        assert (done.code, done.out) == (2, ""), done
        assert done.err.splitlines()[-1].startswith("village-edge"), done
        assert "Traceback" not in done.err
    assert village_edge("status", "--verbose", "--dir", home).code == 2
    done = village_edge("audit", "--dir", home, VILLAGE_EDGE_LISTEN_PAG="127.0.0.1:1")
    assert_refused(done, 2, "listen.pag")
    assert village_edge("--version").out.startswith("village-edge ")


def test_what_the_ledger_refuses_is_1_and_what_cannot_be_meant_is_2(home: Path) -> None:
    """One process of each kind; the rest in this one."""
    at = ("--dir", home)
    assert_refused(village_edge("pay", "Bob", "Alice", "10.01", *at), 1, "Bob")
    for line, code, said in (
        (("pay", "Alice", "Bob", "100.01"), 1, "Alice"),
        (("pay", "Alice", "Carol", "1"), 1, "'Carol'"),
        (("pay", "Alice", "Bob", "1", "Red_Corn"), 1, "Red Corn is not in this"),
        (("pay", "Alice", "alice", "1"), 2, "same"),
        (("pay", "Alice", "Bob", "0"), 2, "more than zero"),
        (("pay", "Alice", "Bob", "1.001"), 2, "too many decimals"),
        (("pay", "Alice", "Bob", "1e3"), 2, "'1e3'"),
        (("pay", "Alice", "Bob", "1,5"), 2, "'1,5'"),
        (("pay", "Alice", "Bob", "9" * 5_000), 2, "too large"),
        (("pay", "Alice", "Bob", "1", "--note", "x" * 201), 2, "note"),
        (("pay", "Alice", "Bob", "1", "--note", "bell\a"), 2, "note"),
        (("pay", "Alice", "Bob", "1", "--note", "\udcff"), 2, "UTF-8"),
        (("issue", "Nobody", "1"), 1, "'Nobody'"),
        (("declare", "Alice", "AT", "1"), 2, "issued, not declared"),
        (("declare", "Alice", "Corn", "1", "--decimals", "7"), 2, "decimals"),
        (("declare", "Alice", "Corn", "1", "--decimals", "9" * 30), 2, "too large"),
        (("declare", "Alice", "!", "1"), 2, "'!'"),
        (("consume", "Alice", "AT", "1"), 2, "not a resource"),
        (("consume", "Alice", "CORN", "1"), 1, "Corn is not in this"),
        (("limit", "treasury", "AT", "1"), 2, "treasury"),
        (("limit", "ose-texas-001", "AT", "1"), 1, "ose-texas-001"),
        (("member", "add", "alice", "--pin", "1234"), 1, "alice"),
        (("member", "add", "Treasury", "--pin", "1234"), 1, "Treasury"),
        (("member", "add", "Carol", "--pin", "123"), 2, "PIN"),
        (("member", "add", "", "--pin", "1234"), 2, "name"),
        (("member", "pin", "Nobody", "--pin", "1234"), 1, "'Nobody'"),
        (("member", "pin", "Alice", "--pin", "123"), 2, "PIN"),
        (("member", "steward", "Nobody"), 1, "'Nobody'"),
        (("trade", "propose", "Alice", "Bob@x", "--offer", "1", "AT"), 2, "NAME@VILLAGE"),
        (("trade", "propose", "Alice", "Bob"), 2, "--offer"),
        (("trade", "propose", "Alice", "Carol", "--offer", "1", "AT"), 1, "'Carol'"),
        (("asset", "approve", "AT"), 1, "AT is in the catalogue already"),
        (("asset", "approve", "Corn", "--decimals", "7"), 2, "decimals"),
        (("member", "add", "Bad@name", "--pin", "1234"), 2, "has an @ in it"),
        (("trade", "accept", "0123456789abcdef"), 1, "0123456789abcdef"),
        (("trade", "accept", "../.."), 1, "no trade"),
        (("trade", "accept", "012"), 2, "too short: give at least 4 letters"),
        (("export", "receipt", "0123"), 1, "0123"),
        (("peer", "add", "hello"), 2, PREFIX),
        (("peer", "add", PREFIX), 2, "whole line"),
        (("peer", "invite", "--hours", "0"), 2, "hour"),
        (("peer", "invite", "--hours", "-1"), 2, "hour"),
        (("peer", "invite", "--hours", "9999"), 2, "hour"),
        (("peer", "invite", "--hours", "9" * 30), 2, "too large"),
        (("peer", "invite"), 1, "no address yet"),
    ):
        assert_refused(quick(*line, *at), code, said)
    assert answer("audit", *at)["size"] == 4  # village, AT, issue, limit: nothing came of it all


def test_a_negative_amount_is_no_flag(home: Path) -> None:
    done = quick("pay", "Alice", "Bob", "--dir", home, "--", "-5")
    assert_refused(done, 2, "'-5'")
    assert_refused(quick("pay", "Alice", "Bob", "-5", "--dir", home), 2, "'-5'")


def test_a_pin_comes_by_standard_input(home: Path) -> None:
    line = ("member", "add", "--dir", home)
    assert village_edge(*line, "Carol", stdin=b"2468\n").code == 0
    for name, typed, said in (
        ("Dora", b"", "PIN"),
        ("Dora", b"12\n", "PIN"),
        ("Dora", b"\xff\xfe\xfd\xfc\n", "UTF-8"),
        ("Dora", b"1" * 5_000, "PIN"),
        ("Dora", b"12\x0034\n", "PIN"),
    ):
        assert_refused(quick(*line, name, stdin=typed), 2, said)
    assert quick(*line, "Dora", stdin="Grüße 1\n".encode()).code == 0


def test_stewards_are_made_and_unmade(home: Path) -> None:
    at = ("--dir", home)
    assert quick("member", "add", "Carol", "--pin", "1234", "--steward", *at).out == (
        "Carol is a steward now.\n"
    )
    assert quick("member", "list", *at).out.splitlines() == [
        "Alice  100.00 AT, 1 asset",
        "Bob  0.00 AT, 0 assets",
        "Carol  0.00 AT, 0 assets  steward",
    ]
    last = quick("member", "steward", "Carol", "--remove", *at)
    assert_refused(last, 1, "Carol is the only steward: make somebody else one first")
    assert quick("member", "steward", "bob", *at).out == "Bob is a steward now.\n"
    done = quick("member", "steward", "Carol", "--remove", *at)
    assert done.out == "Carol is no steward now.\n"
    assert [each["steward"] for each in answer("member", "list", *at)] == [False, True, False]


def test_a_pin_is_reset(home: Path) -> None:
    def kept() -> tuple[str, int]:
        with contextlib.closing(sqlite3.connect(home / app.LEDGER)) as conn:
            sql = "SELECT pin_hash, session_epoch FROM member WHERE name = 'Alice'"
            found: tuple[str, int] = conn.execute(sql).fetchone()
            return found

    before = kept()
    done = quick("member", "pin", "alice", "--dir", home, stdin=b"a new one\n")
    assert done.out == "Alice has a new PIN, and is signed out everywhere.\n"
    pin_hash, epoch = kept()
    assert (crypto.check_pin(pin_hash, "a new one"), epoch) == (True, before[1] + 1)


def test_output_that_cannot_be_written_is_2(home: Path) -> None:
    line = [sys.executable, "-m", "edge", "status", "--dir", str(home)]
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(line, stdout=full, stderr=subprocess.PIPE, check=False)
    said = b"village-edge: cannot write to standard output: No space left on device\n"
    assert (done.returncode, done.stderr) == (2, said)
    closed = subprocess.run(
        ["sh", "-c", 'exec "$@" >&-', "sh", *line], stderr=subprocess.PIPE, check=False
    )
    assert closed.returncode == 2
    assert closed.stderr.startswith(b"village-edge: standard output is closed")
    assert closed.stderr.count(b"\n") == 1
    silent = subprocess.run(
        ["sh", "-c", 'exec "$@" 2>&- <&-', "sh", *line], stdout=subprocess.PIPE, check=False
    )
    assert silent.returncode == 0
    assert MISSOURI.encode() in silent.stdout


@pytest.mark.parametrize("flags", [[], ["--json"]])
@pytest.mark.parametrize("output", ["a full disk", "a pipe that nobody reads"])
def test_no_village_is_made_whose_phrase_nobody_sees(
    tmp_path: Path, output: str, flags: list[str]
) -> None:
    line = [sys.executable, "-m", "edge", "init", *flags, "--dir", str(tmp_path / "village")]
    line += ["--id", MISSOURI, "--name", "Farm", "--lat", "38.45", "--lon", "-93.85"]
    if output == "a full disk":
        out = os.open("/dev/full", os.O_WRONLY)
    else:
        unread, out = os.pipe()
        os.close(unread)
    try:
        done = subprocess.run(line, stdout=out, stderr=subprocess.PIPE, check=False)
    finally:
        os.close(out)
    assert done.returncode == 2
    said = done.stderr.decode()
    assert said.startswith("village-edge: cannot write to standard output: ")
    assert said.endswith("so no village was made\n")
    assert list(tmp_path.iterdir()) == []
    again = subprocess.run(line, capture_output=True, check=False)
    assert again.returncode == 0
    assert (tmp_path / "village" / "village.toml").exists()


def test_a_pipe_that_nobody_writes_to_is_an_empty_file(home: Path, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    assert_refused(village_edge("import", "registry", pipe, "--dir", home), 2, "registry")
    assert_refused(village_edge("verify", "/dev/stdin", stdin=b"{}"), 2, "receipt")


def test_an_empty_ledger_is_damaged_and_stays_as_it_is(home: Path) -> None:
    ledger = home / app.LEDGER
    for name in home.glob(f"{app.LEDGER}*"):
        name.unlink()
    ledger.touch()
    for command in ("status", "audit", "serve"):
        assert_refused(quick(command, "--dir", home), 4, "it is empty")
    assert ledger.read_bytes() == b""


def test_the_environment_counts(home: Path) -> None:
    there = village_edge("status", "--json", VILLAGE_EDGE_DIR=str(home))
    assert json.loads(there.out)["village"] == MISSOURI
    done = village_edge("status", "--dir", home, VILLAGE_EDGE_LISTEN_PAG="127.0.0.1:1")
    assert_refused(done, 2, "VILLAGE_EDGE_LISTEN_PAG", "listen.pag")
    done = quick("serve", "--dir", home, "--set", "listen.pag=")
    assert_refused(done, 2, "listen.pag")


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    nowhere = tmp_path / "nowhere"
    for line in (("status",), ("serve",), ("audit",), ("trade", "list"), ("peer", "invite")):
        assert_refused(quick(*line, "--dir", nowhere), 2, str(nowhere), "village-edge init")
    assert not nowhere.exists()


def test_keys_that_are_missing_open_to_others_or_wrong(home: Path, tmp_path: Path) -> None:
    at = ("--dir", home)
    key, tls_key, certificate = (
        home / name for name in (app.IDENTITY, app.TLS_KEY, app.TLS_CERTIFICATE)
    )
    for path, command in ((key, "status"), (tls_key, "serve")):
        path.chmod(0o640)
        assert_refused(quick(command, *at), 2, str(path), "0640", "chmod 600")
        path.chmod(0o600)
    for path, command in ((key, "status"), (tls_key, "serve"), (certificate, "status")):
        before = path.read_bytes()
        for content in (b"", b"not a key\n", b"\xff" * 64):
            path.write_bytes(content)
            assert_refused(quick(command, *at), 2, str(path))
        path.unlink()
        assert_refused(quick(command, *at), 2, str(path))
        path.write_bytes(before)
        path.chmod(0o600)
    other = found(tmp_path / "other", CALIFORNIA)
    shutil.copy(other / app.IDENTITY, key)
    assert_refused(quick("status", *at), 2, str(key), "not the key of this ledger")


def test_a_folder_whose_parts_are_of_two_villages(home: Path, tmp_path: Path) -> None:
    other = found(tmp_path / "other", CALIFORNIA)
    shutil.copy(other / config.FILE, home)
    assert_refused(quick("status", "--dir", home), 2, MISSOURI, CALIFORNIA)


def test_a_port_in_use_names_its_setting(home: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        free = {f"listen.{name}": "127.0.0.1:0" for name in ("federation", "page", "page_tls")}
        for name in free:
            flags = [f"--set={key}={value}" for key, value in (free | {name: address}).items()]
            done = quick("serve", "--dir", home, *flags)
            assert_refused(done, 2, address, "already in use", f"--set {name}=")
    flags = [f"--set={key}=127.0.0.1:0" for key in free]
    for host in ("no-such-host.invalid", f"{'x' * 64}.example"):
        done = quick("serve", "--dir", home, *flags, f"--set=listen.federation={host}:0")
        assert_refused(done, 2, host, "listen.federation")


def test_a_folder_too_deep_for_a_socket_is_named(tmp_path: Path) -> None:
    """It serves no command there, but every command works without a box."""
    folder = found(tmp_path / ("x" * 60) / ("y" * 60))
    flags = [f"--set=listen.{name}=127.0.0.1:0" for name in ("federation", "page", "page_tls")]
    done = quick("serve", "--dir", folder, *flags)
    assert_refused(done, 2, str(folder / control.SOCKET), "too long")
    assert quick("issue", "treasury", "1", "--dir", folder).code == 0


def test_a_village_whose_address_is_gone_is_3(tmp_path: Path, home: Path, box: RealBox) -> None:
    """With and without a box of one's own: nobody answers, so nobody knows."""
    asyncio.run(box.start())
    invitation = answer("peer", "invite", "--dir", box.folder)["invitation"]
    box.kill()
    at = ("--dir", found(tmp_path / "other", CALIFORNIA))
    assert_refused(village_edge("peer", "add", invitation, *at), 3, MISSOURI, "Connection refused")
    assert answer("peer", "list", *at) == {"neighbours": [], "candidates": []}
    joiner = RealBox(tmp_path, "ose-texas-001")
    try:
        asyncio.run(joiner.start())
        done = village_edge("peer", "add", invitation, "--dir", joiner.folder)
        assert_refused(done, 3, MISSOURI, "Connection refused")
        peers = answer("peer", "list", "--dir", joiner.folder)
        assert peers == {"neighbours": [], "candidates": []}
    finally:
        joiner.end()
    assert_refused(quick("peer", "add", invitation, "--dir", home), 2, "this village's own")
    asyncio.run(box.start())  # back again, at the same place: the same line is still good
    done = quick("peer", "add", invitation, *at)
    assert done == Done(0, f"{MISSOURI} is a neighbour now.\n", "")
    for folder, other in ((at[1], MISSOURI), (box.folder, CALIFORNIA)):
        peers = answer("peer", "list", "--dir", folder)["neighbours"]
        assert [each["village"] for each in peers] == [other]


def test_a_damaged_database_is_4(home: Path) -> None:
    damage(home)
    for command in ("status", "audit", "serve"):
        done = quick(command, "--dir", home)
        assert_refused(done, 4, str(home / app.LEDGER), "damaged")
    assert_refused(village_edge("issue", "Alice", "1", "--dir", home), 4, "damaged")
    (home / app.LEDGER).write_bytes(b"something else altogether" * 1_000)
    for command in ("status", "audit"):
        assert_refused(quick(command, "--dir", home), 4, str(home / app.LEDGER))


def test_a_flipped_byte_is_5(home: Path) -> None:
    flip_byte(home)
    assert_refused(village_edge("audit", "--dir", home), 5, "record 1")
    assert_refused(quick("audit", "--dir", home, "--json"), 5, "record 1")


def test_an_error_that_quotes_others_stays_one_line(tmp_path: Path) -> None:
    path = tmp_path / "hostile"
    path.write_text(json.dumps({"\x1b[2J\nvillage-edge: all is well\u2028": 1}))
    assert_refused(quick("verify", path), 2)
    path.write_text("x" * 5_000_000)
    assert_refused(quick("import", "registry", path, "--dir", found(tmp_path / "v")), 2, "over")


# Processes


def test_two_boxes_on_one_folder(box: RealBox) -> None:
    asyncio.run(box.start())
    second = village_edge("serve", "--dir", box.folder, "--set=listen.federation=127.0.0.1:0")
    assert_refused(second, 2, str(box.folder), "another process")
    assert answer("status", "--dir", box.folder)["serving"] is True
    assert (box.folder / control.SOCKET).stat().st_mode & 0o777 == 0o600


def test_sigterm_stops_within_seconds_and_cleanly(box: RealBox) -> None:
    """With a browser and another village still connected."""
    asyncio.run(box.start())
    status = answer("status", "--dir", box.folder)
    ports = [int(url.rstrip("/").rpartition(":")[2]) for url in (status["page_urls"][0],)]
    ports.append(int(status["federation_url"].rpartition(":")[2]))
    with contextlib.ExitStack() as stack:
        for port in ports:
            connected = stack.enter_context(socket.create_connection(("127.0.0.1", port)))
            connected.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n")
        assert box.process is not None
        box.process.terminate()
        assert box.process.wait(STOP_S_MAX) == 0
    assert not (box.folder / control.SOCKET).exists()
    asyncio.run(box.start())
    assert box.stop() == 0
    log = box.log.read_text()
    assert "auditing" not in log and "Traceback" not in log and "rror" not in log


def test_after_a_power_cut_the_box_audits_itself(box: RealBox) -> None:
    asyncio.run(box.start())
    box.kill()
    assert (box.folder / control.SOCKET).exists()
    asyncio.run(box.start())  # over the dead one's socket
    asyncio.run(until(lambda: says(box, "the audit agrees: 2 records"), "the audit's word"))
    log = box.log.read_text()
    assert log.count("not stopped cleanly: auditing in the background") == 1
    assert box.stop() == 0
    asyncio.run(box.start())
    assert box.stop() == 0
    assert box.log.read_text().count("auditing") == 1


def test_a_difference_stops_the_box_every_time(box: RealBox) -> None:
    """A stop over a difference is no clean stop: the next start finds it again."""
    asyncio.run(box.start())
    box.kill()
    flip_byte(box.folder)
    flags = [f"--set=listen.{name}=127.0.0.1:0" for name in ("federation", "page", "page_tls")]
    for _ in range(2):
        done = village_edge("serve", "--dir", box.folder, *flags)
        assert done.code == 5, done
        assert "record 1" in done.err and "Traceback" not in done.err


async def says(box: RealBox, line: str) -> bool:
    return line in box.log.read_text()


@pytest.mark.parametrize("where", ["beside a box", "without one"])
def test_an_id_does_a_command_once_through_power_cuts(box: RealBox, where: str) -> None:
    """Done and on disk, but never answered: asking again gives the answer, and does it no more."""
    asyncio.run(box.start())
    assert quick("member", "add", "Alice", "--pin", "1234", "--dir", box.folder).code == 0
    assert quick("issue", "treasury", "9", "--dir", box.folder).code == 0
    box.stop()
    at: Line = ["--dir", box.folder]
    lines = ["pay treasury Alice", "issue Alice", "declare Alice Corn"]
    for line in lines:
        id_ = ["--id", f"errand {line}"]
        asked: Line = [*line.split(), "3", *id_, *at]
        if where == "beside a box":
            asyncio.run(box.start(odd="unanswered"))
            assert_refused(village_edge(*asked), 3, "--id")
            asyncio.run(box.died())
        else:
            assert village_edge(*asked, odd="unanswered").code == -9
        size = answer("status", "--dir", box.folder)["log"]["size"]
        assert answer(*asked)["record"] == size - 1
        assert answer(*asked)["record"] == size - 1
        assert answer("status", "--dir", box.folder)["log"]["size"] == size
        assert_refused(
            quick(*line.split(), "4", *id_, *at), 1, "has asked for something else before"
        )
    assert answer("audit", *at)["agrees"] is True


def test_an_id_makes_a_proposal_once(pair: Pair) -> None:
    line = (*PROPOSE, "--id", "once", "--dir", pair.proposer.folder)
    pair.proposer.stop()
    assert village_edge(*line, odd="unanswered").code == -9
    asyncio.run(pair.proposer.start())
    made, again = answer(*line), answer(*line)
    assert made["id"] == again["id"]
    shown = answer("trade", "list", "--dir", pair.proposer.folder)
    assert [each["id"] for each in shown if each["status"] == "PENDING"] == [made["id"]]
    other = (*line[:5], "2", *line[6:])
    assert_refused(quick(*other), 1, "has asked for something else before")
    assert quick("trade", "cancel", made["id"], "--dir", pair.proposer.folder).code == 0


def test_a_reader_that_goes_away_is_no_error(home: Path) -> None:
    for line in (("status",), ("export", "registry"), ("--help",)):
        reading, writing = os.pipe()
        os.close(reading)
        at = () if line == ("--help",) else ("--dir", str(home))
        with os.fdopen(writing, "wb") as pipe:
            done = subprocess.run(
                [sys.executable, "-m", "edge", *line, *at],
                stdout=pipe,
                stderr=subprocess.PIPE,
                env=environment_of({}),
                check=False,
            )
        assert (done.returncode, done.stderr) == (0, b""), line


def test_a_terminal_without_the_letters_is_no_error(home: Path) -> None:
    assert quick("member", "add", "Zoë 李", "--pin", "1234", "--dir", home).code == 0
    line = ("pay", "Alice", "Zoë 李", "1", "--dir", home)
    assert village_edge(*line, PYTHONIOENCODING="ascii").code == 0
    done = village_edge("member", "add", "Ünal", "--pin", "1234", "--dir", home, LC_ALL="C")
    assert (done.code, done.err) == (0, "")
    done = village_edge("pay", "Zoë 李", "Ünal", "50", "--dir", home, PYTHONIOENCODING="ascii")
    assert_refused(done, 1)


# Files for others


def test_verify_takes_a_good_receipt_anywhere(receipt: Path, tmp_path: Path) -> None:
    shutil.copy(receipt, tmp_path / "copy")
    done = village_edge("verify", tmp_path / "copy")
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("The receipt holds.") and "settled" in done.out
    shown = answer("verify", tmp_path / "copy")
    assert shown.keys() == {
        *("outcome", "id", "trade_id", "from_village", "to_village", "offer", "request"),
        *("subject", "signed_by", "logs", "keys", "keys_checked"),
    }
    for each in shown["logs"]:
        [(witness, second)] = each["cosigned"].items()
        assert {each["village"], witness} == {MISSOURI, CALIFORNIA}
        assert each["record"] < each["size"] and second > 1_700_000_000
        assert f"cosigned by {witness}" in done.out
    assert (shown["outcome"], shown["offer"], shown["request"]) == (
        "settled",
        "100.00 AT",
        "1 SOLAR-PANEL",
    )
    assert sorted(shown["signed_by"]) == [CALIFORNIA, MISSOURI]


def test_verify_tells_whose_keys_signed_a_receipt(pair: Pair, receipt: Path) -> None:
    """Without the villages' keys a receipt is as good as anybody's: it says so."""
    boxes = (pair.proposer.folder, pair.acceptor.folder)
    keys = [str(answer("status", "--dir", folder)["verifier_key"]) for folder in boxes]
    done, shown = quick("verify", receipt), answer("verify", receipt)
    assert "The keys were not checked" in done.out and "--log KEY" in done.out
    assert shown["keys"] == dict(zip((MISSOURI, CALIFORNIA), keys, strict=True))
    assert shown["keys_checked"] == []
    given = [each for key in keys for each in ("--log", key)]
    done, shown = quick("verify", receipt, *given), answer("verify", receipt, *given)
    assert done.code == 0 and "not checked" not in done.out
    assert all(f"  key       {key}  (as given)\n" in done.out for key in keys)
    assert set(shown["keys_checked"]) == {MISSOURI, CALIFORNIA}
    assert_refused(quick("verify", receipt, *given[:2]), 1, f"the key of {CALIFORNIA}")
    forged = note.VerifierKey(CALIFORNIA, note.ED25519, note.VerifierKey.from_text(keys[0]).public)
    done = quick("verify", receipt, *given[:2], "--log", forged.to_text())
    assert_refused(done, 1, f"not of the {CALIFORNIA} of that key")


def test_a_village_without_proofs_says_so_in_words(home: Path, tmp_path: Path) -> None:
    path = tmp_path / "proofs.json"
    done = quick("export", "misbehaviour", "--dir", home, "--output", path)
    assert (done.code, done.out) == (0, f"Wrote {path}.\n") and path.read_text() == "[]\n"
    assert "No village is known here to have broken the rules of councils." in done.err
    assert quick("export", "misbehaviour", "--dir", home).out == "[]\n"
    said = "There are no proofs in it: it accuses nobody.\n"
    assert quick("verify", path) == Done(0, said, "")
    assert answer("verify", path) == []


def test_verify_refuses_every_other_receipt(receipt: Path, tmp_path: Path) -> None:
    whole = receipt.read_bytes()
    path = tmp_path / "altered"

    def verified(content: bytes) -> Done:
        path.write_bytes(content)
        return quick("verify", path)

    for change in (
        lambda text: text.replace(b'"amount":10000', b'"amount":90000', 1),
        lambda text: text.replace(b"COMMIT", b"ABORT"),
        lambda text: text.replace(b"ose-missouri-001", b"ose-missouri-002"),
        lambda text: text.replace(b'"index":', b'"index":1', 1),
        lambda text: text.replace(b'"proof":["', b'"proof":["AAAA', 1),
    ):
        altered: Callable[[bytes], bytes] = change
        assert altered(whole) != whole
        done = verified(altered(whole))
        assert done.code in (1, 2), done
        assert_refused(done, done.code)
    for at in range(7, len(whole) - 1, 211):  # a letter of a text, a signature, a hash...
        flipped = bytes([whole[at] ^ 1])
        done = verified(whole[:at] + flipped + whole[at + 1 :])
        if done.code == 0:  # the unused bits of a base64 digit
            assert whole[at + 1 : at + 2] in (b"=", b'"'), at
            continue
        assert done.code in (1, 2), done
        assert_refused(done, done.code)
    for end in (0, 1, len(whole) // 2, len(whole) - 2):
        assert_refused(verified(whole[:end]), 2, "not a receipt")
    for content in (b"\x00\xff\x7fELF" * 99, b"null", b"[1]", b"{}", b"[" * 100_000):
        assert_refused(verified(content), 2)
    assert_refused(verified(whole + b" " * 300_000), 2, "over")
    assert_refused(quick("verify", tmp_path), 2, str(tmp_path))
    assert_refused(quick("verify", tmp_path / "nowhere"), 2, "nowhere")
    assert_refused(quick("verify", "/dev/zero"), 2, "/dev/zero")


def test_a_registry_travels_as_a_file(pair: Pair, home: Path, tmp_path: Path) -> None:
    path = tmp_path / "federation_registry.json"
    line = ("export", "registry", "--output", path, "--dir", pair.proposer.folder)
    path.write_text("mine")
    assert_refused(quick(*line), 2, str(path), "there already", "--force")
    assert path.read_text() == "mine"
    assert village_edge(*line, "--force") == Done(0, f"Wrote {path}.\n", "")
    entries = json.loads(path.read_text())
    assert [each["village_id"] for each in entries] == [MISSOURI, CALIFORNIA]
    texas = ("--dir", found(tmp_path / "texas", "ose-texas-001"))
    said = village_edge("import", "registry", path, *texas).out
    assert said == "Villages in the file: 2. New here: 2.\n"
    peers = answer("peer", "list", *texas)
    assert peers["neighbours"] == []
    assert [(each["village"], each["source"]) for each in peers["candidates"]] == [
        (CALIFORNIA, "import"),
        (MISSOURI, "import"),
    ]
    assert answer("import", "registry", path, *texas) == {"villages": 2, "new": 0}

    beside = answer("import", "registry", path, "--dir", pair.acceptor.folder)
    assert beside == {"villages": 1, "new": 0}  # without its own entry
    entries[1]["name"] = "Another Farm"
    path.write_text(json.dumps(entries))
    for folder in (texas[1], pair.acceptor.folder):
        done = quick("import", "registry", path, "--dir", folder)
        assert_refused(done, 1, CALIFORNIA)
    stranger = json.loads(quick("export", "registry", "--dir", home).out)
    path.write_text(json.dumps(stranger))
    done = quick("import", "registry", path, "--dir", pair.acceptor.folder)
    assert_refused(done, 1, MISSOURI)  # a neighbour's id under another key
    for content in ("", "{}", "[1]", '[{"village_id": "x"}]', "[" * 100_000):
        path.write_text(content)
        assert_refused(quick("import", "registry", path, *texas), 2, "not a registry file")
    path.write_bytes(b"\xff\xff")
    assert_refused(quick("import", "registry", path, *texas), 2, str(path))


def test_an_export_that_cannot_be_written_is_named(home: Path, tmp_path: Path) -> None:
    done = quick("export", "trades", "--output", tmp_path / "no" / "file", "--dir", home)
    assert_refused(done, 2, str(tmp_path / "no" / "file"))
    assert json.loads(quick("export", "trades", "--dir", home).out) == []


# Words


def test_what_was_entered_is_said_in_words(home: Path) -> None:
    at = ("--dir", home)
    first = 6
    for number, (line, said) in enumerate(
        (
            (("pay", "alice", "Bob", "12.5"), "Paid 12.50 AT from Alice to Bob"),
            (("pay", "Bob", "treasury", "1"), "Paid 1.00 AT from Bob to the treasury"),
            (("issue", "treasury", "7"), "Issued 7.00 AT to the treasury"),
            (("limit", "Bob", "AT", "20"), "Bob may go down to -20.00 AT"),
            (("limit", "Bob", "AT", "0"), "Bob may not go below 0.00 AT"),
        ),
        first - 2,
    ):
        assert quick(*line, *at) == Done(0, f"{said} (record {number}).\n", "")
    done = quick("declare", "Bob", "Solar Panel", "2", *at)
    assert done.out == "Entered 2 Solar Panel for Bob (record 10).\n"
    once = ("consume", "Bob", "Solar Panel", "--id", "once", *at)
    for _ in range(2):
        assert quick(*once).out == "Took out 1 Solar Panel of Bob (record 11).\n"


def test_a_line_is_said_in_words(pair: Pair) -> None:
    line = ("limit", CALIFORNIA, "AT", "1000", "--dir", pair.proposer.folder)
    said = f"{CALIFORNIA} may come to owe this village 1000.00 AT (record "
    assert quick(*line).out.startswith(said)


def test_each_trade_has_one_id_here_and_can_be_named_by_its_trade_id(pair: Pair) -> None:
    for box in (pair.proposer, pair.acceptor):
        shown = asyncio.run(box.trade(pair.trade))
        by_id, by_trade_id = (
            quick("export", "receipt", name, "--dir", box.folder)
            for name in (shown["id"], shown["trade_id"])
        )
        assert (by_id.code, by_trade_id.code) == (0, 0)
        # The proofs may be of a later checkpoint already.
        assert json.loads(by_id.out)["terms"] == json.loads(by_trade_id.out)["terms"]


def test_a_proposal_to_nobody_says_so_where_it_is_and_not_where_it_comes_from(pair: Pair) -> None:
    known, unknown = PROPOSE, [word.replace("Bob@", "Bobb@") for word in PROPOSE]
    ours, theirs = (("--dir", box.folder) for box in (pair.proposer, pair.acceptor))
    ids = []
    for line in (known, unknown):
        made = answer(*line, *ours)
        ids.append(made["id"])
        asyncio.run(until(lambda: pair.acceptor.trade(ids[-1]), "the proposal has come"))
    asyncio.run(until(lambda: is_told(pair.proposer, ids), "both are known to have come"))
    here = [asyncio.run(pair.proposer.trade(id_))["message"] for id_ in ids]
    assert here[0].replace("Bob", "Bobb") == here[1]
    assert "if nobody answers, check the name" in here[0]
    there = asyncio.run(pair.acceptor.trade(ids[1]))["message"]
    assert "Addressed to Bobb, and nobody here has that name" in there and "Waiting" not in there
    assert_refused(quick("trade", "accept", ids[1], *theirs), 1, "addressed to nobody here")
    for id_ in ids:
        assert quick("trade", "cancel", id_, *ours).code == 0


async def is_told(box: RealBox, ids: list[str]) -> bool:
    shown = [await box.trade(id_) for id_ in ids]
    return not any("has not been reached yet" in each["message"] for each in shown)


def test_help_describes_every_argument() -> None:
    todo = [cli.parser()]
    for parser in todo:
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction):
                todo += action.choices.values()
            else:
                assert action.help, f"{parser.prog}: {action.dest}"


# The demo


def test_the_demo_trades_once_and_leaves_nothing_running() -> None:
    done = village_edge("demo", "--once")
    assert (done.code, done.err) == (0, ""), done
    assert "Both ledgers settled, and both audits agree." in done.out
    assert done.out.count("SETTLED") == 2


def test_nobody_answers_on_a_socket_that_no_box_has(tmp_path: Path) -> None:
    with pytest.raises(Unreachable, match="no box answers"):
        asyncio.run(control.ask(tmp_path / control.SOCKET, control.Status()))
