"""The Merkle tree over a log's records (RFC 9162 section 2.1; the same tree as RFC 6962).

Nothing is read here: `nodes_for_*` plans which stored hashes a proof needs, the caller reads them,
and `*_proof` computes. Only *complete* subtrees are stored, each once; the root of one that still
grows is computed when it is needed, from at most one complete node of each level.
"""

from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from typing import Final, NamedTuple

from edge.core import limits
from edge.errors import BadProof

HASH_BYTES: Final = 32
EMPTY_ROOT: Final = sha256(b"").digest()


class Node(NamedTuple):
    """The root of the complete subtree over the leaves [index << level, (index + 1) << level).

    Level 0 is a leaf hash. Once its leaves exist it never changes.
    """

    level: int
    index: int  # type: ignore[assignment]  # the usual word; it hides tuple.index, unused here


def leaf_hash(record: bytes) -> bytes:
    """Return the hash of a record, never equal to that of a node."""
    return sha256(b"\x00" + record).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the root of two adjoining subtrees from their roots."""
    return sha256(b"\x01" + left + right).digest()


def edge_nodes(size: int) -> list[Node]:
    """Return the complete subtrees that make up the tree of `size` leaves, largest first.

    This right edge is all that is needed to know the root and to go on appending.
    """
    return _cover(0, size)


def root_from_edge(edge: Sequence[bytes]) -> bytes:
    """Return the root of the tree whose edge has these hashes, in the order of `edge_nodes`."""
    if not edge:
        return EMPTY_ROOT
    root = edge[-1]
    for left in edge[-2::-1]:
        root = node_hash(left, root)
    return root


def extend(
    size: int, edge: Sequence[bytes], leaf_hashes: Iterable[bytes]
) -> tuple[list[bytes], list[tuple[int, int, bytes]]]:
    """Append leaves to the tree of `size` leaves and return its new edge and its new nodes.

    The nodes are all those of level 1 and up that became complete, as (level, index, hash): plain
    tuples, since a million at a time pass here. The leaf hashes are not among them.
    """
    assert len(edge) == size.bit_count(), "the edge is of another size"
    edge, nodes = list(edge), []
    for leaf in leaf_hashes:
        found, level, index = leaf, 0, size
        while index & 1:  # a right child, whose left sibling ends the edge: a carry, in binary
            found = sha256(b"\x01" + edge.pop() + found).digest()
            level += 1
            index >>= 1
            nodes.append((level, index, found))
        edge.append(found)
        size += 1
    return edge, nodes


def nodes_for_inclusion(index: int, size: int) -> list[Node]:
    """Return the nodes that `inclusion_proof` needs: about log2(size). Requires index < size."""
    return _nodes(_inclusion_ranges(index, size))


def inclusion_proof(index: int, size: int, hashes: Mapping[Node, bytes]) -> list[bytes]:
    """Return the proof that leaf `index` is in the tree of `size` leaves (section 2.1.3.1)."""
    return [_range_root(found, hashes) for found in _inclusion_ranges(index, size)]


def nodes_for_consistency(old: int, new: int) -> list[Node]:
    """Return the nodes that `consistency_proof` needs: about log2(new). Requires old <= new."""
    return _nodes(_consistency_ranges(old, new))


def consistency_proof(old: int, new: int, hashes: Mapping[Node, bytes]) -> list[bytes]:
    """Return the proof that the tree of `new` leaves begins with that of `old` (section 2.1.4.1).

    It is empty when the sizes are equal and when `old` is 0.
    """
    return [_range_root(found, hashes) for found in _consistency_ranges(old, new)]


def verify_inclusion(
    index: int, size: int, leaf_hash: bytes, proof: Sequence[bytes], root: bytes
) -> None:
    """Check that the tree (size, root) has `leaf_hash` at `index` (section 2.1.3.2).

    Raises BadProof.
    """
    if not 0 <= index < size <= limits.TREE_SIZE_MAX:
        raise BadProof("no such leaf in a tree of this size")
    inner = (index ^ (size - 1)).bit_length()
    if len(proof) != inner + (index >> inner).bit_count():
        raise BadProof("the proof has the wrong length")
    _check_hashes(leaf_hash, root, *proof)
    found = leaf_hash
    for level, sibling in enumerate(proof):
        on_right = level >= inner or index >> level & 1
        found = node_hash(sibling, found) if on_right else node_hash(found, sibling)
    if found != root:
        raise BadProof("the leaf is not in this tree")


def verify_consistency(
    old: int, new: int, proof: Sequence[bytes], old_root: bytes, new_root: bytes
) -> None:
    """Check that the tree (new, new_root) begins with the tree (old, old_root), section 2.1.4.2.

    The empty tree begins every tree, by an empty proof. A follower that holds the edge at `old`
    passes `root_from_edge(edge)` as `old_root`. Raises BadProof.
    """
    if not 0 <= old <= new <= limits.TREE_SIZE_MAX:
        raise BadProof("the sizes are out of order or too large")
    if old == 0 and old_root != EMPTY_ROOT:
        raise BadProof("this is not the root of the empty tree")
    if old == new and old_root != new_root:
        raise BadProof("one size has two roots")
    if old < new:
        _check_hashes(old_root, new_root)
    if 0 < old < new:
        _check_growth(old, new, proof, old_root, new_root)
    elif proof:
        raise BadProof("the proof has the wrong length")


def prefix_root(old: int, new: int, proof: Sequence[bytes], new_root: bytes) -> bytes:
    """Return the root of the first `old` leaves of the tree (new, new_root), as a consistency proof
    shows it: whoever signed that tree signed this root, too. Raises BadProof, also where `old` is a
    power of two: then the proof does not hold that root.
    """
    if not 0 < old < new <= limits.TREE_SIZE_MAX or old.bit_count() == 1:
        raise BadProof("the proof alone shows no root of the old tree")
    _check_hashes(new_root)
    before, after = _rebuild(old, new, proof, EMPTY_ROOT)
    if after != new_root:
        raise BadProof("the proof is not of the new tree")
    return before


def _check_growth(
    old: int, new: int, proof: Sequence[bytes], old_root: bytes, new_root: bytes
) -> None:
    """The general case, 0 < old < new."""
    if _rebuild(old, new, proof, old_root) != (old_root, new_root):
        raise BadProof("the new tree does not begin with the old one")


def _rebuild(old: int, new: int, proof: Sequence[bytes], old_root: bytes) -> tuple[bytes, bytes]:
    """Return both roots, by one walk along the last leaf of `old`.

    It starts at that leaf's largest subtree that is complete in `old`: the old tree itself when its
    size is a power of two, else the first hash of the proof.
    """
    shift = (old & -old).bit_length() - 1
    place = (old - 1) >> shift
    inner = (place ^ ((new - 1) >> shift)).bit_length()
    siblings = proof if place == 0 else proof[1:]
    if len(proof) != inner + (place >> inner).bit_count() + (place != 0):
        raise BadProof("the proof has the wrong length")
    _check_hashes(*proof)
    before = after = old_root if place == 0 else proof[0]
    for level, sibling in enumerate(siblings):
        if level >= inner or place >> level & 1:
            before, after = node_hash(sibling, before), node_hash(sibling, after)
        else:
            after = node_hash(after, sibling)
    return before, after


def _check_hashes(*hashes: bytes) -> None:
    if any(len(found) != HASH_BYTES for found in hashes):
        raise BadProof("a hash has 32 bytes")


def _split(size: int) -> int:
    """Return the largest power of two below `size`: where RFC 9162 divides a tree."""
    return 1 << ((size - 1).bit_length() - 1)


def _inclusion_ranges(index: int, size: int) -> list[tuple[int, int]]:
    """Return the subtrees beside the path to leaf `index`, as [start, end), lowest first: PATH."""
    assert 0 <= index < size, "no such leaf"
    start, end, beside = 0, size, list[tuple[int, int]]()
    while end - start > 1:
        middle = start + _split(end - start)
        if index < middle:
            beside.append((middle, end))
            end = middle
        else:
            beside.append((start, middle))
            start = middle
    return beside[::-1]


def _consistency_ranges(old: int, new: int) -> list[tuple[int, int]]:
    """Return the subtrees of a consistency proof, as [start, end), lowest first: PROOF."""
    assert 0 <= old <= new, "sizes out of order"
    start, end, beside = 0, new, list[tuple[int, int]]()
    if old == 0:
        return beside
    while end != old:
        middle = start + _split(end - start)
        if old <= middle:
            beside.append((middle, end))
            end = middle
        else:
            beside.append((start, middle))
            start = middle
    if start:  # else the walk ended at the old tree itself, whose root the verifier has
        beside.append((start, end))
    return beside[::-1]


def _cover(start: int, end: int) -> list[Node]:
    """Divide the leaves [start, end) of one subtree into complete nodes, largest first."""
    nodes = []
    while start < end:
        level = (end - start).bit_length() - 1
        nodes.append(Node(level, start >> level))
        start += 1 << level
    return nodes


def _nodes(ranges: list[tuple[int, int]]) -> list[Node]:
    return [node for found in ranges for node in _cover(*found)]


def _range_root(found: tuple[int, int], hashes: Mapping[Node, bytes]) -> bytes:
    return root_from_edge([hashes[node] for node in _cover(*found)])
