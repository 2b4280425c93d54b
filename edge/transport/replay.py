"""Which signed requests are fresh. Pure: the clocks and random bytes come in as arguments.

Room is shared fairly: whoever fills it loses its own oldest entries, never another village's.
Forgetting is safe: what is forgotten raises that village's floor, and a request from at or below
its floor is stale, so no clock step and no flood makes a seen request fresh again.
"""

from dataclasses import dataclass, field

from edge.core import limits
from edge.errors import ReplayedRequest, StaleRequest
from edge.transport.httpsig import SignatureParams, nonce_text


class ReplayGuard:
    """The nonces seen and issued by this process.

    `started_s` is the floor for all: seen nonces die with the process, so what was signed up to
    then needs an issued nonce. Give the `latest_s` of the process before; if it is not known, what
    it may have been: CLOCK_SKEW_S_MAX after the clock, or after the newest stamp stored if that is
    later, since a Raspberry Pi may wake in the past.
    """

    __slots__ = ("_peers", "_started_s", "latest_s")

    def __init__(self, started_s: int) -> None:
        self._started_s = started_s
        self._peers: dict[str, _Peer] = {}
        self.latest_s = started_s  # nothing taken so far was signed later

    def accept(
        self, params: SignatureParams, *, now_s: int, monotonic_s: float, fresh: bytes
    ) -> None:
        """Take a request whose signature was verified: only known villages get room here.

        Raises ReplayedRequest, or StaleRequest with our time (`now`) and, made from the NONCE_BYTES
        random bytes `fresh`, a `nonce` that this village may use once within ISSUED_NONCE_S_MAX.
        """
        peer = self._peers.setdefault(params.keyid, _Peer(self._started_s))
        if params.created_s is None:
            reason = peer.use_issued(params.nonce, monotonic_s)
        else:
            reason = peer.staleness(params.created_s, now_s)
        if reason:
            nonce = self._issue(peer, nonce_text(fresh), monotonic_s)
            raise StaleRequest(reason, now=now_s, nonce=nonce)
        if params.created_s is not None:
            self._remember(peer, params.created_s, params.nonce, now_s)
            self.latest_s = max(self.latest_s, params.created_s)

    def _remember(self, peer: "_Peer", created_s: int, nonce: str, now_s: int) -> None:
        if nonce in peer.seen.get(created_s, ()):
            raise ReplayedRequest("this request was received before")
        peer.forget_before(now_s - limits.CLOCK_SKEW_S_MAX)
        if sum(each.count for each in self._peers.values()) >= limits.NONCES_KEPT_MAX:
            self._make_room(now_s)
        peer.seen.setdefault(created_s, set()).add(nonce)
        peer.count += 1

    def _make_room(self, now_s: int) -> None:
        for each in self._peers.values():
            each.forget_before(now_s - limits.CLOCK_SKEW_S_MAX)
        largest = max(self._peers.values(), key=lambda each: each.count)
        if largest.seen:
            largest.forget_before(min(largest.seen) + 1)

    def _issue(self, peer: "_Peer", nonce: str, monotonic_s: float) -> str:
        peers = self._peers.values()
        for each in peers:
            each.drop_expired(monotonic_s)
        if sum(len(each.issued) for each in peers) >= limits.ISSUED_NONCES_MAX:
            largest = max(peers, key=lambda each: len(each.issued))
            del largest.issued[next(iter(largest.issued))]
        peer.issued[nonce] = monotonic_s
        return nonce


@dataclass(slots=True)
class _Peer:
    """One village: seen nonces by the second of `created`, issued ones by their monotonic time."""

    floor_s: int
    seen: dict[int, set[str]] = field(default_factory=dict)
    count: int = 0
    issued: dict[str, float] = field(default_factory=dict)

    def staleness(self, created_s: int, now_s: int) -> str:
        """Return why a request is stale, or nothing."""
        if abs(now_s - created_s) > limits.CLOCK_SKEW_S_MAX:
            return f"`created` is {abs(now_s - created_s)} s from this box's clock"
        if created_s <= self.floor_s:
            return "`created` lies before what this box remembers"
        return ""

    def use_issued(self, nonce: str, monotonic_s: float) -> str:
        """Use up an issued nonce; return why not, or nothing."""
        issued_s = self.issued.pop(nonce, None)
        if issued_s is None or monotonic_s - issued_s > limits.ISSUED_NONCE_S_MAX:
            return "`nonce` is not one that this box issued, or it is used up"
        return ""

    def forget_before(self, second: int) -> None:
        for created_s in [each for each in self.seen if each < second]:
            self.count -= len(self.seen.pop(created_s))
            self.floor_s = max(self.floor_s, created_s)

    def drop_expired(self, monotonic_s: float) -> None:
        expired = [
            nonce
            for nonce, issued_s in self.issued.items()
            if monotonic_s - issued_s > limits.ISSUED_NONCE_S_MAX
        ]
        for nonce in expired:
            del self.issued[nonce]
