"""A trade's page after the settlement, without scripts: it has come, it is disputed, it is given
back; over real HTTP, with a real store and a neighbour in the same process."""

import re

from edge import trade_escrow
from edge.core import limits
from edge.core.trade import Status
from edge.storage import trades
from tests.integration.boxes import until
from tests.integration.two_villages import Two, text_of, two
from tests.integration.web_boxes import (
    CALIFORNIA,
    Browser,
)

REASON = "It is <b>cracked</b> & bent."


__all__ = ["two"]  # a fixture


async def settled(two: Two) -> str:
    """Alice gets a panel of Bob; return where the trade is shown."""
    await two.alice.get()
    fields = {"give_amount": "100", "give_asset": "AT", "get_amount": "1", "fee": "100"}
    await two.alice.send(
        "/propose", to_village=CALIFORNIA, to_user="Bob", get_asset="Solar Panel", **fields
    )
    path = two.alice.url.path
    await two.bob.get()
    await two.bob.send(f"{path}/accept")
    await sees(two.alice, path, "Done, in both ledgers")
    return path


async def sees(who: Browser, path: str, said: str) -> str:
    async def look() -> str:
        text = text_of(await who.get(path))
        return text if said in text else ""

    found: str = await until(look, f"{path} says {said}", 10)
    return found


async def test_it_has_come(two: Two) -> None:
    path = await settled(two)
    seen = await sees(two.alice, path, "You can say that 1 Solar Panel came, or dispute it; on ")
    assert "It has come: 1 Solar Panel" in seen and "cannot be disputed or refunded" in seen
    assert "Alice has not said yet that 1 Solar Panel came." in text_of(await two.bob.get(path))
    assert f'action="{path}/delivered"' not in await two.bob.get(path)
    first = text_of(await two.alice.get())
    assert "Has it come? 1 Solar Panel" in first and "It has come" not in first
    assert f'action="{path}/delivered"' not in two.alice.text, "it is said where the hint stands"
    assert f'class="button" href="{path}"' in two.alice.text
    await two.alice.get(path)
    said = text_of(await two.alice.send(f"{path}/delivered"))
    assert two.alice.url.path == path
    assert "Delivered: 1 Solar Panel." in said and "It has come" not in said
    theirs = await sees(two.bob, path, "Delivered: 1 Solar Panel.")
    for text in (said, theirs):
        assert not re.search("dispute|[Rr]efund", text)


async def test_it_is_disputed_and_what_is_written_erased(two: Two) -> None:
    path = await settled(two)
    await two.alice.get(path)
    said = text_of(await two.alice.send(f"{path}/dispute", reason="x" * 501))
    assert two.alice.status == 400 and "1 to 500 characters" in said
    assert "x" * 501 in two.alice.text, "what was typed is not lost"
    await two.alice.send(f"{path}/dispute", reason=f"  {REASON} ")
    said = text_of(two.alice.text)
    assert f"You wrote: {REASON}" in said and "Disputed" in said
    assert "By your word 1 Solar Panel did not come as agreed." in said
    theirs = await sees(two.bob, path, f"Alice wrote: {REASON}")
    assert "Alice disputes that 1 Solar Panel came as agreed." in theirs
    assert "Erase" not in theirs and "<b>cracked" not in two.bob.text
    assert "Write it anew" in said
    await two.alice.send(f"{path}/dispute", reason="It is bent.")
    await sees(two.bob, path, "Alice wrote: It is bent.")
    await two.alice.get(path)
    said = text_of(await two.alice.send(f"{path}/dispute", reason=""))
    assert "You wrote" not in said and "Disputed" in said

    async def erased() -> bool:
        return "bent" not in await two.bob.get(path)

    await until(erased, "it is erased there, too")
    await two.alice.get(path)
    said = text_of(await two.alice.send(f"{path}/delivered"))
    assert "Delivered: 1 Solar Panel." in said


async def test_it_is_given_back(two: Two) -> None:
    path = await settled(two)
    seen = text_of(await two.bob.get(path))
    assert "You give 100.00 AT back, and get 1 Solar Panel back, without a fee" in seen
    said = text_of(await two.bob.send(f"{path}/refund"))
    back = two.bob.url.path
    assert back != path and f"This is the refund of trade {path[-16:]}." in said
    assert f"A refund is proposed: trade {back[-16:]}." in text_of(await two.bob.get(path))
    assert f'action="{path}/refund"' not in two.bob.text
    await sees(two.alice, back, "Waiting for your answer.")
    await two.alice.send(f"{back}/accept")
    await sees(two.alice, back, "Done, in both ledgers: you gave 1 Solar Panel and got 100.00 AT.")
    for who in (two.alice, two.bob):
        seen = await sees(who, path, "Not delivered, and given back: 1 Solar Panel.")
        assert f"Given back by trade {back[-16:]}" in seen
        assert 'class="badge done">Given back<' in who.text
        assert not re.search(r"action=\"[^\"]*/(delivered|dispute|refund)\"", who.text)


async def test_who_proposes_a_refund_does_not_say_that_it_has_come(two: Two) -> None:
    path = await settled(two)
    await two.alice.get(path)
    token = two.alice.hidden(f"{path}/delivered")
    await two.alice.send(f"{path}/refund")
    back = two.alice.url.path
    seen = text_of(await two.alice.get(path))
    assert "It cannot be said that 1 Solar Panel came while a refund is proposed" in seen
    assert f"Refund trade {back[-16:]}" in seen and "Given back by" not in seen
    assert f'action="{path}/delivered"' not in two.alice.text
    await two.alice.post(f"{path}/delivered", {name: token[name] for name in ("csrf", "form")})
    assert two.alice.status == 409
    assert f"A refund of it is proposed: withdraw trade {back[-16:]} first" in text_of(
        two.alice.text
    )
    await two.alice.get(back)
    await two.alice.send(f"{back}/cancel")
    await two.alice.get(path)
    assert "Delivered: 1 Solar Panel." in text_of(await two.alice.send(f"{path}/delivered"))


async def test_a_part_of_the_at_is_given_back(two: Two) -> None:
    path = await settled(two)
    await two.bob.get(path)
    assert 'name="tokens" value="100.00"' in two.bob.text
    for tokens, why in (("100.01", "more cannot be given back"), ("some", "is not an amount")):
        assert why in text_of(await two.bob.send(f"{path}/refund", tokens=tokens))
        await two.bob.get(path)
    await two.bob.send(f"{path}/refund", tokens="40")
    back = two.bob.url.path
    await sees(two.alice, back, "Waiting for your answer.")
    await two.alice.send(f"{back}/accept")
    await sees(two.alice, back, "Done, in both ledgers: you gave 1 Solar Panel and got 40.00 AT.")
    await sees(two.alice, path, "Not delivered, and given back: 1 Solar Panel.")


async def test_it_is_nobody_elses(two: Two) -> None:
    path = await settled(two)
    await two.alice.get(path)
    await two.carol.get()
    token = two.carol.hidden("/pay")
    for step in ("delivered", "dispute", "refund"):
        fields = {"csrf": token["csrf"], "form": token["form"]}
        await two.carol.post(f"{path}/{step}", fields)
        assert two.carol.status == 404
    await two.bob.get(path)
    fields = {name: two.bob.hidden(f"{path}/refund")[name] for name in ("csrf", "form")}
    for step in ("delivered", "dispute"):
        more = {"reason": "x"} if step == "dispute" else {}
        await two.bob.post(f"{path}/{step}", {**fields, **more})
        assert two.bob.status == 403


async def test_by_itself_after_30_days(two: Two) -> None:
    path = await settled(two)
    two.a.now_ms += limits.UNDISPUTED_S_MAX * 1000 + limits.MINUTE_MS
    await two.a.store.write(trade_escrow.expire)
    assert "Delivered: 1 Solar Panel." in text_of(await two.alice.get(path))
    [known] = await two.a.store.read(trades.everyone)
    assert known.status is Status.DELIVERED
