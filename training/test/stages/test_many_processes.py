"""Two processes train as one does, spread as they were asked to be, and end together.

On processors, by gloo. What only GPUs can show (NCCL, several machines) is shown nowhere here.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from medbot_training.recipes import RecipeError
from medbot_training.recipes import load_recipe
from medbot_training.stages import processes
from medbot_training.stages.processes import ProcessesError
from medbot_training.stages.processes import asked_spread
from medbot_training.stages.processes import check_processes

from .conftest import SMOKE
from .conftest import RunStage

TRAINING = Path(__file__).parents[2]
CONFIGS = TRAINING / "configs"
REPORT = Path(__file__).with_name("rank_report.py")
BIN = Path(sys.executable).parent

# All weights, and a learning rate at which a wrong gradient shows within six steps.
_SHARED: dict[str, Any] = {
    "max_steps": 6,
    "logging_steps": 1,
    "use_peft": False,
    "packing": False,
    "validation_file": None,
    "lr_scheduler_type": "linear",
}


def _words(fields: dict[str, Any]) -> list[str]:
    return [word for name, value in fields.items() for word in (f"--{name}", _word(value))]


def _word(value: object) -> str:
    """A value as a word of the command line."""
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    return str(value)


class Launch:
    """Starts a stage in two processes by torchrun, with a report of each."""

    def __init__(self, tiny: Path, folder: Path) -> None:
        self.tiny = tiny
        self.output = folder / "many"
        self.reports = folder / "reports"
        self.reports.mkdir()

    def command(self, stage: str, fields: dict[str, Any]) -> list[str]:
        torchrun = [str(BIN / "torchrun"), "--standalone", "--nproc_per_node", "2", str(REPORT)]
        half = {"per_device_train_batch_size": 2, "model_name_or_path": self.tiny}
        options = {**_SHARED, **half, "output_dir": self.output, **fields}
        return [*torchrun, stage, "--config", str(SMOKE), *_words(options)]

    def environment(self, **variables: str) -> dict[str, str]:
        return {
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "MEDBOT_RANK_REPORTS": str(self.reports),
            **variables,
        }

    def start(self, stage: str = "sft", **fields: Any) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self.command(stage, fields),
            env=self.environment(),
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
        )

    def run(self, stage: str = "sft", **fields: Any) -> dict[str, Any]:
        done = subprocess.run(
            self.command(stage, fields), env=self.environment(), capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        record = json.loads((self.output / "run.json").read_text())
        assert isinstance(record, dict)
        return record


@pytest.fixture
def launch(tiny: Path, tmp_path: Path) -> Launch:
    return Launch(tiny, tmp_path)


def _curve(folder: Path, figure: str = "loss") -> list[float]:
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [line[figure] for line in map(json.loads, lines) if figure in line]


def _same_weights(one: Path, other: Path) -> None:
    weights, others = (load_file(next(p.glob("final/*.safetensors"))) for p in (one, other))
    assert weights.keys() == others.keys()
    for name, tensor in weights.items():
        assert torch.allclose(tensor, others[name], atol=1e-4), name


def test_ddp_gives_the_losses_and_weights_of_one_process(
    launch: Launch, run_stage: RunStage, tmp_path: Path
) -> None:
    run_stage("sft", **_SHARED)
    record = launch.run()
    assert record["parallel"] == {"spread": "DDP", "processes": 2}
    assert _curve(launch.output) == pytest.approx(_curve(tmp_path / "sft"), abs=1e-4)
    _same_weights(launch.output, tmp_path / "sft")
    hashes = [(launch.reports / f"{rank}.weights").read_text() for rank in (0, 1)]
    assert hashes[0] == hashes[1]


_SHARDED = {
    "ZeRO-2": ("DeepSpeed ZeRO-2", {"deepspeed": CONFIGS / "zero2.json"}),
    "ZeRO-3": ("DeepSpeed ZeRO-3", {"deepspeed": CONFIGS / "zero3.json"}),
    "FSDP2": ("FSDP2", {"fsdp": True, "fsdp_config": CONFIGS / "fsdp2.json"}),
}


def _skip_without_compiler(kind: str) -> None:
    # DeepSpeed builds its exchange between processors at the first start.
    if kind.startswith("ZeRO") and shutil.which("c++") is None:
        pytest.skip("DeepSpeed on processors needs a C++ compiler: apt-get install g++")


@pytest.mark.slow
@pytest.mark.parametrize("kind", _SHARDED)
@pytest.mark.parametrize("peft", [False, True], ids=["all weights", "LoRA"])
def test_sharded_gives_the_losses_and_weights_of_one_process(
    kind: str, peft: bool, launch: Launch, run_stage: RunStage, tmp_path: Path
) -> None:
    _skip_without_compiler(kind)
    name, fields = _SHARDED[kind]
    run_stage("sft", **{**_SHARED, "use_peft": peft})
    record = launch.run(**fields, use_peft=peft)
    assert record["parallel"] == {"spread": name, "processes": 2}
    assert _curve(launch.output) == pytest.approx(_curve(tmp_path / "sft"), abs=1e-4)
    _same_weights(launch.output, tmp_path / "sft")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["DDP", "ZeRO-3", "FSDP2"])
def test_killed_process_ends_all_and_the_same_command_goes_on(
    kind: str, launch: Launch, run_stage: RunStage, tmp_path: Path
) -> None:
    _skip_without_compiler(kind)
    fields = {**_SHARDED.get(kind, ("", {}))[1], "max_steps": 30, "save_steps": 5}
    run_stage("sft", **{**_SHARED, "max_steps": 30})
    process = launch.start(**fields)
    deadline = time.monotonic() + 300
    while not list(launch.output.glob("checkpoint-*/trainer_state.json")):
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.005)
    os.kill(int((launch.reports / "1.pid").read_text()), signal.SIGKILL)
    _, errors = process.communicate(timeout=120)
    assert process.returncode != 0
    assert len(_own_lines(errors)) <= 1, errors
    assert not (launch.output / "final").exists(), "it was too quick to be killed"
    record = launch.run(**fields)
    assert record["resumed"] and record["steps"] == 30
    assert _curve(launch.output) == pytest.approx(_curve(tmp_path / "sft"), abs=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["dpo", "reward"])
def test_other_stages_give_the_losses_of_one_process(
    stage: str, launch: Launch, run_stage: RunStage, tmp_path: Path
) -> None:
    fields = {"max_steps": 6, "logging_steps": 1, "lr_scheduler_type": "linear"}
    run_stage(stage, **fields)
    command = launch.command(stage, {**fields, "use_peft": True})
    at = command.index("--packing")  # Only sft has it.
    del command[at : at + 2]
    done = subprocess.run(command, env=launch.environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert _curve(launch.output) == pytest.approx(_curve(tmp_path / stage), abs=1e-4)


@pytest.mark.slow
def test_grpo_learns_alike_in_both_processes(launch: Launch) -> None:
    fields = {
        "reward_funcs": "medbot_training.testing:even_reward",
        "max_completion_length": 8,
        "num_generations": 4,
        "use_peft": False,
        "max_steps": 4,
        "output_dir": launch.output,
        "model_name_or_path": launch.tiny,
        "per_device_train_batch_size": 2,
    }
    command = launch.command("rl", {})
    done = subprocess.run(
        [*command[: command.index("rl") + 3], *_words(fields)],
        env=launch.environment(),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    record = json.loads((launch.output / "run.json").read_text())
    assert record["parallel"] == {"spread": "DDP", "processes": 2} and record["steps"] == 4
    hashes = [(launch.reports / f"{rank}.weights").read_text() for rank in (0, 1)]
    assert hashes[0] == hashes[1]
    before, after = (
        load_file(p / "model.safetensors") for p in (launch.tiny, launch.output / "final")
    )
    assert any(not torch.equal(before[name], after[name]) for name in before)


@pytest.mark.slow
def test_one_process_that_fails_ends_all_with_one_line(launch: Launch) -> None:
    done = subprocess.run(
        launch.command("sft", {}),
        env=launch.environment(MEDBOT_FAILING_RANK="1"),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode != 0
    assert _own_lines(done.stderr) == ["medbot-train: process 1 has a bad day"]
    assert not (launch.output / "final").exists()


@pytest.mark.slow
def test_what_all_processes_find_wrong_is_told_once(launch: Launch) -> None:
    done = subprocess.run(
        launch.command("sft", {"learning_rate": "fast"}),
        env=launch.environment(),
        capture_output=True,
        text=True,
    )
    assert done.returncode != 0
    (line,) = _own_lines(done.stderr)
    assert "learning_rate must be a number" in line


def _own_lines(errors: str) -> list[str]:
    # Another process may have left its progress bar in the line.
    return re.findall(r"medbot-train: [^\r\n]*", errors)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["ddp", "fsdp2", "zero2", "zero3"])
def test_accelerate_launch_with_the_shipped_settings(
    kind: str, launch: Launch, run_stage: RunStage, tmp_path: Path
) -> None:
    _skip_without_compiler("ZeRO" if kind.startswith("zero") else "")
    run_stage("sft", **_SHARED)
    command = launch.command("sft", {})
    started = [str(BIN / "accelerate"), "launch", "--config_file"]
    started += [str(CONFIGS / f"accelerate_{kind}.yaml"), "--num_processes", "2"]
    started += ["--main_process_port", "0"]
    done = subprocess.run(
        [*started, *command[command.index(str(REPORT)) :]],
        env=launch.environment(),
        cwd=TRAINING.parent,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    record = json.loads((launch.output / "run.json").read_text())
    asked = {"ddp": "DDP", "fsdp2": "FSDP2", "zero2": "DeepSpeed ZeRO-2"}
    assert record["parallel"]["spread"] == asked.get(kind, "DeepSpeed ZeRO-3")
    assert _curve(launch.output) == pytest.approx(_curve(tmp_path / "sft"), abs=1e-4)


@pytest.mark.slow
def test_deepspeed_launcher(launch: Launch, run_stage: RunStage, tmp_path: Path) -> None:
    _skip_without_compiler("ZeRO")
    run_stage("sft", **_SHARED)
    command = launch.command("sft", {"deepspeed": CONFIGS / "zero2.json"})
    started = [str(BIN / "deepspeed"), "--num_gpus", "2", "--master_port", "29641"]
    done = subprocess.run(
        [*started, *command[command.index(str(REPORT)) :]],
        env=launch.environment(DS_ACCELERATOR="cpu", LOCAL_SIZE="2"),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    record = json.loads((launch.output / "run.json").read_text())
    assert record["parallel"] == {"spread": "DeepSpeed ZeRO-2", "processes": 2}
    assert _curve(launch.output) == pytest.approx(_curve(tmp_path / "sft"), abs=1e-4)


def test_slurm_script_is_a_script() -> None:
    script = CONFIGS / "slurm.sbatch"
    assert subprocess.run(["bash", "-n", str(script)]).returncode == 0
    assert re.search(r"^#SBATCH --nodes=\d+$", script.read_text(), re.MULTILINE)


@pytest.mark.slow
def test_slurm_script_trains_on_one_node(launch: Launch, tmp_path: Path) -> None:
    """The script itself, with a stand-in for srun that runs its command here."""
    tools = tmp_path / "bin"
    tools.mkdir()
    _write_program(
        tools / "srun", 'while [ "${1#-}" != "$1" ]; do shift; done\nSLURM_NODEID=0 exec "$@"\n'
    )
    _write_program(tools / "scontrol", "echo 127.0.0.1\n")
    command = launch.command("sft", {})
    done = subprocess.run(
        ["bash", str(CONFIGS / "slurm.sbatch"), *command[command.index("sft") :]],
        env=launch.environment(
            PATH=f"{tools}:{os.environ['PATH']}",
            SLURM_JOB_NODELIST="here",
            SLURM_JOB_ID="7",
            SLURM_NNODES="1",
            SLURM_GPUS_ON_NODE="2",
            MEDBOT_TRAINING_BIN=str(BIN),
            MASTER_PORT="29655",
        ),
        cwd=TRAINING.parent,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    record = json.loads((launch.output / "run.json").read_text())
    assert record["parallel"] == {"spread": "DDP", "processes": 2}


def _write_program(path: Path, body: str) -> None:
    path.write_text(f"#!/bin/sh\n{body}")
    path.chmod(0o755)


# --- what is refused, and what is seen -----------------------------------------------------------


def _recipe(stage: str = "sft", **fields: Any) -> Any:
    return load_recipe(stage, SMOKE, fields)


@pytest.fixture
def two(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if there were two processes."""
    for name, value in {"WORLD_SIZE": "2", "RANK": "0", "LOCAL_RANK": "0"}.items():
        monkeypatch.setenv(name, value)


@pytest.mark.usefixtures("two")
def test_a_model_that_is_not_spread_as_asked_is_refused() -> None:
    from medbot_training.stages.processes import check_spread

    recipe = _recipe(deepspeed=str(CONFIGS / "zero2.json"))
    with pytest.raises(ProcessesError, match=r"asks for DeepSpeed ZeRO-2, but .* one process"):
        check_spread(recipe, torch.nn.Linear(1, 1))


@pytest.mark.usefixtures("two")
def test_who_asks_for_what(monkeypatch: pytest.MonkeyPatch) -> None:
    assert asked_spread(_recipe()).name == "DDP"
    assert asked_spread(_recipe(fsdp=True)).name == "FSDP2"
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    assert asked_spread(_recipe()).name == "FSDP2"
    monkeypatch.setenv("FSDP_VERSION", "1")
    with pytest.raises(ProcessesError, match="FSDP 1"):
        asked_spread(_recipe())
    monkeypatch.delenv("ACCELERATE_USE_FSDP")
    monkeypatch.delenv("FSDP_VERSION")
    monkeypatch.setenv("ACCELERATE_USE_DEEPSPEED", "true")
    monkeypatch.setenv("ACCELERATE_DEEPSPEED_ZERO_STAGE", "3")
    assert asked_spread(_recipe()).name == "DeepSpeed ZeRO-3"
    with pytest.raises(ProcessesError, match="exclude each other"):
        asked_spread(_recipe(fsdp=True))
    monkeypatch.setenv("WORLD_SIZE", "1")
    monkeypatch.delenv("ACCELERATE_USE_DEEPSPEED")
    assert asked_spread(_recipe()).name == "one process"
    with pytest.raises(ProcessesError, match="needs several processes"):
        asked_spread(_recipe(fsdp=True))


@pytest.mark.usefixtures("two")
def test_what_cannot_be_done_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ProcessesError, match="ppo runs in one process"):
        check_processes(_recipe("rl", algorithm="ppo"))
    with pytest.raises(ProcessesError, match="ZeRO-3 can't share out weights in 4 or 8 bits"):
        check_processes(_recipe(load_in_4bit=True, deepspeed=str(CONFIGS / "zero3.json")))
    (tmp_path / "broken.json").write_text('{"zero_optimization": {"stage": 4}}')
    with pytest.raises(ProcessesError, match="0 to 3, not 4"):
        check_processes(_recipe(deepspeed=str(tmp_path / "broken.json")))
    (tmp_path / "broken.json").write_text("{")
    with pytest.raises(ProcessesError, match=r"broken\.json can't be read"):
        check_processes(_recipe(deepspeed=str(tmp_path / "broken.json")))
    with pytest.raises(RecipeError, match=r"fsdp_config: there is no file nowhere\.json"):
        _recipe(fsdp=True, fsdp_config="nowhere.json")
    monkeypatch.setattr(processes.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ProcessesError, match=r"medbot-training\[distributed\]"):
        check_processes(_recipe(deepspeed=str(CONFIGS / "zero2.json")))


def test_deepspeed_without_a_launcher_is_one_line() -> None:
    with pytest.raises(ProcessesError, match="which a launcher must start"):
        check_processes(_recipe(deepspeed=str(CONFIGS / "zero2.json")))


def test_a_server_for_rollouts_is_a_matter_of_fields(monkeypatch: pytest.MonkeyPatch) -> None:
    fields = {"use_vllm": True, "vllm_mode": "server", "vllm_server_base_url": "http://gpu:8000"}
    recipe = _recipe("rl", **fields)
    assert recipe.trainer["vllm_mode"] == "server" and recipe.trainer["use_vllm"] is True
    with pytest.raises(RecipeError, match="vllm_mode"):
        _recipe("rl", use_vllm=True, vllm_mode="servant")
    monkeypatch.setattr(processes.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ProcessesError, match="use_vllm needs the package vllm"):
        check_processes(recipe)
    monkeypatch.setattr(processes.importlib.util, "find_spec", lambda name: object())
    check_processes(recipe)


@pytest.mark.usefixtures("two")
def test_the_same_error_is_told_once_a_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for rank in "01":
        (tmp_path / rank).mkdir()
    told: list[bool] = []
    for error in (
        RecipeError("a"),
        RecipeError("a"),
        RecipeError("b"),
        processes.LostProcessError("c"),
    ):
        monkeypatch.setenv(
            "TORCHELASTIC_ERROR_FILE", str(tmp_path / str(len(told) % 2) / "error.json")
        )
        told.append(processes.is_told_already(error))
    assert told == [False, True, False, True]


def _config_files() -> Sequence[Path]:
    return sorted(CONFIGS.glob("accelerate_*.yaml"))


@pytest.mark.parametrize("file", _config_files(), ids=lambda file: file.stem)
def test_accelerate_takes_the_shipped_settings(file: Path) -> None:
    from accelerate.commands.config.config_args import load_config_from_file

    config = load_config_from_file(str(file))
    named = getattr(config, "deepspeed_config", None) or {}
    if "deepspeed_config_file" in named:
        assert (TRAINING.parent / named["deepspeed_config_file"]).is_file()
