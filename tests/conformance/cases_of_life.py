"""What ends must end everywhere: taken back, erased, narrowed, relabelled; and what was said once is there once."""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib

from exchange.domain.bodies import Erasure, ErasureReason, Retraction, RetractionReason
from exchange.domain.identifiers import IndicatorType
from exchange.domain.kinds import Kind
from exchange.domain.labels import Label
from exchange.errors import Rejected
from exchange.ops.clocks import wall_ms
from exchange.v1 import directory_pb2
from exchange_client import Filter, Matcher, Signals
from exchange_client.jsonl import indicator_from_json
from tests.conformance.place import Place, follow, ids_matching, publish, read, refused, size_of, within
from tests.e2e.exchange_fixture import TIMEOUT_S, UK
from tests.e2e.sdk_clients import a_signal

#: An eraser looks every second.
ERASED_S = 6.0


async def withdrawn_vanishes(place: Place) -> None:
    """A signal that its publisher takes back is in nobody's look-up any more, whatever they filter by."""
    not_its_label = Filter(labels=frozenset({Label.HARASSMENT_HATE_SPEECH}))
    async with place.client("alpha") as a, place.client("beta") as b, place.client("gamma") as g:
        said = await publish(a)
        known, size = Matcher(), said.index + 1
        await follow(b, known, cursor=said.index)
        assert ids_matching(known, said.signal) == {said.id}
        await a.say(UK, Retraction((said.id,), RetractionReason.WITHDRAWN_BY_VICTIM))
        await follow(b, known, cursor=size)
        assert ids_matching(known, said.signal) == set()
        (seen,) = [each for each in await read(g, cursor=size, wanted=not_its_label) if each.kind == Kind.RETRACTION]
        assert getattr(seen.header.body, "targets", ()) == (said.id,)


async def a_delete_propagates(place: Place) -> None:
    """What is erased on request leaves the hub's files, every look-up, and whoever reads it later gets a leaf."""
    async with place.client("alpha") as a, place.client("beta") as b:
        said = await publish(a)
        known = Matcher()
        await follow(b, known, cursor=said.index)
        await a.say(UK, Erasure((said.id,), ErasureReason.ON_REQUEST))
        value = said.signal.indicators[0].value
        async with within(ERASED_S, "the erasure"):
            while in_files(place, value):
                await asyncio.sleep(0.05)
        await follow(b, known, cursor=said.index)
        assert ids_matching(known, said.signal) == set()
        async with place.client("gamma") as later:
            (first, *_) = await read(later, cursor=said.index)
        assert (first.index, first.state, first.signals) == (said.index, "erased", Signals())


def in_files(place: Place, value: bytes) -> bool:
    """Whether any file of the hub's holds these bytes."""
    files = (path for path in (place.world.exchange.folder / "data").rglob("*") if path.is_file())
    return any(value in path.read_bytes() for path in files)


async def a_narrowed_audience_is_recalled(place: Place) -> None:
    """Who is outside of the narrower audience of a correction loses the signal that it was given before."""
    async with place.client("alpha") as a, place.client("beta") as b, place.client("gamma") as g:
        wide = await publish(a)
        inside, outside = Matcher(), Matcher()
        await follow(b, inside, cursor=wide.index)
        await follow(g, outside, cursor=wide.index)
        assert ids_matching(outside, wide.signal) == {wide.id}
        narrow = dataclasses.replace(wide.signal, audience=("beta",), replaces=(wide.id,))
        async with a.publisher(UK) as publisher:
            (outcome,) = await publisher.publish([narrow], timeout_s=TIMEOUT_S)
        assert outcome.error is None
        await follow(b, inside, cursor=wide.index + 1)
        await follow(g, outside, cursor=wide.index + 1)
        assert ids_matching(outside, wide.signal) == set()
        assert ids_matching(inside, wide.signal) == {outcome.signal_id}


async def a_removed_label_is_gone(place: Place) -> None:
    """A correction of the label leaves one label, in look-ups and in what the hub tells; never both."""
    async with place.client("alpha") as a, place.client("beta") as b:
        before = await publish(a, label=Label.MISLEADING_SCAM)
        known = Matcher()
        await follow(b, known, cursor=before.index)
        corrected = dataclasses.replace(before.signal, label=Label.MISLEADING_SPAM, replaces=(before.id,))
        async with a.publisher(UK) as publisher:
            (outcome,) = await publisher.publish([corrected], timeout_s=TIMEOUT_S)
        assert outcome.error is None
        await follow(b, known, cursor=before.index + 1)
        found = known.match(before.signal.indicators, now_ms=wall_ms())
        assert [(match.signal_id, match.label) for match in found] == [(outcome.signal_id, Label.MISLEADING_SPAM)]
        asked = directory_pb2.GetSignalRequest(origin=UK, signal_id=before.id)
        told = await place.world.party("beta").directory.GetSignal(asked, timeout=TIMEOUT_S)
        assert told.HasField("replaced_at")


async def a_repeat_is_no_duplicate(place: Place) -> None:
    """A statement that is sent again, because its receipt was lost, has one place in the ledger."""
    async with place.client("alpha") as a:
        async with a.publisher(UK) as publisher:
            (outcome,) = await publisher.publish([a_signal()], timeout_s=TIMEOUT_S)
            assert outcome.receipt is not None
            (kept,) = await publisher.outbox.kept()
            size = await size_of(a)
            for _ in range(3):
                again = await publisher.submit(dataclasses.replace(kept, resubmission=True))
                assert (again.index, again.repeated) == (outcome.receipt.index, True)
        assert await size_of(a) == size


async def an_upper_case_hash_is_never_kept(place: Place) -> None:
    """A hash written in the wrong case is refused aloud; what is taken in matches the content that it is of."""
    content = b"a photograph"
    text = hashlib.md5(content).hexdigest()
    with refused(Rejected, "lower-case"):
        indicator_from_json({"type": "image_md5", "value": text.upper()})
    indicator = indicator_from_json({"type": "image_md5", "value": text})
    assert (indicator.type, indicator.value) == (IndicatorType.IMAGE_MD5, hashlib.md5(content).digest())
    async with place.client("alpha") as a, place.client("beta") as b:
        said = await publish(a, indicators=(indicator,))
        known = Matcher()
        await follow(b, known, cursor=said.index)
        assert ids_matching(known, said.signal) == {said.id}
