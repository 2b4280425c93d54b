"""The Merkle tree against upstream's probes and against a tree written straight from the RFC."""

import base64
import json
import random
from collections.abc import Iterator, Sequence
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.core import limits, merkle
from edge.core.merkle import Node
from edge.errors import BadProof

VECTORS = Path(__file__).parents[1] / "vectors"
SIZE = 300
REFERENCE = json.loads((VECTORS / "rfc6962_reference.json").read_text("utf-8"))
LEAVES = [merkle.leaf_hash(b"record %d" % number) for number in range(SIZE)]


# RFC 9162 section 2.1, word for word


@cache
def naive_root(start: int, end: int) -> bytes:
    if start == end:
        return sha256(b"").digest()
    if end - start == 1:
        return LEAVES[start]
    middle = start + split(end - start)
    return sha256(b"\x01" + naive_root(start, middle) + naive_root(middle, end)).digest()


def naive_path(leaf: int, start: int, end: int) -> list[bytes]:
    if end - start == 1:
        return []
    middle = start + split(end - start)
    if leaf < middle:
        return [*naive_path(leaf, start, middle), naive_root(middle, end)]
    return [*naive_path(leaf, middle, end), naive_root(start, middle)]


def naive_subproof(old: int, start: int, end: int, whole: bool) -> list[bytes]:
    if old == end:
        return [] if whole else [naive_root(start, end)]
    middle = start + split(end - start)
    if old <= middle:
        return [*naive_subproof(old, start, middle, whole), naive_root(middle, end)]
    return [*naive_subproof(old, middle, end, False), naive_root(start, middle)]


def split(size: int) -> int:
    power = 1
    while power * 2 < size:
        power *= 2
    return power


class Stored(dict[Node, bytes]):
    """The complete nodes of a log, which refuse to be written twice."""

    def __init__(self) -> None:
        super().__init__()
        self.size, self.edge = 0, list[bytes]()

    def append(self, leaves: Sequence[bytes]) -> None:
        self.edge, nodes = merkle.extend(self.size, self.edge, leaves)
        for offset, leaf in enumerate(leaves):
            self.put(Node(0, self.size + offset), leaf)
        for level, index, found in nodes:
            assert level > 0
            self.put(Node(level, index), found)
        self.size += len(leaves)

    def put(self, node: Node, found: bytes) -> None:
        assert node not in self
        self[node] = found


@pytest.fixture(scope="module")
def stored() -> Stored:
    nodes = Stored()
    for leaf in LEAVES:
        nodes.append([leaf])
    return nodes


# Upstream vectors


def probes(kind: str) -> list[Any]:
    root = VECTORS / "merkle" / kind
    paths = sorted(root.rglob("*.json"))
    assert paths
    return [pytest.param(path, id=str(path.relative_to(root))) for path in paths]


def unpacked(probe: dict[str, Any]) -> list[bytes]:
    return [base64.b64decode(found) for found in probe["proof"] or []]


@pytest.mark.parametrize("path", probes("inclusion"))
def test_inclusion_probe(path: Path) -> None:
    probe = json.loads(path.read_text("utf-8"))
    leaf, root = base64.b64decode(probe["leafHash"]), base64.b64decode(probe["root"])
    arguments = (probe["leafIdx"], probe["treeSize"], leaf, unpacked(probe), root)
    if probe["wantErr"]:
        with pytest.raises(BadProof):
            merkle.verify_inclusion(*arguments)
    else:
        merkle.verify_inclusion(*arguments)


@pytest.mark.parametrize("path", probes("consistency"))
def test_consistency_probe(path: Path) -> None:
    probe = json.loads(path.read_text("utf-8"))
    old_root, new_root = base64.b64decode(probe["root1"]), base64.b64decode(probe["root2"])
    arguments = (probe["size1"], probe["size2"], unpacked(probe), old_root, new_root)
    if probe["wantErr"]:
        with pytest.raises(BadProof):
            merkle.verify_consistency(*arguments)
    else:
        merkle.verify_consistency(*arguments)


def vector_bytes(vector: dict[str, str], name: str) -> bytes:
    if f"{name}_hex" in vector:
        return bytes.fromhex(vector[f"{name}_hex"])
    return vector[f"{name}_utf8"].encode()


@pytest.mark.parametrize("vector", REFERENCE["vectors"], ids=lambda vector: vector["op"])
def test_reference_hashes(vector: dict[str, str]) -> None:
    match vector["op"]:
        case "empty_root":
            found = merkle.root_from_edge([])
        case "leaf":
            found = merkle.leaf_hash(vector_bytes(vector, "data"))
        case "node":
            found = merkle.node_hash(vector_bytes(vector, "left"), vector_bytes(vector, "right"))
        case other:
            pytest.fail(other)
    assert found.hex() == vector["want"]


def test_reference_tree() -> None:
    leaves = [merkle.leaf_hash(bytes.fromhex(record)) for record in REFERENCE["leaves_hex"]]
    nodes = Stored()
    roots = [merkle.root_from_edge(nodes.edge)]
    for leaf in leaves:
        nodes.append([leaf])
        roots.append(merkle.root_from_edge(nodes.edge))
    assert [root.hex() for root in roots] == REFERENCE["roots_by_size_hex"]
    for level, hashes in enumerate(REFERENCE["node_hashes"]):
        assert [nodes[Node(level, index)].hex() for index in range(len(hashes))] == hashes


# Against the RFC, all sizes


def test_roots_and_stored_nodes(stored: Stored) -> None:
    for size in range(SIZE + 1):
        edge = [stored[node] for node in merkle.edge_nodes(size)]
        assert merkle.root_from_edge(edge) == naive_root(0, size)
    for (level, index), found in stored.items():
        assert found == naive_root(index << level, (index + 1) << level)
    complete = sum(SIZE >> level for level in range(SIZE.bit_length()))
    assert len(stored) == complete


def test_every_inclusion_proof(stored: Stored) -> None:
    for size in range(1, SIZE + 1):
        root = naive_root(0, size)
        for index in range(size):
            proof = merkle.inclusion_proof(index, size, planned_inclusion(stored, index, size))
            assert proof == naive_path(index, 0, size)
            merkle.verify_inclusion(index, size, LEAVES[index], proof, root)


def test_every_consistency_proof(stored: Stored) -> None:
    for new in range(SIZE + 1):
        new_root = naive_root(0, new)
        assert merkle.consistency_proof(0, new, {}) == []
        merkle.verify_consistency(0, new, [], merkle.EMPTY_ROOT, new_root)
        for old in range(1, new + 1):
            proof = merkle.consistency_proof(old, new, planned_consistency(stored, old, new))
            assert proof == naive_subproof(old, 0, new, True)
            merkle.verify_consistency(old, new, proof, naive_root(0, old), new_root)


def planned_inclusion(stored: Stored, index: int, size: int) -> dict[Node, bytes]:
    return planned(stored, merkle.nodes_for_inclusion(index, size), size)


def planned_consistency(stored: Stored, old: int, new: int) -> dict[Node, bytes]:
    return planned(stored, merkle.nodes_for_consistency(old, new), new)


def planned(stored: Stored, nodes: list[Node], size: int) -> dict[Node, bytes]:
    """Only what was asked for, which must exist at `size`, be asked for once, and be little."""
    assert len(set(nodes)) == len(nodes) <= 2 * size.bit_length()
    assert all((index + 1) << level <= size for level, index in nodes)
    return {node: stored[node] for node in nodes}


def test_plans_stay_small_at_the_largest_size() -> None:
    largest = limits.TREE_SIZE_MAX
    for place in (0, 1, largest // 3, largest // 2, largest - 1):
        assert len(merkle.nodes_for_inclusion(place, largest)) <= 2 * 40
        assert len(merkle.nodes_for_consistency(place, largest)) <= 2 * 40


@pytest.mark.parametrize("seed", range(20))
def test_chunks_give_the_same_as_one_by_one(stored: Stored, seed: int) -> None:
    source, nodes = random.Random(seed), Stored()
    while nodes.size < SIZE:
        nodes.append(LEAVES[nodes.size : nodes.size + source.randint(0, 90)])
    assert nodes == stored
    assert nodes.edge == stored.edge


def test_extend_leaves_its_arguments_alone(stored: Stored) -> None:
    edge, leaves = tuple(stored.edge), tuple(LEAVES[:5])
    merkle.extend(SIZE, edge, leaves)
    again = list(edge)
    merkle.extend(SIZE, again, leaves)
    assert again == list(edge)


def test_an_edge_of_another_size_is_our_own_fault() -> None:
    with pytest.raises(AssertionError):
        merkle.extend(3, LEAVES[:1], [])


# What must fail


def forgeries(proof: list[bytes]) -> Iterator[list[bytes]]:
    for place, found in enumerate(proof):
        yield [*proof[:place], flip(found), *proof[place + 1 :]]
        yield [*proof[:place], found[:31], *proof[place + 1 :]]
        yield proof[:place] + proof[place + 1 :]
        yield [*proof[:place], found, *proof[place:]]
    yield [*proof, LEAVES[0]]


def flip(found: bytes) -> bytes:
    return bytes([found[0] ^ 1]) + found[1:]


sizes = st.integers(1, SIZE)


@given(sizes, st.data())
def test_a_tampered_inclusion_proof_fails(size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    leaf, root, proof = LEAVES[index], naive_root(0, size), naive_path(index, 0, size)
    for forged in forgeries(proof):
        with pytest.raises(BadProof):
            merkle.verify_inclusion(index, size, leaf, forged, root)
    for wrong_leaf, wrong_root in ((flip(leaf), root), (leaf, flip(root)), (leaf, root + b"x")):
        with pytest.raises(BadProof):
            merkle.verify_inclusion(index, size, wrong_leaf, proof, wrong_root)
    other = data.draw(st.integers(0, size - 1).filter(lambda drawn: drawn != index) | st.just(size))
    with pytest.raises(BadProof):
        merkle.verify_inclusion(other, size, leaf, proof, root)


@given(sizes, st.data())
def test_a_tampered_consistency_proof_fails(new: int, data: st.DataObject) -> None:
    old = data.draw(st.integers(1, new))
    proof = naive_subproof(old, 0, new, True)
    old_root, new_root = naive_root(0, old), naive_root(0, new)
    for forged in forgeries(proof):
        with pytest.raises(BadProof):
            merkle.verify_consistency(old, new, forged, old_root, new_root)
    for wrong_old, wrong_new in ((flip(old_root), new_root), (old_root, flip(new_root))):
        with pytest.raises(BadProof):
            merkle.verify_consistency(old, new, proof, wrong_old, wrong_new)
    other = data.draw(st.integers(0, new).filter(lambda drawn: drawn != old) | st.just(new + 1))
    with pytest.raises(BadProof):
        merkle.verify_consistency(other, new, proof, old_root, new_root)


@given(
    st.integers(-2, 2**70),
    st.integers(-2, 2**70),
    st.lists(st.binary(min_size=32, max_size=32), max_size=70),
)
def test_any_numbers_and_any_hashes_are_refused(one: int, two: int, proof: list[bytes]) -> None:
    root, other = naive_root(0, 7), naive_root(0, 9)
    with pytest.raises(BadProof):
        merkle.verify_inclusion(one, two, LEAVES[0], proof, root)
    with pytest.raises(BadProof):
        merkle.verify_consistency(one, two, proof, root, other)


def test_the_empty_tree() -> None:
    root = naive_root(0, 5)
    merkle.verify_consistency(0, 0, [], merkle.EMPTY_ROOT, merkle.EMPTY_ROOT)
    for new, proof, old_root, new_root in (
        (0, [], merkle.EMPTY_ROOT, root),
        (0, [], root, root),
        (5, [], root, root),
        (5, [root], merkle.EMPTY_ROOT, root),
    ):
        with pytest.raises(BadProof):
            merkle.verify_consistency(0, new, proof, old_root, new_root)


def test_sizes_are_bounded() -> None:
    size = limits.TREE_SIZE_MAX
    merkle.verify_consistency(size, size, [], LEAVES[0], LEAVES[0])
    with pytest.raises(BadProof):
        merkle.verify_consistency(size + 1, size + 1, [], LEAVES[0], LEAVES[0])
    proof, root = LEAVES[1:41], LEAVES[0]
    for sibling in proof:
        root = merkle.node_hash(root, sibling)
    merkle.verify_inclusion(0, size, LEAVES[0], proof, root)
    with pytest.raises(BadProof):
        merkle.verify_inclusion(0, size + 1, LEAVES[0], proof, root)


def test_a_deeper_leaf_is_not_one_of_a_smaller_tree() -> None:
    proof, root = naive_path(7, 0, 8), naive_root(0, 8)
    merkle.verify_inclusion(7, 8, LEAVES[7], proof, root)
    with pytest.raises(BadProof):
        merkle.verify_inclusion(3, 4, LEAVES[7], proof, root)


@given(st.integers(1, 8), st.integers(0, 2))
def test_a_leaf_is_never_a_node(size: int, shift: int) -> None:
    """An inner node's two hashes, offered as one record, hash to something else (section 2.1.1)."""
    left, right = LEAVES[shift], LEAVES[size]
    assert merkle.leaf_hash(left + right) != merkle.node_hash(left, right)


# What a proof shows by itself


@given(st.integers(1, SIZE - 1), st.integers(1, SIZE - 1))
def test_a_consistency_proof_shows_the_root_of_the_old_tree(one: int, other: int) -> None:
    """But where that tree is a subtree whole: there it shows nothing."""
    old, new = sorted((one, other + 1))
    proof = naive_subproof(old, 0, new, True)
    if old == new or old.bit_count() == 1:
        with pytest.raises(BadProof):
            merkle.prefix_root(old, new, proof, naive_root(0, new))
        return
    assert merkle.prefix_root(old, new, proof, naive_root(0, new)) == naive_root(0, old)
    with pytest.raises(BadProof):
        merkle.prefix_root(old, new, proof, naive_root(0, old))
    with pytest.raises(BadProof):
        merkle.prefix_root(old, new, proof[:-1], naive_root(0, new))
