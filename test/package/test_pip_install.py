"""What `pip install .` gives on a machine without ROS."""

from __future__ import annotations

import configparser
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

SOURCES = ("LICENSE", "README.md", "medbot_llm", "pyproject.toml", "resource", "setup.py")


@pytest.fixture(scope="module")
def wheel(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package's wheel, built from a copy: a build leaves folders beside setup.py."""
    source = tmp_path_factory.mktemp("source")
    subprocess.run(
        [
            "cp",
            "-r",
            *(repository / name for name in SOURCES if (repository / name).exists()),
            source,
        ],
        check=True,
    )
    target = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "--quiet"),
            *("--no-deps", "--no-build-isolation", "--wheel-dir", target, source),
        ],
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        check=True,
    )
    return next(target.glob("medbot_llm-*.whl"))


@pytest.fixture(scope="module")
def names(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


@pytest.fixture(scope="module")
def unpacked(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("unpacked")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(target)
    return target


def run_python(code: str, unpacked: Path) -> str:
    """Run code with the unpacked wheel first on the path; without ROS, whose modules are
    blocked."""
    blocked = (
        "import sys\n"
        "class NoRos:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        top = name.split('.')[0]\n"
        "        if top == 'rclpy' or top.endswith('_msgs') or name == 'medbot_llm.msg':\n"
        "            raise ModuleNotFoundError(f'blocked: {name}', name=name)\n"
        "sys.meta_path.insert(0, NoRos())\n"
    )
    result = subprocess.run(
        [
            sys.executable,
            "-c",
            f"import sys; sys.path.insert(0, {str(unpacked)!r})\n{blocked}{code}",
        ],
        capture_output=True,
        text=True,
        cwd=unpacked,
        check=False,
        env={"PATH": "/usr/bin:/bin"},
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_wheel_has_every_module_and_data_file(names, repository):
    expected = {
        f"medbot_llm/{path.relative_to(repository / 'medbot_llm')}"
        for path in (repository / "medbot_llm").rglob("*.py")
    } | {
        f"medbot_llm/resource/{path.relative_to(repository / 'resource')}"
        for path in (repository / "resource").rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    assert expected <= names


def test_wheel_has_nothing_but_the_package(names):
    assert {name.split("/")[0].split("-")[0] for name in names} == {"medbot_llm"}
    assert not [name for name in names if "__pycache__" in name or name.endswith(".pyc")]


def test_wheel_installs_the_medbot_command(wheel):
    with zipfile.ZipFile(wheel) as archive:
        name = next(n for n in archive.namelist() if n.endswith("entry_points.txt"))
        points = configparser.ConfigParser()
        points.read_string(archive.read(name).decode())
    assert points["console_scripts"]["medbot"] == "medbot_llm.apps.cli:main"


def test_every_module_outside_nodes_imports_without_ros(unpacked):
    code = (
        "import importlib, pkgutil, medbot_llm\n"
        "medbot_llm.__path__ = medbot_llm.__path__[:1]\n"
        "for module in pkgutil.walk_packages(medbot_llm.__path__, 'medbot_llm.'):\n"
        "    if not module.name.startswith('medbot_llm.nodes'):\n"
        "        importlib.import_module(module.name); print(module.name)\n"
    )
    imported = run_python(code, unpacked).split()
    assert {"medbot_llm.domain", "medbot_llm.apps.cli", "medbot_llm.resource"} <= set(imported)


def test_data_files_are_found_in_the_installed_package(unpacked, repository):
    code = (
        "from importlib.resources import files\n"
        "folder = files('medbot_llm.resource')\n"
        "print(folder); print(*sorted(p.name for p in folder.iterdir() if p.name[0] != '_'))\n"
    )
    folder, listed = run_python(code, unpacked).splitlines()
    assert Path(folder) == unpacked / "medbot_llm" / "resource"
    expected = {p.name for p in (repository / "resource").iterdir() if not p.name.startswith("_")}
    assert expected == set(listed.split())


def test_data_folder_does_not_hide_the_standard_library(repository):
    """`python -m` in the repository puts its root, and so `resource/`, first on the path."""
    result = subprocess.run(
        [sys.executable, "-c", "import resource; print(resource.getrusage(0).ru_maxrss > 0)"],
        cwd=repository,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.stdout.strip() == "True", result.stderr
