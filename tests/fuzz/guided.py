"""One target under atheris, in a process of its own: inputs that reach new branches of our code are changed further.

A finding is saved once for each place that it comes from, and the run goes on. Started by `tests/fuzz/run.py`. Of all
targets, only the module of this one is imported: to instrument the code of all takes longer than many a run.
"""

from __future__ import annotations

import faulthandler
import sys
import traceback
import warnings
from collections.abc import Callable, Sequence
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from random import Random

import atheris

#: How long starting and ending may take, beside the fuzzing itself; whoever takes longer says where it hangs.
SPARE_S = 90
if __name__ == "__main__":
    faulthandler.dump_traceback_later(int(sys.argv[3]) + SPARE_S, exit=True)

INSTRUMENTED = ["exchange", "exchange_client", "tomllib", "PIL"]
with atheris.instrument_imports(include=INSTRUMENTED):
    from tests.fuzz.mutation import changer
    from tests.fuzz.target import Target

#: What one input may take before it is a finding of its own.
LONGEST_S, MOST_MB = 20, 2_048
SAVED = "SAVED"


def place(error: BaseException) -> str:
    """Return where an error comes from: its type and the last line of ours."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if "exchange" in frame.filename or "fuzz" in frame.filename]
    last = (ours or frames)[-1]
    return f"{type(error).__name__}-{Path(last.filename).stem}-{last.lineno}"


def reader(target: Target, corpus: Path) -> Callable[[bytes], None]:
    """Return what atheris calls with each input."""
    seen: set[str] = set()

    def read(data: bytes) -> None:
        try:
            target.accepts(data)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001 - whatever is not a refusal is a finding
            where = place(error)
            if where in seen:
                return
            seen.add(where)
            corpus.mkdir(parents=True, exist_ok=True)
            path = corpus / f"{where}-{sha256(data).hexdigest()[:8]}"
            path.write_bytes(data)
            print(SAVED, path, flush=True)
            traceback.print_exception(error)

    return read


def target_in(module: str, name: str) -> Target:
    """Import a module of targets, with all that they read by; return the one of this name."""
    with atheris.instrument_imports(include=INSTRUMENTED):
        targets: Sequence[Target] = import_module(module).TARGETS
    (found,) = (target for target in targets if target.name == name)
    return found


def main(target: Target, seconds: str, work: Path, corpus: Path, flags: Sequence[str] = ()) -> None:
    """Fuzz one target for so long at most: new inputs go to ``work/grown``, findings to the corpus."""
    change = changer(message=target.message)
    warnings.simplefilter("ignore")

    def mutated(data: bytes, most: int, seed: int) -> bytes:
        random = Random(seed)
        if random.random() < 0.5:
            return bytes(atheris.Mutate(data, most))
        return change(data, random, target.seeds)[:most]

    arguments = [
        f"-max_total_time={seconds}",
        f"-timeout={LONGEST_S}",
        f"-rss_limit_mb={MOST_MB}",
        f"-max_len={target.max_bytes}",
        f"-artifact_prefix={corpus}/",
        "-print_final_stats=1",
        *flags,
        str(work / "grown"),
        str(work / "given"),
    ]
    atheris.Setup([target.name, *arguments], reader(target, corpus), custom_mutator=mutated)
    atheris.Fuzz()


if __name__ == "__main__":
    main(target_in(*sys.argv[1:3]), sys.argv[3], Path(sys.argv[4]), Path(sys.argv[5]), sys.argv[6:])
