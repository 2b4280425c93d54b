"""What a steward has the box do that takes more than one transaction: a PIN, a new neighbour. The
commands and the pages of the desk both come here."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable

import msgspec

from edge import desk, peering
from edge.core import crypto, invitation, messages, names
from edge.errors import PeerError, Refused, Unreachable
from edge.federation_client import FederationClient
from edge.health import Health
from edge.peering import Profile
from edge.storage import logs, neighbours, trades
from edge.storage import misbehaviour as kept
from edge.storage.tx import Runner, View
from edge.transport.client import Endpoint

TELL_S_MAX = 10.0
_log = logging.getLogger(__name__)
PostTo = Callable[[str, Endpoint, str, bytes], Awaitable[bytes]]


class Box(msgspec.Struct, frozen=True):
    """The parts of a box. `post_to` speaks to a village that is no neighbour yet."""

    runner: Runner
    client: FederationClient
    post_to: PostTo
    profile: Profile
    fee_basis_points: int
    health: Callable[[View], Health]
    serving: bool


async def add_member(runner: Runner, name: str, pin: str, steward: bool) -> str:
    """Add a member; return the name. Raises InvalidInput, or Conflict if the name is taken."""
    name = names.new_member_name(name)
    pin_hash = await hash_pin(pin)
    await runner.write(lambda tx: desk.add_member(tx, name, pin_hash, steward))
    return name


async def reset_pin(runner: Runner, name: str, pin: str) -> str:
    """Give a member another PIN; return the name. Raises InvalidInput, UnknownMember."""
    pin_hash = await hash_pin(pin)
    member = await runner.write(lambda tx: desk.reset_pin(tx, name, pin_hash))
    return member.name


async def hash_pin(pin: str) -> str:
    """Hash a PIN off the loop, slow as that is. Raises InvalidInput if no member may have it."""
    return await asyncio.to_thread(crypto.hash_pin, desk.check_pin_text(pin))


async def join(box: Box, line: str) -> str:
    """Take up an invitation; return the village that is a neighbour now.

    Raises InvalidInput, BadSignature, Unreachable, or what the inviter answers.
    """
    invited = invitation.from_text(line)
    message = await box.runner.write(lambda tx: peering.take_up(tx, invited))
    endpoint = Endpoint(invited.addresses, invited.spki_sha256)
    body = messages.encode(message)
    answer = await box.post_to(invited.village_id, endpoint, peering.REGISTER_PATH, body)
    answered = messages.decode_registered(answer)
    await box.runner.write(lambda tx: peering.complete(tx, invited, message, answered, box.profile))
    await tell(box, invited.village_id)
    if box.serving:
        box.client.kick_all()  # the others learn whom this village trusts now
    return invited.village_id


async def tell(box: Box, village: str) -> str:
    """Tell a neighbour what is stored; return why that failed, empty if it did not. If it does,
    what was done is done all the same, and a box that serves goes on trying."""
    failure = await speak(box.client, village)
    if failure:
        _log.info("%s has not been told yet: %s", village, failure)
        if box.serving:
            box.client.kick(village)
    return failure


async def speak_with_all(
    villages: Iterable[str], speak_with: Callable[[str], Awaitable[str]]
) -> dict[str, str]:
    """Speak with all of them at once; return by village why that failed, empty if it did not."""
    asked = sorted(villages)
    return dict(zip(asked, await asyncio.gather(*map(speak_with, asked)), strict=True))


async def speak(client: FederationClient, village: str) -> str:
    """Exchange with a neighbour; return in words why that failed, empty if it did not."""
    try:
        async with asyncio.timeout(TELL_S_MAX):
            await client.exchange(village)
    except TimeoutError:
        return f"no answer in {TELL_S_MAX:g} s"
    except (Unreachable, PeerError, Refused) as error:
        return error.detail
    return ""


def neighbours_listed(box: Box, view: View) -> list[dict[str, object]]:
    """Return what `peer list` shows of each neighbour."""
    everyone = neighbours.everyone(view)
    heard = box.health(view).neighbours if everyone else []
    decide_too = {each.village: each.decide_too for each in heard}
    return [
        {
            "village": each.village,
            "name": each.entry.name,
            "addresses": list(each.addresses),
            "records_held": logs.size_of(view, each.log),
            "holds_of_ours": each.has_size,
            "last_contact": each.last_contact_ms // 1000,
            "open_trades": trades.count_open(view, neighbour=each.village),
            "trouble": each.trouble,
            "misbehaviour": [found.text for found in kept.of(view, each.village, each.key)],
            "lines": msgspec.to_builtins(desk.lines(view, each.village)),
            "decide_too": decide_too[each.village],
        }
        for each in everyone
    ]


def candidates_listed(view: View) -> list[dict[str, object]]:
    """Return the villages that have offered themselves."""
    return [
        {"village": entry.village_id, "name": entry.name, "source": source, "seen": seen // 1000}
        for entry, source, seen in neighbours.candidates(view)
    ]
