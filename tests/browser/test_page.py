"""The pages in a real browser, served by real boxes: each a process with its own ledger and TLS."""

from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, expect

from edge.core import receipt
from tests.browser.villages import (
    IS_TOO_WIDE,
    LOWEST_CONTRAST,
    MISSOURI,
    PIN,
    SCHEMES,
    Two,
    free_to_spend,
    look_until,
    neighbours,
    sign_in,
)
from tests.browser.villages import window as person

pytestmark = [pytest.mark.needs("chromium"), pytest.mark.asyncio(loop_scope="session")]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def two_boxes(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Two]:
    """Two neighbours: Alice and Carol, and Bob who has Solar Panels."""
    async with neighbours(tmp_path_factory.mktemp("page")) as two:
        await two.missouri.member("Alice", at="900")
        await two.missouri.member("Carol")
        await two.california.member("Bob", Solar_Panel="5")
        yield two


async def pay(page: Page, payee: str, amount: str) -> None:
    form = page.locator("#pay")
    await form.get_by_label("To whom").fill(payee)
    await form.get_by_label("Amount").fill(amount)
    await form.get_by_role("button", name="Pay").click()


async def propose(page: Page, amount: str) -> None:
    form = page.locator("#propose")
    await form.get_by_label("To whom").fill("Bob")
    gives, gets = (form.get_by_role("group", name=name) for name in ("You give", "You get"))
    await gives.get_by_label("Amount").fill(amount)
    await gets.get_by_label("Amount").fill("1")
    await gets.get_by_label("Of what").fill("Solar Panel")
    await form.get_by_role("button", name="Propose").click()
    await expect(page.get_by_role("heading", level=1)).to_contain_text("Trade with Bob")


async def test_two_people_trade_with_each_other(two_boxes: Two, browser: Browser) -> None:
    alice, bob = await person(browser), await person(browser)
    asked: list[str] = []
    for page in (alice, bob):
        page.on("request", lambda request: asked.append(request.url))
    await sign_in(alice, two_boxes.missouri.url, "Alice")
    had = await free_to_spend(alice, "AT")
    await propose(alice, "100")
    await look_until(alice, "Waiting for Bob of ose-california-001 to accept or decline")
    await expect(alice.locator("main")).to_contain_text("Your 100.00 AT are set aside")

    await sign_in(bob, two_boxes.california.url, "Bob")
    await expect(bob.locator("main")).to_contain_text("Alice of ose-missouri-001")
    await bob.get_by_role("button", name="Accept: give 1 Solar Panel, get 100.00 AT").click()
    await look_until(bob, "Done, in both ledgers: you gave 1 Solar Panel and got 100.00 AT.")
    await look_until(alice, "Done, in both ledgers: you gave 100.00 AT and got 1 Solar Panel.")

    for page in (alice, bob):
        async with page.expect_download() as download:
            await page.get_by_role("link", name="Download the receipt").click()
        file = await (await download.value).path()
        assert receipt.verify(receipt.decode(file.read_bytes())).from_village == MISSOURI
        await page.get_by_role("link", name="All your trades").click()
    assert float(await free_to_spend(alice, "AT")) == float(had) - 100
    assert await free_to_spend(alice, "Solar Panel") == "1"
    assert await free_to_spend(bob, "AT") == "100.00"
    assert await free_to_spend(bob, "Solar Panel") == "4"
    own = {urlsplit(place.url).netloc for place in (two_boxes.missouri, two_boxes.california)}
    assert {urlsplit(url).netloc for url in asked} == own
    for place in (two_boxes.missouri, two_boxes.california):
        place.box.audit()


async def test_going_back_and_reloading_pay_once(two_boxes: Two, browser: Browser) -> None:
    alice = await person(browser)
    await sign_in(alice, two_boxes.missouri.url, "Alice")
    had = await free_to_spend(alice, "AT")
    await pay(alice, "Carol", "12.50")
    for again in (alice.reload, alice.go_back, alice.go_forward, alice.reload):
        await again()
    await expect(alice.get_by_role("status")).to_have_text("Paid 12.50 AT to Carol.")
    assert float(await free_to_spend(alice, "AT")) == float(had) - 12.5


async def test_a_refused_payment_can_be_mended(two_boxes: Two, browser: Browser) -> None:
    alice = await person(browser)
    await sign_in(alice, two_boxes.missouri.url, "Alice")
    await pay(alice, "Carol", "9000")
    alert = alice.get_by_role("alert")
    await expect(alert).to_have_text("You do not have enough AT. Nothing was paid.")
    await expect(alert).to_be_in_viewport()
    await expect(alice.locator("#pay").get_by_label("To whom")).to_have_value("Carol")
    await alice.locator("#pay").get_by_label("Amount").fill("12.50")
    await alice.locator("#pay").get_by_role("button", name="Pay").click()
    await expect(alice.get_by_role("status")).to_have_text("Paid 12.50 AT to Carol.")


async def test_an_impatient_double_click_pays_once(two_boxes: Two, browser: Browser) -> None:
    alice = await person(browser, java_script_enabled=True)
    await sign_in(alice, two_boxes.missouri.url, "Alice")
    had = await free_to_spend(alice, "AT")
    await alice.fill("#payee", "Carol")
    await alice.fill("#amount", "12.50")
    async with alice.expect_navigation(url="**/?paid=*"):
        await alice.evaluate(
            "() => { const form = document.querySelector('#pay form');"
            " form.submit(); form.submit(); form.submit(); }"
        )
    await expect(alice.get_by_role("status")).to_have_text("Paid 12.50 AT to Carol.")
    assert float(await free_to_spend(alice, "AT")) == float(had) - 12.5


async def test_two_boxes_in_one_browser_over_https(two_boxes: Two, browser: Browser) -> None:
    """They have one host and differ in the port, which cookies do not know."""
    page = await person(browser, ignore_https_errors=True)
    other = await page.context.new_page()
    await sign_in(page, two_boxes.missouri.secure_url, "Alice")
    await sign_in(other, two_boxes.california.secure_url, "Bob")
    await page.reload()
    await expect(page.get_by_role("banner")).to_contain_text("Alice")
    cookies = await page.context.cookies()
    assert all(each["secure"] and each["httpOnly"] for each in cookies)
    assert {each["sameSite"] for each in cookies} == {"Strict"}
    await page.get_by_role("button", name="Sign out").click()
    await expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    await other.reload()
    await expect(other.get_by_role("banner")).to_contain_text("Bob")


async def test_a_link_from_elsewhere_signs_nobody_out(two_boxes: Two, browser: Browser) -> None:
    page = await person(browser, java_script_enabled=True)
    await sign_in(page, two_boxes.missouri.url, "Alice")
    await page.goto("data:text/html,<h1>Elsewhere</h1>")
    await page.evaluate("address => { location.href = address }", two_boxes.missouri.url)
    await expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    await page.goto(two_boxes.missouri.url)
    await expect(page.get_by_role("banner")).to_contain_text("Alice")


async def test_the_keyboard_is_enough(two_boxes: Two, browser: Browser) -> None:
    page = await person(browser)
    await page.goto(two_boxes.missouri.url)
    for _ in range(4):  # past the village's name, the market and this page
        await page.keyboard.press("Tab")
    await page.keyboard.type("Alice")
    await page.keyboard.press("Tab")
    await page.keyboard.type(PIN)
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", name="What you have")).to_be_visible()


async def test_pages_fit_an_old_phone_and_can_be_read(two_boxes: Two, browser: Browser) -> None:
    page = await person(browser, java_script_enabled=True)
    faults: list[str] = []
    page.on("console", lambda message: faults.append(message.text))

    async def check(name: str) -> None:
        for width in (320, 360, 1200):
            await page.set_viewport_size({"width": width, "height": 640})
            assert not await page.evaluate(IS_TOO_WIDE), f"{name} at {width}"
        for scheme in SCHEMES:
            await page.emulate_media(color_scheme=scheme)
            contrast, text = await page.evaluate(LOWEST_CONTRAST)
            assert contrast >= 4.5, f"{name}, {scheme}: {text}"

    await page.goto(two_boxes.missouri.url)
    await check("sign-in")
    await sign_in(page, two_boxes.missouri.url, "Alice")
    await propose(page, "100")
    await check("trade")
    await page.goto(two_boxes.missouri.url)
    await check("home")
    assert faults == []
    await pay(
        page, "Nobody with a name this long without a single space in it".replace(" ", ""), "1"
    )
    await check("refused payment")
    await page.goto(two_boxes.missouri.url + "nowhere")
    await check("error")


async def test_a_box_that_is_away_is_waited_for(two_boxes: Two, browser: Browser) -> None:
    alice, bob = await person(browser), await person(browser)
    await sign_in(alice, two_boxes.missouri.url, "Alice")
    await propose(alice, "100")
    await look_until(alice, "to accept or decline")
    await sign_in(bob, two_boxes.california.url, "Bob")
    await bob.goto(two_boxes.california.url + urlsplit(alice.url).path.removeprefix("/"))
    two_boxes.missouri.box.kill()
    await bob.get_by_role("button", name="Accept").click()
    said = bob.locator("main")
    await expect(said).to_contain_text("this village is bound, and your 1 Solar Panel is held")
    await expect(said).to_contain_text("Waiting for the box of ose-missouri-001 to confirm")
    await expect(said).to_contain_text("until then no clock ends it")
    await two_boxes.missouri.box.start()
    await look_until(bob, "Done, in both ledgers")
