"""Requests made from the OpenAPI document, sensible ones and others, against a box that runs.

Schemathesis makes them (always the same ones: nothing is drawn by lot) and checks each answer:
no fault of the box's own, only statuses, types and bodies that the document tells of, malformed
requests refused, and nothing open without a token.
"""

import asyncio
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import msgspec
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings

from edge import control
from edge.web import openapi
from tests.integration.boxes import RealBox
from tests.integration.real_tokens import page_of, token_of

EXAMPLES: Final = 12  # of each kind for each operation: all together take half a minute
ENDLESS: Final = "/events"
schema: Final[Any] = schemathesis.openapi.from_dict(
    msgspec.json.decode(openapi.document())
).exclude(path=ENDLESS)


class Served(NamedTuple):
    base_url: str
    token: str


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    box = RealBox(tmp_path_factory.mktemp("api"), "ose-missouri-001")

    async def start() -> Served:
        await box.start()
        for name in ("Alice", "Carol"):
            await box.ask(control.MemberAdd(name, "246810", steward=name == "Alice"))
        await box.ask(control.Issue("Alice", "500"))
        token = await token_of(box, "Alice", "246810", "read", "trade", "steward")
        return Served((await page_of(box)).rstrip("/") + openapi.API_PATH, token)

    try:
        yield asyncio.run(start())
        assert box.stop() == 0, box.log.read_text()
        assert "agree" in box.audit()
    finally:
        box.end()


@schema.parametrize()  # type: ignore[untyped-decorator]
@settings(
    max_examples=EXAMPLES,
    derandomize=True,
    database=None,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_any_request(case: Any, served: Served) -> None:
    case.call_and_validate(
        base_url=served.base_url,
        headers={"Authorization": f"Bearer {served.token}"},
        excluded_checks=[
            # What fits the document may still be refused: a name that nobody has, a page's cursor.
            schemathesis.checks.CHECKS.get_one("positive_data_acceptance")
        ],
    )
