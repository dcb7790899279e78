"""The scripted engine: replies by rule, delays, failures on demand, and the script file."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from medbot_llm.domain import ChatMessage
from medbot_llm.domain import ChatRole
from medbot_llm.engines.base import CancelToken
from medbot_llm.engines.base import EngineUnavailableError
from medbot_llm.engines.base import ModelLoadError
from medbot_llm.engines.base import Sampling
from medbot_llm.engines.scripted import Failure
from medbot_llm.engines.scripted import Script
from medbot_llm.engines.scripted import ScriptedEngine
from medbot_llm.engines.scripted import ScriptedRule


def loaded(script: Script) -> ScriptedEngine:
    engine = ScriptedEngine(script)
    engine.load(lambda share: None)
    return engine


def asking(text: str) -> list[ChatMessage]:
    return [ChatMessage(ChatRole.SYSTEM, "grapefruit"), ChatMessage(ChatRole.USER, text)]


def reply(engine: ScriptedEngine, text: str, max_tokens: int = 256) -> str:
    sampling = Sampling(max_tokens=max_tokens)
    return "".join(engine.stream(asking(text), sampling, CancelToken()))


def from_file(tmp_path: Path, text: str) -> ScriptedEngine:
    path = tmp_path / "script.yaml"
    path.write_text(text, encoding="utf-8")
    engine = ScriptedEngine.from_file(path)
    engine.load(lambda share: None)
    return engine


def test_first_matching_rule_answers_the_newest_user_message() -> None:
    rules = [
        ScriptedRule("GRAPEFRUIT", "No grapefruit."),
        ScriptedRule("fruit", "Fruit is fine."),
        ScriptedRule(r"^when|多久", "Once a day.", is_regex=True),
        ScriptedRule("how many", lambda messages: f"{len(messages)} messages"),
    ]
    engine = loaded(Script(rules, "Pardon?"))
    assert reply(engine, "With grapefruit?") == "No grapefruit."
    assert reply(engine, "With fruit?") == "Fruit is fine."
    assert reply(engine, "When do I take it?") == "Once a day."
    assert reply(engine, "多久吃一次") == "Once a day."
    assert reply(engine, "how many?") == "2 messages"
    assert reply(engine, "and when?") == "Pardon?"


@pytest.mark.parametrize(
    "text", ["Take 0.5 mg, Dr. Lin.\n\nBye ", "每天一次，每次 1 錠。", " ", ""]
)
def test_pieces_are_small_and_join_to_the_text(text: str) -> None:
    pieces = list(loaded(Script((), text)).stream(asking(""), Sampling(), CancelToken()))
    assert "".join(pieces) == text
    assert all(len(piece.strip()) <= 1 or piece.strip().isalpha() for piece in pieces)


def test_reply_ends_at_max_tokens() -> None:
    assert reply(loaded(Script((), "one two three")), "", max_tokens=2) == "one two"


def test_delays_are_kept() -> None:
    engine = loaded(Script((), "a b c", first_piece_delay_s=0.2, piece_delay_s=0.1))
    began = time.monotonic()
    stream = engine.stream(asking(""), Sampling(), CancelToken())
    times = [time.monotonic() - began for _ in stream]
    assert times[0] >= 0.2
    assert 0.4 <= times[2] < 5.0


@pytest.mark.parametrize(
    "script",
    [
        Script((), "a b", failure=Failure.HANG),
        Script((), "a b", first_piece_delay_s=30.0),
        Script((), "a b", piece_delay_s=30.0),
    ],
)
def test_cancel_ends_every_wait(script: Script) -> None:
    token = CancelToken()
    timer = threading.Timer(0.1, token.cancel)
    timer.start()
    began = time.monotonic()
    pieces = list(loaded(script).stream(asking(""), Sampling(), token))
    assert time.monotonic() - began < 5.0
    assert len(pieces) <= 1


def test_cancel_ends_a_prefill() -> None:
    token = CancelToken()
    threading.Timer(0.1, token.cancel).start()
    began = time.monotonic()
    loaded(Script(first_piece_delay_s=30.0)).prefill(asking(""), token)
    assert time.monotonic() - began < 5.0


def test_failure_at_load() -> None:
    with pytest.raises(ModelLoadError):
        loaded(Script(failure=Failure.AT_LOAD))


def test_failure_before_the_first_piece() -> None:
    engine = loaded(Script((), "a b", failure=Failure.BEFORE_FIRST_PIECE))
    with pytest.raises(EngineUnavailableError):
        next(iter(engine.stream(asking(""), Sampling(), CancelToken())))


def test_failure_after_some_pieces() -> None:
    engine = loaded(Script((), "a b c", failure=Failure.AFTER_PIECES, fail_after_pieces=2))
    pieces = []
    with pytest.raises(EngineUnavailableError):
        for piece in engine.stream(asking(""), Sampling(), CancelToken()):
            pieces.append(piece)
    assert pieces == ["a", " b"]


def test_script_can_be_replaced_between_calls() -> None:
    engine = loaded(Script((), "before"))
    assert reply(engine, "") == "before"
    engine.script = Script((), "after")
    assert reply(engine, "") == "after"


def test_calls_are_recorded() -> None:
    engine = loaded(Script((), "ok"))
    engine.prefill(asking("soon"), CancelToken())
    reply(engine, "first")
    reply(engine, "second", max_tokens=9)
    assert engine.prefills == [tuple(asking("soon"))]
    assert [call[-1].content for call in engine.calls] == ["first", "second"]
    assert engine.samplings[-1].max_tokens == 9


def test_engine_serves_only_between_load_and_close() -> None:
    engine = ScriptedEngine(Script((), "ok"))
    with pytest.raises(EngineUnavailableError):
        reply(engine, "")
    engine.load(lambda share: None)
    assert reply(engine, "") == "ok"
    engine.close()
    with pytest.raises(EngineUnavailableError):
        reply(engine, "")


def test_adapter_is_named_and_unknown_ones_are_refused() -> None:
    engine = loaded(Script(adapters=("ward",)))
    engine.set_adapter("ward", 1.0)
    with pytest.raises(ModelLoadError, match="ward"):
        engine.set_adapter("other", 1.0)
    assert engine.info().adapter == "ward"
    engine.set_adapter("", 1.0)
    assert engine.info().adapter == ""


def test_info_says_that_it_is_a_script() -> None:
    info = ScriptedEngine(Script()).info()
    assert info.engine == "scripted"
    assert "not a model" in info.detail


def test_script_file_is_read(tmp_path: Path) -> None:
    engine = from_file(
        tmp_path,
        """
default: 請稍等，我請護理師來。
first_piece_delay_s: 0.01
piece_delay_s: 0
failure: none
fail_after_pieces: 3
adapters: [ward]
rules:
  - when: 葡萄柚
    say: 這個藥不要配葡萄柚。
  - when_regex: "when|how often"
    say: Once a day.
""",
    )
    assert reply(engine, "可以配葡萄柚汁嗎？") == "這個藥不要配葡萄柚。"
    assert reply(engine, "How often?") == "Once a day."
    assert reply(engine, "喂") == "請稍等，我請護理師來。"
    assert engine.script.first_piece_delay_s == 0.01
    assert engine.info().model == "script.yaml"


def test_script_file_is_read_again_at_each_load(tmp_path: Path) -> None:
    engine = from_file(tmp_path, "default: before")
    (tmp_path / "script.yaml").write_text("default: after")
    engine.load(lambda share: None)
    assert reply(engine, "") == "after"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "mapping"),
        ("- a", "mapping"),
        ("default: [", "not YAML"),
        ("default: 3", "default must be a text"),
        ("defualt: x", "'defualt' is not known"),
        ("rules: x", "rules must be a list"),
        ("rules: [x]", "each rule must be a mapping"),
        ("rules: [{when: a}]", "each rule must have say"),
        ("rules: [{when: a, when_regex: b, say: c}]", "each rule must have say"),
        ("rules: [{when: 5, say: c}]", "when must be a text"),
        ("rules: [{when_regex: '(', say: c}]", "no regular expression"),
        ("piece_delay_s: -1", "piece_delay_s"),
        ("piece_delay_s: .nan", "piece_delay_s"),
        ("piece_delay_s: .inf", "piece_delay_s"),
        ("first_piece_delay_s: true", "first_piece_delay_s"),
        ("fail_after_pieces: many", "fail_after_pieces"),
        ("failure: sometimes", "failure must be one of"),
        ("failure: [none]", "failure must be one of"),
        ("adapters: ward", "adapters must be a list"),
        ("default: !!python/object/apply:os.getcwd []", "not YAML"),
    ],
)
def test_faulty_script_file_is_an_error_of_one_line(
    tmp_path: Path, text: str, complaint: str
) -> None:
    with pytest.raises(ModelLoadError, match=r"script.yaml") as caught:
        from_file(tmp_path, text)
    assert complaint in str(caught.value)
    assert "\n" not in str(caught.value)


def test_script_file_that_can_not_be_read_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ModelLoadError, match="No such file"):
        ScriptedEngine.from_file(tmp_path / "missing.yaml").load(lambda share: None)
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ModelLoadError, match="not YAML"):
        ScriptedEngine.from_file(tmp_path / "binary.yaml").load(lambda share: None)


def test_the_example_of_the_docstring_holds() -> None:
    import doctest

    from medbot_llm.engines import scripted

    names = {"ChatMessage": ChatMessage, "ChatRole": ChatRole}
    names |= {"Sampling": Sampling, "CancelToken": CancelToken}
    result = doctest.testmod(scripted, extraglobs=names)
    assert (result.attempted, result.failed) == (4, 0)
