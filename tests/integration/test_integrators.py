"""The integrator's page: its lines do what it says, against a box over real HTTPS."""

import inspect
import os
import re
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import pytest

from edge import app, control, errors
from edge.storage import tokens
from edge.transport import problems
from edge.web import api, feed, openapi
from edge.web.api_table import OPERATIONS
from edge.web.api_types import AMOUNTS, PAGE_DEFAULT, PAGE_MAX, TIMES, WAIT_S_MAX
from tests.integration.boxes import WAIT_S_MAX as ANSWER_S_MAX
from tests.integration.boxes import RealBox, environment_of
from tests.integration.real_tokens import page_of, token_of

PAGE: Final = Path(__file__).parents[2] / "firmware-notes" / "integrators.md"
PIN: Final = "246810"


def lines() -> str:
    """Return all that the page has people type, in order."""
    blocks = re.findall(r"^```sh\n(.*?)^```$", PAGE.read_text("utf-8"), re.M | re.S)
    assert len(blocks) >= 6
    return "\n".join(blocks)


@pytest.fixture
async def box(tmp_path: Path) -> AsyncIterator[RealBox]:
    box = RealBox(tmp_path, "ose-missouri-001", ["listen.page_tls=127.0.0.1:0"])
    try:
        await box.start()
        for name in ("Alice", "Carol"):
            await box.ask(control.MemberAdd(name, PIN))
        await box.ask(control.Issue("Alice", "500"))
        await box.ask(control.Declare("Carol", "Hoe", "3"))
        yield box
    finally:
        box.end()


@pytest.mark.needs("curl")
async def test_its_lines_do_what_it_says(box: RealBox, tmp_path: Path) -> None:
    variables = {
        "BOX": (await page_of(box, "https")).rstrip("/"),
        "TOKEN": await token_of(box, "Alice", PIN),
        "OTHER_TOKEN": await token_of(box, "Carol", PIN),
        "PATH": os.environ["PATH"],
    }
    place = tmp_path / "program"
    place.mkdir()
    (place / "tls.crt").write_bytes((box.folder / app.TLS_CERTIFICATE).read_bytes())
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", lines()],
        cwd=place,
        env=environment_of(variables),
        capture_output=True,
        text=True,
        timeout=ANSWER_S_MAX,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert '"member":"Alice"' in done.stdout
    assert '"status":"PENDING"' in done.stdout
    assert '"status":"SETTLED"' in done.stdout
    assert re.search(r"^event: (trade|movement)$", done.stdout, re.M)
    assert re.search(r"^id: [0-9]+\.[0-9]+$", done.stdout, re.M)


def test_it_names_each_operation() -> None:
    text = PAGE.read_text("utf-8")
    for each in OPERATIONS:
        row = f"| `{each.method} {each.path}` | {each.scope} | {each.summary} |"
        assert row in text, row
    assert len(re.findall(r"^\| `(?:GET|POST) /", text, re.M)) == len(OPERATIONS)


def test_its_table_has_each_problem_that_may_be_answered() -> None:
    rows = re.findall(r"^\| ([0-9]{3}(?:, [0-9]{3})*) \| (`.*?`) \|", PAGE.read_text("utf-8"), re.M)
    table = {
        (int(status), slug)
        for statuses, slugs in rows
        for status in statuses.split(", ")
        for slug in re.findall("`(.*?)`", slugs)
    }
    kinds = {kind for each in OPERATIONS for kind in each.kinds} | {errors.WrongMethod}
    named = {each for each in vars(api).values() if inspect.isclass(each)}
    assert {each for each in named if issubclass(each, errors.BoxError)} <= kinds
    assert {kind.slug for kind in kinds} == {slug for _, slug in table}
    for kind in kinds:
        assert (problems.status_of(kind), kind.slug) in table, kind


def test_it_and_the_document_say_how_times_and_amounts_are_written() -> None:
    text = PAGE.read_text("utf-8")
    for rule in (TIMES, AMOUNTS):
        assert f"- {rule}\n" in text
        assert rule in openapi._DESCRIPTION


def test_its_numbers_are_the_box_s() -> None:
    text = " ".join(PAGE.read_text("utf-8").split())
    assert f"`limit` (1 to {PAGE_MAX}, else {PAGE_DEFAULT})" in text
    assert f"waits up to {WAIT_S_MAX} s" in text
    assert f"you may have {tokens.PER_MEMBER_MAX}" in text
    assert (
        f"At most {feed.WAITING_PER_MEMBER_MAX} streams and waits at once for each member, "
        f"{feed.WAITING_MAX} on the box"
    ) in text
    assert f"every {feed.HEARTBEAT_S:.0f} s" in text
