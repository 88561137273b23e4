"""``exchange member``: who belongs to the exchange, with which keys, and who is suspended."""

from __future__ import annotations

from pathlib import Path

import click

from exchange.cli.client_files import client_toml, public_key
from exchange.cli.connect import as_client, origin_of, with_client
from exchange.cli.contacts import contact
from exchange.cli.cosigning import directory_of, say_or_write, to_sign_option
from exchange.cli.output import client_option, emit, json_option
from exchange.domain.bodies import (
    Body,
    Key,
    Member,
    Membership,
    State,
    Suspension,
)
from exchange.domain.directory import MemberEntry
from exchange.domain.kinds import CLASS_ROLES, MemberClass, Role
from exchange.errors import Reason, Rejected
from exchange.ops import certificates
from exchange.stores.folders import make_key
from exchange_client import ClientConfig, ExchangeClient

_ROLES = click.Choice([role.word for role in Role])
_CLASSES = click.Choice([class_.name.lower() for class_ in MemberClass])


@click.group()
def member() -> None:
    """Members of the exchange. Every change is an operator's signed statement in the directory.

    Where several operators must sign, --to-sign FILE writes the change down for the others to `exchange sign`, and
    --to-sign hub leaves it at the hub, where they `exchange proposals sign` it.

    \b
    Examples:
      exchange member add alpha --name "Alpha Social" --community uk-elections \\
          --client hub/operator/client.toml --development-pki hub/pki --folder alpha
      exchange member key add alpha --role pipeline --public-key 3d4017c3... --client hub/operator/client.toml
      exchange member suspend alpha --reason "credential stolen" --client hub/operator/client.toml
    """


member.add_command(contact)


def _change(id_: str, client_path: Path, body: Body, to_sign: Path | None, *, as_json: bool) -> None:
    """Say one change of the directory, or write it for other operators to sign."""
    settings = ClientConfig.load(client_path)
    said = say_or_write(settings, directory_of(settings, body), to_sign, as_json=as_json)
    if said is not None:
        emit({"member": id_, "directory_index": said[0]}, as_json=as_json, lines=[f"done, directory entry {said[0]}"])


@member.command()
@click.argument("id_", metavar="ID")
@click.option("--name", default="", help="For people. Default: the id.")
@click.option("--class", "class_", type=_CLASSES, help="What it is. Default: platform.")
@click.option("--role", "roles", type=_ROLES, multiple=True, help="Roles it may have. Default: all of its class.")
@click.option("--community", "communities", multiple=True, help="Communities that it joins.")
@click.option("--key", "keys", multiple=True, metavar="ROLE=HEX", help="A public signing key of its own making.")
@click.option(
    "--development-pki",
    "pki",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="Make keys, certificates and client files for it here, from this development authority.",
)
@click.option("--folder", type=click.Path(path_type=Path, file_okay=False), help="Where those go. Default: its id.")
@client_option
@to_sign_option
@json_option
def add(
    id_: str,
    name: str,
    class_: str | None,
    roles: tuple[str, ...],
    communities: tuple[str, ...],
    keys: tuple[str, ...],
    pki: Path | None,
    folder: Path | None,
    client_path: Path,
    to_sign: Path | None,
    *,
    as_json: bool,
) -> None:
    """Register a member, its keys and the communities it joins.

    Of one that is there already, what is not given stays as it is: name, class, roles, desks.
    """
    settings = ClientConfig.load(client_path)
    described = _described(settings, id_, name, class_, roles)
    chosen = [Role(role) for role in described.roles]
    bodies: list[Body] = [described]
    for key in keys:
        role, _, text = key.partition("=")
        if role.upper() not in Role.__members__:
            raise Rejected(Reason.INVALID, f"--key {key!r}: must be ROLE=HEX")
        bodies.append(Key(id_, Role[role.upper()], public_key(text), State.ACTIVE))
    files = [_make_client(settings, pki, folder or Path(id_), id_, role) for role in chosen] if pki else []
    bodies += [Key(id_, role, made, State.ACTIVE) for role, made, _ in files]
    bodies += [Membership(id_, origin_of(settings.exchange, text), State.ACTIVE) for text in communities]
    indices = say_or_write(settings, directory_of(settings, *bodies), to_sign, as_json=as_json)
    if indices is None:
        return
    clients = {role.word: str(path) for role, _, path in files}
    lines = [f"{id_} is a member ({', '.join(role.word for role in chosen)})"]
    lines += [f"  {role}: {path}" for role, path in clients.items()]
    emit({"member": id_, "directory_indices": indices, "clients": clients}, as_json=as_json, lines=lines)


def _described(settings: ClientConfig, id_: str, name: str, class_: str | None, roles: tuple[str, ...]) -> Member:
    """Return the whole description of a member: what is given, else what is known of it, else the defaults."""

    async def job(client: ExchangeClient, _: ClientConfig) -> MemberEntry | None:
        return (await client.directory()).members.get(id_)

    known = as_client(settings, job)
    before = known.member_class if known else MemberClass.PLATFORM
    kind = MemberClass[class_.upper()] if class_ else before
    same = known.roles if known and kind is before else CLASS_ROLES[kind]
    chosen = [Role[role.upper()] for role in roles] or sorted(same)
    contacts = known.contacts if known else ()
    return Member(id_, name or (known.display_name if known else id_), kind, tuple(sorted(chosen)), contacts)


def _make_client(settings: ClientConfig, pki: Path, folder: Path, id_: str, role: Role) -> tuple[Role, bytes, Path]:
    """Make a workload's key, certificate and client file, in a folder of its role."""
    place = folder / role.word
    try:
        certificates.issue(pki, id_, role.word)
    except FileExistsError as error:
        raise Rejected(
            Reason.CONFIG,
            str(error),
            hint=f"{id_} may be a member already (`exchange member list`); the directory was not changed",
        ) from error
    except (ValueError, OSError) as error:
        raise Rejected(Reason.CONFIG, str(error)) from error
    key = make_key(place / "signing.seed")
    path = client_toml(
        place / "client.toml", settings.exchange, id_, role, settings.addresses[0], pki, settings.genesis
    )
    return role, key.public_key, path


@member.group()
def key() -> None:
    """Signing keys of a member."""


def _key_command(name: str, state: State, what: str) -> None:
    @key.command(name=name, help=what)
    @click.argument("id_", metavar="ID")
    @click.option("--role", type=_ROLES, required=True)
    @click.option("--public-key", "text", required=True, metavar="HEX")
    @client_option
    @to_sign_option
    @json_option
    def command(id_: str, role: str, text: str, client_path: Path, to_sign: Path | None, *, as_json: bool) -> None:
        body = Key(id_, Role[role.upper()], public_key(text), state)
        _change(id_, client_path, body, to_sign, as_json=as_json)


_key_command("add", State.ACTIVE, "Register a signing key.")
_key_command("revoke", State.ENDED, "Revoke a signing key, for good.")


def _suspension_command(name: str, state: State, text: str) -> None:
    @member.command(name=name, help=text)
    @click.argument("id_", metavar="ID")
    @click.option("--role", type=_ROLES, help="Only the workloads of this role. Default: the whole member.")
    @click.option("--reason", required=True, help="For the directory; every member can read it.")
    @client_option
    @to_sign_option
    @json_option
    def command(
        id_: str, role: str | None, reason: str, client_path: Path, to_sign: Path | None, *, as_json: bool
    ) -> None:
        number = Role[role.upper()].value if role else 0
        _change(id_, client_path, Suspension(id_, number, state, reason), to_sign, as_json=as_json)


_suspension_command("suspend", State.ACTIVE, "Suspend a member: it may not publish, and gets leaves only.")
_suspension_command("lift", State.ENDED, "Lift a suspension.")


def _membership_command(name: str, state: State, text: str) -> None:
    @member.command(name=name, help=text)
    @click.argument("id_", metavar="ID")
    @click.argument("community")
    @client_option
    @to_sign_option
    @json_option
    def command(id_: str, community: str, client_path: Path, to_sign: Path | None, *, as_json: bool) -> None:
        origin = origin_of(ClientConfig.load(client_path).exchange, community)
        _change(id_, client_path, Membership(id_, origin, state), to_sign, as_json=as_json)


_membership_command("join", State.ACTIVE, "Let a member into a community.")
_membership_command("leave", State.ENDED, "Take a member out of a community.")


@member.command(name="list")
@client_option
@json_option
def list_(client_path: Path, *, as_json: bool) -> None:
    """List the members of the exchange, as the verified directory has them."""

    async def job(client: ExchangeClient, _: ClientConfig) -> list[dict[str, object]]:
        directory = await client.directory()
        return [
            {
                "member": m.id,
                "name": m.display_name,
                "class": m.member_class.name.lower(),
                "roles": sorted(role.word for role in m.roles),
                "communities": sorted(m.communities),
                "suspended": m.suspended,
                "live_keys": sum(not k.revoked for k in m.keys.values()),
            }
            for m in directory.members.values()
        ]

    for row in with_client(client_path, job):
        state = "  SUSPENDED" if row["suspended"] else ""
        emit(row, as_json=as_json, lines=[f"{row['member']:<24} {row['class']:<10} {row['name']}{state}"])
