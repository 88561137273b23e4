"""What a member's `renew_command` may be: asks an authority for a new certificate and puts it into the files.

The two files are written one after the other with a pause between, as a careless tool does.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from datetime import timedelta
from pathlib import Path

from tests.e2e.certificates import forge


def main() -> int:
    """Issue for the URI, for so many seconds, and count the runs."""
    parser = argparse.ArgumentParser()
    parser.add_argument("pki", type=Path)
    parser.add_argument("uri")
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--fail-first", type=Path, help="A file: while it is not there, make it and fail.")
    options = parser.parse_args()
    if options.fail_first and not options.fail_first.exists():
        options.fail_first.touch()
        sys.exit("the authority is away")
    made = forge(options.pki, [options.uri], begin=timedelta(seconds=-1), end=timedelta(seconds=options.seconds))
    for source, name in ((made.certificate, "EXCHANGE_CERTIFICATE"), (made.key, "EXCHANGE_KEY")):
        Path(os.environ[name]).write_bytes(source.read_bytes())
        time.sleep(0.1)
    return 0


if __name__ == "__main__":
    sys.exit(main())
