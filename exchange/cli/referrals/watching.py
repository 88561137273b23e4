"""``exchange referrals watch``: runs at a member, and tells of new and of overdue referrals."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click

from exchange.cli.connect import origin_of, with_client
from exchange.cli.output import client_option, community_option, emit, json_option, say
from exchange.cli.referrals.channels import Channel, Declined, Mail, Webhook, secret_of, trusting
from exchange.cli.referrals.noticing import Memory, Notice, events_of
from exchange.errors import Reason, Rejected, Unavailable
from exchange.ops.clocks import wall_ms
from exchange_client import ClientConfig, ExchangeClient

_FILE = click.Path(path_type=Path, dir_okay=False)
#: Between attempts at one notice; then it waits for the next look, and longer each time that fails too.
_AGAIN_S = (1.0, 2.0, 4.0, 8.0)
_LONGEST_PAUSE_S = 1_800.0


@click.command()
@community_option
@client_option
@click.option("--every", "every_s", type=click.IntRange(min=1), default=60, show_default=True, help="Seconds.")
@click.option("--once", is_flag=True, help="Look once, tell, and end: for a timer. Exit code 3 when something is left.")
@click.option("--webhook", metavar="URL", help="Post each notice here, over https.")
@click.option("--webhook-secret", type=_FILE, help="The file with the secret that notices are signed with.")
@click.option("--webhook-authority", type=_FILE, help="Who has signed its certificate. Default: the system's.")
@click.option("--mail-to", multiple=True, metavar="ADDRESS", help="Mail each notice there. Repeat for more.")
@click.option("--mail-from", metavar="ADDRESS", help="As whom.")
@click.option("--smtp", metavar="HOST:PORT", help="The mail server.")
@click.option("--smtp-tls", type=click.Choice(["starttls", "tls"]), default="starttls", show_default=True)
@click.option("--smtp-user", metavar="NAME", help="Who we are to it.")
@click.option("--smtp-password", type=_FILE, help="The file with the password.")
@click.option("--smtp-authority", type=_FILE, help="Who has signed its certificate. Default: the system's.")
@json_option
def watch(name: str, client_path: Path, every_s: int, *, once: bool, as_json: bool, **where: Any) -> None:  # noqa: ANN401
    """Tell of new referrals, of questions, and of what is overdue, by webhook or e-mail, until interrupted.

    A notice says how many there are of each, and nothing of what they say. Each thing is told once by each channel,
    also over restarts; the memory lies in the client's state folder, so one watch of a workload and community
    runs at a time. What cannot be sent is kept and sent again.

    Somebody must be there to read it: danger to life is a call to 999, never a referral.

    \b
    Examples:
      exchange referrals watch --mail-to desk@police.example --mail-from exchange@police.example \\
          --smtp mail.police.example:587 --smtp-user exchange --smtp-password smtp.password \\
          --community uk-elections --client met-police/authority/client.toml
      exchange referrals watch --webhook https://tickets.alpha.example/referrals --webhook-secret hook.secret \\
          --community uk-elections --client alpha/liaison/client.toml
    """
    channels = _channels(where)

    async def job(client: ExchangeClient, settings: ClientConfig) -> bool:
        origin = origin_of(settings.exchange, name)
        memory = Memory(settings.state / "referrals-told.sqlite", origin)
        watching = _Watching(client, settings.member, origin, memory, channels, every_s=every_s, as_json=as_json)
        try:
            while True:
                told = await watching.look(last=once)
                if once:
                    return told
                await asyncio.sleep(every_s)
        finally:
            memory.close()

    with suppress(KeyboardInterrupt):
        if not with_client(client_path, job):
            raise Unavailable("not everything could be told", hint="it is kept: run it again")


def _channels(where: dict[str, Any]) -> list[Channel]:
    """Return where notices go. Raises `click.UsageError`, and `Rejected` (CONFIG)."""
    channels: list[Channel] = []
    if where["webhook"]:
        if where["webhook_secret"] is None:
            raise click.UsageError("--webhook needs --webhook-secret")
        channels.append(
            Webhook(where["webhook"], secret_of(where["webhook_secret"]), trusting(where["webhook_authority"]))
        )
    if where["mail_to"]:
        if not (where["mail_from"] and where["smtp"]):
            raise click.UsageError("--mail-to needs --mail-from and --smtp")
        if bool(where["smtp_user"]) is not (where["smtp_password"] is not None):
            raise click.UsageError("--smtp-user and --smtp-password go together")
        host, port = _host_and_port(where["smtp"])
        password = secret_of(where["smtp_password"]).decode(errors="replace") if where["smtp_password"] else ""
        channels.append(
            Mail(
                host,
                port,
                where["mail_from"],
                tuple(where["mail_to"]),
                trusting(where["smtp_authority"]),
                from_the_start=where["smtp_tls"] == "tls",
                user=where["smtp_user"] or "",
                password=password,
            )
        )
    if not channels:
        raise click.UsageError("say where to tell it: --webhook, --mail-to, or both")
    return channels


def _host_and_port(text: str) -> tuple[str, int]:
    """Return both parts of HOST:PORT. Raises `Rejected` (CONFIG)."""
    try:
        parts = urlsplit(f"//{text}")
        found = (parts.hostname, parts.port) if parts.netloc == text and parts.username is None else (None, None)
    except ValueError:
        found = (None, None)
    host, port = found
    if not host or not port:
        raise Rejected(Reason.CONFIG, f"{text!r} is not host:port")
    return host, port


class _Watching:
    """One run."""

    def __init__(
        self,
        client: ExchangeClient,
        member: str,
        origin: str,
        memory: Memory,
        channels: Sequence[Channel],
        *,
        every_s: float,
        as_json: bool,
    ) -> None:
        self._client, self._member, self._origin = client, member, origin
        self._memory, self._channels, self._every_s, self._as_json = memory, channels, every_s, as_json
        #: Of channels that failed: how often in a row, and how many looks to leave out.
        self._failed: dict[str, tuple[int, int]] = {}

    async def look(self, *, last: bool) -> bool:
        """Look what there is and tell what was not told; whether all of it was.

        Raises `Unavailable` where a hub is away and this is the ``last`` look.
        """
        try:
            reports = [report async for report in self._client.referrals.list(self._origin, open_only=True)]
        except Unavailable as error:
            if last:
                raise
            say(f"the hub cannot be asked now: {error.message}", err=True)
            return False
        events = events_of(reports, self._member, now_ms=wall_ms())
        for channel in self._channels:
            await self._memory.note(channel.name, events, [report.id for report in reports])
        return all(await asyncio.gather(*(self._in_turn(channel) for channel in self._channels)))

    async def _in_turn(self, channel: Channel) -> bool:
        """Tell a channel, unless it failed lately: each time it is left alone for twice as long."""
        failed, left_out = self._failed.get(channel.name, (0, 0))
        if left_out:
            self._failed[channel.name] = failed, left_out - 1
            return False
        if await self._tell(channel):
            self._failed.pop(channel.name, None)
            return True
        longest = int(_LONGEST_PAUSE_S / self._every_s)
        self._failed[channel.name] = failed + 1, min((1 << min(failed, 20)) - 1, longest)
        return False

    async def _tell(self, channel: Channel) -> bool:
        """Send a channel what was not told by it; whether all has arrived."""
        while (notice := await self._memory.next(channel.name)) is not None:
            missed = await _sent(channel, notice)
            if missed is None:
                return False
            await self._memory.sent(channel.name, notice)
            data = {"notice": notice.id, **notice.counts, "channel": channel.name}
            emit(data, as_json=self._as_json, lines=[f"{notice.words}: told by {channel.name}"])
            if missed:
                say(f"not told, for the mail server refuses them: {', '.join(missed)}", err=True)
        return True


async def _sent(channel: Channel, notice: Notice) -> Collection[str] | None:
    """Send a notice, several times where that may help; return who is missed, None where it has not arrived."""
    for wait_s in (*_AGAIN_S, None):
        try:
            return await channel.send(notice, now_s=wall_ms() // 1000)
        except Unavailable as error:
            if wait_s is None or isinstance(error, Declined):
                say(f"not told by {channel.name}, and kept: {error.message}", err=True)
                return None
            await asyncio.sleep(wait_s)
    return None
