"""What earlier releases wrote, brought back into a folder as it was left: only certificates are new, and ports."""

from __future__ import annotations

import json
import re
import shutil
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from exchange.ops.certificates import authority_files, create_authority, issue, issued_files
from exchange_client import ClientConfig
from tests.e2e.exchange_fixture import free_port

HERE = Path(__file__).parent
#: In answers, what is of the moment at which they were given.
_OF_THE_MOMENT = {"hub_time_ms", "overdue"}
#: Every release whose files are kept. All of them are opened, for ever.
RELEASES = tuple(sorted(path.parent.name for path in HERE.glob("*/facts.json")))


@dataclass
class Earlier:
    """One release's files, in a folder of the test's own."""

    release: str
    folder: Path
    facts: dict[str, Any] = field(init=False)
    wire: list[dict[str, Any]] = field(init=False)

    def __post_init__(self) -> None:
        """Bring everything back."""
        kept = HERE / self.release
        self.facts = json.loads((kept / "facts.json").read_text())
        self.wire = json.loads((kept / "wire.json").read_text())
        with tarfile.open(kept / "files.tar.xz") as archive:
            # Python 3.11 learned of filters late, and 3.12 warns where there is none.
            filtered: dict[str, Any] = {"filter": "tar"} if hasattr(tarfile, "tar_filter") else {}
            archive.extractall(self.folder, **filtered)
        self._certify()
        self._move()

    def _certify(self) -> None:
        """Make an authority and everyone's certificates, where the files say that they lie."""
        pki = self.folder / "hub" / "pki"
        create_authority(pki, self.facts["exchange"])
        issue(pki, "hub", "server", kind="server", hosts=("localhost", "127.0.0.1"))
        for path in self.folder.rglob("client.toml"):
            config = ClientConfig.load(path)
            issue(pki, config.member, config.role)
            files = issued_files(pki, config.member, config.role)
            pairs = (files.certificate, config.certificate), (files.key, config.key)
            for made, named in (*pairs, (authority_files(pki).certificate, config.authority)):
                if made.resolve() != named.resolve():
                    named.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy(made, named)

    def _move(self) -> None:
        """Give the hub ports that are free here."""
        hub = self.config.read_text()
        ports = {port: str(free_port()) for port in re.findall(r"127\.0\.0\.1:(\d+)", hub)}
        for path in (self.config, *self.folder.rglob("client.toml")):
            path.write_text(re.sub(r"(127\.0\.0\.1:)(\d+)", lambda found: found[1] + ports[found[2]], path.read_text()))

    @property
    def config(self) -> Path:
        """The hub's file."""
        return self.folder / "hub" / "hub.toml"

    @property
    def origin(self) -> str:
        """The community's."""
        return f"{self.facts['exchange']}/uk"

    def client(self, who: str) -> Path:
        """Return a workload's file."""
        return self.folder / who / "client.toml"

    @cached_property
    def _protos(self) -> DescriptorPool:
        pool = DescriptorPool()
        for file in FileDescriptorSet.FromString((HERE / self.release / "protos.binpb").read_bytes()).file:
            pool.Add(file)
        return pool

    def read(self, rpc: str, answers: Iterable[bytes]) -> Message:
        """Return the answers to a call, joined, as this release reads them: what it does not know is not there."""
        service, _, name = rpc.lstrip("/").partition("/")
        method = self._protos.FindServiceByName(service).methods_by_name[name]
        found: Message = GetMessageClass(method.output_type)()
        for each in answers:
            found.MergeFromString(each)
        found.DiscardUnknownFields()
        return _lasting(found)


def _lasting(message: Message) -> Message:
    """Clear, in a message and those in it, what is of the moment."""
    for part, value in message.ListFields():
        if part.name in _OF_THE_MOMENT:
            message.ClearField(part.name)
        elif part.type == FieldDescriptor.TYPE_MESSAGE:
            for each in [value] if isinstance(value, Message) else value:
                _lasting(each)
    return message
