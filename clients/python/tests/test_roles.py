"""A receiver does not take the hub's word for who may say what."""

from __future__ import annotations

import pytest

from exchange.domain.statement import Leaf
from exchange.errors import VerificationFailed
from exchange_client.verify import check_signatures
from tests.unit.builders import ALPHA, ALPHA_LIAISON, BETA, OPERATOR, SIDE, make_directory, signal_statement


def leaf_of(said: object, directory_size: int) -> Leaf:
    statement = said.statement  # type: ignore[attr-defined]
    return Leaf(0, 1, False, directory_size, statement.payload, statement.signatures)


def test_who_may_say_it_is_checked() -> None:
    directory = make_directory()
    for actor in (ALPHA, ALPHA_LIAISON, BETA):
        said = signal_statement(actor)
        check_signatures(directory, leaf_of(said, directory.size), said.header)


def test_an_operator_cannot_say_a_signal_even_with_its_own_key() -> None:
    directory = make_directory()
    said = signal_statement(OPERATOR)
    with pytest.raises(VerificationFailed, match="may not publish"):
        check_signatures(directory, leaf_of(said, directory.size), said.header)


def test_a_platform_that_was_never_in_the_community_cannot_speak_there() -> None:
    directory = make_directory()
    said = signal_statement(ALPHA, header={"origin": SIDE})
    with pytest.raises(VerificationFailed, match="never been in"):
        check_signatures(directory, leaf_of(said, directory.size), said.header)


def test_a_leaf_cannot_name_a_directory_that_does_not_exist_yet() -> None:
    directory = make_directory()
    said = signal_statement()
    with pytest.raises(VerificationFailed, match="larger"):
        check_signatures(directory, leaf_of(said, directory.size + 1), said.header)
