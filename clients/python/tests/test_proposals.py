"""What a hub shows to be signed is held against its bytes: it cannot show one thing and have another signed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from exchange import codec
from exchange.domain.bodies import Membership, State
from exchange.domain.statement import Signature
from exchange.errors import Reason, Rejected, VerificationFailed
from exchange_client.proposals import (
    Written,
    read_proposal,
    require_ours,
    signatures_by,
    statements_to_say,
    verify_signers,
)
from tests.unit.builders import (
    DIRECTORY,
    NOW_MS,
    OPERATOR,
    SECOND_OPERATOR,
    STRANGER,
    UK,
    directory_header,
    make_directory,
)

SAID = (
    Written(DIRECTORY, Membership("alpha", UK, State.ENDED)),
    Written(DIRECTORY, Membership("beta", UK, State.ENDED)),
)
HEADERS = tuple(directory_header(each.body) for each in SAID)
PAYLOADS = tuple(map(codec.encode_header, HEADERS))
NOBODY: list[list[Signature]] = [[], []]
PLAIN = read_proposal(PAYLOADS, NOBODY)


def test_what_is_shown_is_what_the_id_names() -> None:
    assert read_proposal(PAYLOADS, NOBODY, PLAIN.id) == PLAIN
    with pytest.raises(VerificationFailed, match="another proposal"):
        read_proposal(PAYLOADS[::-1], NOBODY, PLAIN.id)
    with pytest.raises(VerificationFailed, match="another proposal"):
        read_proposal(PAYLOADS[:1], NOBODY[:1], PLAIN.id)
    with pytest.raises(VerificationFailed, match="not of one member"):
        read_proposal([], [], PLAIN.id)
    other = codec.encode_header(replace(HEADERS[1], publisher="other"))
    with pytest.raises(VerificationFailed, match="not of one member"):
        read_proposal([PAYLOADS[0], other], NOBODY)


def test_nothing_may_stand_in_it_that_nobody_is_shown() -> None:
    with pytest.raises(Rejected) as caught:
        read_proposal([PAYLOADS[0] + b"\xa2\x1f\x01x"], [[]])
    assert caught.value.reason is Reason.MALFORMED


def test_what_the_hub_made_of_our_drafts_says_no_more_than_they() -> None:
    require_ours(PLAIN, "operator", SAID, NOW_MS)
    other = Written(DIRECTORY, Membership("gamma", UK, State.ENDED))
    for wrong, publisher, said, now_ms in (
        (PLAIN, "operator", (SAID[0], other), NOW_MS),
        (PLAIN, "operator", SAID[::-1], NOW_MS),
        (PLAIN, "operator", SAID[:1], NOW_MS),
        (PLAIN, "operator", (*SAID, other), NOW_MS),
        (PLAIN, "operator", (SAID[0], replace(SAID[1], origin=UK)), NOW_MS),
        (PLAIN, "other", SAID, NOW_MS),
        (PLAIN, "operator", SAID, NOW_MS + 3_600_000),
        (replace(PLAIN, headers=(HEADERS[0], replace(HEADERS[1], signal_ids=(bytes(32),)))), "operator", SAID, NOW_MS),
        (replace(PLAIN, headers=(HEADERS[0], replace(HEADERS[1], kind=65))), "operator", SAID, NOW_MS),
    ):
        with pytest.raises(VerificationFailed, match="nothing is signed") as caught:
            require_ours(wrong, publisher, said, now_ms)
        assert caught.value.reason is (Reason.BAD_PROOF if now_ms == NOW_MS else Reason.CLOCK_SKEW)


def test_whose_signatures_it_has_is_checked_and_not_believed() -> None:
    directory = make_directory(threshold=2)
    good = [[by.sign(payload) for by in (SECOND_OPERATOR, OPERATOR)] for payload in PAYLOADS]
    proposal = read_proposal(PAYLOADS, good)
    assert signatures_by(OPERATOR.key, proposal) == tuple(one[1] for one in good)
    assert [each.signatures for each in statements_to_say(directory, "operator", proposal)] == list(map(tuple, good))
    with pytest.raises(Rejected, match="alone can publish"):
        statements_to_say(directory, "other", proposal)
    with pytest.raises(Rejected, match="1 more operator key"):
        statements_to_say(directory, "operator", read_proposal(PAYLOADS, [one[:1] for one in good]))
    with pytest.raises(VerificationFailed, match="others have signed each"):
        read_proposal(PAYLOADS, [good[0], good[1][::-1]])
    swapped = read_proposal(PAYLOADS, good[::-1])
    with pytest.raises(VerificationFailed):
        verify_signers(directory, swapped)
    strangers = read_proposal(PAYLOADS, [[STRANGER.sign(payload)] for payload in PAYLOADS])
    with pytest.raises(VerificationFailed, match="is in the directory"):
        verify_signers(directory, strangers)
