"""The commands for files that prove something: their flags, and checking them with no network."""

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from edge import asked, control, shown
from edge.appliance.clock import Clock
from edge.core import log_proof, note
from edge.core.log_proof import LogProof, Proven
from edge.core.note import VerifierKey
from edge.errors import InvalidInput, Malformed

AHEAD_S_MAX = 86_400  # a clock that is further off is worth a word; no proof fails by a clock
NONE_SAID = {"misbehaviour": "No village is known here to have broken the rules of councils."}
KEY_HELP = "as `status --json` shows it there: verifier_key"


def add_flags(made: argparse.ArgumentParser, name: str) -> None:
    """Add what `export proof` needs to know, and what is said of a list that has nothing in it."""
    made.set_defaults(none_said=NONE_SAID.get(name, ""))
    if name != "proof":
        return
    made.add_argument("index", type=int, help="the record, as commands show it: record 7")
    made.add_argument("--of", default="", metavar="VILLAGE", help="of a neighbour's log")
    help_ = "also if no other village has cosigned the record yet"
    made.add_argument("--unwitnessed", action="store_true", help=help_)


def of_record(arguments: argparse.Namespace) -> control.AnyCommand:
    return control.ExportProof(arguments.index, arguments.of, arguments.unwitnessed)


def add_verify(
    command: Callable[..., argparse.ArgumentParser],
    commands: Any,
    run: Callable[[argparse.Namespace], int | None],
) -> None:
    """Add `verify`."""
    made = command(commands, "verify", "check a receipt, or proofs, offline", run, printed=True)
    made.set_defaults(make=verified)
    made.add_argument(
        "file", type=Path, help="what `export receipt`, `proof` or `misbehaviour` wrote"
    )
    made.add_argument(
        "--log",
        action="append",
        default=[],
        metavar="KEY",
        help="the key of the village whose log it must be, or for each that has a part in it, "
        f"{KEY_HELP}",
    )
    made.add_argument(
        "--witness",
        action="append",
        default=[],
        metavar="KEY",
        help="the key of a village that must have cosigned it, for each such village",
    )
    made.add_argument(
        "--record", type=Path, metavar="FILE", help="the record, if the proof has none"
    )


def verified(arguments: argparse.Namespace) -> tuple[object, Iterator[str]]:
    """Return what a file proves, for programs and for people. Raises InvalidInput or BadProof."""
    text = asked.read_text(arguments.file)
    if log_proof.is_one(text):
        return _of_log(text, arguments)
    if arguments.witness or arguments.record:
        raise InvalidInput("--witness and --record are for a .tlog-proof, which this is not")
    return shown.verified(text.rstrip("\n").encode(), [_log_key(each) for each in arguments.log])


def _of_log(text: str, arguments: argparse.Namespace) -> tuple[object, Iterator[str]]:
    if len(arguments.log) != 1:
        raise InvalidInput(f"say whose log it must be, one village's: --log KEY, {KEY_HELP}")
    log, witnesses = _log_key(arguments.log[0]), [_key(each) for each in arguments.witness]
    try:
        proof = LogProof.from_text(text)
    except Malformed as error:
        raise InvalidInput(error.detail) from None
    record = _record(proof, arguments.record)
    answer = _shown(log_proof.verify(proof, record, log, witnesses), proof.index, record)
    return answer, _lines(answer)


def _log_key(typed: str) -> VerifierKey:
    key = _key(typed)
    if key.algorithm != note.ED25519:
        raise InvalidInput("the key of --log is a witness's, not a log's")
    return key


def _key(typed: str) -> VerifierKey:
    try:
        return VerifierKey.from_text(typed)
    except Malformed as error:
        raise InvalidInput(f"{shown.one_line(typed)!r}: {error.detail}") from None


def _record(proof: LogProof, path: Path | None) -> bytes:
    """Return the record to check, of the file or of the proof; if both are there, they agree."""
    if path is None and proof.extra is None:
        raise InvalidInput("the proof does not hold the record: add --record FILE")
    if path is None:
        assert proof.extra is not None, "asked just now"
        return proof.extra
    record = asked.read_text(path).encode()
    if proof.extra not in (None, record):
        raise InvalidInput(f"{path} is not the record that stands in the proof")
    return record


def _shown(found: Proven, index: int, record: bytes) -> dict[str, Any]:
    return {
        "log": found.head.origin,
        "index": index,
        "size": found.head.size,
        "root": found.head.root.hex(),
        "cosigned": dict(found.cosigned),
        "unchecked": list(found.unchecked),
        "record": record.decode("utf-8", "backslashreplace"),
    }


def _lines(answer: dict[str, Any]) -> Iterator[str]:
    yield "The proof holds."
    yield f"  log       {answer['log']}, record {answer['index']} of {answer['size']}"
    yield f"  root      {answer['root']}"
    now_s = Clock().now_s()
    for village, second in answer["cosigned"].items():
        is_ahead = second > now_s + AHEAD_S_MAX
        late = ": by this machine's clock that is still to come" if is_ahead else ""
        yield f"  cosigned  by {village}, {shown.when(second)}{late}"
    if not answer["cosigned"]:
        yield "  cosigned  not checked: without --witness it is the log's own word alone"
    if answer["unchecked"]:
        names = shown.one_line(", ".join(answer["unchecked"]))
        yield f"            signatures that nobody checked: {names}"
    yield f"  record    {shown.one_line(answer['record'])}"
