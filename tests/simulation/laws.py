"""The laws of the protocol, checked against what is on the disks and nothing else.

What a ledger should hold is recomputed here from its own log and sealed rows, record by record,
with no help from the code that wrote them. `Laws.committed` looks at one village after each commit,
at what the commit may have changed and at what others must have for it; `Laws.check` at all of them
together, at everything; `Laws.at_rest` when all is quiet. What seats say is in laws_council.py.

They are for the villages of the world. One that lies is none of them: of its ledger nothing is
known, and of its trades only what the other side's ledger says.
"""

import json
from base64 import b64decode
from collections import Counter, defaultdict
from functools import lru_cache
from hashlib import sha256
from sqlite3 import Connection
from typing import Any, Final

from edge import trade_escrow
from edge.core import checkpoint, council, crypto, receipt
from edge.errors import AuditDifference
from edge.storage import audit, trades
from tests.simulation.disk import Disk
from tests.simulation.law import LawBroken
from tests.simulation.laws_council import CouncilLaws
from tests.simulation.world import Village, World

BOUND_OPEN: Final = ("ACCEPTED", "HELD")
CARRIED_OUT: Final = ("SETTLED", "DELIVERED", "DISPUTED")
UNBOUND_ENDS: Final = ("REJECTED", "CANCELLED", "EXPIRED")

SURNAME: Final = b"Quill"  # of everybody in the simulator's stories

Legs = list[tuple[str, str, int]]  # account, asset, signed amount
Sealed = tuple[bytes, bytes, bytes | None]  # posting's nonce, posting, personal part's nonce
Key = tuple[str, str]  # account, asset


class Book:
    """One village's ledger as its own log and sealed rows tell it."""

    def __init__(self) -> None:
        self.records: list[bytes] = []
        self.roots: list[bytes] = [sha256(b"").digest()]  # of the trees of 0, 1, 2... records
        self.posted: dict[Key, list[int]] = defaultdict(lambda: [0, 0])  # debits, credits
        self.pending: dict[Key, list[int]] = defaultdict(lambda: [0, 0])
        self.legs: dict[bytes, Legs] = {}
        self.said: dict[bytes, str] = {}  # subject: hold or no-hold
        self.ended: dict[bytes, tuple[str, dict[str, Any]]] = {}  # subject: kind, certificate
        self.terms: dict[bytes, dict[str, Any]] = {}  # of what was held
        self.delivered: dict[bytes, set[str]] = defaultdict(set)  # subject: which goods
        self.disputed: dict[bytes, set[str]] = defaultdict(set)
        self.unasked: Counter[Key] = Counter()  # what deliveries took, which ask no limit
        self.checkpoints = 0
        self.trades: dict[bytes, str] = {}
        self.fresh: set[bytes] = set()  # subjects on which records have been appended lately
        self._nonces: set[bytes] = set()
        self._edge: list[tuple[int, bytes]] = []  # (height, root) of complete subtrees

    def append(self, record: bytes, sealed_row: Sealed | None, own: str) -> None:
        """Take in the next record of the log, with the private row that it seals."""
        if SURNAME in record:
            raise LawBroken("nobody is named", f"record {len(self.records)} of {own}")
        posting = sealed_row[1] if sealed_row else None
        for nonce in (sealed_row[0], sealed_row[2]) if sealed_row else ():
            if nonce is not None and nonce in self._nonces:
                raise LawBroken("a nonce is used once", f"record {len(self.records)} of {own}")
            self._nonces |= {nonce} if nonce is not None else set()
        self.records.append(record)
        self._grow(record)
        said = json.loads(record)
        sealed = _entries(posting) if posting else []
        if said["kind"] == "sealed":
            _add(self.posted, sealed, 1)
        elif said["kind"] in ("hold", "no-hold"):
            self._statement(said, sealed, own)
        elif said["kind"] in ("settle", "release"):
            self._end(said)
        elif said["kind"] in ("delivered", "disputed"):
            self._came(said, own)

    def _statement(self, said: dict[str, Any], sealed: Legs, own: str) -> None:
        subject = subject_of(said["terms"])
        if subject in self.said:
            raise LawBroken("one statement", f"{own} has spoken twice on {subject.hex()[:8]}")
        self.said[subject] = said["kind"]
        self.fresh.add(subject)
        if said["kind"] == "hold":
            self._signed(said, own)
            self.legs[subject] = sealed + clearing_legs(said["terms"], own)
            self.terms[subject] = said["terms"]
            _add(self.pending, self.legs[subject], 1)
            if said["terms"]["refund_of"]:
                self._refund(said["terms"])

    def _signed(self, said: dict[str, Any], own: str) -> None:
        terms = said["terms"]
        keys = {name: b64decode(key) for name, key in terms["seats"]}
        for role in ("from", "to"):
            signature = b64decode(said[f"{role}_signature"])
            if not crypto.verify(keys[terms[f"{role}_village"]], as_signed(terms), signature):
                raise LawBroken("both have signed", f"{own} holds without the {role} signature")

    def _end(self, said: dict[str, Any]) -> None:
        subject = b64decode(said["subject"])
        if subject in self.ended:
            raise LawBroken("one end", f"{said['kind']} of {subject.hex()[:8]}, which had ended")
        if self.said.get(subject) != "hold":
            raise LawBroken("one end", f"{said['kind']} of {subject.hex()[:8]}, never held")
        wanted = "COMMIT" if said["kind"] == "settle" else "ABORT"
        if said["certificate"]["value"] != wanted:
            raise LawBroken("one end", f"{said['kind']} by a certificate to {wanted}")
        self.ended[subject] = (said["kind"], said["certificate"])
        self.fresh.add(subject)
        _add(self.pending, self.legs[subject], -1)
        if said["kind"] == "settle":
            _add(self.posted, self.legs[subject], 1)

    def _came(self, said: dict[str, Any], own: str) -> None:
        """Goods are delivered or refunded, once, and disputed by whom they come to, before."""
        subject, asset = b64decode(said["subject"]), said["asset"]
        terms = self.terms[subject]
        goods = [leg for leg in clearing_legs(terms, own) if leg[1] == asset != "AT" and leg[2]]
        if self.ended[subject][0] != "settle" or not goods or terms["refund_of"]:
            raise LawBroken("goods come once", f"{said['kind']} {asset}: {own} owes none")
        if asset in self.delivered[subject] or asset in self.given_back(subject):
            raise LawBroken("goods come once", f"{said['kind']} {asset}, which is gone: {own}")
        [(account, _, amount)] = goods
        if said["kind"] == "disputed":
            if amount > 0 or asset in self.disputed[subject]:
                raise LawBroken("goods come once", f"{own} disputes what it gave, or twice")
            self.disputed[subject].add(asset)
            return
        self.delivered[subject].add(asset)
        _add(self.posted, [(account, asset, -amount), ("issuance", asset, amount)], 1)
        self.unasked[account, asset] += max(amount, 0)

    def _refund(self, terms: dict[str, Any]) -> None:
        """What a refund gives back has not come, and no other refund gives it back."""
        original, goods = b64decode(terms["refund_of"]), _goods(terms)
        if self.ended.get(original, ("",))[0] != "settle":
            raise LawBroken("goods come once", "a refund of what is not settled")
        if goods & self.delivered[original]:
            raise LawBroken("goods come once", "a refund of what was delivered")
        others = [
            each
            for each, of in self.terms.items()
            if of is not terms and of["refund_of"] == terms["refund_of"]
        ]
        live = [each for each in others if self.ended.get(each, ("",))[0] != "release"]
        if any(goods & _goods(self.terms[each]) for each in live):
            raise LawBroken("goods come once", "two refunds of the same goods")

    def given_back(self, subject: bytes) -> set[str]:
        """The goods of a trade that a refund holds, or has given back."""
        found = set[str]()
        for each, terms in self.terms.items():
            of = terms["refund_of"] and b64decode(terms["refund_of"])
            if of == subject and self.ended.get(each, ("",))[0] != "release":
                found |= _goods(terms)
        return found

    def _grow(self, record: bytes) -> None:
        node = (0, sha256(b"\0" + record).digest())
        while self._edge and self._edge[-1][0] == node[0]:
            height, left = self._edge.pop()
            node = (height + 1, sha256(b"\1" + left + node[1]).digest())
        self._edge.append(node)
        root = self._edge[-1][1]
        for _, left in self._edge[-2::-1]:
            root = sha256(b"\1" + left + root).digest()
        self.roots.append(root)


class Laws:
    """Watches a world; knows of each village what it has seen committed."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.books: dict[str, Book] = defaultdict(Book)
        self.lowered: dict[tuple[str, str, str], int] = {}  # what a lowered limit found in use
        self.certified: dict[bytes, str] = {}
        self.listed: dict[tuple[str, str], int] = {}  # how much there was, by village and id
        self.steps = 0
        self.latest_ms = 0  # by any box's clock: what had ended by it is forgotten there
        self.council = CouncilLaws(world, self.books)
        self._checked: set[tuple[bytes, bytes]] = set()  # subjects and certificates
        self._held: dict[str, set[bytes]] = defaultdict(set)  # subjects with a certificate, there
        self._ends: dict[bytes, set[str]] = defaultdict(set)
        self._sizes: dict[tuple[str, int], int] = {}  # of copies, by village and log
        world.after_commit = self.committed
        self._read_logs()

    def committed(self, village: Village) -> None:
        """Look at one village's disk after a commit, at what may have changed on it. What others
        have said and it has heard, they must have on their own."""
        if self.world.villages.get(village.name) is not village:
            return  # a liar's
        self.latest_ms = max(self.latest_ms, village.clock_ms())
        touched = self._touched(village)
        if touched is None or touched:
            self.steps += 1
            self._look(village, touched)

    def check(self) -> None:
        """Look at everything on all disks."""
        self._read_logs()
        for village in self.world.villages.values():
            self._touched(village)
            self._look(village, None)

    def forget(self, village: str) -> None:
        """Hold a village to nothing more: it lies from now on."""
        self.books.pop(village, None)
        self._held.pop(village, None)

    def at_rest(self) -> None:
        """Look at all disks when every trade should have ended and nobody has more to say."""
        self.check()
        for village in self.world.villages.values():
            for subject, neighbour, status, closed in village.conn.execute(
                "SELECT subject, neighbour, status, closed FROM trade"
            ):
                name = subject.hex()[:8]
                if status in (*BOUND_OPEN, "PENDING"):
                    raise LawBroken(
                        "every trade ends", f"{name} is {status} at {village.name}", subject
                    )
                if neighbour not in self.world.villages:
                    continue
                if not closed:
                    raise LawBroken(
                        "every trade ends",
                        f"{village.name} has more to say on {name} ({status})",
                        subject,
                    )
                self._same_end(subject, status, village, self.world.villages[neighbour])
            self._nothing_left(village)
            self._audit(village)
            self._whole_copies(village)
            self._listings(village)
            self._receipts(village)
        self._mirrors()

    def _read_logs(self) -> None:
        for village in self.world.villages.values():
            self._log(village, self.books[village.name])

    def _touched(self, village: Village) -> set[str] | None:
        """Return the tables that may have changed since the last time; None for any."""
        conn: Connection = village.conn
        return conn.changed() if isinstance(conn, Disk) else None

    def _look(self, village: Village, touched: set[str] | None) -> None:
        """Check what follows from `touched` tables; from all of them if it is None."""
        whole = touched is None
        tables = touched or set()
        book = self.books[village.name]
        size = len(book.records)
        if whole or tables & {"entry", "checkpoint", "sealed"}:
            self._log(village, book)
            self._copies(village, whole)
        grown = whole or len(book.records) > size
        if grown or tables & {"balance", "sealed"}:
            self._balances(village, book)
        if grown or "trade" in tables:
            self._trades(village, book)
        if whole or tables & {"listing", "trade"}:
            self._stock(village)
        if whole or tables & {"trade", "subject"}:
            self._certificates(village)
        if whole or "misbehaviour" in tables:
            self._accused(village)
        self.council.look(village, None if whole else tables)

    # One village

    def _log(self, village: Village, book: Book) -> None:
        conn = village.conn
        (last,) = conn.execute(
            "SELECT max(position) FROM entry WHERE position < 1 << 40"
        ).fetchone()
        stored = 0 if last is None else last + 1
        if stored < len(book.records):
            raise LawBroken("the log grows", f"{village.name} has lost acknowledged records")
        fresh = conn.execute(
            "SELECT position, record FROM entry WHERE position >= ? AND position < 1 << 40"
            " ORDER BY position",
            (max(len(book.records) - 1, 0),),
        )
        for index, record in fresh:
            if index < len(book.records):
                if book.records[index] != record:
                    raise LawBroken("the log grows", f"{village.name} changed record {index}")
                continue
            row = conn.execute(
                "SELECT posting_nonce, posting, personal_nonce FROM sealed WHERE idx = ?", (index,)
            ).fetchone()
            if index != len(book.records):
                raise LawBroken("the log grows", f"{village.name} lacks record {len(book.records)}")
            book.append(record, row, village.name)
        count, newest = conn.execute(
            "SELECT count(*), max(size) FROM checkpoint WHERE log = 0"
        ).fetchone()
        if count < book.checkpoints:
            raise LawBroken("the log grows", f"{village.name} has lost a checkpoint")
        if count and newest != len(book.records):
            raise LawBroken("the log grows", f"{village.name} has records beyond its checkpoint")
        rows = conn.execute(
            "SELECT size, root, note FROM checkpoint WHERE log = 0 ORDER BY size DESC LIMIT ?",
            (count - book.checkpoints,),
        ).fetchall()
        for size, root, note in rows:
            signed = checkpoint.open_checkpoint(note, village.name, village.key.public)
            if not book.roots[size] == root == signed.root or signed.size != size:
                raise LawBroken(
                    "the log grows", f"{village.name}: checkpoint {size} is not its log's"
                )
        book.checkpoints = count

    def _balances(self, village: Village, book: Book) -> None:
        totals: Counter[str] = Counter()
        seen: set[Key] = set()
        reserved = self._reserved(village)
        for account, asset, dp, cp, dn, cn, aside, limit in village.conn.execute(
            "SELECT account, asset, debits_posted, credits_posted, debits_pending,"
            " credits_pending, reserved, debit_limit FROM balance"
        ):
            key = (account, asset)
            seen.add(key)
            where = f"{account} of {village.name} in {asset}"
            totals[f"{asset} posted"] += cp - dp
            totals[f"{asset} pending"] += cn - dn
            used = dp + dn + aside - cp
            lowered = self.lowered.get((village.name, *key), limit)
            if used > max(limit, lowered) + book.unasked[key]:
                raise LawBroken("limits hold", f"{where} is {used} below zero, limit {limit}")
            if [dp, cp] != book.posted[key]:
                raise LawBroken("balances follow the log", f"{where}: posted {[dp, cp]}")
            if [dn, cn] != book.pending[key]:
                raise LawBroken("holds follow the log", f"{where}: pending {[dn, cn]}")
            if aside != reserved[key]:
                raise LawBroken("set-asides add up", f"{where}: {aside}, not {reserved[key]}")
        unbalanced = [name for name, total in totals.items() if total]
        if unbalanced:
            raise LawBroken("sums are zero", f"{village.name}: {', '.join(unbalanced)}")
        for name, kept in (("posted", book.posted), ("pending", book.pending)):
            missing = [key for key, value in kept.items() if any(value) and key not in seen]
            if missing:
                raise LawBroken("balances follow the log", f"{village.name} lacks {name} {missing}")

    def _reserved(self, village: Village) -> Counter[Key]:
        reserved: Counter[Key] = Counter()
        for terms_bytes, member in village.conn.execute(
            "SELECT terms, member FROM trade WHERE role = 'from' AND status = 'PENDING'"
        ):
            terms = terms_of(terms_bytes)
            mine = member_legs(terms, village.name, f"member:{member}")
            for account, asset, amount in mine + clearing_legs(terms, village.name):
                if amount < 0:
                    reserved[account, asset] -= amount
        return reserved

    def _trades(self, village: Village, book: Book) -> None:
        rows = village.conn.execute("SELECT subject, status FROM trade").fetchall()
        statuses = dict(rows)
        if not statuses.keys() >= book.trades.keys():
            raise LawBroken("the log grows", f"{village.name} has lost a trade")
        for subject, status in rows:
            if book.trades.get(subject) == status and subject not in book.fresh:
                continue
            book.trades[subject] = status
            end = book.ended.get(subject, ("", {}))[0]
            said = book.said.get(subject, "")
            expected = {"settle": CARRIED_OUT, "release": ("ABORTED",)}.get(end, BOUND_OPEN)
            if said == "hold" and status not in expected:
                raise LawBroken(
                    "status follows the log",
                    f"{subject.hex()[:8]} is {status} at {village.name} after {end or 'its hold'}",
                    subject,
                )
            if status in CARRIED_OUT and status != self._stands(village, book, subject):
                raise LawBroken(
                    "status follows the log",
                    f"{subject.hex()[:8]} is {status} at {village.name}",
                    subject,
                )
            if said != "hold" and status not in (*UNBOUND_ENDS, "PENDING"):
                raise LawBroken(
                    "status follows the log",
                    f"{subject.hex()[:8]} is {status} at {village.name}, which never held",
                    subject,
                )
            self._one_end(subject, end, status)
        book.fresh.clear()

    def _stands(self, village: Village, book: Book, subject: bytes) -> str:
        """What has come of a settled trade, as far as this village has heard."""
        terms = book.terms[subject]
        goods = set() if terms["refund_of"] else _goods(terms)
        left = goods - book.delivered[subject]
        disputed = set(book.disputed[subject])
        back = set[str]()
        for (terms_bytes,) in village.conn.execute(
            "SELECT terms FROM trade WHERE refund_of = ? AND status = 'SETTLED'", (subject,)
        ):
            back |= _goods(terms_of(terms_bytes))
        for (asset,) in village.conn.execute(
            "SELECT asset FROM delivery WHERE subject = ? AND log > 0 AND kind = 'disputed'",
            (subject,),
        ):
            disputed.add(asset)
        if goods and not left:
            return "DELIVERED"
        return "DISPUTED" if (left - back) & disputed else "SETTLED"

    def _stock(self, village: Village) -> None:
        """What is left of a listing is what was listed but for what bound trades move."""
        taken: Counter[str] = Counter()
        for listing, side, terms_bytes in village.conn.execute(
            "SELECT l.id, l.side, t.terms FROM listing l JOIN trade t ON t.listing = l.id"
            " WHERE l.village = ? AND l.side IS NOT NULL AND t.role = 'to'"
            " AND t.status IN ('ACCEPTED', 'HELD', 'SETTLED', 'DELIVERED', 'DISPUTED')",
            (village.name,),
        ):
            item = terms_of(terms_bytes)["request" if side == "offer" else "offer"]
            taken[listing] += item["amount"]
        for listing, left in village.conn.execute(
            "SELECT id, quantity FROM listing WHERE village = ? AND side IS NOT NULL",
            (village.name,),
        ):
            listed = self.listed.setdefault((village.name, listing), left)
            if left != listed - taken[listing]:
                raise LawBroken(
                    "stock follows the trades",
                    f"{left} left at {village.name} of {listed}, {taken[listing]} taken",
                )

    # Villages together

    def _copies(self, village: Village, whole: bool) -> None:
        """A copy is the beginning of the log that it copies, and only grows."""
        for log, owner, size in self._copied(village):
            place = (village.name, log)
            known = self._sizes.get(place, 0)
            if size < known:
                raise LawBroken("copies are true", f"{village.name} has lost some of {owner}")
            if size == known and not whole:
                continue
            self._sizes[place] = size
            book = self.books[owner]
            if size > len(book.records):
                raise LawBroken("copies are true", f"{village.name} holds more of {owner} than is")
            first = (log << 46) + (0 if whole else known)
            rows = village.conn.execute(
                "SELECT position, record FROM entry WHERE position >= ? AND position < ?",
                (first, (log << 46) + size),
            )
            for position, record in rows:
                if record != book.records[position - (log << 46)]:
                    raise LawBroken("copies are true", f"{village.name} has another log of {owner}")
            for at, root in village.conn.execute(
                "SELECT size, root FROM checkpoint WHERE log = ? AND size >= ?",
                (log, 0 if whole else known),
            ):
                if at > size or book.roots[at] != root:
                    raise LawBroken("copies are true", f"{village.name}: checkpoint of {owner}")

    def _certificates(self, village: Village) -> None:
        """No two certificates of one subject differ; each is signed by a quorum of the seats, and
        is true."""
        rows = village.conn.execute(
            "SELECT subject, terms, certificate FROM trade WHERE certificate IS NOT NULL"
            " UNION SELECT subject, terms, certificate FROM subject WHERE certificate IS NOT NULL"
        )
        for subject, terms_bytes, certificate in rows:
            if (subject, certificate) in self._checked:
                continue
            self._checked.add((subject, certificate))
            terms, said = terms_of(terms_bytes), json.loads(certificate)
            value = self.certified.setdefault(subject, said["value"])
            if value != said["value"]:
                raise LawBroken("one certificate", f"two for {subject.hex()[:8]}", subject)
            if said["value"] not in ("COMMIT", "ABORT"):
                raise LawBroken(
                    "one certificate", f"{said['value']} of {subject.hex()[:8]}", subject
                )
            signed = council.vote_bytes(
                b64decode(terms["network"]), subject, said["round"], "precommit", said["value"]
            )
            keys = {name: b64decode(key) for name, key in terms["seats"]}
            valid = {
                name
                for name, signature in said["precommits"]
                if crypto.verify(keys[name], signed, b64decode(signature))
            }
            if len(valid) < 2 * len(keys) // 3 + 1:
                raise LawBroken("one certificate", f"{subject.hex()[:8]} lacks votes", subject)
            if len(keys) > 2 and value == "ABORT":
                continue  # a hold that came late, or that nobody could prove, is aborted, too
            expected = ("hold", "hold") if value == "COMMIT" else ("no-hold", "hold")
            parties = (terms["from_village"], terms["to_village"])
            for party, statement in zip(parties, expected, strict=True):
                if (
                    party in self.world.villages
                    and self.books[party].said.get(subject) != statement
                ):
                    raise LawBroken(
                        "one certificate", f"{value} of {subject.hex()[:8]} is not true", subject
                    )

    def _one_end(self, subject: bytes, end: str, status: str) -> None:
        kinds = self._ends[subject]
        kinds |= {end} if end else {"release"} if status in UNBOUND_ENDS else set()
        if len(kinds) > 1:
            what = f"{subject.hex()[:8]} settled on one side only"
            raise LawBroken("both or neither", what, subject)

    # At rest

    def _same_end(self, subject: bytes, status: str, here: Village, there: Village) -> None:
        row = there.conn.execute(
            "SELECT status FROM trade WHERE subject = ?", (subject,)
        ).fetchone()
        if row is None:
            if status not in UNBOUND_ENDS:
                raise LawBroken(
                    "both or neither", f"{there.name} does not know {subject.hex()[:8]}"
                )
        elif (status in CARRIED_OUT) != (row[0] in CARRIED_OUT):
            raise LawBroken("both or neither", f"{subject.hex()[:8]}: {status} and {row[0]}")
        elif status in CARRIED_OUT and status != row[0]:
            raise LawBroken(
                "delivered with delivered",
                f"{subject.hex()[:8]}: {status} and {row[0]}",
                subject,
            )
        written = "SELECT village, text FROM dispute WHERE subject = ? AND text <> ''"
        if set(here.conn.execute(written, (subject,))) != set(
            there.conn.execute(written, (subject,))
        ):
            raise LawBroken("disputes are told", f"of {subject.hex()[:8]}", subject)

    def _accused(self, village: Village) -> None:
        """Nobody who does as the product does is ever said to have broken the rules."""
        for accused, what in village.conn.execute("SELECT village, what FROM misbehaviour"):
            if accused in self.world.villages:
                raise LawBroken("nobody honest is accused", f"{accused} at {village.name}: {what}")

    def _nothing_left(self, village: Village) -> None:
        left = village.conn.execute(
            "SELECT account, asset FROM balance WHERE debits_pending OR credits_pending OR reserved"
        ).fetchall()
        if left:
            raise LawBroken("nothing is left held", f"{village.name}: {left}")

    def _audit(self, village: Village) -> None:
        try:
            village.look(audit.audit)
        except AuditDifference as error:
            raise LawBroken("the audit passes", f"{village.name}: {error.detail}") from error

    def _whole_copies(self, village: Village) -> None:
        for _, owner, size in self._copied(village):
            if size != len(self.books[owner].records):
                raise LawBroken("copies are true", f"{village.name} has not all of {owner}'s log")

    def _listings(self, village: Village) -> None:
        """What it shows of each neighbour's listings is what the neighbour shows, as far as clocks
        that go apart let them."""
        shown = (
            "SELECT id, version, ends_minute, side, asset, quantity, price_asset, price, text"
            " FROM listing WHERE village = ? AND side IS NOT NULL AND ends_minute > ? ORDER BY id"
        )
        soon = max(self.world.now_ms, self.latest_ms) // 60_000 + 180
        for _, owner, _ in self._copied(village):
            there = self.world.villages[owner].conn.execute(shown, (owner, soon)).fetchall()
            if village.conn.execute(shown, (owner, soon)).fetchall() != there:
                raise LawBroken("listings agree", f"{village.name} shows others of {owner}")

    def _receipts(self, village: Village) -> None:
        for subject, (kind, _) in self.books[village.name].ended.items():
            known = trades.by_subject(village.look(lambda view: view), subject)
            made = receipt.encode(trade_escrow.receipt(village.look(lambda view: view), known))
            read = receipt.decode(made)
            receipt.verify(read)
            if read.certificate.value != ("COMMIT" if kind == "settle" else "ABORT"):
                raise LawBroken("receipts hold", f"that of {subject.hex()[:8]} says otherwise")

    def _mirrors(self) -> None:
        """What A's ledger says that B owes is what B's ledger says it owes to A."""
        balance: Counter[tuple[str, str, str]] = Counter()
        for village in self.world.villages.values():
            for account, asset, amount in village.conn.execute(
                "SELECT account, asset, credits_posted - debits_posted FROM balance"
                " WHERE account LIKE 'clearing:%'"
            ):
                balance[village.name, account.removeprefix("clearing:"), asset] = amount
        for (a, b, asset), amount in list(balance.items()):
            if b in self.world.villages and balance[b, a, asset] != -amount:
                raise LawBroken("mirrors match", f"{asset} between {a} and {b}")

    def _copied(self, village: Village) -> list[tuple[int, str, int]]:
        copied = village.conn.execute(
            "SELECT l.id, l.village, coalesce((SELECT max(position) + 1 - (l.id << 46) FROM entry e"
            " WHERE e.position >= l.id << 46 AND e.position < (l.id << 46) + (1 << 40)), 0)"
            " FROM log l WHERE l.id > 0"
        )
        return [row for row in copied if row[1] in self.world.villages]


def _goods(terms: dict[str, Any]) -> set[str]:
    return {terms[side]["asset"] for side in ("offer", "request")} - {"AT"}


@lru_cache(4_096)
def terms_of(text: bytes) -> dict[str, Any]:
    """Return terms as read, not to be changed."""
    read: dict[str, Any] = json.loads(text)
    return read


def as_signed(terms: dict[str, Any]) -> bytes:
    """Return terms in their one form: no spaces, the order of the fields kept."""
    return json.dumps(terms, separators=(",", ":"), ensure_ascii=False).encode()


def subject_of(terms: dict[str, Any]) -> bytes:
    return sha256(as_signed(terms)).digest()


def clearing_legs(terms: dict[str, Any], own: str) -> Legs:
    """The proposer's ledger credits the other village with the offer, and debits the request."""
    sign = 1 if terms["from_village"] == own else -1
    other = terms["to_village"] if sign == 1 else terms["from_village"]
    offer, request = terms["offer"], terms["request"]
    return [
        (f"clearing:{other}", offer["asset"], sign * offer["amount"]),
        (f"clearing:{other}", request["asset"], -sign * request["amount"]),
    ]


def member_legs(terms: dict[str, Any], own: str, account: str) -> Legs:
    """The member gives what the other village is credited with, and pays the fee; merged."""
    sign = 1 if terms["from_village"] == own else -1
    fee = terms["from_fee"] if sign == 1 else terms["to_fee"]
    legs = [
        (account, terms["offer"]["asset"], -sign * terms["offer"]["amount"]),
        (account, terms["request"]["asset"], sign * terms["request"]["amount"]),
    ]
    return [*legs, (account, "AT", -fee), ("treasury", "AT", fee)] if fee else legs


def _entries(posting: bytes) -> Legs:
    return [
        (account, asset, amount)
        for account, asset, amount in json.loads(posting).get("entries", [])
    ]


def _add(counters: dict[Key, list[int]], legs: Legs, sign: int) -> None:
    for account, asset, amount in legs:
        counters[account, asset][1 if amount > 0 else 0] += sign * abs(amount)
