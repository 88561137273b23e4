"""What is told of referrals, once each, to a real mailbox and a real hook, over TLS; what fails is kept."""

from __future__ import annotations

import asyncio
import hmac
import json
import ssl
from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from exchange.cli.referrals import watching
from exchange.cli.referrals.channels import Channel, Declined, Mail, Webhook, secret_of, trusting
from exchange.cli.referrals.noticing import Memory, Notice, events_of
from exchange.domain.addressed import ReferralRecord, ReferralState, UpdateRecord
from exchange.domain.labels import Label
from exchange.errors import Rejected, Unavailable
from exchange_client import ReferralReport, ReferralStep
from tests.notice_servers import NAME, PASSWORD, Authority, Hook, Mailbox, mail_server, web_server

ORIGIN = "test.exchange/uk"
SECRET = b"sixteen bytes, at least"
NOTICE = Notice("ab" * 16, ORIGIN, new=2, asked=0, overdue=1)
NOW_S = 1_760_000_000
NOW_MS = NOW_S * 1000
DAY_MS = 86_400_000
#: When the referrals are gone, unless said otherwise.
FAR_MS = 1 << 60
TIMEOUT_S = 20.0


def report(number: int = 1, **changes: Any) -> ReferralReport:
    record = ReferralRecord(b"", "police", Label.VIOLENCE_THREATS, 1, 0, f"T-{number}", contact="tel:101")
    plain = ReferralReport(bytes([number]) * 32, 1, "alpha", 0, record, 0, 0, "police", 5_000, False, FAR_MS, (), ())
    return replace(plain, **changes)


def asked(number: int, step: int) -> ReferralReport:
    update = UpdateRecord(b"", bytes(32), ReferralState.ASKED, 0)
    steps = (ReferralStep(bytes([step]) * 32, 2, "police", 0, update),)
    return report(number, state=ReferralState.ASKED, waits_for="alpha", steps=steps)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("notices"))


@pytest.fixture(scope="module")
def trusted(authority: Authority) -> ssl.SSLContext:
    return trusting(authority.file)


@pytest.fixture
def hook(authority: Authority) -> Iterator[Hook]:
    with web_server(authority) as server:
        yield server


@pytest.fixture
def box(authority: Authority) -> Iterator[Mailbox]:
    with mail_server(authority) as server:
        yield server


def mail(box: Mailbox, context: ssl.SSLContext, **changes: Any) -> Mail:
    made = Mail(
        "localhost",
        box.port,
        "exchange@police.example",
        ("desk@police.example",),
        context,
        user=NAME,
        password=PASSWORD,
    )
    return replace(made, **changes)


async def test_the_hook_gets_counts_and_a_signature_over_them(hook: Hook, trusted: ssl.SSLContext) -> None:
    await Webhook(hook.url, SECRET, trusted).send(NOTICE, now_s=NOW_S)
    ((headers, body),) = hook.posts
    counts = {"new": 2, "asked": 0, "answered": 0, "overdue": 1, "ending": 0}
    assert json.loads(body) == {"notice": NOTICE.id, "community": ORIGIN, **counts}
    signed = hmac.new(SECRET, f"{NOW_S}.".encode() + body, sha256).hexdigest()
    assert headers["Exchange-Signature"] == f"sha256={signed}"
    assert headers["Exchange-Timestamp"] == str(NOW_S)
    assert headers["target"] == "/referrals?of=us"


@pytest.mark.parametrize("status", [302, 400, 404, 500, 503])
async def test_what_a_hook_does_not_take_has_not_arrived(hook: Hook, trusted: ssl.SSLContext, status: int) -> None:
    hook.status = status
    with pytest.raises(Unavailable, match=str(status)):
        await Webhook(hook.url, SECRET, trusted).send(NOTICE, now_s=NOW_S)
    assert len(hook.posts) == 1, "a redirection is not followed"


async def test_neither_tells_anything_to_a_server_that_it_cannot_know(hook: Hook, box: Mailbox) -> None:
    for channel in (Webhook(hook.url, SECRET, trusting(None)), mail(box, trusting(None))):
        with pytest.raises(Unavailable, match="certificate"):
            await channel.send(NOTICE, now_s=NOW_S)
    assert (hook.posts, box.messages) == ([], [])


async def test_a_mail_says_how_many_and_nothing_else(box: Mailbox, trusted: ssl.SSLContext) -> None:
    await mail(box, trusted).send(NOTICE, now_s=NOW_S)
    (message,), ((over_tls, known),) = box.messages, box.secured
    assert over_tls
    assert known
    assert message["Subject"] == "Referrals in uk: 2 new, 1 overdue"
    assert message["To"] == "desk@police.example"
    assert message["Message-ID"] == f"<{NOTICE.id}@police.example>"
    assert message["Auto-Submitted"] == "auto-generated"
    text = message.get_content()
    assert "2 new, 1 overdue" in text
    assert not any(word in text for word in ("T-1", "alpha", "violence", "tel:"))


async def test_a_mail_over_tls_from_the_start(authority: Authority, trusted: ssl.SSLContext) -> None:
    with mail_server(authority, starttls=False, from_the_start=True) as box:
        await mail(box, trusted, from_the_start=True, user="").send(NOTICE, now_s=NOW_S)
        assert [over_tls for over_tls, _ in box.secured] == [True]


async def test_a_mail_server_without_tls_gets_neither_password_nor_message(
    authority: Authority, trusted: ssl.SSLContext
) -> None:
    with mail_server(authority, starttls=False) as box:
        with pytest.raises(Unavailable, match="STARTTLS"):
            await mail(box, trusted).send(NOTICE, now_s=NOW_S)
        assert box.messages == []


async def test_a_mail_that_is_not_taken_has_not_arrived(box: Mailbox, trusted: ssl.SSLContext) -> None:
    with pytest.raises(Unavailable, match="it answered 535") as wrong:
        await mail(box, trusted, password="wrong").send(NOTICE, now_s=NOW_S)
    assert "wrong" not in str(wrong.value)
    box.refusal = "451 not now"
    with pytest.raises(Unavailable, match="it answered 451"):
        await mail(box, trusted).send(NOTICE, now_s=NOW_S)
    assert box.messages == []
    with pytest.raises(Unavailable):
        await mail(Mailbox(port=1), trusted).send(NOTICE, now_s=NOW_S)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda context: Webhook("http://localhost/", SECRET, context),
        lambda context: Webhook("https://user:word@localhost/", SECRET, context),
        lambda context: Webhook("https:///path", SECRET, context),
        lambda context: Webhook("https://localhost:70000/", SECRET, context),
        lambda context: Webhook("https://localhost:0/", SECRET, context),
        lambda context: Webhook("https://[::1/", SECRET, context),
        lambda context: Webhook("https://desk..example/", SECRET, context),
        lambda context: Webhook("https://localhost/a b", SECRET, context),
        lambda context: Webhook("https://localhost/a\r\nHost: elsewhere", SECRET, context),
        lambda context: Webhook("https://localhost/\u0435", SECRET, context),
        lambda context: Webhook("https://localhost/", b"short", context),
        lambda context: mail(Mailbox(port=25), context, host="desk..example"),
        lambda context: mail(Mailbox(port=25), context, user="a\r\nb"),
        lambda context: mail(Mailbox(port=25), context, password="\u0435"),
        lambda context: mail(Mailbox(), context, recipients=("desk@police.example\nBcc: a@b.example",)),
        lambda context: mail(Mailbox(), context, sender="The Desk"),
        lambda context: secret_of(Path("/nowhere/at/all")),
        lambda context: trusting(Path("/nowhere/at/all")),
    ],
    ids=[
        "http",
        "a user",
        "no host",
        "port 70000",
        "port 0",
        "half an address",
        "two dots",
        "a space",
        "lines",
        "not ASCII",
        "short",
        "mail to two dots",
        "a user of two lines",
        "a password not ASCII",
        "two lines",
        "no address",
        "no secret",
        "no authority",
    ],
)
def test_what_cannot_be_used_is_told_before_anything_is_sent(wrong: Any, trusted: ssl.SSLContext) -> None:
    with pytest.raises(Rejected):
        wrong(trusted)


async def test_who_of_several_is_not_known_is_told(box: Mailbox, trusted: ssl.SSLContext) -> None:
    both = mail(box, trusted, recipients=("desk@police.example", "gone@police.example"))
    assert await both.send(NOTICE, now_s=NOW_S) == []
    box.unknown = frozenset({"gone@police.example"})
    assert await both.send(NOTICE, now_s=NOW_S) == ["gone@police.example"]
    box.unknown |= {"desk@police.example"}
    with pytest.raises(Declined, match=r"550, gone@police\.example it answered 550"):
        await both.send(NOTICE, now_s=NOW_S)
    assert len(box.messages) == 2


async def test_who_does_not_wait_for_a_server_ends_the_conversation(trusted: ssl.SSLContext) -> None:
    """One that greets for ever, byte by byte, would keep its thread, and the process, as long."""
    greeted, ended = asyncio.Event(), asyncio.Event()

    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        greeted.set()
        reading = asyncio.ensure_future(reader.read())
        while not reading.done():
            writer.write(b"2")
            await asyncio.wait({reading}, timeout=0.05)
        ended.set()
        writer.close()

    async with await asyncio.start_server(greet, "127.0.0.1", 0) as server:
        box = Mailbox(port=server.sockets[0].getsockname()[1])
        sending = asyncio.ensure_future(mail(box, trusted, host="127.0.0.1").send(NOTICE, now_s=NOW_S))
        await asyncio.wait_for(greeted.wait(), TIMEOUT_S)
        sending.cancel()
        await asyncio.wait_for(ended.wait(), TIMEOUT_S)
        with pytest.raises(asyncio.CancelledError):
            await sending


async def test_a_channel_that_fails_is_left_alone_for_longer_and_longer(
    tmp_path: Path, hook: Hook, trusted: ssl.SSLContext
) -> None:
    async def listed(origin: str, *, open_only: bool) -> Any:
        yield report(int(open_only))

    client = cast("Any", SimpleNamespace(referrals=SimpleNamespace(list=listed)))
    memory = Memory(tmp_path / "told.sqlite", ORIGIN)
    channels: list[Channel] = [Webhook(hook.url, SECRET, trusted)]
    watch = watching._Watching(client, "police", ORIGIN, memory, channels, every_s=600, as_json=True)
    hook.status = 403
    posts = []
    for _ in range(12):
        assert not await watch.look(last=False)
        posts.append(len(hook.posts))
    # Once a look, for it was declined; then after one look left out, after three, and never more than half an hour.
    assert posts == [1, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5]
    hook.status = 204
    assert [await watch.look(last=False) for _ in range(4)][-1]
    assert len(hook.posts) == 6
    assert len({json.loads(body)["notice"] for _, body in hook.posts}) == 1
    memory.close()


def test_what_there_is_to_tell() -> None:
    late = report(3, overdue=True, state=ReferralState.ACKNOWLEDGED)
    reports = [report(1), asked(2, 7), late]
    assert [event.sort for event in events_of(reports, "police", now_ms=NOW_MS)] == ["new", "overdue"]
    assert [event.sort for event in events_of(reports, "alpha", now_ms=NOW_MS)] == ["asked", "overdue"]
    theirs = events_of(reports, "alpha", now_ms=NOW_MS)
    assert events_of(reports, "beta", now_ms=NOW_MS) == [event for event in theirs if event.sort == "overdue"]
    digests = [event.event for event in events_of([asked(2, 7), asked(2, 8)], "alpha", now_ms=NOW_MS)]
    assert len(set(digests)) == 2, "another question is told again"
    answered = replace(asked(4, 9), state=ReferralState.ANSWERED, waits_for="police")
    assert [event.sort for event in events_of([answered], "police", now_ms=NOW_MS)] == ["answered"]
    assert events_of([answered], "alpha", now_ms=NOW_MS) == []


def test_both_are_told_before_an_open_one_is_gone() -> None:
    def sorts(left_ms: int, **changes: Any) -> list[str]:
        ours = report(state=ReferralState.ACKNOWLEDGED, ends_at_ms=NOW_MS + left_ms, **changes)
        told = [[event.sort for event in events_of([ours], member, now_ms=NOW_MS)] for member in ("alpha", "police")]
        assert told[0] == told[1]
        return told[0]

    assert sorts(7 * DAY_MS) == []
    assert sorts(7 * DAY_MS - 1) == ["ending"]
    assert sorts(7 * DAY_MS - 1, waits_for="") == [], "what is closed may go"
    # Where all of it is kept for a week only, in its last quarter.
    young = {"received_at_ms": NOW_MS - 5 * DAY_MS}
    assert sorts(2 * DAY_MS, **young) == []
    assert sorts(DAY_MS, **young) == ["ending"]


async def test_each_thing_is_told_once_over_restarts(tmp_path: Path) -> None:
    first, second = report(1), report(2)

    async def look(*reports: ReferralReport, sends: bool = True) -> Notice | None:
        memory = Memory(tmp_path / "told.sqlite", ORIGIN)
        try:
            await memory.note("mail", events_of(reports, "police", now_ms=NOW_MS), [each.id for each in reports])
            notice = await memory.next("mail")
            if notice is not None and sends:
                await memory.sent("mail", notice)
            return notice
        finally:
            memory.close()

    unsent = await look(first, sends=False)
    assert unsent is not None
    # The process died: the same notice again, though there is more by now; then the rest.
    again = await look(first, second)
    assert again == unsent == Notice(unsent.id, ORIGIN, new=1)
    rest = await look(first, second)
    assert rest is not None
    assert (rest.new, rest.id != again.id) == (1, True)
    assert await look(first, second) is None
    late = await look(replace(first, overdue=True), second)
    assert late is not None
    assert (late.new, late.overdue) == (0, 1)
    assert await look(second) is None
    assert first.id not in (tmp_path / "told.sqlite").read_bytes()


def test_one_watch_of_a_community_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "told.sqlite"
    first = Memory(path, ORIGIN)
    with pytest.raises(Rejected, match="another watch of this community"):
        Memory(path, ORIGIN)
    Memory(path, "test.exchange/another").close()
    first.close()
    Memory(path, ORIGIN).close()


async def test_what_cannot_be_sent_is_kept_and_the_other_channel_goes_on(
    tmp_path: Path,
    hook: Hook,
    box: Mailbox,
    trusted: ssl.SSLContext,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(watching, "_AGAIN_S", (0.0, 0.0))
    reports = [report(1), report(2)]

    async def listed(origin: str, *, open_only: bool) -> Any:
        assert (origin, open_only) == (ORIGIN, True)
        for each in reports:
            yield each

    client = cast("Any", SimpleNamespace(referrals=SimpleNamespace(list=listed)))
    memory = Memory(tmp_path / "told.sqlite", ORIGIN)
    channels: list[Channel] = [Webhook(hook.url, SECRET, trusted), mail(box, trusted)]
    watch = watching._Watching(client, "police", ORIGIN, memory, channels, every_s=60, as_json=True)
    hook.status = 500
    assert not await watch.look(last=False)
    assert (len(hook.posts), len(box.messages)) == (3, 1)
    assert "and kept: the webhook answered 500" in capsys.readouterr().err
    hook.status = 200
    assert await watch.look(last=False)
    assert await watch.look(last=False)
    assert (len(hook.posts), len(box.messages)) == (4, 1)
    assert len({json.loads(body)["notice"] for _, body in hook.posts}) == 1, "the same notice, each time"
    memory.close()


def test_the_place_of_a_mail_server() -> None:
    assert watching._host_and_port("mail.police.example:587") == ("mail.police.example", 587)
    assert watching._host_and_port("[::1]:25") == ("::1", 25)
    for wrong in ("mail", "mail:", ":25", "mail:70000", "mail:25/path", "a@mail:25", "mail:x", ""):
        with pytest.raises(Rejected, match="is not host:port"):
            watching._host_and_port(wrong)
