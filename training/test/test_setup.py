"""What `make setup-training` leaves: the pinned packages, the robot's own package, the command."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
from pathlib import Path

from packaging.requirements import Requirement

import medbot_llm
import medbot_training

COMMAND = Path(sys.executable).with_name("medbot-train")
HEAVY = ("torch", "transformers", "trl", "peft", "datasets", "llama_cpp")


def test_what_is_installed_is_what_is_pinned(repository):
    lines = (repository / "requirements" / "training.txt").read_text().splitlines()
    for line in lines:
        text = line.split("#")[0].strip()
        if text:
            pin = Requirement(text)
            version = importlib.metadata.version(pin.name).removesuffix("+cpu")
            assert pin.specifier.contains(version), (text, version)


def test_packages_agree_with_each_other():
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "check"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout


def test_robots_package_is_that_of_this_repository(repository):
    assert Path(medbot_llm.__file__).is_relative_to(repository)
    assert Path(medbot_training.__file__).is_relative_to(repository)


def test_help_imports_nothing_heavy():
    code = (
        "import sys\nfrom medbot_training.cli import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        f"print('loaded', [name for name in {HEAVY} if name in sys.modules])\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout.splitlines()[-1] == "loaded []", result.stdout + result.stderr


def test_command_is_there():
    result = subprocess.run([COMMAND, "--version"], capture_output=True, text=True, check=True)
    assert result.stdout == f"medbot-train {medbot_training.__version__}\n"
