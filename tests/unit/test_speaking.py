"""What is said of a neighbour that does not answer when it is told something."""

import asyncio
import logging

import pytest

from edge import steward
from edge.core.registry import Location
from edge.errors import Unreachable
from edge.peering import Profile


class Client:
    """Never answers, or says at once that it cannot be reached."""

    def __init__(self, *, at_once: bool) -> None:
        self.at_once = at_once
        self.kicked: list[str] = []

    async def exchange(self, village: str) -> None:
        if self.at_once:
            raise Unreachable(f"{village} does not answer at 10.0.0.2:7440: no route")
        await asyncio.Event().wait()

    def kick(self, village: str) -> None:
        self.kicked.append(village)


@pytest.mark.parametrize(
    ("at_once", "said"),
    [
        (False, "no answer in 0.01 s"),
        (True, "ose-oregon-001 does not answer at 10.0.0.2:7440: no route"),
    ],
)
async def test_a_neighbour_that_is_not_told_has_a_reason(
    at_once: bool, said: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(steward, "TELL_S_MAX", 0.01)
    client = Client(at_once=at_once)
    box = steward.Box(
        runner=None,  # type: ignore[arg-type]
        client=client,  # type: ignore[arg-type]
        post_to=None,  # type: ignore[arg-type]
        profile=Profile("Oregon", Location(0, 0), (), bytes(32)),
        fee_basis_points=0,
        health=None,  # type: ignore[arg-type]
        serving=True,
    )
    failure = await steward.tell(box, "ose-oregon-001")
    assert (failure, client.kicked) == (said, ["ose-oregon-001"])
    assert f"ose-oregon-001 has not been told yet: {said}" in caplog.text
