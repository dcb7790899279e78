"""What a step is, and how one that is done is known.

A step that has succeeded leaves a stamp: a file with the hash of everything that it depends on. As
long as the hash stays the same the step is skipped. A stamp lies in the folder that the step
fills, so that deleting the folder is enough to have it filled again. A step that was killed
halfway leaves an `.unfinished` mark there
instead: what it had written can't be trusted then, and the plan starts that folder anew.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from .errors import SetupError

Say = Callable[[str], None]
"""Takes one line for whoever is watching."""


def digest(*parts: str | Path) -> str:
    """One hash of texts and of files' contents, in their order; a missing file counts as such."""
    total = hashlib.sha256()
    for part in parts:
        if isinstance(part, Path):
            content = part.read_bytes() if part.is_file() else b"(missing)"
        else:
            content = part.encode()
        total.update(hashlib.sha256(content).digest())
    return total.hexdigest()


@dataclass(frozen=True)
class Step:
    """One step of the set-up.

    Attributes:
        name: What it makes, in a few words.
        why: What for.
        stamp: The file that says that it is done.
        inputs: Gives the hash of everything it depends on.
        action: Does it; may be called again on what an earlier call has left.
    """

    name: str
    why: str
    stamp: Path
    inputs: Callable[[], str]
    action: Callable[[], None]

    @property
    def unfinished(self) -> Path:
        return self.stamp.with_name(self.stamp.name + ".unfinished")

    def is_done(self) -> bool:
        """Whether nothing that it depends on has changed since it succeeded."""
        try:
            return self.stamp.read_text() == self.inputs()
        except OSError:
            return False

    def run(self) -> None:
        """Do it and leave the stamp. Raises SetupError."""
        self.stamp.unlink(missing_ok=True)
        self.stamp.parent.mkdir(parents=True, exist_ok=True)
        self.unfinished.touch()
        try:
            self.action()
        except SetupError:
            # It ended by itself, in order: what it has written so far can be built on.
            self.unfinished.unlink(missing_ok=True)
            raise
        self.stamp.parent.mkdir(parents=True, exist_ok=True)
        temporary = self.stamp.with_name(self.stamp.name + ".new")
        temporary.write_text(self.inputs())
        temporary.replace(self.stamp)
        self.unfinished.unlink(missing_ok=True)


def run_steps(steps: Iterable[Step], say: Say) -> list[str]:
    """Do those steps that are not done, in order; the names of those done now.

    Raises SetupError at the first that fails.
    """
    done = []
    for step in steps:
        if step.is_done():
            continue
        say(f"{step.name}: {step.why}")
        started_s = time.monotonic()
        step.run()
        say(f"{step.name}: done in {time.monotonic() - started_s:.0f} s")
        done.append(step.name)
    return done
