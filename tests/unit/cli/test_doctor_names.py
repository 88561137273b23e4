"""What `exchange doctor` looks at: what is named, and what the environment names only where nothing is."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from exchange.cli.doctor import doctor

BOTH = {"EXCHANGE_CONFIG": "none-of-env.toml", "EXCHANGE_CLIENT": "none-of-env.toml"}


@pytest.mark.parametrize(
    ("arguments", "environment", "looked_at"),
    [
        ([], BOTH, {"configuration": "none-of-env", "client file": "none-of-env"}),
        ([], {"EXCHANGE_CLIENT": "none-of-env.toml"}, {"client file": "none-of-env"}),
        (["--config", "none.toml"], BOTH, {"configuration": "none.toml"}),
        (["--client", "none.toml"], BOTH, {"client file": "none.toml"}),
        (["--config", "none.toml", "--client", "none.toml"], {}, {"configuration": "none", "client file": "none"}),
    ],
)
def test_what_is_named_is_looked_at(
    arguments: list[str], environment: dict[str, str], looked_at: dict[str, str]
) -> None:
    done = CliRunner().invoke(doctor, [*arguments, "--json"], env=dict.fromkeys(BOTH) | environment)
    assert done.exit_code == 1
    found = {row["what"]: row["detail"] for row in map(json.loads, done.stdout.splitlines())}
    assert found.keys() == looked_at.keys()
    assert all(name in found[what] for what, name in looked_at.items())


def test_with_nothing_named_it_says_what_to_name() -> None:
    done = CliRunner().invoke(doctor, [], env=dict.fromkeys(BOTH))
    assert done.exit_code == 2
    assert "say what to look at" in done.stderr
