"""The tree, its tiles and its proofs in any order of growing, restarting and proving, against a naive log."""

from __future__ import annotations

from hashlib import sha256

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from exchange.errors import VerificationFailed
from exchange.ledger import proofs
from exchange.ledger.merkle import CompactRange
from exchange.ledger.proofs import verify_consistency, verify_inclusion
from exchange.ledger.tiles import TILE_WIDTH, HashTile, TileRef, tiles_for_size
from exchange.ledger.tree import Extension, Tree
from tests.contract.builders import naive_root, naive_tile

#: Where tiles, and tiles of tiles, are almost, just and more than full.
GROUPS = st.one_of(st.integers(0, 5), st.sampled_from((250, 254, 255, 256, 257, 511, 512, 600)))


def leaf(number: int, fork: int) -> bytes:
    """Return a leaf hash; another fork has other leaves."""
    return sha256(b"%d/%d" % (fork, number)).digest()


class Log(RuleBasedStateMachine):
    """A tree that grows by groups, beside the list of all its leaves."""

    @initialize(size=st.sampled_from((0, 1, 254, 256, 700)))
    def found(self, size: int) -> None:
        self.tree, self.range = Tree(), CompactRange()
        self.leaves: list[bytes] = []
        self.full: dict[tuple[int, int], bytes] = {}
        #: The first leaf that the edge can still prove: the first of the last group.
        self.newest = 0
        self._take([leaf(number, 0) for number in range(size)])

    def _take(self, group: list[bytes]) -> None:
        extension: Extension = self.tree.extend(group)
        self.range = self.range.extend(group)
        self.newest = len(self.leaves)
        self.leaves += group
        self.tree = extension.tree
        for tile in extension.full_tiles:
            assert (tile.level, tile.index) not in self.full
            self.full[tile.level, tile.index] = tile.hashes

    @rule(count=GROUPS)
    def grow(self, count: int) -> None:
        start = len(self.leaves)
        self._take([leaf(number, 0) for number in range(start, start + count)])

    @rule(count=st.integers(1, 600))
    def grow_and_be_refused(self, count: int) -> None:
        """What a lost append has made is thrown away, and is seen nowhere."""
        self.tree.extend([leaf(number, 1) for number in range(count)])

    @rule()
    def restart(self) -> None:
        """Load the edge from the tiles again: nothing is lost but the proofs of the last group."""
        loaded = Tree.load(len(self.leaves), lambda level, index, width: naive_tile(self.leaves, level, index, width))
        assert loaded.compact_range() == self.tree.compact_range()
        self.tree, self.newest = loaded, len(self.leaves)

    def _tile(self, ref: TileRef) -> HashTile:
        """Read a tile as a store keeps it: the full ones, and the leaves."""
        level, index, width = ref
        whole = self.full.get((level, index))
        return HashTile(whole[: width * 32] if whole is not None else naive_tile(self.leaves, level, index, width))

    @precondition(lambda self: self.leaves)
    @rule(data=st.data())
    def prove_a_leaf(self, data: st.DataObject) -> None:
        size = data.draw(st.integers(1, len(self.leaves)))
        index = data.draw(st.integers(0, size - 1))
        proof = proofs.build(list(proofs.inclusion_nodes(index, size)), size, self._tile)
        root = naive_root(self.leaves[:size])
        verify_inclusion(leaf_hash=self.leaves[index], index=index, size=size, proof=proof, root=root)
        with pytest.raises(VerificationFailed):
            verify_inclusion(leaf_hash=leaf(index, 1), index=index, size=size, proof=proof, root=root)

    @rule(data=st.data())
    def prove_an_extension(self, data: st.DataObject) -> None:
        new = data.draw(st.integers(0, len(self.leaves)))
        old = data.draw(st.integers(0, new))
        proof = proofs.build(list(proofs.consistency_nodes(old, new)), new, self._tile)
        roots = {"old_root": naive_root(self.leaves[:old]), "new_root": naive_root(self.leaves[:new])}
        verify_consistency(old_size=old, new_size=new, proof=proof, **roots)
        if old:
            roots["old_root"] = naive_root([leaf(0, 1), *self.leaves[1:old]])
            with pytest.raises(VerificationFailed):
                verify_consistency(old_size=old, new_size=new, proof=proof, **roots)

    @precondition(lambda self: self.newest < len(self.leaves))
    @rule(data=st.data())
    def prove_from_the_edge(self, data: st.DataObject) -> None:
        """A receipt's proof, which reads no tile, is the one that the tiles give."""
        index = data.draw(st.integers(self.newest, len(self.leaves) - 1))
        size = len(self.leaves)
        built = proofs.build(list(proofs.inclusion_nodes(index, size)), size, self._tile)
        assert self.tree.prover()(index) == built

    @invariant()
    def is_the_naive_tree(self) -> None:
        assert self.tree.size == len(self.leaves)
        assert self.tree.root() == self.range.root() == naive_root(self.leaves)
        assert self.tree.compact_range() == self.range

    @invariant()
    def has_given_every_full_tile_once(self) -> None:
        due = {(level, index) for level, index, width in tiles_for_size(len(self.leaves)) if width == TILE_WIDTH}
        assert set(self.full) == due

    def teardown(self) -> None:
        for (level, index), hashes in self.full.items():
            assert hashes == naive_tile(self.leaves, level, index, TILE_WIDTH)


TestLog = Log.TestCase
TestLog.settings = settings(
    max_examples=25,
    stateful_step_count=20,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
