"""Our notes, proofs and tiles against an implementation that is not ours: Go's sumdb.

`sumdb/main.go` is built with Debian's golang-go and golang-golang-x-mod-dev, without a network.
"""

import json
import os
import random
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest

from edge.core import checkpoint, merkle, note, tiles
from edge.core.checkpoint import Checkpoint
from edge.core.log_proof import LogProof
from edge.core.note import VerifierKey
from edge.core.tiles import ENTRIES, LEVEL_MAX, WIDTH, Tile
from edge.core.witness import AddCheckpoint
from edge.errors import BadProof, BadSignature, Malformed
from edge.storage import logs
from edge.storage import tiles as kept
from edge.storage.tx import OWN_LOG, View
from tests.integration.served import served
from tests.integration.test_log_tiles import BOX, append, cosign, get
from tests.storage.long_log import KEY, ORIGIN, WITNESS, key_of, long_log, record

pytestmark = pytest.mark.needs("go")

SOURCE: Final = Path(__file__).parent / "sumdb" / "main.go"
VECTORS: Final = Path(__file__).parents[1] / "vectors"
NOTES: Final[dict[str, Any]] = json.loads((VECTORS / "signed_note.json").read_text("utf-8"))
SIZE: Final = 1_500
replace = msgspec.structs.replace
OURS: Final = VerifierKey(ORIGIN, note.ED25519, KEY.public)
Go = Callable[..., Any]


@pytest.fixture(scope="module")
def go(tmp_path_factory: pytest.TempPathFactory) -> Go:
    """Build the program; return what runs one of its commands."""
    folder = tmp_path_factory.mktemp("go")
    offline = {"GO111MODULE": "off", "GOPATH": "/usr/share/gocode", "GOPROXY": "off"}
    environment = os.environ | offline | {"GOCACHE": str(folder / "cache"), "GOFLAGS": ""}
    subprocess.run(
        ["go", "build", "-o", folder / "sumdb", SOURCE], env=environment, check=True, timeout=300
    )

    def run(command: str, *arguments: object, asked: object = None) -> Any:
        done = subprocess.run(
            [folder / "sumdb", command, *map(str, arguments)],
            input=json.dumps(asked),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        return json.loads(done.stdout) if done.returncode == 0 else done.stderr.strip()

    return run


@pytest.fixture(scope="module")
def log() -> Any:
    with long_log(SIZE, (SIZE,)) as view:
        yield view


def write(folder: Path, path: str, data: bytes) -> None:
    place = folder / path
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(data)


def dump(view: View, folder: Path) -> None:
    """Write what the box serves into files."""
    found = kept.published(view)
    write(folder, "checkpoint", found.signed.encode())
    for tile in tiles.tiles_of(found.size):
        write(folder, tile.to_path(), kept.read_hashes(view, OWN_LOG, tile))
        if tile.level == 0:
            of_records = tile._replace(level=ENTRIES)
            records = kept.read_entries(view, OWN_LOG, of_records, 0, 10**9)
            write(folder, of_records.to_path(), tiles.encode_entries(records))


# Notes


def test_go_opens_our_notes(go: Go, log: View) -> None:
    signed = kept.published(log).signed
    text = note.Note.from_text(signed).text
    other = VerifierKey(WITNESS, note.ED25519, key_of(WITNESS).public).to_text()
    asked = [
        {"keys": [OURS.to_text()], "note": signed},
        {"keys": [OURS.to_text(), other], "note": signed},
        {"keys": [other], "note": signed},
        {"keys": [OURS.to_text()], "note": signed.replace(f"\n{SIZE}\n", f"\n{SIZE + 1}\n")},
        {"keys": [OURS.to_text().replace(ORIGIN, "ose-missouri-002")], "note": signed},
    ]
    good, with_other, unsigned, forged, no_key = go("open", asked=asked)
    assert good == {"text": text, "signers": [ORIGIN], "unknown": [WITNESS], "refused": ""}
    assert with_other == good, "a cosignature is of another algorithm than a note's signature"
    assert "no verifiable signatures" in unsigned["refused"]
    assert "invalid signature" in forged["refused"]
    assert "invalid verifier hash" in no_key["refused"]


def test_we_open_what_go_signs_and_sign_the_same(go: Go) -> None:
    texts = [
        "one line\n",
        "first\n\nlast\n",
        "é — 李\n",
        Checkpoint(ORIGIN, 0, bytes(32)).to_text(),
    ]
    own = "PRIVATE+KEY+" + OURS.to_text().rpartition("+")[0]
    own += f"+{note.to_base64(bytes([note.ED25519]) + KEY.seed)}"
    signed = go("sign", asked=[{"key": own, "text": text} for text in texts])
    for text, found in zip(texts, signed, strict=True):
        assert note.verify(note.Note.from_text(found), [OURS]) == (OURS,)
        assert found == note.Note(text, (note.sign(text, ORIGIN, KEY),)).to_text()
    vector = NOTES["sign"][0]
    [found] = go("sign", asked=[{"key": vector["skey"], "text": vector["text"]}])
    assert found == vector["signed"]


def test_both_refuse_the_same_notes(go: Go, log: View) -> None:
    """Changed in one place, by a script: Go and we agree on each, text and signers."""
    signed = kept.published(log).signed
    changed = [signed]
    for place in range(0, len(signed), 7):
        for added in ("", "\n", " ", "+", "=", "A", "\t", "—"):
            changed.append(signed[:place] + added + signed[place + 1 :])
            changed.append(signed[:place] + added + signed[place:])
    answers = go("open", asked=[{"keys": [OURS.to_text()], "note": text} for text in changed])
    opened = 0
    for text, answer in zip(changed, answers, strict=True):
        try:
            found = note.Note.from_text(text)
            note.verify(found, [OURS])
        except (Malformed, BadSignature):
            continue  # we may be stricter
        assert (answer["refused"], answer["text"]) == ("", found.text), text
        opened += 1
    assert opened >= 1
    for text, answer in zip(changed, answers, strict=True):
        if not answer["refused"]:
            assert note.Note.from_text(signed).text == answer["text"], text


# Proofs


def proof_of(view: View, index: int, size: int) -> LogProof:
    head = Checkpoint(ORIGIN, size, logs.root_of(view, OWN_LOG, size))
    return kept.prove(
        view, OWN_LOG, index, kept.Published(size, checkpoint.sign_checkpoint(head, KEY))
    )


def test_go_accepts_our_inclusion_proofs(go: Go, log: View) -> None:
    """Each from the text of a .tlog-proof file; and none for another record, index or size."""
    asked, wrong = [], []
    for size in (1, 2, 3, 7, 255, 256, 257, 1_000, SIZE):
        for index in {0, 1, 2, size // 2, size - 2, size - 1} & set(range(size)):
            made = proof_of(log, index, size)
            made = replace(made, extra=made.extra or None)  # an empty record goes without it
            proof = LogProof.from_text(made.to_text())
            head = checkpoint.open_checkpoint(proof.signed, ORIGIN, KEY.public)
            assert (proof.extra or b"") == record(index)
            one: dict[str, Any] = {
                "size": head.size,
                "root": note.to_base64(head.root),
                "index": proof.index,
                "record": note.to_base64(proof.extra or b""),
                "hashes": [note.to_base64(each) for each in proof.hashes],
            }
            asked.append(one)
            hashes = one["hashes"]
            wrong += [
                one | {"record": note.to_base64(b"another")},
                one | {"hashes": [*hashes, note.to_base64(bytes(32))]},
                one | {"root": note.to_base64(bytes(32))},
                one | {"index": size},
            ]
            wrong += [one | {"hashes": hashes[1:]}] if hashes else []
    assert go("records", asked=asked) == [""] * len(asked)
    assert all(go("records", asked=wrong))


def test_go_accepts_our_consistency_proofs(go: Go, log: View) -> None:
    """Each as it stands in the body of an `add-checkpoint`."""
    asked, wrong = [], []
    sizes = (1, 2, 3, 7, 8, 255, 256, 257, 1_000, SIZE)
    for old, new in ((old, new) for old in sizes for new in sizes if old <= new):
        nodes = logs.read_nodes(log, OWN_LOG, merkle.nodes_for_consistency(old, new))
        head = Checkpoint(ORIGIN, new, logs.root_of(log, OWN_LOG, new))
        body = AddCheckpoint.of(
            old,
            merkle.consistency_proof(old, new, nodes),
            checkpoint.sign_checkpoint(head, KEY),
        ).to_body()
        found = AddCheckpoint.from_body(body)
        one: dict[str, Any] = {
            "old": found.old,
            "old_root": note.to_base64(logs.root_of(log, OWN_LOG, old)),
            "new": found.head.size,
            "new_root": note.to_base64(found.head.root),
            "hashes": [note.to_base64(each) for each in found.proof],
        }
        asked.append(one)
        wrong += [
            one | {"old_root": note.to_base64(bytes(32))},
            one | {"new_root": note.to_base64(bytes(32))},
            one | {"hashes": [*one["hashes"], note.to_base64(bytes(32))]},
        ]
    assert go("trees", asked=asked) == [""] * len(asked)
    assert all(go("trees", asked=wrong))


def mutated(rng: random.Random, hashes: list[bytes]) -> list[bytes]:
    """Return a proof with something wrong, or as it was."""
    found = list(hashes)
    match rng.randrange(6):
        case 0 if found:
            found.pop(rng.randrange(len(found)))
        case 1:
            found.insert(rng.randrange(len(found) + 1), rng.randbytes(32))
        case 2 if found:
            found.insert(rng.randrange(len(found) + 1), rng.choice(found))
        case 3 if found:
            found[rng.randrange(len(found))] = rng.randbytes(32)
        case 4:
            found.reverse()
    return found


def holds(check: Callable[[], None]) -> bool:
    try:
        check()
    except BadProof:
        return False
    return True


def test_go_and_we_agree_on_any_inclusion_proof(go: Go, log: View) -> None:
    rng = random.Random(1)
    asked, ours = [], []
    for _ in range(3_000):
        size = rng.randrange(1, 40)
        index, root = rng.randrange(size), logs.root_of(log, OWN_LOG, size)
        nodes = logs.read_nodes(log, OWN_LOG, merkle.nodes_for_inclusion(index, size))
        proof = mutated(rng, merkle.inclusion_proof(index, size, nodes))
        index = rng.choice([index, index, rng.randrange(-1, size + 2)])
        size = rng.choice([size, size, size + rng.randrange(-1, 3)])
        data = record(rng.choice([index, index, 7]))
        leaf = merkle.leaf_hash(data)
        ours.append(holds(partial(merkle.verify_inclusion, index, size, leaf, proof, root)))
        asked.append(
            {
                "size": size,
                "root": note.to_base64(root),
                "index": index,
                "record": note.to_base64(data),
                "hashes": [note.to_base64(each) for each in proof],
            }
        )
    assert [not each for each in go("records", asked=asked)] == ours
    assert 200 < sum(ours) < 2_800


def test_go_and_we_agree_on_any_consistency_proof(go: Go, log: View) -> None:
    rng = random.Random(2)
    asked, ours = [], []
    for _ in range(3_000):
        new = rng.randrange(1, 40)
        old = rng.randrange(1, new + 1)
        roots = logs.root_of(log, OWN_LOG, old), logs.root_of(log, OWN_LOG, new)
        nodes = logs.read_nodes(log, OWN_LOG, merkle.nodes_for_consistency(old, new))
        proof = mutated(rng, merkle.consistency_proof(old, new, nodes))
        old = rng.choice([old, old, max(1, old + rng.randrange(-2, 3))])
        new = rng.choice([new, new, new + rng.randrange(-2, 3)])
        roots = rng.choice([roots, roots, roots[::-1], (rng.randbytes(32), roots[1])])
        ours.append(holds(partial(merkle.verify_consistency, old, new, proof, *roots)))
        asked.append(
            {
                "old": old,
                "old_root": note.to_base64(roots[0]),
                "new": new,
                "new_root": note.to_base64(roots[1]),
                "hashes": [note.to_base64(each) for each in proof],
            }
        )
    assert [not each for each in go("trees", asked=asked)] == ours
    assert 200 < sum(ours) < 2_800


# Tiles


def test_go_and_we_read_the_same_paths(go: Go) -> None:
    rng = random.Random(3)
    pieces = ["", *"0123456789x/.p-+ ", "/x001", ".p/", "entries", "256", "00"]
    paths = []
    for _ in range(4_000):
        level = rng.choice([ENTRIES, 0, 1, 7, 63])
        index = rng.choice([0, 7, 999, 1_000, 1_234_067, 10**9 + 1, 10**15])
        path = Tile(level, index, rng.choice([1, 17, 255, 256])).to_path()
        for _ in range(rng.randrange(3)):
            place = rng.randrange(len("tile/"), len(path) + 1)
            path = path[:place] + rng.choice(pieces) + path[place + rng.randrange(2) :]
        paths.append(path)
    ours: list[list[int]] = []
    for path in paths:
        try:
            ours.append(list(Tile.from_path(path)))
        except Malformed:
            ours.append([])
    theirs = go("paths", asked=paths)
    theirs = [each if each and each[0] <= LEVEL_MAX else [] for each in theirs]  # C2SP's bound
    differ = [each for each in zip(paths, ours, theirs, strict=True) if each[1] != each[2]]
    assert differ == []
    assert 1_000 < sum(bool(each) for each in ours) < 3_500


async def test_go_audits_a_box(go: Go, tmp_path: Path) -> None:
    """Every record and every size of its log, by the bytes that came over HTTP."""
    folder = tmp_path / "log"
    async with served(tmp_path / BOX, BOX) as box:
        await append(box, 2 * WIDTH + 90)
        await cosign(box)
        signed = (await get(box, "/checkpoint")).body
        head = checkpoint.open_checkpoint(signed.decode(), BOX, box.key.public)
        write(folder, "checkpoint", signed)
        for tile in tiles.tiles_of(head.size):
            for each in (tile, tile._replace(level=ENTRIES)) if tile.level == 0 else (tile,):
                write(folder, each.to_path(), (await get(box, f"/{each.to_path()}")).body)
        key = VerifierKey(BOX, note.ED25519, box.key.public).to_text()
    assert go("log", folder, key, 1) == {"size": head.size, "checked": head.size}


def test_go_audits_a_long_log(go: Go, tmp_path: Path) -> None:
    """C2SP's example of 70,000 records, with three levels of tiles."""
    with long_log(70_000, (70_000,)) as view:
        dump(view, tmp_path)
    answer = go("log", tmp_path, OURS.to_text(), 997)
    assert answer == {"size": 70_000, "checked": 72}


def test_go_refuses_what_is_wrong(go: Go, tmp_path: Path) -> None:
    """So that its word for our tiles is worth something."""
    with long_log(800, (800,)) as view:
        dump(view, tmp_path)
    assert go("log", tmp_path, OURS.to_text(), 1)["size"] == 800
    other = VerifierKey(ORIGIN, note.ED25519, key_of(WITNESS).public).to_text()
    assert "no verifiable signatures" in go("log", tmp_path, other, 1)
    for tile in (Tile(0, 1), Tile(1, 0, 3), Tile(ENTRIES, 2)):
        place = tmp_path / tile.to_path()
        data = place.read_bytes()
        for wrong in (data[:40] + bytes([data[40] ^ 1]) + data[41:], data[:-1], b""):
            place.write_bytes(wrong)
            assert isinstance(go("log", tmp_path, OURS.to_text(), 1), str), tile
        place.write_bytes(data)
    assert go("log", tmp_path, OURS.to_text(), 1)["size"] == 800
