"""The `medbot` command: one sub-command for each app.

An app is a module of this room; how one is made, and what the exit status means, says
apps/command_line.py.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from medbot_llm.apps.command_line import Command
from medbot_llm.apps.command_line import CommandLine

_DISTRIBUTION = "medbot_llm"

COMMANDS = {
    "models": Command(
        "medbot_llm.apps.models", "list, pull and verify the models that the robot runs"
    ),
    "formulary": Command(
        "medbot_llm.apps.formulary", "look up medicines, check and import the hospital's own data"
    ),
    "triage": Command(
        "medbot_llm.apps.triage", "tell how urgently a human is needed for what was said"
    ),
    "verify": Command(
        "medbot_llm.apps.verify", "tell whether a sentence may be said about a delivery"
    ),
    "interactions": Command(
        "medbot_llm.apps.interactions",
        "tell which medicines, allergies and foods do not go together",
    ),
    "simulate": Command("medbot_llm.apps.simulate", "play whole conversations without ROS"),
    "chat": Command("medbot_llm.apps.chat", "type with the robot, without ROS"),
    "voice": Command("medbot_llm.apps.voice", "talk with the robot aloud, without ROS"),
    "listen": Command("medbot_llm.apps.listen", "write down what is said in sound files"),
    "say": Command("medbot_llm.apps.say", "read a text aloud, or into a sound file"),
}

_EPILOG = """\
examples:
  medbot models list                          what can be had, and what is here
  medbot models pull smollm2-135m-instruct    fetch a model, or go on with a fetch that was cut
  medbot formulary show amlodipine            what the robot knows about a medicine
  medbot triage said.jsonl                    JSON Lines in, JSON Lines out, as all the checks
  medbot simulate conversations.jsonl         whole conversations, without ROS
  medbot chat --model ward-v1                 type with it, on a model of your own
  medbot voice --engine llama_cpp             talk with it: microphone and loudspeaker
  medbot listen question.wav                  what is said in a sound file
  medbot say "早餐後吃一顆。" -o answer.wav   what the robot's voice makes of a text
  medbot models --help                        all about one command

Models are kept in ~/.cache/medbot, or in $MEDBOT_HOME.
"""


def version() -> str:
    """Give the version of this package, however it was installed; "unknown" if nothing says it."""
    from importlib import metadata

    try:
        return metadata.version(_DISTRIBUTION)
    except metadata.PackageNotFoundError:
        pass
    # A colcon installation has no Python metadata, but its package.xml; so has a source tree.
    prefixes = os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep)
    places = [Path(prefix, "share", _DISTRIBUTION) for prefix in prefixes if prefix]
    for place in (*places, Path(__file__).parents[2]):
        try:
            text = (place / "package.xml").read_text(encoding="utf-8")
        except OSError:
            continue
        found = re.search(r"<version>\s*([^<\s]+)\s*</version>", text)
        if found:
            return found[1]
    return "unknown"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line, by default that of this process, and give its exit status."""
    line = CommandLine(
        program="medbot",
        description="The voice of a medicine-delivery robot: its models and its tools.",
        epilog=_EPILOG,
        commands=COMMANDS,
        version=version,
    )
    return line.main(argv)


if __name__ == "__main__":
    sys.exit(main())
