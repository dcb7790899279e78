"""The command as the launchers of test_many_processes.py start it, with a report of each process.

In the folder of MEDBOT_RANK_REPORTS it leaves `N.pid` and, when training ends, `N.weights`, the
sha256 of the weights of process N. The process of MEDBOT_FAILING_RANK fails in its second step.
"""

from __future__ import annotations

import hashlib
import os
import sys
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from medbot_llm.domain import MedbotError
from medbot_training import cli
from medbot_training.stages.runner import quiet_libraries

RANK = os.environ["RANK"]


class _Report(TrainerCallback):  # type: ignore[misc]
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step == 2 and os.environ.get("MEDBOT_FAILING_RANK") == RANK:
            raise MedbotError(f"process {RANK} has a bad day")

    def on_train_end(self, args: Any, state: Any, control: Any, model: Any, **_: Any) -> None:
        digest = hashlib.sha256()
        for name, tensor in sorted(model.state_dict().items()):
            if hasattr(tensor, "full_tensor"):  # Of FSDP2 a process holds a share.
                tensor = tensor.full_tensor()
            digest.update(name.encode() + tensor.detach().contiguous().numpy().tobytes())
        (self._folder / f"{RANK}.weights").write_text(digest.hexdigest())


def main() -> int:
    folder = Path(os.environ["MEDBOT_RANK_REPORTS"])
    (folder / f"{RANK}.pid").write_text(str(os.getpid()))
    quiet_libraries()
    from medbot_training.stages import trainers

    ours = trainers._callbacks
    trainers._callbacks = lambda recipe: [*ours(recipe), _Report(folder)]
    return cli.main()


if __name__ == "__main__":
    sys.exit(main())
