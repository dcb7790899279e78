"""What `colcon build` installs, as the set-up has built it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tools.bootstrap.layout import find_layout


@pytest.fixture(scope="module")
def prefix() -> Path:
    layout = find_layout()
    if not layout.prefix.is_dir():
        pytest.skip("the package is not built with colcon here: run `make setup`")
    return layout.prefix


@pytest.fixture(scope="module")
def python_folder(prefix: Path) -> Path:
    return next(prefix.glob("**/*-packages/medbot_llm"))


def test_every_message_imports(prefix, repository):
    pytest.importorskip("rclpy")
    names = sorted(path.stem for path in (repository / "msg").glob("*.msg"))
    code = f"from medbot_llm.msg import {', '.join(names)}; import medbot_llm.domain"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=prefix)
    assert done.returncode == 0, done.stderr


def test_message_makes_the_trip_to_its_c_type_and_back():
    pytest.importorskip("rclpy")
    from rclpy.serialization import deserialize_message
    from rclpy.serialization import serialize_message

    from medbot_llm.msg import DeliveryTask
    from medbot_llm.msg import Medication

    task = DeliveryTask(task_id="t-1", medications=[Medication(name="脈優錠", high_alert=True)])
    assert deserialize_message(serialize_message(task), DeliveryTask) == task


def test_each_executable_runs_the_main_of_a_node(prefix, repository):
    folder = prefix / "lib" / "medbot_llm"
    names = {path.name for path in folder.iterdir()}
    assert {"dialogue_node", "console"} <= names
    for name in names:
        script = folder / name
        assert os.access(script, os.X_OK)
        shebang, *_ = script.read_text().splitlines()
        interpreter = Path(shebang.removeprefix("#!"))
        assert interpreter.exists()
        module = re.search(
            r"^from medbot_llm\.nodes\.(\w+) import main$", script.read_text(), re.M
        )
        assert module is not None and module.group(1) == name
        assert (repository / "medbot_llm" / "nodes" / f"{name}.py").is_file()


def test_sources_and_data_are_installed_beside_the_messages(python_folder, repository):
    for folder, target in (("medbot_llm", "."), ("resource", "resource")):
        for source in (repository / folder).rglob("*"):
            if source.is_file() and source.suffix != ".pyc":
                installed = python_folder / target / source.relative_to(repository / folder)
                assert installed.read_bytes() == source.read_bytes()
    assert (python_folder / "msg" / "__init__.py").is_file()


def test_launch_files_and_parameters_are_shared(prefix, repository):
    share = prefix / "share" / "medbot_llm"
    for folder in ("launch", "config"):
        sources = [
            p for p in (repository / folder).rglob("*") if p.is_file() and p.suffix != ".pyc"
        ]
        for source in sources:
            assert (share / source.relative_to(repository)).is_file()


def test_package_is_in_the_index_that_ros2_reads(prefix):
    index = prefix / "share" / "ament_index" / "resource_index"
    assert (index / "packages" / "medbot_llm").is_file()
    interfaces = (index / "rosidl_interfaces" / "medbot_llm").read_text()
    assert "msg/DeliveryTask.msg" in interfaces
