"""Runs the steps of a pipeline: skips what is done, goes on with what was cut, says how it is.

A step is skipped when all that it was made of is as it was and what it wrote is still there. It
goes on from its last checkpoint when it was cut and nothing has changed since. Otherwise it
starts anew, and so do, by the same rule, the steps that take over what it has made.
"""

from __future__ import annotations

import json
import shutil
import signal
import sys
import time
from collections.abc import Mapping
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from medbot_training import run_record
from medbot_training.estimate.advice import kernel_kills
from medbot_training.estimate.advice import killed_advice
from medbot_training.estimate.forecast import seconds_left
from medbot_training.estimate.forecast import stage_seconds
from medbot_training.pipeline.inputs import check_before
from medbot_training.pipeline.inputs import made_of
from medbot_training.pipeline.plan import Step
from medbot_training.pipeline.plan import make_plan
from medbot_training.pipeline.state import FINISHED
from medbot_training.pipeline.state import RUNNING
from medbot_training.pipeline.state import PipelineError
from medbot_training.pipeline.state import State
from medbot_training.pipeline.state import changes
from medbot_training.pipeline.state import key_of
from medbot_training.pipeline.worker import Ended
from medbot_training.pipeline.worker import Worker
from medbot_training.recipes import TINY_MODEL
from medbot_training.stages.runner import METRICS
from medbot_training.stages.runner import own_folder

_REPORT = ".problem"

DONE = "done"
GO_ON = "go on"
ANEW = "anew"


class Pipeline:
    """The pipeline of a recipe in a folder.

    Args:
        recipe: The recipe, a YAML file.
        output_dir: The pipeline's folder.
        verbose: How often -v was given.

    Raises:
        MedbotError: The recipe is wrong, the folder is of another one, or something that a stage
            will need is missing.
    """

    def __init__(self, recipe: Path, output_dir: Path, verbose: int = 0) -> None:
        self._recipe = recipe
        self._folder = output_dir
        self._steps = make_plan(recipe, output_dir)
        check_before(self._steps)
        self._state = State.read(output_dir, recipe)
        self._verbose = verbose
        self._gpu = _use_gpu(self._steps)
        self._ran: set[str] = set()

    def run(self, anew_from: str | None = None) -> None:
        """Do all steps that are not done.

        Args:
            anew_from: This step and all after it are done again, whether or not they must be.

        Raises:
            MedbotError: A step has failed; the ones before it stay done.
            KeyboardInterrupt: It was stopped; what to do to go on has been said.
        """
        self._check_name(anew_from)
        with own_folder(self._folder):
            # Another process may have written it before the lock was ours.
            self._state = State.read(self._folder, self._recipe)
            self._forget_from(anew_from)
            self._state.write()
            handler = signal.signal(signal.SIGTERM, _interrupt)
            worker = Worker(forks=not self._gpu, verbose=self._verbose)
            try:
                self._make_tiny_model(worker)
                for step in self._steps:
                    self._do(step, worker)
            finally:
                worker.close()
                signal.signal(signal.SIGTERM, handler)
        print("\n".join(self.table()))

    def plan(self, anew_from: str | None = None) -> list[str]:
        """Say what `run` would do and why, a line a step; changes nothing."""
        self._check_name(anew_from)
        self._forget_from(anew_from)
        lines = []
        runs: Step | None = None
        for number, step in enumerate(self._steps, 1):
            if runs is not None:
                what, why = ANEW, f"after {runs.name}"
                if self._state.stages.get(step.name) is None:
                    why = ""
            elif not self._has_base(step):
                what, why = ANEW, ""
            else:
                what, why = self._standing(step, made_of(step, self._state))
            runs = runs or (step if what != DONE else None)
            words = {DONE: "done", GO_ON: "goes on", ANEW: "runs"}[what]
            lines.append(
                f"{self._place(number)} {step.name:<8} {words}{f' ({why})' if why else ''}"
            )
            if what != DONE:
                lines.append(f"      medbot-train {' '.join(step.words())}")
        return lines

    def table(self) -> list[str]:
        """What each step has done, a line a step under a line of headings."""
        rows = [("stage", "steps", "first → last", "seconds", "written", "sha256")]
        for step in self._steps:
            entry = self._state.stages.get(step.name, {})
            figure = ""
            if entry.get("figure"):
                figure = f"{entry['figure']} {entry['first']:.4g} → {entry['last']:.4g}"
            seconds = f"{entry.get('seconds', 0.0):.1f}"
            rows.append(
                (
                    step.name,
                    str(entry.get("steps") or ""),
                    figure,
                    seconds if step.name in self._ran else f"({seconds})",
                    f"{step.made} ({_size(entry.get('bytes', 0))})",
                    str(entry.get("sha256", ""))[:12],
                )
            )
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        lines = []
        for row in rows:
            cells = [
                cell.rjust(width) if column in (1, 3) else cell.ljust(width)
                for column, (cell, width) in enumerate(zip(row, widths, strict=True))
            ]
            lines.append("  ".join(cells).rstrip())
        if len(self._ran) < len(self._steps):
            lines.append("(seconds in brackets: done by an earlier call)")
        return lines

    # --- one step --------------------------------------------------------------------------------

    def _do(self, step: Step, worker: Worker) -> None:
        number = self._steps.index(step) + 1
        place = f"{self._place(number)} {step.name}"
        now = made_of(step, self._state)
        what, why = self._standing(step, now)
        if what == DONE:
            _say(f"{place}: done already")
            return
        _say(f"{place}{f' ({why})' if why else ''}{self._time_left(number)}")
        before = self._state.stages.get(step.name, {})
        if what == ANEW:
            self._clear(step)
        entry: dict[str, Any] = {
            "status": RUNNING,
            "key": key_of(now),
            "made_of": now,
            "started": run_record.now(),
            "estimated": stage_seconds(step.recipe, self._gpu) if step.recipe else None,
            "seconds": before.get("seconds", 0.0) if what == GO_ON else 0.0,
        }
        self._state.stages[step.name] = entry
        self._state.write()
        self._ran.add(step.name)
        kills = kernel_kills()
        started = time.monotonic()
        try:
            worker.start()
            started = time.monotonic()
            ended = worker.words(step.words(), self._folder / _REPORT)
        except KeyboardInterrupt:
            worker.interrupt()
            self._stopped(place)
            raise
        finally:
            entry["seconds"] = round(entry["seconds"] + time.monotonic() - started, 1)
            self._state.write()
        if ended.status == 130:
            self._stopped(place)
            raise KeyboardInterrupt
        if ended.status != 0:
            by_kernel = kills is not None and (kernel_kills() or 0) > kills
            if ended.status < 0:
                # Who was killed could not end the line of its bar.
                _say("")
            raise PipelineError(self._failure(step, number, ended, by_kernel))
        entry.update(self._outcome(step), status=FINISHED, ended=run_record.now())
        self._state.write()

    def _clear(self, step: Step) -> None:
        """Take away what a step wrote before, so that a kill at any moment leaves no mixture."""
        if self._state.stages.pop(step.name, None) is not None:
            self._state.write()
        if step.folder.exists():
            shutil.rmtree(step.folder)

    def _standing(self, step: Step, now: Mapping[str, Any]) -> tuple[str, str]:
        """What is to be done about a step (DONE, GO_ON or ANEW), and why in a few words."""
        entry = self._state.stages.get(step.name)
        if entry is None:
            return ANEW, ""
        if "key" not in entry:
            return ANEW, "asked for"
        if entry["key"] != key_of(now):
            return ANEW, f"changed since: {changes(entry['made_of'], now)}"
        if entry["status"] != FINISHED:
            return GO_ON, "it was cut"
        try:
            sha256 = self._state.folder_sha256(step.made)
        except PipelineError:
            return ANEW, "what it wrote is gone"
        if sha256 != entry["sha256"]:
            return ANEW, "what it wrote was changed since"
        return DONE, ""

    def _outcome(self, step: Step) -> dict[str, Any]:
        """Figures of a step that has ended, for the table and for next time."""
        found: dict[str, Any] = {
            "sha256": self._state.folder_sha256(step.made),
            "bytes": sum(p.stat().st_size for p in step.made.rglob("*") if p.is_file()),
            "written": str(step.made.relative_to(self._folder)),
        }
        if step.recipe is None:
            return found
        record = run_record.read(step.folder) or {}
        found["steps"] = record.get("steps")
        name = "reward" if step.name == "rl" else "loss"
        lines = (step.folder / METRICS).read_text(encoding="utf-8").splitlines()
        values = [line[name] for line in map(json.loads, lines) if name in line]
        if values:
            found.update(figure=name, first=values[0], last=values[-1])
        return found

    def _failure(self, step: Step, number: int, ended: Ended, by_kernel: bool) -> str:
        if ended.problem:
            reason = ended.problem
        elif ended.status == -signal.SIGKILL:
            reason = killed_advice(step.recipe, is_sure=by_kernel)
        elif ended.status < 0:
            reason = f"it was ended by {signal.Signals(-ended.status).name}"
        else:
            reason = f"it ended with status {ended.status}, see above"
        done = [other.name for other in self._steps[: number - 1]]
        kept = f"; {', '.join(done)} {'stay' if len(done) > 1 else 'stays'} done" if done else ""
        return f"{step.name} (stage {number} of {len(self._steps)}): {reason}{kept}"

    # --- around the steps ------------------------------------------------------------------------

    def _make_tiny_model(self, worker: Worker) -> None:
        """Make the tiny base, if the recipe asks for it, with a tokenizer from all the data."""
        recipes = [step.recipe for step in self._steps if step.recipe is not None]
        tiny = [r for r in recipes if r.own["model_name_or_path"] == TINY_MODEL]
        folder = self._folder / TINY_MODEL
        if not tiny or (folder / "config.json").exists():
            return
        for unfinished in self._folder.glob(f".{TINY_MODEL}.*"):
            shutil.rmtree(unfinished, ignore_errors=True)
        files = list(dict.fromkeys(f for recipe in recipes for f in recipe.files("train_file")))
        seed = int(tiny[0].trainer.get("seed", 42))
        ended = worker.tiny_model(folder, files, seed, self._folder / _REPORT)
        if ended.status == 130:
            raise KeyboardInterrupt
        if ended.status != 0:
            raise PipelineError(f"{TINY_MODEL} can't be made: {ended.problem or 'see above'}")

    def _has_base(self, step: Step) -> bool:
        """Whether the base of a first stage is there to be looked at."""
        recipe = step.recipe
        if recipe is None or recipe.own["model_name_or_path"] != TINY_MODEL:
            return True
        return (self._folder / TINY_MODEL / "config.json").exists()

    def _forget_from(self, name: str | None) -> None:
        """Take the steps from this one on for undone, those that were cut excepted."""
        if name is None:
            return
        names = [step.name for step in self._steps]
        for other in names[names.index(name) :]:
            entry = self._state.stages.get(other)
            if entry is not None and entry["status"] == FINISHED:
                entry.pop("key", None)

    def _check_name(self, name: str | None) -> None:
        names = [step.name for step in self._steps]
        if name is not None and name not in names:
            raise PipelineError(
                f"--from must be one of this recipe's stages ({', '.join(names)}), not '{name}'"
            )

    def _time_left(self, number: int) -> str:
        seconds = seconds_left(self._steps[number - 1 :], self._state.stages, self._gpu)
        return f": about {_duration(seconds)} left in all" if seconds is not None else ""

    def _place(self, number: int) -> str:
        return f"[{number}/{len(self._steps)}]"

    def _stopped(self, place: str) -> None:
        _say(
            f"{place}: stopped; go on with: medbot-train pipeline {self._recipe}"
            f" --output_dir {self._folder}"
        )


def _use_gpu(steps: Sequence[Step]) -> bool:
    """Whether a stage may use a GPU, found out without loading PyTorch."""
    recipes = [step.recipe for step in steps if step.recipe is not None]
    if all(recipe.own["device"] == "cpu" for recipe in recipes):
        return False
    return any(Path("/dev", name).exists() for name in ("nvidiactl", "kfd", "dxg"))


def _interrupt(*_: Any) -> None:
    raise KeyboardInterrupt


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _size(count: int) -> str:
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count} B"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    if seconds < 90 * 60:
        return f"{round(seconds / 60)} min"
    return f"{seconds / 3600:.1f} h"
