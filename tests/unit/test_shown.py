"""What a terminal shows of each answer."""

from hypothesis import given
from hypothesis import strategies as st

from edge import shown
from edge.core.trade import Status
from edge.storage.audit import AuditReport, Copy

TRADE = {
    "id": "0123456789abcdef",
    "trade_id": "a1b2",
    "from_village": "ose-missouri-001",
    "to_village": "ose-california-001",
    "from_user": "Alice",
    "to_user": "Bob",
    "offer": {"AT": "100.00"},
    "request": {"SOLAR-PANEL": "1"},
    "status": Status.PENDING,
    "subject": "01" * 32,
    "deadline": 1_760_000_000,
    "fee": "0.00",
    "message": "Waiting for Bob.",
}
PEERS = {
    "neighbours": [
        {
            "village": "ose-texas-001",
            "name": "Texas",
            "addresses": ["10.0.0.2:7440", "t.example:7440"],
            "records_held": 5,
            "holds_of_ours": 7,
            "last_contact": 0,
            "open_trades": 2,
            "trouble": "it has signed two logs",
            "decide_too": [],
            "misbehaviour": ["it signed two different votes"],
            "lines": [
                {
                    "asset": "AT",
                    "balance": "-5.00",
                    "on_hold": "1.00",
                    "line": "1000.00",
                    "room": "994.00",
                }
            ],
        }
    ],
    "candidates": [
        {"village": "ose-ohio-001", "name": "Ohio", "source": "register", "seen": 1_760_000_000}
    ],
}
STATUS = {
    "village": "ose-missouri-001",
    "name": "Factor e Farm",
    "version": "0.1.0",
    "health": "All is well.",
    "serving": True,
    "disk": {"free_bytes": 12_340_000_000, "total_bytes": 30_000_000_000},
    "clock": "unconfirmed",
    "federation_url": "https://10.0.0.1:7440",
    "page_urls": ["http://localhost:7480/"],
    "verifier_key": "ose-missouri-001+00000000+AAAA",
    "log": {
        "size": 3,
        "root": "ff",
        "time": 1_760_000_040,
        "cosigned_size": 2,
        "cosigned_by": ["ose-texas-001"],
        "cosigners": {"ose-texas-001": 2, "ose-ohio-001": 0},
        "cosigned_times": {"ose-texas-001": 1_760_000_100, "ose-ohio-001": 0},
    },
    "neighbours": [
        {
            "village": "ose-texas-001",
            "last_contact": 1_760_000_000,
            "clock_difference_s": 3_600,
            "trouble": "it has signed two logs",
            "decide_too": ["ose-x-001", "ose-y-001"],
        }
    ],
    "open_trades": 1,
    "deciding": 3,
    "misbehaviour": [
        {
            "village": "ose-texas-001",
            "what": "it signed two different votes",
            "subject": "01" * 32,
            "source": "",
            "time": 1_760_000_000,
        }
    ],
}
SUBJECT = {
    "id": "0123456789abcdef",
    "trade_id": "a1b2",
    "from_village": "ose-missouri-001",
    "to_village": "ose-california-001",
    "offer": {"AT": "100.00"},
    "request": {"SOLAR-PANEL": "1"},
    "subject": "01" * 32,
    "deadline": 1_760_000_000,
    "opened_ms": 1_760_000_000_000,
    "decided": "",
    "message": "Not decided yet.",
}


def test_a_trade() -> None:
    first, second = shown.one_trade(TRADE)
    assert first == (
        "0123456789abcdef  PENDING   Alice@ose-missouri-001 gives 100.00 AT"
        " for 1 Solar Panel of Bob@ose-california-001"
    )
    assert second.strip() == "Waiting for Bob."


def test_a_gift() -> None:
    for empty, said in (
        ("request", "Alice@ose-missouri-001 gives 100.00 AT to Bob@ose-california-001 as a gift"),
        (
            "offer",
            "Alice@ose-missouri-001 asks for 1 Solar Panel of Bob@ose-california-001 as a gift",
        ),
    ):
        first, _ = shown.one_trade(TRADE | {empty: {}})
        assert first == f"0123456789abcdef  PENDING   {said}"


def test_trades() -> None:
    assert list(shown.trades([])) == ["No trades yet."]
    assert len(list(shown.trades([TRADE, TRADE]))) == 4


def test_trades_of_others() -> None:
    first, second = shown.trades([SUBJECT])
    assert first == (
        "0123456789abcdef  OPEN      ose-missouri-001 gives 100.00 AT"
        " for 1 Solar Panel of ose-california-001"
    )
    assert second.strip() == "opened 2025-10-09 08:53:20 UTC. Not decided yet."
    first, _ = shown.one_trade(SUBJECT | {"decided": "ABORT"})
    assert "  ABORT     ose" in first


def test_a_trade_in_full() -> None:
    seat = {
        "village": "ose-texas-001",
        "here": False,
        "party": False,
        "statement": "",
        "is_proven": False,
        "voted": "",
        "last_contact_ms": 0,
    }
    stands = {
        "waits_for": "the box of ose-texas-001",
        "since_ms": 1_760_000_000_000,
        "seats": [seat],
        "round": -1,
        "decided": "",
        "evidence": "no hold of ose-texas-001 yet",
        "absent_from_ms": 1_760_000_060_000,
    }
    text = "\n".join(shown.trade_in_full(SUBJECT | {"standing": stands}))
    for said in (
        "waits for the box of ose-texas-001, since 2025-10-09 08:53:20 UTC",
        "held here: no hold of ose-texas-001 yet",
        "a hold may be said to be absent from 2025-10-09 08:54:20 UTC on",
    ):
        assert said in text


def test_peers() -> None:
    text = "\n".join(shown.peers(PEERS))
    for said in (
        "10.0.0.2:7440, t.example:7440",
        "last contact never; 5 of its records here, 7 of ours there; open trades: 2",
        "AT: it owes 5.00, on hold 1.00, line 1000.00, room 994.00",
        "no new trades with it: it has signed two logs",
        "gets no seat in councils: it signed two different votes",
        "ose-ohio-001  Ohio  has offered itself (register)",
    ):
        assert said in text
    nobody = list(shown.peers({"neighbours": [], "candidates": []}))
    assert nobody == ["No neighbours yet: make an invitation with `village-edge peer invite`."]


def test_status() -> None:
    lines = list(shown.status(STATUS))
    text = "\n".join(lines)
    for said in (
        "Factor e Farm (ose-missouri-001), village-edge 0.1.0",
        "serving",
        "https://10.0.0.1:7440",
        "http://localhost:7480/",
        "3 records, root ff",
        "2 records, by ose-texas-001",
        "health      All is well.",
        "newest of 2025-10-09 08:54:00 UTC",
        "              ose-texas-001: 2 records, 2025-10-09 08:55:00 UTC",
        "              ose-ohio-001: 0 records, never",
        "disk        12.3 GB free of 30.0 GB",
        "no time service says that it has set it",
        "its clock is 3600 s from this one",
        "no new trades with it: it has signed two logs",
        "broke rules ose-texas-001, known since 2025-10-09 08:53:20 UTC",
        "2025-10-09 08:53:20 UTC",
        "deciding    3 open trades of other villages",
    ):
        assert said in text
    log = {"size": 1, "root": "ff", "time": 0, "cosigned_size": 0, "cosigned_by": []}
    log |= {"cosigners": {}, "cosigned_times": {}}
    calm = STATUS | {
        "log": log,
        "neighbours": [],
        "deciding": 0,
        "misbehaviour": [],
        "federation_url": "",
        "serving": False,
    }
    text = "\n".join(shown.status(calm))
    assert "nobody yet" in text and "no address yet" in text and "not running" in text


def test_an_audit() -> None:
    copies = (Copy("ose-texas-001", 5, 5),)
    report = AuditReport("ose-missouri-001", 6, b"\xff" * 32, 2, 4, 1, 0, 0, 3, 2, copies)
    text = "\n".join(shown.audit_lines(report))
    assert "ose-missouri-001: log, signatures and balances agree." in text
    assert "private rows of 4 records" in text
    assert "6 records (2 sealed)" in text and "1 settled, 0 aborted, 0 open" in text
    assert "copy      ose-texas-001: 5 records" in text
    answer = shown.audit(report)
    assert answer["agrees"] is True and answer["root"] == "ff" * 32
    assert answer["copies"] == [{"village": "ose-texas-001", "size": 5, "checkpoint_size": 5}]


def test_a_proof() -> None:
    answer: dict[str, object] = {
        "outcome": "settled",
        "id": "0101010101010101",
        "trade_id": "a1b2",
        "from_village": "ose-missouri-001",
        "to_village": "ose-california-001",
        "offer": "100.00 AT",
        "request": "1 SOLAR-PANEL",
        "subject": "01" * 32,
        "signed_by": ["ose-california-001", "ose-missouri-001"],
        "logs": [
            {
                "village": "ose-missouri-001",
                "record": 4,
                "size": 6,
                "cosigned": {"ose-california-001": 1_760_000_000, "ose-ohio-001": 2**63 - 1},
            }
        ],
        "keys": {"ose-missouri-001": "ose-missouri-001+00+AA", "ose-california-001": "c+00+AA"},
        "keys_checked": [],
    }
    text = "\n".join(shown.proof_lines(answer))
    assert "  key       ose-missouri-001+00+AA\n" in text and "The keys were not checked" in text
    checked = answer | {"keys_checked": ["ose-missouri-001", "ose-california-001"]}
    sure = "\n".join(shown.proof_lines(checked))
    assert "  key       c+00+AA  (as given)" in sure and "not checked" not in sure
    assert "  log       ose-missouri-001, record 4 of 6\n" in text
    assert "            cosigned by ose-california-001, 2025-10-09 08:53:20 UTC\n" in text
    assert f"            cosigned by ose-ohio-001, {2**63 - 1} s after 1970" in text
    assert text.startswith("The receipt holds.\n")
    assert "settled, certified by ose-california-001 and ose-missouri-001" in text
    assert "ose-missouri-001 gives 100.00 AT" in text
    assert "ose-california-001 gives 1 Solar Panel" in text
    gift = "\n".join(shown.proof_lines(answer | {"request": "0.00 AT"}))
    assert "ose-california-001 gives nothing: it is a gift\n" in gift
    assert "trade     0101010101010101, trade_id a1b2" in text


def test_proofs_of_misbehaviour_show_whose_key_it_was() -> None:
    answer: dict[str, object] = {
        "village": "ose-ohio-001",
        "key": "ab" * 32,
        "verifier_key": "ose-ohio-001+00+AA",
        "key_checked": False,
        "what": "it signed two different votes",
        "subject": "01" * 32,
    }
    text = "\n".join(shown.findings([answer]))
    assert "    key       ose-ohio-001+00+AA\n" in text and "The keys were not checked" in text
    sure = "\n".join(shown.findings([answer | {"key_checked": True}]))
    assert "ose-ohio-001+00+AA  (as given)\n" in sure and "not checked" not in sure


def test_small_answers() -> None:
    alice = {"member": "Alice", "steward": False}
    assert list(shown.member(alice)) == ["Alice is a member now."]
    assert list(shown.member(alice | {"steward": True})) == ["Alice is a steward now."]
    assert list(shown.steward(alice)) == ["Alice is no steward now."]
    assert list(shown.steward(alice | {"steward": True})) == ["Alice is a steward now."]
    assert list(shown.pin(alice)) == ["Alice has a new PIN, and is signed out everywhere."]
    paid = {"record": 7, "message": "Paid 12.50 AT from Alice to Clara"}
    assert list(shown.record(paid)) == ["Paid 12.50 AT from Alice to Clara (record 7)."]
    taken_in = list(shown.taken_in({"villages": 2, "new": 1}))
    assert taken_in == ["Villages in the file: 2. New here: 1."]


def test_members() -> None:
    assert list(shown.members([])) == [
        "No members yet: add one with `village-edge member add NAME`."
    ]
    bob = {"id": 1, "name": "Bob", "steward": False, "balance": "12.50", "assets": 1}
    carol = {"id": 2, "name": "Carol", "steward": True, "balance": "0.00", "assets": 2}
    assert list(shown.members([bob, carol])) == [
        "Bob  12.50 AT, 1 asset",
        "Carol  0.00 AT, 2 assets  steward",
    ]


def test_times() -> None:
    assert shown.when(0) == "never"
    assert shown.when(1_760_000_000) == "2025-10-09 08:53:20 UTC"


@given(st.text())
def test_what_others_wrote_takes_one_line_and_no_control_character(text: str) -> None:
    line = shown.one_line(text)
    assert line.isprintable() and len(line) <= shown.LINE_CHARS_MAX
    if text.isprintable() and len(text) <= shown.LINE_CHARS_MAX:
        assert line == text


def test_a_long_text_is_cut_visibly() -> None:
    assert shown.one_line("x" * 5_000).endswith("x...")
    assert shown.one_line("a\x1b[2Jb\nc") == "a [2Jb c"
