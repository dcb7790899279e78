"""Every parameter says what it is, and refuses what it cannot take."""

from pathlib import Path

import pytest
from adapter_test_kit import write_adapter
from node_test_kit import SCRIPT
from node_test_kit import Robot
from node_test_kit import spoken

from medbot_llm.nodes.parameters import DIALOGUE_PARAMETERS


def test_each_parameter_is_described_and_has_its_range(start_node, robot: Robot) -> None:
    start_node(engine="scripted", scripted__file=SCRIPT)
    descriptors = robot.describe_parameters([spec.name for spec in DIALOGUE_PARAMETERS])
    for spec, descriptor in zip(DIALOGUE_PARAMETERS, descriptors, strict=True):
        assert descriptor.name == spec.name and spec.description in descriptor.description
        for choice in spec.choices:
            assert repr(choice) in descriptor.description
        if spec.low is not None:
            ranges = [*descriptor.integer_range, *descriptor.floating_point_range]
            assert (ranges[0].from_value, ranges[0].to_value) == (spec.low, spec.high)


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("sampling.temperature", 3.0, "out of range"),
        ("sampling.temperature", float("nan"), "out of range"),
        ("sampling.temperature", "hot", "takes a float"),
        ("sampling.max_tokens", 0, "out of range"),
        ("sampling.max_tokens", True, "Wrong parameter type"),
        ("default_scene", "moon", "one of ward, pharmacy, er, home"),
        ("default_language", "zh", "one of zh-Hant, zh-Hans, en"),
        ("adapter_scale", -1.0, "out of range"),
    ],
)
def test_a_wrong_value_is_refused_with_its_reason(
    scripted_robot: Robot, name: str, value: object, reason: str
) -> None:
    assert reason in scripted_robot.set_parameter(name, value)


def test_sampling_changes_while_active_and_takes_integers(scripted_robot: Robot) -> None:
    robot = scripted_robot
    robot.hand_over()
    assert robot.set_parameter("sampling.temperature", 1) == ""
    assert robot.set_parameter("sampling.max_tokens", 3) == ""
    robot.say("請說明")
    assert len(spoken(robot.next_reply())) < 40


def test_what_configuring_builds_changes_only_while_unconfigured(scripted_robot: Robot) -> None:
    robot = scripted_robot
    assert "only while the node is unconfigured" in robot.set_parameter("llama_cpp.n_ctx", 2048)
    assert robot.transition("deactivate") and robot.transition("cleanup")
    assert robot.set_parameter("llama_cpp.n_ctx", 2048) == ""


@pytest.mark.parametrize(
    ("parameters", "problem"),
    [
        ({"engine": "abacus"}, "engine is one of llama_cpp, openai_api, scripted"),
        ({"llama_cpp__n_ctx": 10}, "llama_cpp.n_ctx is from 64 to 131072"),
        ({"model": 7}, "model takes a str"),
        ({"sampling__temperature": "warm"}, "sampling.temperature takes a float"),
    ],
)
def test_a_wrong_value_at_start_is_one_clear_line(
    start_node, parameters: dict, problem: str
) -> None:
    node = start_node(**parameters)
    assert node.process.wait(60) == 2
    assert problem in node.log and "Traceback" not in node.log


def test_an_adapter_that_is_not_there_is_refused_and_serving_goes_on(
    talking_robot: Robot, tmp_path: Path
) -> None:
    robot = talking_robot
    robot.hand_over()
    for adapter, reason in (
        (str(tmp_path / "none.gguf"), "there is no model file"),
        (__file__, "is not a GGUF file"),
    ):
        assert robot.set_parameter("adapter", adapter) == ""
        robot.wait(lambda reason=reason: reason in robot.process.log, "the reason in the log")
    robot.say("這個藥什麼時候吃？")
    assert robot.next_reply()[0].kind == "answer"


def test_an_adapter_is_swapped_while_serving(talking_robot: Robot, tmp_path: Path) -> None:
    robot = talking_robot
    robot.hand_over()
    adapter = write_adapter(tmp_path / "ward.gguf", b_scale=0.0)

    def adapter_in_use() -> str:
        status = robot.diagnostics.get("model")
        return {pair.key: pair.value for pair in status.values}["adapter"] if status else ""

    for value, shown in ((str(adapter), f"{adapter} x 1"), ("", "none")):
        assert robot.set_parameter("adapter", value) == ""
        robot.wait(lambda shown=shown: adapter_in_use() == shown, f"adapter {shown}")
        robot.say("這個藥什麼時候吃？")
        assert robot.next_reply()[0].kind == "answer"


def test_an_adapter_given_at_the_start_is_loaded_with_the_model(
    start_node, robot: Robot, small_model: Path, tmp_path: Path
) -> None:
    adapter = write_adapter(tmp_path / "ward.gguf", b_scale=0.0)
    start_node(autostart=True, model=small_model, adapter=adapter, adapter_scale=0.5)
    robot.wait_active()
    robot.wait(
        lambda: (
            f"{adapter} x 0.5"
            in str([pair.value for pair in getattr(robot.diagnostics.get("model"), "values", [])])
        ),
        "the adapter in the diagnostics",
    )
