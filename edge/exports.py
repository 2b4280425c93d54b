"""Files for others, made from what the box keeps, that any reader may have."""

from edge import misbehaviour, peering
from edge.control import AnyCommand, ExportMisbehaviour, ExportProof, ExportRegistry
from edge.core import registry
from edge.core.log_proof import LogProof
from edge.errors import NotFound, WrongState
from edge.storage import facts, logs, neighbours, tiles
from edge.storage.tx import OWN_LOG, View


def of(view: View, command: AnyCommand) -> str:
    """Return the file that a command asks for. Raises Refused."""
    match command:
        case ExportRegistry():
            return registry.encode_list(peering.listed(view)).decode()
        case ExportMisbehaviour():
            return misbehaviour.export(view).decode()
        case ExportProof():
            return proof(view, command.village, command.index, command.unwitnessed).to_text()
    raise AssertionError(f"no arm for {type(command).__name__}")


def proof(view: View, village: str, index: int, unwitnessed: bool = False) -> LogProof:
    """Return the proof that a log has its record `index`, with that record: against the newest
    checkpoint that another village has cosigned. If that is older than the record it is against the
    newest of all, but only if `unwitnessed`. Raises UnknownNeighbour, NotFound or WrongState."""
    own = village in ("", facts.read(view, "village_id"))
    log = OWN_LOG if own else neighbours.named(view, village).log
    size = logs.size_of(view, log)
    if not 0 <= index < size:
        raise NotFound(f"there is no record {index}: of this log 0 to {size - 1} are here")
    found = tiles.newest_cosigned(view, log)
    if found is None or index >= found.size:
        last = logs.last_checkpoint(view, log)
        if last is None or index >= last[0]:
            raise WrongState(f"the checkpoint over record {index} has not come yet")
        if not unwitnessed:
            raise WrongState(
                f"no other village has cosigned record {index} yet: wait until one has, or add "
                "--unwitnessed for a proof by this village's word alone"
            )
        found = tiles.Published(last[0], last[2])
    return tiles.prove(view, log, index, found)
