"""How the model's threads get on with other programs on the same cores: `make bench-sharing`.

Generates with one process that has the cores to itself, then with two at once, for each way in
which OpenMP's threads may wait. The bench of the node (bench.py) runs with the cores to itself.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time

from medbot_llm.domain import ChatMessage
from medbot_llm.domain import ChatRole
from medbot_llm.engines.base import CancelToken
from medbot_llm.engines.base import Sampling
from medbot_llm.engines.llama_cpp import LlamaCppEngine
from medbot_llm.engines.llama_cpp import LlamaCppOptions
from medbot_llm.models.store import ModelStore

MODEL = "qwen2.5-coder-0.5b-instruct-q4_k_m"
TOKENS = 60
SETTINGS: tuple[tuple[str, dict[str, str], int], ...] = (
    ("2 threads, GNU's default", {}, 2),
    ("2 threads, GOMP_SPINCOUNT=300", {"GOMP_SPINCOUNT": "300"}, 2),
    ("2 threads, OMP_WAIT_POLICY=passive", {"OMP_WAIT_POLICY": "passive"}, 2),
    ("1 thread", {}, 1),
)


def generate(model: str, threads: int) -> None:
    """Print first token (s) and tokens per second of one reply."""
    engine = LlamaCppEngine(LlamaCppOptions(model=model, n_threads=threads))
    engine.load(lambda share: None)
    messages = [
        ChatMessage(ChatRole.SYSTEM, "你是醫院送藥機器人。" * 30),
        ChatMessage(ChatRole.USER, "請說一個很長的故事"),
    ]
    started = time.monotonic()
    times = [
        time.monotonic()
        for _ in engine.stream(messages, Sampling(seed=1, max_tokens=TOKENS), CancelToken())
    ]
    engine.close()
    print(times[0] - started, (len(times) - 1) / (times[-1] - times[0]))


def main() -> None:
    """Measure every setting, alone and two at once."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--generate", nargs=2, metavar=("MODEL", "THREADS"), help="inner use")
    options = parser.parse_args()
    if options.generate:
        generate(options.generate[0], int(options.generate[1]))
        return
    model = str(ModelStore().ensure(MODEL).main)
    print(f"{'tokens per second (first token)':<38} {'alone':>16} {'two at once, each':>24}")
    for name, variables, threads in SETTINGS:
        cells = []
        for processes in (1, 2):
            command = [sys.executable, __file__, "--generate", model, str(threads)]
            running = [
                subprocess.Popen(command, env=os.environ | variables, stdout=subprocess.PIPE)
                for _ in range(processes)
            ]
            lines = [process.communicate()[0].split() for process in running]
            first = sum(float(line[0]) for line in lines) / processes
            speed = sum(float(line[1]) for line in lines) / processes
            cells.append(f"{speed:6.1f} ({first:.2f} s)")
        print(f"{name:<38} {cells[0]:>16} {cells[1]:>24}", flush=True)


if __name__ == "__main__":
    main()
