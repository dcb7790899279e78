"""`make setup-training` makes its own environment, takes the CPU's PyTorch where there is no GPU,
and keeps out of the robot's."""

from __future__ import annotations

from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tools.bootstrap import training
from tools.bootstrap.errors import SetupError
from tools.bootstrap.layout import Layout
from tools.bootstrap.training import TrainingPlan


@pytest.fixture
def plan(tmp_path: Path, repository: Path) -> TrainingPlan:
    (tmp_path / "requirements").symlink_to(repository / "requirements")
    return TrainingPlan(
        Layout(tmp_path, "jazzy", sourced=True, home=tmp_path / "home"), Path("/no/python")
    )


@pytest.fixture
def calls(plan: TrainingPlan, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """What pip would be called with; every call fails that asks for the CPU build."""
    said: list[list[str]] = []

    def pip(*arguments: str | Path, log: str, what: str) -> None:
        said.append([str(argument) for argument in arguments])
        if any("+cpu" in argument for argument in said[-1]):
            raise SetupError("no such version")

    monkeypatch.setattr(plan, "_pip", pip)
    return said


def pins(file: Path) -> dict[str, str]:
    lines = [line.split("#")[0].strip() for line in file.read_text().splitlines()]
    found = [Requirement(line) for line in lines if line]
    here = [one for one in found if one.marker is None or one.marker.evaluate()]
    return {canonicalize_name(one.name): str(one.specifier) for one in here}


def test_environment_is_its_own_even_beside_an_installed_ros(plan):
    assert plan.layout.venv.name == ".venv-training"
    assert not plan.layout.sourced
    assert all(step.stamp.is_relative_to(plan.layout.venv) for step in plan.steps)


def test_without_a_gpu_the_build_for_the_cpu_is_looked_for_first(plan, calls, monkeypatch):
    monkeypatch.setattr(training, "_NVIDIA", (Path("/no/such/device"),))
    plan._install_torch()
    assert [call[0] for call in calls] == ["torch==2.13.0+cpu"] * 2 + ["torch==2.13.0"]


def test_with_a_gpu_the_plain_build_is_taken(plan, calls, monkeypatch, tmp_path):
    monkeypatch.setattr(training, "_NVIDIA", (tmp_path,))
    plan._install_torch()
    assert calls == [["torch==2.13.0"]]


def test_deepspeed_comes_after_torch_which_it_is_built_with(plan, calls):
    plan._install_packages()
    listed = pins(plan.layout.logs / "requirements.txt")
    assert "torch" not in listed and "deepspeed" not in listed and "trl" in listed
    assert calls[-1] == ["--no-build-isolation", "deepspeed==0.19.8"]


def test_what_was_half_installed_is_made_anew(plan, monkeypatch):
    plan.layout.venv.mkdir()
    plan.packages.stamp.parent.mkdir()
    plan.packages.unfinished.touch()
    left = plan.layout.venv / "half"
    left.touch()
    monkeypatch.setattr(training, "run_steps", lambda steps, say: [])
    plan.run(lambda line: None)
    assert not left.exists()


def test_converters_that_were_half_fetched_leave_the_packages(plan, monkeypatch):
    """Fetching them anew must not cost PyTorch: they lie outside of the environment."""
    plan.converters.unfinished.parent.mkdir(parents=True)
    plan.converters.unfinished.touch()
    kept = plan.layout.venv / "kept"
    kept.touch()
    monkeypatch.setattr(training, "run_steps", lambda steps, say: [])
    plan.run(lambda line: None)
    assert kept.exists()


def test_deleted_converters_are_fetched_again(plan, monkeypatch):
    folder = training.llama_wheel.converters_folder(plan.layout)
    monkeypatch.setattr(
        training.llama_wheel,
        "keep_converters",
        lambda layout, python: folder.mkdir(parents=True, exist_ok=True),
    )
    plan.layout.venv.mkdir()
    plan.converters.run()
    assert plan.converters.is_done()
    folder.rmdir()
    assert not plan.converters.is_done()


def test_an_old_python_is_told_what_to_do(plan, monkeypatch):
    monkeypatch.setattr(training, "OLDEST_PYTHON", (99, 0))
    with pytest.raises(SetupError, match="PYTHON="):
        training.make_training_plan(plan.layout)


def test_pins_agree_with_those_of_the_robot(repository):
    """One exception: datasets wants an older fsspec than huggingface_hub takes elsewhere."""
    folder = repository / "requirements"
    here = pins(folder / "training.txt")
    for name in ("core", "dev"):
        there = pins(folder / f"{name}.txt")
        differing = {one for one in here.keys() & there.keys() if here[one] != there[one]}
        assert differing <= {"fsspec"}
