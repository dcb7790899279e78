"""A model that cannot serve does not silence the robot, and says why."""

import shutil
from pathlib import Path

import pytest
from node_test_kit import Robot
from node_test_kit import spoken

from medbot_llm.msg import DialogueState
from medbot_llm.msg import Response

TEMPLATE_KEY = b"tokenizer.chat_template"


@pytest.fixture(scope="session")
def broken_models(small_model: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Copies of a real model, each broken in its own way."""
    folder = tmp_path_factory.mktemp("models")
    truncated = folder / "truncated.gguf"
    with small_model.open("rb") as source, truncated.open("wb") as target:
        target.write(source.read(50_000_000))
    untemplated = folder / "untemplated.gguf"
    shutil.copyfile(small_model, untemplated)
    with untemplated.open("r+b") as file:
        head = file.read(20_000_000)
        file.seek(head.index(TEMPLATE_KEY))
        file.write(TEMPLATE_KEY.replace(b"template", b"tempfake"))
    foreign = folder / "foreign.gguf"
    foreign.write_bytes(b"<html>not a model</html>")
    empty = folder / "empty.gguf"
    empty.touch()
    return {
        "missing": folder / "missing.gguf",
        "truncated": truncated,
        "untemplated": untemplated,
        "foreign": foreign,
        "empty": empty,
    }


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("missing", "there is no model file"),
        ("truncated", "cannot be loaded"),
        ("untemplated", "has no chat template"),
        ("foreign", "is not a GGUF file"),
        ("empty", "is not a GGUF file"),
    ],
)
def test_prepared_words_take_the_place_of_a_model_that_does_not_load(
    start_node, robot: Robot, broken_models: dict[str, Path], kind: str, reason: str
) -> None:
    node = start_node(autostart=True, model=broken_models[kind])
    robot.wait_active()
    assert reason in node.log
    robot.wait(
        lambda: robot.diagnostics.get("model") and robot.diagnostics["model"].level == b"\x02",
        "diagnostics at ERROR",
    )
    assert reason in robot.diagnostics["model"].message
    assert robot.states[-1].model_status == DialogueState.MODEL_UNAVAILABLE

    robot.hand_over()
    robot.say("這個藥什麼時候吃？")
    reply = robot.next_reply()
    assert {chunk.kind for chunk in reply} == {Response.KIND_FALLBACK}
    # What the label says needs no model.
    assert "脈優錠" in spoken(reply) and "早餐後" in spoken(reply)
    assert node.is_alive


def test_a_model_that_is_required_fails_the_configuring(
    start_node, robot: Robot, broken_models: dict[str, Path]
) -> None:
    node = start_node(model=broken_models["missing"], require_model=True)
    assert not robot.transition("configure")
    assert robot.lifecycle_state() == "unconfigured"
    assert node.is_alive


def test_an_unknown_model_id_names_those_that_are_close(start_node, robot: Robot) -> None:
    node = start_node(autostart=True, model="qwen2.5-coder-0.5b")
    robot.wait_active()
    assert "qwen2.5-coder-0.5b-instruct-q4_k_m" in node.log


def test_too_small_a_context_is_answered_in_prepared_words(
    start_node, robot: Robot, small_model: Path
) -> None:
    node = start_node(autostart=True, model=small_model, llama_cpp__n_ctx=128)
    robot.wait_active()
    robot.hand_over()
    robot.say("這個藥什麼時候吃？")
    reply = robot.next_reply()
    assert {chunk.kind for chunk in reply} == {Response.KIND_FALLBACK} and spoken(reply)
    assert "raise n_ctx" in node.log
    robot.wait(
        lambda: (
            # The first diagnostics come up to a second after the node is active.
            robot.diagnostics.get("dialogue")
            and robot.diagnostics["dialogue"].level == b"\x01"
            and "raise n_ctx" in robot.diagnostics["dialogue"].message
        ),
        "diagnostics at WARN with the reason",
    )


def test_a_server_that_is_not_there_is_answered_by_the_fallback_engine(
    start_node, robot: Robot, small_model: Path
) -> None:
    start_node(
        autostart=True,
        engine="openai_api",
        openai_api__base_url="http://127.0.0.1:9/v1",
        fallback_engine="llama_cpp",
        model=small_model,
    )
    robot.wait_active()
    robot.hand_over()
    robot.say("這個藥什麼時候吃？")
    assert {chunk.kind for chunk in robot.next_reply()} == {Response.KIND_ANSWER}


def test_a_hung_engine_is_given_up_on(start_node, robot: Robot, tmp_path: Path) -> None:
    script = tmp_path / "hang.yaml"
    script.write_text("default: 好。\nfailure: hang\n")
    start_node(
        autostart=True,
        engine="scripted",
        scripted__file=script,
        timeouts__first_token_s=0.5,
    )
    robot.wait_active()
    robot.hand_over()
    robot.say("這個藥什麼時候吃？")
    reply = robot.next_reply()
    assert {chunk.kind for chunk in reply} == {Response.KIND_FALLBACK} and "脈優錠" in spoken(
        reply
    )
