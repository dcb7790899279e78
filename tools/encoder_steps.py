"""The steps that both trainings share: prepare, fine-tune, finish."""

from __future__ import annotations

import argparse
import hashlib
import subprocess
import sys
from collections.abc import Callable
from collections.abc import Iterable
from pathlib import Path

DIGEST_FILE = "data.sha256"


class DataChangedError(ValueError):
    """The data are not those that were prepared."""


def step_from(description: str) -> str | None:
    """The step that the command line names; None: all of them."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("step", nargs="?", choices=("prepare", "finish"), help="default: all")
    step: str | None = parser.parse_args().step
    return step


def run(
    step: str | None, folder: Path, prepare: Callable[[], None], finish: Callable[[], int]
) -> int:
    """Do one step or all; returns the exit status."""
    if step != "finish":
        prepare()
        print(f"prepared: {folder}", flush=True)
    if step == "prepare":
        return 0
    if step is None:
        fit = Path(__file__).with_name("encoder_fit.py")
        if subprocess.run([sys.executable, str(fit), str(folder)], check=False).returncode:
            return 1
    return finish()


def data_digest(files: Iterable[Path]) -> str:
    """SHA-256 of the training data: names and contents of the files, in order."""
    digest = hashlib.sha256()
    for file in sorted(files):
        content = file.read_bytes()
        digest.update(f"{file.name} {len(content)}\n".encode() + content)
    return digest.hexdigest()


def note_data(folder: Path, digest: str) -> None:
    """Write down which data a folder was prepared from."""
    (folder / DIGEST_FILE).write_text(digest, encoding="utf-8")


def check_data(folder: Path, digest: str) -> None:
    """Check that a folder was prepared from these data.

    Raises:
        DataChangedError: It was not.
        OSError: Nothing is prepared.
    """
    if (folder / DIGEST_FILE).read_text(encoding="utf-8") != digest:
        raise DataChangedError(f"the data have changed since {folder} was prepared")
