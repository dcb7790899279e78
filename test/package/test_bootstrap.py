"""The set-up does each step once, picks up where it was stopped, and fails with one clear line."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tools.bootstrap import interpreter
from tools.bootstrap import llama_wheel
from tools.bootstrap import python_packages
from tools.bootstrap import system_packages
from tools.bootstrap.environment import environment_script
from tools.bootstrap.environment import ros_environment
from tools.bootstrap.errors import SetupError
from tools.bootstrap.layout import Layout
from tools.bootstrap.layout import find_layout
from tools.bootstrap.plan import Plan
from tools.bootstrap.plan import make_plan
from tools.bootstrap.processes import run_logged
from tools.bootstrap.python_packages import localize_cmake_files
from tools.bootstrap.python_packages import requirement_files
from tools.bootstrap.steps import Step
from tools.bootstrap.steps import digest
from tools.bootstrap.steps import run_steps
from tools.bootstrap.workspace import workspace_inputs


class Recorder:
    """A step's action that counts its calls, and may fail."""

    def __init__(self) -> None:
        self.calls = 0
        self.error: BaseException | None = None

    def __call__(self) -> None:
        self.calls += 1
        if self.error is not None:
            raise self.error


@pytest.fixture
def action() -> Recorder:
    return Recorder()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source.txt"
    path.write_text("1")
    return path


@pytest.fixture
def step(tmp_path: Path, action: Recorder, source: Path) -> Step:
    return Step("step", "why", tmp_path / "out" / "stamp", lambda: digest(source), action)


@pytest.fixture
def layout(tmp_path: Path, repository: Path) -> Layout:
    """A set-up from wheels, in a folder with nothing but the pinned lists."""
    (tmp_path / "requirements").symlink_to(repository / "requirements")
    return Layout(tmp_path, "jazzy", sourced=False, home=tmp_path / "home")


def test_second_setup_has_nothing_to_do():
    layout = find_layout()
    if not layout.environment_script.exists():
        pytest.skip("nothing is set up here: run `make setup`")
    said: list[str] = []
    assert make_plan(layout).run(said.append) == []
    assert said == []


def test_step_runs_once_until_its_inputs_change(step, action, source):
    said: list[str] = []
    assert run_steps([step], said.append) == ["step"]
    assert said[0] == "step: why" and said[1].startswith("step: done in ")
    assert run_steps([step], said.append) == []
    source.write_text("2")
    assert run_steps([step], said.append) == ["step"]
    assert action.calls == 2


def test_step_is_done_again_after_its_folder_was_deleted(step):
    step.run()
    step.stamp.unlink()
    assert not step.is_done()


def test_failed_step_is_tried_again_and_later_ones_wait(step, action, tmp_path):
    later = Recorder()
    steps = [step, Step("later", "", tmp_path / "later", lambda: "", later)]
    action.error = SetupError("no network")
    with pytest.raises(SetupError, match="no network"):
        run_steps(steps, lambda _: None)
    assert later.calls == 0 and not step.unfinished.exists()
    action.error = None
    assert run_steps(steps, lambda _: None) == ["step", "later"]


def test_killed_step_is_marked_as_unfinished(step, action):
    action.error = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        step.run()
    assert step.unfinished.exists() and not step.is_done()


def test_environment_with_half_installed_packages_is_made_anew(layout, monkeypatch):
    plan = make_plan(layout)
    half = layout.venv / "lib" / "half"
    half.mkdir(parents=True)
    plan.packages.unfinished.parent.mkdir()
    plan.packages.unfinished.touch()

    def stop(_python: Path) -> list[str]:
        raise SetupError("far enough")

    monkeypatch.setattr(system_packages, "missing_packages", stop)
    with pytest.raises(SetupError, match="far enough"):
        plan.run(lambda _: None)
    assert not half.exists()


def test_failing_program_gives_one_line_with_its_own_reason(tmp_path):
    script = "echo compiling; echo 'x.c:1: error: no such header'; echo done; exit 3"
    with pytest.raises(SetupError) as problem:
        run_logged(["sh", "-c", script], tmp_path / "x.log", what="compiling x")
    assert str(problem.value) == (
        "compiling x failed: x.c:1: error: no such header "
        f"(everything it said: {tmp_path / 'x.log'})"
    )


def test_missing_program_gives_one_line(tmp_path):
    with pytest.raises(SetupError, match=r"fetching x can.t be started: .*no-such-program"):
        run_logged(["no-such-program"], tmp_path / "x.log", what="fetching x")


def test_user_who_is_not_root_gets_the_exact_line_to_run(tmp_path, monkeypatch):
    monkeypatch.setattr(system_packages.shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(SetupError) as problem:
        system_packages.install(["cmake", "g++"], tmp_path)
    assert "`sudo apt-get install -y --no-install-recommends cmake g++`" in str(problem.value)


def test_missing_compilers_are_named_as_debian_packages(monkeypatch):
    absent = {"cmake", "c++"}
    monkeypatch.setattr(
        system_packages.shutil,
        "which",
        lambda name: None if name in absent else f"/usr/bin/{name}",
    )
    missing = system_packages.missing_packages(Path(sys.executable))
    assert {"cmake", "g++"} <= set(missing) and "make" not in missing


def test_voice_is_left_out_on_demand(tmp_path, monkeypatch):
    monkeypatch.setenv("MEDBOT_VOICE", "0")
    without = find_layout("jazzy", root=tmp_path)
    monkeypatch.delenv("MEDBOT_VOICE")
    with_voice = find_layout("jazzy", root=tmp_path)
    left_out = {*requirement_files(with_voice)} - {*requirement_files(without)}
    assert [path.name for path in left_out] == ["voice.txt"]


def without_sound(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make this a machine where nothing has ever sounded."""
    sound = {"espeak-ng", "pactl", "pipewire-pulse", "pulseaudio"}
    monkeypatch.setattr(
        system_packages.shutil, "which", lambda name: None if name in sound else f"/bin/{name}"
    )
    monkeypatch.setattr(system_packages.ctypes.util, "find_library", lambda _name: None)
    monkeypatch.setattr(system_packages, "_LIBRARIES", Path("/no/libraries"))


@pytest.mark.parametrize(
    ("is_sourced", "voice", "expected"),
    [
        (False, True, "libportaudio2 espeak-ng pulseaudio pulseaudio-utils libasound2-plugins"),
        (True, True, "libportaudio2 espeak-ng"),
        (False, False, ""),
    ],
)
def test_a_robot_gets_no_sound_server_and_without_voice_no_sound_at_all(
    tmp_path, monkeypatch, is_sourced, voice, expected
):
    without_sound(monkeypatch)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    installed: list[str] = []
    monkeypatch.setattr(system_packages, "install", lambda names, _logs: installed.extend(names))
    layout = Layout(tmp_path, "jazzy", sourced=is_sourced, home=tmp_path, voice=voice)
    Plan(layout, Path(sys.executable))._install_system_packages(lambda _: None)
    assert " ".join(installed) == expected


def test_user_who_is_not_root_is_told_what_voice_needs_and_how_to_go_without(
    tmp_path, monkeypatch
):
    without_sound(monkeypatch)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    said: list[str] = []
    layout = Layout(tmp_path, "jazzy", sourced=False, home=tmp_path)
    with pytest.raises(SetupError) as problem:
        Plan(layout, Path(sys.executable))._install_system_packages(said.append)
    assert "install -y --no-install-recommends libportaudio2 espeak-ng`" in str(problem.value)
    assert "MEDBOT_VOICE=0 does without voice" in str(problem.value)
    assert "tests" in said[0] and "pulseaudio pulseaudio-utils libasound2-plugins`" in said[0]


def test_pulseaudio_is_not_put_beside_pipewire(monkeypatch):
    monkeypatch.setattr(system_packages.shutil, "which", lambda name: f"/bin/{name}")
    assert system_packages.missing_packages_of_sound_tests() == []


@pytest.mark.parametrize(
    ("numpy", "expected"), [("1.21.5", ["livekit"]), ("1.26.4", []), ("2.2.4", [])]
)
def test_livekit_is_installed_apart_where_the_numpy_of_ros_is_older_than_it_asks_for(
    tmp_path, repository, monkeypatch, numpy, expected
):
    (tmp_path / "requirements").symlink_to(repository / "requirements")
    layout = Layout(tmp_path, "humble", sourced=True, home=tmp_path)
    answer = subprocess.CompletedProcess([], 0, stdout=f"{numpy}\n")
    monkeypatch.setattr(python_packages.subprocess, "run", lambda *_a, **_k: answer)
    merged, apart = python_packages._without_numpy(layout, requirement_files(layout))
    assert [line.split("==")[0] for line in apart] == expected
    pins = [line.split("==")[0] for line in merged.read_text().splitlines() if "==" in line]
    assert pins.count("numpy") == 1 and pins.count("livekit") == 1 - len(expected)


@pytest.mark.parametrize(
    ("python", "system", "machine", "reason"),
    [
        ((3, 9), "Linux", "x86_64", "Python 3.10 to 3.14, and this is 3.9"),
        ((3, 15), "Linux", "x86_64", "Python 3.10 to 3.14, and this is 3.15"),
        ((3, 12), "Linux", "aarch64", "this is Linux on aarch64"),
        ((3, 12), "Darwin", "x86_64", "this is Darwin on x86_64"),
    ],
)
def test_machine_without_ros_wheels_is_told_why(python, system, machine, reason):
    with pytest.raises(SetupError, match=reason):
        interpreter.check_wheels_fit(python, system, machine)


@pytest.mark.parametrize("python", [(3, 10), (3, 14)])
def test_machine_with_ros_wheels_is_accepted(python):
    interpreter.check_wheels_fit(python, "Linux", "x86_64")


def test_sourced_ros_is_used_unless_wheels_are_asked_for(tmp_path, monkeypatch):
    monkeypatch.delenv("MEDBOT_ROS_WHEELS", raising=False)
    monkeypatch.setenv("ROS_DISTRO", "humble")
    sourced = find_layout(root=tmp_path)
    assert sourced.sourced and sourced.distro == "humble" and sourced.venv.name == ".venv"
    wheels = find_layout("kilted", root=tmp_path)
    assert not wheels.sourced and wheels.distro == "kilted"
    assert wheels.venv != sourced.venv and wheels.ros != sourced.ros


def test_jazzy_comes_from_wheels_without_a_sourced_ros(tmp_path, monkeypatch):
    monkeypatch.delenv("ROS_DISTRO", raising=False)
    monkeypatch.delenv("MEDBOT_ROS_WHEELS", raising=False)
    layout = find_layout(root=tmp_path)
    assert (layout.distro, layout.sourced, layout.venv.name) == ("jazzy", False, ".venv")


def test_sourced_ros_without_rclpy_is_told_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr(interpreter, "_imports_rclpy", lambda _python: False)
    layout = Layout(tmp_path, "humble", sourced=True, home=tmp_path)
    with pytest.raises(SetupError, match="install `ros-humble-rclpy`"):
        interpreter.find_python(layout)


def test_unknown_distribution_and_path_with_spaces_are_refused(tmp_path):
    with pytest.raises(SetupError, match="jazzy, kilted"):
        find_layout("foxy", root=tmp_path)
    with pytest.raises(SetupError, match="spaces"):
        find_layout(root=tmp_path / "my robot")


def test_problem_is_one_line_on_stderr_and_exit_2(repository):
    result = subprocess.run(
        [sys.executable, "-m", "tools.bootstrap", "--ros", "foxy", "setup"],
        cwd=repository,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 2 and result.stdout == ""
    assert result.stderr == ("setup: no wheels of ROS 2 'foxy': choose one of jazzy, kilted\n")


def test_ros_environment_leaves_another_sourced_distribution(layout):
    other = "/opt/ros/humble"
    base = {
        "AMENT_PREFIX_PATH": other,
        "LD_LIBRARY_PATH": f"{other}/lib:/usr/local/cuda/lib64",
        "PATH": f"{other}/bin:/usr/bin",
        "PYTHONPATH": f"{other}/lib/python3.10/site-packages",
        "ROS_DISTRO": "humble",
    }
    environment = ros_environment(layout, base)
    assert other not in " ".join(environment.values())
    assert environment["AMENT_PREFIX_PATH"] == f"{layout.prefix}:{layout.venv}"
    assert environment["LD_LIBRARY_PATH"].endswith("/usr/local/cuda/lib64")
    assert environment["PATH"] == f"{layout.venv}/bin:/usr/bin"
    assert environment["ROS_DISTRO"] == "jazzy"


def test_ros_environment_keeps_a_sourced_distribution(tmp_path):
    layout = Layout(tmp_path, "humble", sourced=True, home=tmp_path)
    environment = ros_environment(layout, {"AMENT_PREFIX_PATH": "/opt/ros/humble"})
    assert environment["AMENT_PREFIX_PATH"] == f"{layout.prefix}:/opt/ros/humble"
    # Humble does not know ROS_AUTOMATIC_DISCOVERY_RANGE.
    assert environment["ROS_LOCALHOST_ONLY"] == "1"


def test_ros_environment_stays_on_this_machine_unless_told_otherwise(layout):
    name = "ROS_AUTOMATIC_DISCOVERY_RANGE"
    assert ros_environment(layout, {})[name] == "LOCALHOST"
    assert ros_environment(layout, {name: "SUBNET"})[name] == "SUBNET"


def test_ros_environment_is_the_same_when_entered_twice(layout):
    once = ros_environment(layout, {"PATH": "/usr/bin"})
    assert ros_environment(layout, once) == once


def test_environment_script_sets_the_same_variables(layout):
    script = layout.root / "env.sh"
    script.write_text(environment_script(layout))
    result = subprocess.run(
        ["sh", "-c", f". {script} && env"],
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": "/mine"},
        capture_output=True,
        text=True,
        check=True,
    )
    shell = dict(line.split("=", 1) for line in result.stdout.splitlines())
    expected = ros_environment(layout, {"PATH": "/usr/bin:/bin", "PYTHONPATH": "/mine"})
    assert {name: shell[name] for name in expected} == expected


def test_kept_wheel_is_for_one_processor_and_one_set_of_flags(layout, monkeypatch):
    monkeypatch.delenv("CMAKE_ARGS", raising=False)
    here = llama_wheel.kept_wheel_folder(layout)
    assert here == llama_wheel.kept_wheel_folder(layout)
    assert here.parent == layout.home / "wheels"
    monkeypatch.setenv("CMAKE_ARGS", "-DGGML_CUDA=on")
    cuda = llama_wheel.kept_wheel_folder(layout)
    monkeypatch.delenv("CMAKE_ARGS")
    monkeypatch.setattr(llama_wheel, "describe_processor", lambda: "flags : sse2")
    elsewhere = llama_wheel.kept_wheel_folder(layout)
    assert len({here, cuda, elsewhere}) == 3


def test_processor_is_told_by_its_features():
    assert "flags" in llama_wheel.describe_processor() or os.uname().machine != "x86_64"


def test_kept_wheel_is_used_instead_of_a_build(layout):
    wheel = llama_wheel.kept_wheel_folder(layout) / "llama_cpp_python-0.3.36-py3-none-any.whl"
    wheel.parent.mkdir(parents=True)
    wheel.touch()
    assert llama_wheel.build_wheel(layout, Path("/no/python")) == wheel


def test_converters_are_kept_out_of_the_source(layout, tmp_path):
    source = tmp_path / "source" / "vendor" / "llama.cpp"
    (source / "conversion").mkdir(parents=True)
    (source / "gguf-py").mkdir()
    for name in ("convert_hf_to_gguf.py", "convert_lora_to_gguf.py", "LICENSE"):
        (source / name).write_text(name)
    (source / "conversion" / "qwen.py").write_text("qwen")
    (source / "llama.cpp").write_text("not for us")
    folder = llama_wheel.converters_folder(layout)
    llama_wheel._copy_converters(tmp_path / "source", folder)
    assert folder.parent == layout.home / "converters"
    assert (folder / "conversion" / "qwen.py").is_file() and (folder / "LICENSE").is_file()
    assert not (folder / "llama.cpp").exists()
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]
    # They are there: nothing is fetched.
    assert llama_wheel.keep_converters(layout, Path("/no/python")) == folder


def test_a_source_without_converters_is_told(layout, tmp_path):
    (tmp_path / "source" / "vendor" / "llama.cpp").mkdir(parents=True)
    folder = llama_wheel.converters_folder(layout)
    with pytest.raises(SetupError, match=r"has no convert_hf_to_gguf\.py any more"):
        llama_wheel._copy_converters(tmp_path / "source", folder)
    assert not folder.exists()


def test_cmake_files_of_wheels_get_the_paths_of_this_machine(layout):
    layout.python.parent.mkdir(parents=True)
    layout.python.symlink_to(sys.executable)
    file = layout.venv / "share" / "x_msgs" / "cmake" / "xExport.cmake"
    file.parent.mkdir(parents=True)
    built_with = "/opt/python/cp311-cp311"
    file.write_text(
        f'INCLUDES "{built_with}/include/python3.11;'
        f'{built_with}/lib/python3.11/site-packages/numpy/_core/include"'
    )
    assert localize_cmake_files(layout) == 1
    text = file.read_text()
    assert "/opt/python" not in text and text.endswith('/numpy/_core/include"')
    assert localize_cmake_files(layout) == 0


def test_messages_count_by_content_and_linked_files_by_name(tmp_path):
    layout = Layout(tmp_path, "jazzy", sourced=False, home=tmp_path)
    message = tmp_path / "msg" / "A.msg"
    module = tmp_path / "medbot_llm" / "a.py"
    for path in (message, module):
        path.parent.mkdir()
        path.write_text("1")
    before = workspace_inputs(layout)
    module.write_text("2")
    assert workspace_inputs(layout) == before
    message.write_text("2")
    changed = workspace_inputs(layout)
    assert changed != before
    (tmp_path / "medbot_llm" / "b.py").touch()
    assert workspace_inputs(layout) != changed
