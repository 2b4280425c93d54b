"""Why a trade by which a village was bound was not carried out, in words for its member."""

from edge.storage import councils, neighbours, trades
from edge.storage.trades import Trade
from edge.storage.tx import View


def why_aborted(view: View, known: Trade) -> str:
    """Return what is known here of why a trade was decided as ABORT."""
    if _has_no_hold(view, known):
        return f"{known.neighbour} withdrew it, or heard of the acceptance too late"
    if len(known.terms.seats) > 2:
        return "the holds of both villages were not shown in time"
    return f"{known.neighbour} was not bound by it"


def _has_no_hold(view: View, known: Trade) -> bool:
    """Tell whether the neighbour's no-hold is in its log here, or in what proves the decision."""
    log = neighbours.log_of(view, known.neighbour)
    proven = [
        statement
        for each, statement in councils.statements(view, known.subject)
        if each.village == known.neighbour
    ]
    first = trades.first_statement(view, known.subject, log)
    return "no-hold" in proven or (first is not None and first[1] == "no-hold")
