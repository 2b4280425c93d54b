"""How answers look in a terminal: lines for people from the JSON that programs get."""

import logging
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from edge.core import limits, misbehaviour, note, receipt, trade, words
from edge.core.note import VerifierKey
from edge.health import CLOCK_TEXT
from edge.storage.audit import AuditReport

LINE_CHARS_MAX = 1_000
_CHECKED = "  (as given)"
_UNCHECKED = (
    "The keys were not checked, and anybody can make keys under any name: compare them with the "
    "key that `status` shows at each village, or give them with --log KEY."
)
_DECIDED = {"": "OPEN", "COMMIT": "COMMIT", "ABORT": "ABORT"}


def phrase(village: str, folder: Path, words_: str) -> Iterator[str]:
    """Say what a new village's steward must write down."""
    yield f"{village} lives in {folder}.\n"
    yield "Its recovery phrase, shown this once:\n"
    yield f"    {words_}\n"
    yield "Write it on paper and keep it apart from the box. Whoever has it is this village;"
    yield "without it a lost box cannot come back."


def backed_up(made: Any) -> Iterator[str]:
    size = f"{max(made.bytes // 1_000, 1):,} kB"
    yield f"{made.village} is in {made.file}: {made.records:,} records, {size}, opened and checked."
    yield "It opens with the village's recovery phrase only. Keep it apart from the box."


def restored(made: Any, folder: Path) -> Iterator[str]:
    when = words.when(words.moment(made.made_ms).astimezone())
    yield f"{made.village} is back in {folder}, as it was on {when}: {made.records:,} records."
    yield "Start it: it asks all neighbours for what it has said since, before it says more;"
    yield "`village-edge status` tells how far it is."


def goes_on(answer: Any) -> Iterator[str]:
    if answer["not_asked"]:
        yield f"The box goes on. It has not asked {words.together(answer['not_asked'])}."
    else:
        yield "The box goes on. No neighbour is left to be asked."


def member(answer: Any) -> Iterator[str]:
    yield f"{answer['member']} is a {'steward' if answer['steward'] else 'member'} now."


def pin(answer: Any) -> Iterator[str]:
    yield f"{answer['member']} has a new PIN, and is signed out everywhere."


def steward(answer: Any) -> Iterator[str]:
    yield f"{answer['member']} is {'a steward' if answer['steward'] else 'no steward'} now."


def members(answer: Any) -> Iterator[str]:
    if not answer:
        yield "No members yet: add one with `village-edge member add NAME`."
    for each in answer:
        assets = "1 asset" if each["assets"] == 1 else f"{each['assets']} assets"
        steward_ = "  steward" if each["steward"] else ""
        yield f"{each['name']}  {each['balance']} AT, {assets}{steward_}"


def record(answer: Any) -> Iterator[str]:
    yield f"{answer['message']} (record {answer['record']})."


def approved(answer: Any) -> Iterator[str]:
    yield f"{answer['message']}."


def taken_in(answer: Any) -> Iterator[str]:
    yield f"Villages in the file: {answer['villages']}. New here: {answer['new']}."


def one_trade(answer: Any) -> Iterator[str]:
    if "from_user" not in answer:  # of others, which this village helps to decide
        yield from _one_subject(answer)
        return
    offer, request = _quantity(answer["offer"]), _quantity(answer["request"])
    giver = f"{answer['from_user'] or 'somebody'}@{answer['from_village']}"
    taker = f"{answer['to_user'] or 'somebody'}@{answer['to_village']}"
    terms = words.offered(giver, offer, request, taker)
    yield f"{answer['id']}  {answer['status']:<9} {terms}"
    yield f"    {answer['message']}"
    for village, text in answer.get("disputes", {}).items():
        yield f"    written in {village}: {one_line(text)}"


def trades(answer: Any) -> Iterator[str]:
    if not answer:
        yield "No trades yet."
    for each in answer:
        yield from one_trade(each)


def trade_in_full(answer: Any) -> Iterator[str]:
    yield from one_trade(answer)
    how = answer["standing"]
    if how is None:
        return
    yield f"    waits for {how['waits_for']}, since {when(how['since_ms'] // 1000)}"
    for seat in how["seats"]:
        said = []
        if seat["statement"]:
            proven = "proven" if seat["is_proven"] else "not proven yet"
            said.append(f"{seat['statement']} ({proven})")
        if seat["voted"]:
            said.append(f"voted {seat['voted']}")
        if not seat["here"]:
            said.append(f"last heard from {when(seat['last_contact_ms'] // 1000)}")
        here = " (here)" if seat["here"] else ""
        yield f"    {seat['village']}{here}: {', '.join(said) or 'nothing said yet'}"
    yield f"    held here: {how['evidence']}"
    if how["absent_from_ms"]:
        yield f"    a hold may be said to be absent from {when(how['absent_from_ms'] // 1000)} on"
    if how["decided"]:
        yield f"    decided: {how['decided']}"


def _one_subject(answer: Any) -> Iterator[str]:
    offer, request = _quantity(answer["offer"]), _quantity(answer["request"])
    how = _DECIDED[answer["decided"]]
    terms = words.offered(answer["from_village"], offer, request, answer["to_village"])
    yield f"{answer['id']}  {how:<9} {terms}"
    yield f"    opened {when(answer['opened_ms'] // 1000)}. {answer['message']}"


def peers(answer: Any) -> Iterator[str]:
    if not answer["neighbours"]:
        yield "No neighbours yet: make an invitation with `village-edge peer invite`."
    for each in answer["neighbours"]:
        yield f"{each['village']}  {each['name']}  {', '.join(each['addresses'])}"
        yield (
            f"    last contact {when(each['last_contact'])}; {each['records_held']} of its records "
            f"here, {each['holds_of_ours']} of ours there; open trades: {each['open_trades']}"
        )
        yield f"    {_decided_with(each['decide_too'])}"
        for line in each["lines"]:
            asset = words.asset_text(line["asset"])
            yield (
                f"    {asset}: {words.owed_text(line['balance'])}, on hold {line['on_hold']}, "
                f"line {line['line']}, room {line['room']}"
            )
        if each["trouble"]:
            yield f"    no new trades with it: {each['trouble']}"
        for what in each["misbehaviour"]:
            yield f"    gets no seat in councils: {what}"
    for each in answer["candidates"]:
        yield f"{each['village']}  {each['name']}  has offered itself ({each['source']})"


def _decided_with(others: Sequence[str]) -> str:
    if others:
        return f"new trades with it are decided by the two, {words.together(others)}"
    return "new trades with it are decided by the two alone: each waits for the other's box"


def status(answer: Any) -> Iterator[str]:
    log = answer["log"]
    cosigned = ", ".join(log["cosigned_by"]) or "nobody yet"
    yield f"{answer['name']} ({answer['village']}), village-edge {answer['version']}"
    yield f"  health      {answer['health']}"
    yield f"  box         {'serving' if answer['serving'] else 'not running'}"
    for url in answer["page_urls"]:
        yield f"  page        {url}"
    yield f"  federation  {answer['federation_url'] or 'no address yet'}"
    yield f"  key         {answer['verifier_key']}"
    yield f"  log         {log['size']} records, root {log['root']}"
    yield f"              newest of {when(log['time'])}"
    yield f"  cosigned    {log['cosigned_size']} records, by {cosigned}"
    for village, size in log["cosigners"].items():
        yield f"              {village}: {size} records, {when(log['cosigned_times'][village])}"
    free, total = (size / 1e9 for size in answer["disk"].values())
    yield f"  disk        {free:.1f} GB free of {total:.1f} GB"
    yield f"  clock       {CLOCK_TEXT[answer['clock']]}"
    yield f"  open trades {answer['open_trades']}"
    if answer["deciding"]:
        yield f"  deciding    {answer['deciding']} open trades of other villages"
    for each in answer["neighbours"]:
        yield f"  neighbour   {each['village']}, last contact {when(each['last_contact'])}"
        if each["clock_difference_s"]:
            yield f"              its clock is {each['clock_difference_s']} s from this one"
        yield f"              {_decided_with(each['decide_too'])}"
        if each["trouble"]:
            yield f"              no new trades with it: {each['trouble']}"
    for each in answer["misbehaviour"]:
        yield f"  broke rules {each['village']}, known since {when(each['time'])}"
        yield f"              {each['what']}"


def verified(file: bytes, keys: Sequence[VerifierKey] = ()) -> tuple[object, Iterator[str]]:
    """Return what a file proves, a receipt or a list of proofs of misbehaviour: for programs, and
    for people. Keys, if any are given, must be those of the villages in it. Raises InvalidInput or
    BadProof."""
    if misbehaviour.is_list(file):
        proven = misbehaviour.verify_list(file)
        if keys:
            misbehaviour.check_keys(proven, keys)
        found = [finding(each, keys) for each in proven]
        return found, findings(found)
    checked = receipt.decode(file)
    terms = receipt.verify(checked)
    if keys:
        receipt.check_keys(terms, keys)
    answer = proof(checked, terms, keys)
    return answer, proof_lines(answer)


def finding(found: misbehaviour.Finding, keys: Sequence[VerifierKey] = ()) -> dict[str, object]:
    """Return what a proof of misbehaviour that holds says; `keys` were checked against it."""
    key = VerifierKey(found.village, note.ED25519, found.key)
    return {
        "village": found.village,
        "key": found.key.hex(),
        "verifier_key": key.to_text(),
        "key_checked": key in keys,
        "what": misbehaviour.IN_WORDS[found.what],
        "subject": found.subject.hex(),
    }


def findings(answer: list[dict[str, object]]) -> Iterator[str]:
    yield "All proofs hold." if answer else "There are no proofs in it: it accuses nobody."
    for each in answer:
        yield f"  {each['village']}  {each['what']}"
        yield f"    key       {each['verifier_key']}{_CHECKED if each['key_checked'] else ''}"
        yield f"    subject   {each['subject']}"
    if not all(each["key_checked"] for each in answer):
        yield _UNCHECKED


def proof(
    checked: receipt.Receipt, terms: trade.Terms, keys: Sequence[VerifierKey] = ()
) -> dict[str, object]:
    """Return what a receipt that holds says; `keys` were checked against it."""
    seats = [VerifierKey(seat.village, note.ED25519, seat.key) for seat in terms.seats]
    return {
        "outcome": "settled" if checked.certificate.value == "COMMIT" else "aborted",
        "id": trade.id_of(trade.subject_of(bytes(checked.terms))),
        "trade_id": terms.trade_id,
        "from_village": terms.from_village,
        "to_village": terms.to_village,
        "offer": terms.offer.text,
        "request": terms.request.text,
        "subject": trade.subject_of(bytes(checked.terms)).hex(),
        "signed_by": [village for village, _ in checked.certificate.precommits],
        "logs": [_witnessed(each, terms) for each in checked.evidence],
        "keys": {key.name: key.to_text() for key in seats},
        "keys_checked": [key.name for key in seats if key in keys],
    }


def _witnessed(evidence: receipt.Evidence, terms: trade.Terms) -> dict[str, object]:
    """Return where a party's statement stands, and which seats cosigned that when."""
    owner = evidence.village
    head, cosigned = receipt.witnessed(evidence, terms.seats)
    return {
        "village": owner,
        "record": evidence.index,
        "size": head.size,
        "cosigned": {village: second for village, second in cosigned.items() if village != owner},
    }


def proof_lines(answer: dict[str, object]) -> Iterator[str]:
    signers = answer["signed_by"]
    assert isinstance(signers, list)
    yield "The receipt holds."
    for village, gives in (("from_village", "offer"), ("to_village", "request")):
        yield f"  {answer[village]} gives {_in_words(str(answer[gives]))}"
    yield f"  outcome   {answer['outcome']}, certified by {' and '.join(signers)}"
    yield f"  trade     {answer['id']}, trade_id {answer['trade_id']}"
    yield f"  subject   {answer['subject']}"
    logs = answer["logs"]
    assert isinstance(logs, list)
    for each in logs:
        yield f"  log       {each['village']}, record {each['record']} of {each['size']}"
        for village, second in each["cosigned"].items():
            yield f"            cosigned by {village}, {when(second)}"
    keys, checked = answer["keys"], answer["keys_checked"]
    assert isinstance(keys, dict)
    assert isinstance(checked, list)
    for village, key in keys.items():
        yield f"  key       {key}{_CHECKED if village in checked else ''}"
    if not checked:
        yield _UNCHECKED


def audit(report: AuditReport) -> dict[str, object]:
    """Return an audit that found no difference."""
    return {
        "agrees": True,
        "village": report.village,
        "size": report.size,
        "root": report.root.hex(),
        "sealed": report.sealed,
        "lost": report.lost,
        "settled": report.settled,
        "aborted": report.aborted,
        "open": report.open,
        "accounts": report.accounts,
        "assets": report.assets,
        "copies": [msgspec.structs.asdict(copy) for copy in report.copies],
    }


def audit_lines(report: AuditReport) -> Iterator[str]:
    yield f"{report.village}: log, signatures and balances agree."
    yield f"  log       {report.size} records ({report.sealed} sealed), root {report.root.hex()}"
    if report.lost:
        yield f"  lost      the private rows of {report.lost} records, since the box was restored"
    yield f"  ledger    {report.accounts} accounts, {report.assets} assets, each sums to zero"
    yield f"  trades    {report.settled} settled, {report.aborted} aborted, {report.open} open"
    for copy in report.copies:
        part = "" if copy.checkpoint_size == copy.size else ", of a longer log"
        yield f"  copy      {copy.village}: {copy.size} records{part}"


def when(second: int) -> str:
    """Return a time as people read it, in UTC; `never` for 0."""
    if second == 0:
        return "never"
    if second > limits.DEADLINE_MINUTE_MAX * 60:
        return f"{second} s after 1970"
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


class OneLine(logging.Formatter):
    """A log message may quote another village. A traceback that follows keeps its lines."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's own name
        return one_line(super().formatMessage(record))


def one_line(text: str) -> str:
    """Return text that may quote somebody else as a terminal can show it: without control
    characters, and bounded."""
    shown = text if len(text) <= LINE_CHARS_MAX else f"{text[: LINE_CHARS_MAX - 3]}..."
    return "".join(char if char.isprintable() else " " for char in shown)


def _quantity(shown: dict[str, str]) -> str:
    """Return one side of a trade in words; an empty one is that of a gift."""
    texts = (f"{amount} {words.asset_text(asset)}" for asset, amount in shown.items())
    return ", ".join(texts) or words.NOTHING


def _in_words(quantity: str) -> str:
    """Return a trade.Quantity's text as people read it."""
    amount, _, asset = quantity.partition(" ")
    return f"{amount} {words.asset_text(asset)}" if amount.strip("0.") else "nothing: it is a gift"
