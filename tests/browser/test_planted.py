"""Texts that want to be more than text, in every field that a person or a neighbour can fill: each
page shows them as they are, and nothing of them runs."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import fields
from typing import Any, Final

import pytest
import pytest_asyncio
from playwright.async_api import Browser, ConsoleMessage, Page

from tests.browser.life import PAGES, Life, Texts, lived_in
from tests.browser.villages import People

pytestmark = [pytest.mark.needs("chromium"), pytest.mark.asyncio(loop_scope="session")]

# Each is another way out of where it stands: an element, an attribute, a script, a link, a style.
PLANTED: Final = Texts(
    villages=('</title><script>__ran="v1"</script>', "\"><img src=x onerror=__ran='v2'>"),
    alice="<script>__ran='alice'</script>",
    carol='"autofocus onfocus=__ran="carol" x="',
    bob="<img src=x onerror=__ran='bob'>",
    dana="'><svg onload=__ran='dana'>",
    bricks="</textarea><script>__ran='bricks'</script><!--",
    potatoes="{{ 7 * 7 }}{% raw %}<iframe srcdoc='<script>top.__ran=1</script>'></iframe>",
    cheese="javascript:__ran='cheese'//<a href=javascript:__ran=1>x</a>",
    wanted="<math><mtext></mtext><style><img src=x onerror=__ran='wanted'></style></math>",
    panels="<template><script>__ran='panels'</script></template><body onload=__ran=1>",
    oil="&lt;script&gt;__ran='oil'&lt;/script&gt;<svg><script>__ran='oil'</script></svg>",
    apricots="</bdi></p></li></ul></div></main><form action=//example.net><button>Pay",
    controllers="<meta http-equiv=refresh content=0;url=//example.net><base href=//example.net>",
    note="<object data=javascript:__ran='note'></object><embed src=javascript:__ran='n'>",
    token="<details open ontoggle=__ran='token'>",
    dispute="</textarea></details><img src=x onerror=__ran='dispute'><script>__ran=1</script>",
)
QUERIES: Final = (
    "/market?q=%22%3E%3Cscript%3E__ran%3D%27q%27%3C%2Fscript%3E",
    "/market?q=%22autofocus+onfocus%3D__ran%3D1+x%3D%22",
    "/market?village=%22%3E%3Cscript%3E__ran%3D1%3C%2Fscript%3E",
    "/market/new?side=%22%3E%3Cscript%3E__ran%3D1%3C%2Fscript%3E",
    "/wallet?from=%22%3E%3Cimg+src%3Dx+onerror%3D__ran%3D1%3E",
    "/wallet/statement?month=%3Csvg+onload%3D__ran%3D1%3E",
    "/?paid=%3Cscript%3E__ran%3D1%3C%2Fscript%3E",
    "/%3Cscript%3E__ran%3D1%3C%2Fscript%3E",
)
# What was planted and is not only text: an element that no page has, or a handler of its own.
SPROUTED: Final = """() => [...document.querySelectorAll("*")].filter(node =>
  ["IMG", "IFRAME", "OBJECT", "EMBED", "MATH", "TEMPLATE", "BASE"].includes(node.tagName)
  || (node.tagName === "SCRIPT" && !node.src.startsWith(location.origin + "/static/"))
  || [...node.attributes].some(each => each.name.startsWith("on") || each.name === "autofocus"
     || /^\\s*javascript:/i.test(each.value) && each.name !== "value")
).map(node => node.outerHTML.slice(0, 200))"""
SAID: Final = """() => document.body.innerText + "\\n" + document.title + "\\n"
  + [...document.querySelectorAll("input, option, textarea")].map(field => field.value).join("\\n")
  + [...document.querySelectorAll("option")].map(field => field.label).join("\\n")"""


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def planted(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Life]:
    async with lived_in(tmp_path_factory.mktemp("planted"), PLANTED) as planted:
        yield planted


class Watched:
    """A window of somebody, and what went wrong in it."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.faults: list[str] = []
        self.said = ""
        page.on("dialog", lambda dialog: self.faults.append(f"a dialog: {dialog.message}"))
        page.on("pageerror", lambda error: self.faults.append(f"an error: {error}"))
        page.on("console", self._heard)

    def _heard(self, message: ConsoleMessage) -> None:
        is_page = message.text.startswith("Failed to load resource")  # one that says no
        if message.type == "error" and not is_page:
            self.faults.append(f"{self.page.url}: {message.text}")

    async def look(self) -> None:
        page = self.page
        if ran := await page.evaluate("window.__ran"):
            self.faults.append(f"{page.url}: {ran} ran")
        self.faults += [f"{page.url}: {node}" for node in await page.evaluate(SPROUTED)]
        self.said += await page.evaluate(SAID)


# Where each text is shown, for the second look.
SOME: Final = frozenset(
    "market-visitor home market listing listing-goods listing-gift listing-own trade-your-answer "
    "trade-disputed-there wallet statement tokens desk-members desk-neighbours desk-trades "
    "desk-trades-disputed desk-trade-disputed "
    "home-bob market-bob home-new-member error-not-a-steward".split()
)


@pytest.mark.parametrize("policy", ["as served", "no policy"])
async def test_what_is_planted_stays_text(planted: Life, browser: Browser, policy: str) -> None:
    """With the Content-Security-Policy nothing even tries to run; without it nothing would."""
    people = People(browser, missouri=planted.two.missouri, california=planted.two.california)
    lively: dict[str, Any] = {"java_script_enabled": True, "bypass_csp": policy == "no policy"}

    async def walk(who: str) -> Watched:
        at = "california" if who in ("bob", "dana") else "missouri"
        if who == "visitor":
            watched = Watched(await people.visitor(at, **lively))
        else:
            watched = Watched(await people.at_home(getattr(planted.texts, who), at, **lively))
        for shown in (each for each in looked_at if each.who == who):
            await shown.show(watched.page, planted)
            await watched.look()
        for path in QUERIES if who == "alice" else ():
            await watched.page.goto(planted.two.missouri.url + path.removeprefix("/"))
            await watched.look()
        return watched

    looked_at = [each for each in PAGES if policy == "as served" or each.name in SOME]
    everybody = sorted({shown.who for shown in PAGES})
    found = await asyncio.gather(*(walk(who) for who in everybody))
    await people.close_windows()
    assert "\n".join(fault for watched in found for fault in watched.faults) == ""
    said = "".join(watched.said for watched in found)
    texts = [getattr(PLANTED, field.name) for field in fields(PLANTED)]
    all_planted = [*texts[0], *texts[1:]]
    assert [text for text in all_planted if text not in said] == []
