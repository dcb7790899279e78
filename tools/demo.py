"""The robot's main job on this machine: `make demo`.

Fetches the model, starts the real dialogue_node with it, and plays config/demo.yaml over the real
topics: a task is published, the robot greets and asks for the wristband, a scan matches, the robot
says what it brings, and questions are answered. On a terminal it goes on as a chat until Ctrl-C;
elsewhere it plays the script and exits 0.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from ament_index_python.packages import get_package_prefix

from medbot_llm.domain import MedbotError
from medbot_llm.models.store import ModelState
from medbot_llm.models.store import ModelStore

DEFAULT_MODEL = "qwen2.5-coder-1.5b-instruct-q4_k_m"
STOP_TIMEOUT_S = 15
LOG_LINES_SHOWN = 15


def main() -> int:
    """Run the demo; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--model",
        default=os.environ.get("MODEL") or DEFAULT_MODEL,
        help="id of `medbot models list`, or a GGUF file (default: %(default)s)",
    )
    parser.add_argument("--no-chat", action="store_true", help="exit after the script")
    options = parser.parse_args()
    try:
        status = fetch(options.model)
    except MedbotError as error:
        print(f"demo: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return status or run(options.model, chat=not options.no_chat)


def fetch(model: str) -> int:
    """Fetch a model of the catalog that is not here yet; returns the exit status."""
    store = ModelStore()
    if model not in store.catalog:
        store.resolve(model)  # raises where there is no such file either
        return 0
    if store.state(model) is ModelState.READY:
        return 0
    return subprocess.call([sys.executable, "-m", "medbot_llm.apps.cli", "models", "pull", model])


def run(model: str, *, chat: bool) -> int:
    """Start the node, play the conversation, stop the node."""
    prefix = Path(get_package_prefix("medbot_llm"))
    executables = prefix / "lib" / "medbot_llm"
    script = prefix / "share" / "medbot_llm" / "config" / "demo.yaml"
    if "ROS_DOMAIN_ID" not in os.environ:
        # A robot, or another demo, on this machine must not answer for this one.
        os.environ["ROS_DOMAIN_ID"] = str(os.getpid() % 100 + 1)
    with tempfile.NamedTemporaryFile("w+", prefix="medbot-demo-", suffix=".log") as log:
        print(
            f"dialogue_node starts with {model} on ROS_DOMAIN_ID {os.environ['ROS_DOMAIN_ID']}; "
            f"its log: {log.name}",
            flush=True,
        )
        started = time.monotonic()
        node = subprocess.Popen(
            [
                executables / "dialogue_node",
                "--ros-args",
                "--params-file",
                prefix / "share" / "medbot_llm" / "config" / "cpu-2core.yaml",
                "-p",
                "autostart:=true",
                "-p",
                "require_model:=true",
                "-p",
                f"model:={model}",
            ],
            stdout=log,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            status = subprocess.call(
                [executables / "console", "--script", script, *([] if chat else ["--no-chat"])]
            )
        except KeyboardInterrupt:
            status = 0
        if status == -signal.SIGPIPE:  # whoever read this reads no more
            stop(node)
            return 0
        if node.poll() is not None or status not in (0, 130):
            log.seek(0)
            print(
                "the end of dialogue_node's log:",
                *log.read().splitlines()[-LOG_LINES_SHOWN:],
                sep="\n  ",
                file=sys.stderr,
            )
        stop(node)
        print(f"the demo ran for {time.monotonic() - started:.0f} s", flush=True)
        return 0 if status in (0, 130) else status


def stop(node: subprocess.Popen[bytes]) -> None:
    """Let the node end its reply; end it by force if it does not."""
    if node.poll() is None:
        node.send_signal(signal.SIGINT)
    try:
        node.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        node.kill()


if __name__ == "__main__":
    sys.exit(main())
