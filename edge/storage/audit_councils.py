"""The part of the audit that is about councils: what this seat holds of each subject is signed by
whom it says, proves what it is taken for, and agrees with this village's own row of the trade."""

import msgspec

from edge.core import council, receipt, valid
from edge.core.replay import difference
from edge.errors import PeerError
from edge.storage import councils, trades
from edge.storage.councils import Opened
from edge.storage.tx import View


def check(view: View, own: str) -> None:
    """Raise AuditDifference at the first subject that does not hold."""
    for (subject,) in view.all("SELECT subject FROM subject ORDER BY opened_ms, subject"):
        _check(view, _read(view, subject), own)
    row = view.one(
        "SELECT t.subject FROM trade AS t JOIN statement AS s ON s.subject = t.subject"
        " AND s.log = 0 WHERE json_array_length(CAST(t.terms AS TEXT), '$.seats') > 2"
        " AND NOT EXISTS (SELECT 1 FROM subject WHERE subject.subject = t.subject) LIMIT 1"
    )
    if row is not None:
        raise _fault(row[0], "what a council decides of it", "a subject", None)


def _read(view: View, subject: bytes) -> Opened:
    try:
        opened = councils.named(view, subject)
    except (PeerError, msgspec.DecodeError) as error:
        raise _fault(subject, "its row", "a subject", error) from None
    if opened.id != subject:
        raise _fault(subject, "its terms", "its own", opened.id)
    return opened


def _check(view: View, opened: Opened, own: str) -> None:
    for evidence, statement in councils.statements(view, opened.id):
        try:
            found = receipt.statement_of(evidence, opened.terms, opened.terms_bytes)
        except PeerError as error:
            raise _fault(opened.id, f"the proof of {evidence.village}", "one", error) from None
        if found != statement:
            raise _fault(opened.id, f"what {evidence.village} said", found, statement)
    _check_words(view, opened)
    provable = sorted(councils.held(view, opened).provable)
    for vote in councils.votes(view, opened.id):
        if vote.village == own and vote.value is not None and vote.value not in provable:
            raise _fault(opened.id, "what this village voted for", provable, vote.value)
    _check_certificate(view, opened)


def _check_words(view: View, opened: Opened) -> None:
    """Each vote, proposal and *absent* is signed by the seat whose word it is."""
    place = opened.terms.network, opened.id, opened.terms.seats
    words = [
        *(
            (each.village, council.vote_is_valid(each, *place))
            for each in councils.votes(view, opened.id)
        ),
        *(
            (each.village, council.proposal_is_valid(each, opened.subject))
            for each in councils.proposals(view, opened.id)
        ),
        *(
            (each.village, valid.absent_is_valid(each, opened.terms, opened.id))
            for each in councils.absents(view, opened.id)
        ),
    ]
    for village, holds in words:
        if not holds:
            raise _fault(opened.id, f"a word of {village}", "signed by it", "not signed by it")


def _check_certificate(view: View, opened: Opened) -> None:
    certificate, terms = opened.certificate, opened.terms
    if certificate is not None:
        try:
            council.verify_certificate(certificate, terms.network, opened.id, terms.seats)
        except PeerError as error:
            raise _fault(opened.id, "its certificate", "a quorum's votes", error) from None
    known = trades.find(view, opened.id)
    if known is None or known.certificate is None:
        return
    if certificate is None or certificate.value != known.certificate.value:
        found = certificate and certificate.value
        raise _fault(opened.id, "what was decided", known.certificate.value, found)


def _fault(subject: bytes, what: str, expected: object, found: object) -> Exception:
    return difference(f"subject {subject.hex()[:16]}", what, expected, found)
