"""package.xml, setup.py and the package say the same of themselves."""

from __future__ import annotations

import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

import medbot_llm

ROSDEP_KEYS_OF_PIP_NAMES = {
    "jinja2": "python3-jinja2",
    "numpy": "python3-numpy",
    "pyyaml": "python3-yaml",
    "tqdm": "python3-tqdm",
}
WITHOUT_ROSDEP_KEY = {"onnxruntime", "opencc", "pypinyin", "rapidfuzz", "tokenizers"}


@pytest.fixture(scope="module")
def manifest(repository: Path) -> ElementTree.Element:
    return ElementTree.parse(repository / "package.xml").getroot()


@pytest.fixture(scope="module")
def setup_says(repository: Path) -> dict[str, str]:
    """What setup.py itself answers, each field asked for on the command line as ROS tools do."""
    fields = ("name", "version", "license", "maintainer", "maintainer-email", "description")
    result = subprocess.run(
        [sys.executable, "setup.py", "--quiet", *(f"--{field}" for field in fields)],
        cwd=repository,
        capture_output=True,
        text=True,
        check=True,
    )
    return dict(zip(fields, result.stdout.splitlines()[-len(fields) :], strict=True))


def text_of(manifest: ElementTree.Element, tag: str) -> str:
    return manifest.findtext(tag, "").strip()


def dependencies(manifest: ElementTree.Element) -> set[str]:
    return {(e.text or "").strip() for e in manifest if e.tag.endswith("depend")}


def test_every_place_names_the_same_version(manifest, setup_says):
    assert re.fullmatch(r"\d+\.\d+\.\d+", medbot_llm.__version__)
    assert text_of(manifest, "version") == medbot_llm.__version__
    assert setup_says["version"] == medbot_llm.__version__


@pytest.mark.parametrize("field", ["name", "license", "maintainer", "description"])
def test_both_halves_of_the_package_agree(manifest, setup_says, field):
    assert text_of(manifest, field) == setup_says[field]


def test_both_halves_name_the_same_address(manifest, setup_says):
    maintainer = manifest.find("maintainer")
    assert maintainer is not None
    assert maintainer.get("email") == setup_says["maintainer-email"]


def test_manifest_declares_a_message_package_built_by_ament_cmake(manifest):
    assert manifest.get("format") == "3"
    assert manifest.findtext("export/build_type") == "ament_cmake"
    assert text_of(manifest, "member_of_group") == "rosidl_interface_packages"
    assert {"rosidl_default_generators", "rosidl_default_runtime"} <= dependencies(manifest)


def test_manifest_names_what_messages_nodes_and_launch_files_need(manifest, repository):
    used = {"launch", "launch_ros"}
    for message in (repository / "msg").glob("*.msg"):
        used |= set(re.findall(r"^(\w+)/\w+ ", message.read_text(), re.MULTILINE))
    for module in (repository / "medbot_llm" / "nodes").glob("*.py"):
        used |= set(
            re.findall(r"^(?:from|import) (rclpy|\w+_msgs|std_srvs)\b", module.read_text(), re.M)
        )
    # rclpy brings the messages of its own parameters along.
    assert used - {"rcl_interfaces"} <= dependencies(manifest)


def test_manifest_names_what_pip_would_install(manifest, repository):
    required = required_by_pip(repository)
    assert required == set(ROSDEP_KEYS_OF_PIP_NAMES) | WITHOUT_ROSDEP_KEY
    assert set(ROSDEP_KEYS_OF_PIP_NAMES.values()) <= dependencies(manifest)


def test_pip_half_requires_no_ros(repository):
    ros = re.compile(r"^(ros[-_]|rclpy|ament|colcon|.*[-_]msgs$)")
    assert not [name for name in required_by_pip(repository) if ros.match(name)]


def test_licence_is_apache(manifest, repository):
    licence = (repository / "LICENSE").read_text()
    assert "Apache License" in licence and "Version 2.0, January 2004" in licence
    assert text_of(manifest, "license") == "Apache-2.0"


def required_by_pip(repository: Path) -> set[str]:
    source = (repository / "setup.py").read_text()
    listed = re.search(r"install_requires=\[(.*?)\]", source, re.DOTALL)
    assert listed is not None
    return {name.lower() for name in re.findall(r'"([A-Za-z0-9_.-]+?)[<>=~!]', listed.group(1))}
