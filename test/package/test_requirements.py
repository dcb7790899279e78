"""The pinned lists in requirements/ agree with each other, with setup.py and with what is
installed, and nothing under the GPL comes into the robot's process."""

from __future__ import annotations

import ast
import importlib.metadata
import os
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PYTHONS = ("3.10", "3.11", "3.12", "3.13", "3.14")
TOGETHER = ("core", "voice", "dev", "colcon", "ros-jazzy")
"""Lists that one set-up installs into one environment."""
IN_PROCESS_ESPEAK = {"dlinfo", "espeakng-loader", "kokoro-onnx", "phonemizer", "piper-tts"}
BUILT_APART = {"llama-cpp-python"}

Pins = dict[str, set[str]]


def pins_of(repository: Path, names: tuple[str, ...], python: str) -> Pins:
    """Package -> its pinned specifiers in these lists, for one version of Python."""
    pins: Pins = {}
    for name in names:
        for line in (repository / "requirements" / f"{name}.txt").read_text().splitlines():
            text = line.split("#")[0].strip()
            if not text:
                continue
            requirement = Requirement(text)
            marker = requirement.marker
            environment = {"python_version": python, "python_full_version": f"{python}.1"}
            if marker is None or marker.evaluate(environment):
                pins.setdefault(canonicalize_name(requirement.name), set()).add(
                    str(requirement.specifier)
                )
    return pins


@pytest.fixture(scope="module")
def ranges(repository: Path) -> dict[str, list[Requirement]]:
    """What setup.py asks for: "" its install_requires, and each extra."""
    call = next(
        node.value
        for node in ast.parse((repository / "setup.py").read_text()).body
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)
    )
    values = {keyword.arg: keyword.value for keyword in call.keywords}
    extras = ast.literal_eval(values["extras_require"])
    lists = {"": ast.literal_eval(values["install_requires"]), **extras}
    return {name: [Requirement(text) for text in lines] for name, lines in lists.items()}


@pytest.mark.parametrize("python", PYTHONS)
def test_each_package_is_pinned_to_one_version(repository, python):
    pins = pins_of(repository, TOGETHER, python)
    assert {name: found for name, found in pins.items() if len(found) > 1} == {}
    assert all(found.startswith("==") for one in pins.values() for found in one)


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize(
    ("extra", "lists"),
    [("", ("core",)), ("openai", ("core",)), ("voice", ("core", "voice"))],
)
def test_pins_lie_in_the_ranges_of_setup_py(repository, ranges, extra, lists, python):
    pins = pins_of(repository, lists, python)
    for wanted in ranges[extra]:
        if wanted.marker is None or wanted.marker.evaluate({"python_version": python}):
            (pin,) = pins[canonicalize_name(wanted.name)]
            assert wanted.specifier.contains(pin.removeprefix("==")), wanted


def test_voice_is_no_part_of_the_core(repository, ranges):
    core = set(pins_of(repository, ("core",), "3.11"))
    voice = set(pins_of(repository, ("voice",), "3.11"))
    assert core.isdisjoint(voice)
    assert not {canonicalize_name(one.name) for one in ranges[""]} & voice


def test_nothing_that_loads_espeak_into_the_process_is_listed(repository):
    listed = set(pins_of(repository, TOGETHER, "3.11"))
    assert listed.isdisjoint(IN_PROCESS_ESPEAK)


def test_packages_of_the_robot_are_pinned_down_to_the_last_and_none_is_gpl(repository):
    if os.environ.get("MEDBOT_VOICE") == "0":
        pytest.skip("voice is left out here (MEDBOT_VOICE=0)")
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    pins = pins_of(repository, ("core", "voice"), python)
    for name in pins:
        metadata = importlib.metadata.metadata(name)
        said = [metadata.get("License-Expression"), metadata.get("License")]
        said += [one for one in metadata.get_all("Classifier", []) if one.startswith("License")]
        first_lines = " ".join(one.splitlines()[0] for one in said if one)
        assert "GPL" not in first_lines and "GNU" not in first_lines, (name, first_lines)
        for text in metadata.get_all("Requires-Dist", []):
            needed = Requirement(text)
            if needed.marker is None or needed.marker.evaluate({"extra": ""}):
                assert canonicalize_name(needed.name) in set(pins) | BUILT_APART, (name, text)


def test_installed_packages_agree_with_each_other():
    if not os.environ.get("MEDBOT_ROS_WHEELS"):
        pytest.skip("beside an installed ROS 2 there are packages that are not ours to choose")
    result = subprocess.run(
        [sys.executable, "-m", "pip", "--disable-pip-version-check", "check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout


def test_recogniser_needs_none_of_the_libraries_that_its_decoder_of_files_brings():
    """Whisper works without PyAV, whose wheel loads x264 and x265 (GPL): docs/dependencies.md."""
    pytest.importorskip("faster_whisper")
    code = (
        "import sys, types\n"
        "sys.modules['av'] = types.ModuleType('av')\n"
        "import faster_whisper\n"
        "import faster_whisper.vad, faster_whisper.feature_extractor, faster_whisper.tokenizer\n"
        "maps = open('/proc/self/maps').read()\n"
        "assert not [one for one in ('x264', 'x265', 'avcodec', 'espeak') if one in maps]\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
