"""On which councils' subjects this village does not vote: on those on which it may have voted
before it was set back."""

from edge.core import records
from edge.errors import PeerError
from edge.storage import councils, logs, set_back
from edge.storage.councils import Held
from edge.storage.set_back import Ended
from edge.storage.tx import OWN_LOG, View


def abstains(view: View, held: Held) -> bool:
    """Tell whether this village says nothing of its own on a subject. It still takes in and passes
    on what others say, and follows what they decide.

    A subject is later than the end of its being set back if the deadline shows that, this village's
    own statement, or those of both parties: one that lies cannot make it vote twice.
    """
    ended = set_back.last_end(view)
    if ended is None or held.opened.terms.deadline_minute > ended.surely_later_minute:
        return False
    own = logs.statements(view, held.opened.id, OWN_LOG)
    if own:
        return own[0][0] < ended.size
    return not _are_both_later(view, held, ended)


def _are_both_later(view: View, held: Held, ended: Ended) -> bool:
    terms = held.opened.terms
    minutes = {}
    for evidence, _ in councils.statements(view, held.opened.id):
        try:
            minutes[evidence.village] = records.decode(evidence.record).minute
        except PeerError:
            return False
    parties = (terms.from_village, terms.to_village)
    return all(minutes.get(each, 0) > ended.later_minute for each in parties)
