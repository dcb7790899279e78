"""What the mouth plays, sample by sample, and what it says was heard.

The voice is scripted: each letter is 100 ms of a tone of its own, each mark 100 ms of silence. The
test takes the samples as a loudspeaker would, and its clock runs only with them.
"""

from __future__ import annotations

import math
import os
import threading
import time
import tracemalloc
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medbot_llm.domain import Language
from medbot_llm.domain import ReplyChunk
from medbot_llm.domain import ReplyKind
from medbot_llm.speech import mouth as mouth_module
from medbot_llm.speech.audio import Samples
from medbot_llm.speech.audio import Sound
from medbot_llm.speech.audio import SpeechError
from medbot_llm.speech.heard import words_within
from medbot_llm.speech.mouth import Mouth
from medbot_llm.speech.mouth import MouthSettings
from medbot_llm.speech.mouth import SpeakingState

RATE = 8000
CHAR = RATE // 10
"""Samples of one character."""
BLOCK = 80
"""Samples that the loudspeaker asks for at once: 10 ms."""
PEAK = 0.4
WAIT_S = 30.0
MARKS = "，。！？、；：,.!?;: "
ZH, EN = Language.ZH_HANT, Language.EN
FALL, HELP = "請不要動，我已經叫了護理師。", "請打一一九。"


def sound_of(text: str) -> Samples:
    """The sound that the scripted voice makes of a text."""
    parts = [np.zeros(0, np.float32)]
    for char in text:
        # Zero at its ends, and at its loudest in its middle, where a cut would click.
        hertz = 0 if char in MARKS else 105 + 10 * (ord(char) % 20)
        place = np.arange(CHAR) / RATE
        parts.append((PEAK * np.sin(2 * np.pi * hertz * place)).astype(np.float32))
    return np.concatenate(parts)


def level(samples: Samples) -> float:
    """Root mean square, dB."""
    return 10 * math.log10(float(np.mean(np.square(samples, dtype=np.float64))) + 1e-12)


def split_at_marks(text: str, _language: Language) -> list[str]:
    clauses, start = [], 0
    for place, char in enumerate(text):
        if char in "，,。.":
            clauses.append(text[start : place + 1])
            start = place + 1
    return [*clauses, text[start:]]


class ScriptedVoice:
    """Makes tones; fails, waits or hangs where it is told to."""

    def __init__(self) -> None:
        self.rate = RATE
        self.sound_rate = RATE
        self.texts: list[str] = []
        self.speeds: list[float] = []
        self.niceness = -1
        self.fails_on = "\0"
        self.gives: Samples | None = None
        self.holds_on = "\0"
        """A text with this in it takes until `go` is set."""
        self.go = threading.Event()
        self.is_held = threading.Event()

    def synthesize(self, text: str, language: Language, *, speed: float = 1.0) -> Sound:
        self.texts.append(text)
        self.speeds.append(speed)
        if hasattr(os, "getpriority"):
            self.niceness = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
        if self.holds_on in text:
            self.is_held.set()
            self.go.wait(WAIT_S)
        if self.fails_on in text:
            raise SpeechError("no voice")
        return Sound(sound_of(text) if self.gives is None else self.gives, self.sound_rate)


class Witness:
    """Writes down what it is told."""

    def __init__(self) -> None:
        self.states: list[SpeakingState] = []
        self.played: list[tuple[Samples, float]] = []
        self.ahead: list[Samples] = []
        self.problems: list[str] = []
        self.may_go_on = threading.Event()
        self.may_go_on.set()
        self.threads: set[str] = set()

    def on_speaking(self, state: SpeakingState) -> None:
        self.threads.add(threading.current_thread().name)
        self.states.append(state)
        self.may_go_on.wait(WAIT_S)

    def on_played(self, sound: Sound, audible_at: float, ahead: Samples) -> None:
        self.threads.add(threading.current_thread().name)
        assert sound.rate == RATE
        self.played.append((sound.samples, audible_at))
        self.ahead.append(ahead)

    def on_problem(self, problem: str) -> None:
        self.problems.append(problem)


class Stage:
    """A mouth, its voice and its listener, and a clock that runs with the samples."""

    def __init__(self, settings: MouthSettings | None = None) -> None:
        self.now = 1000.0
        self.voice = ScriptedVoice()
        self.witness = Witness()
        self.mouth = Mouth(
            self.voice,
            settings or MouthSettings(),
            self.witness,
            lambda: self.now,
            splitter=split_at_marks,
        )

    def say(
        self,
        *sentences: str,
        reply_id: str = "a",
        kind: ReplyKind = ReplyKind.ANSWER,
        language: Language = ZH,
        ends: bool = True,
        first: int = 0,
    ) -> None:
        """Say a whole reply, or some sentences of it."""
        for place, text in enumerate(sentences):
            is_last = ends and place == len(sentences) - 1
            self.mouth.say(
                ReplyChunk(
                    reply_id,
                    first + place,
                    text,
                    language,
                    kind,
                    is_last=is_last,
                    utterance_id=f"u-{reply_id}",
                )
            )

    def warn(self, *sentences: str, reply_id: str = "e", ends: bool = True) -> None:
        """Say an emergency."""
        self.say(*sentences, reply_id=reply_id, kind=ReplyKind.EMERGENCY, ends=ends)

    def interrupt(self, reply_id: str = "a", sequence: int = 9) -> None:
        """What the dialogue sends when it cancels a reply."""
        self.mouth.say(
            ReplyChunk(
                reply_id, sequence, "", ZH, ReplyKind.ANSWER, is_last=True, was_interrupted=True
            )
        )

    def prepare(self, *sentences: str) -> None:
        self.mouth.prepare([(sentence, ZH) for sentence in sentences])
        self.settle()

    def settle(self) -> None:
        """Wait until the voice has nothing more to do."""
        wait_until(lambda: not self.mouth.is_synthesizing)

    def play(self, seconds: float) -> Samples:
        """What the loudspeaker gets in this time, of what is ready."""
        blocks = []
        for _ in range(round(seconds * RATE / BLOCK)):
            blocks.append(self.mouth.render(BLOCK))
            self.now += BLOCK / RATE
        return np.concatenate([*blocks, np.zeros(0, np.float32)])

    def hear(self, seconds: float) -> Samples:
        """Likewise, but the voice is never late."""
        parts = []
        for _ in range(round(seconds / 0.05)):
            self.settle()
            parts.append(self.play(0.05))
        return np.concatenate(parts)

    def told(self, is_it: Callable[[SpeakingState], bool]) -> SpeakingState:
        """Wait until the listener has been told such a state."""
        wait_until(lambda: any(map(is_it, self.witness.states)))
        return next(filter(is_it, self.witness.states))


def wait_until(is_so: Callable[[], bool]) -> None:
    until = time.monotonic() + WAIT_S
    while not is_so():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.001)


def assert_says(played: Samples, text: str, *, gain: float = 1.0) -> None:
    """But for the 10 ms in which a reply fades in, it is this text and silence behind it."""
    wanted = sound_of(text) * np.float32(gain)
    assert len(played) >= len(wanted)
    np.testing.assert_allclose(played[BLOCK : len(wanted)], wanted[BLOCK:], atol=1e-4)
    assert not played[len(wanted) :].any()


def largest_step(samples: Samples) -> float:
    return float(np.max(np.abs(np.diff(samples))))


SMOOTH = 1.1 * PEAK * 2 * math.pi * 295 / RATE
"""No step between samples is larger while one tone, or a ramp of it, plays: a quarter of PEAK."""


@pytest.fixture
def stages() -> Iterator[list[Stage]]:
    made: list[Stage] = []
    yield made
    for one in made:
        one.voice.go.set()
        one.witness.may_go_on.set()
        one.mouth.close()


@pytest.fixture
def setup(stages: list[Stage]) -> Callable[..., Stage]:
    def make(**settings: float) -> Stage:
        stages.append(Stage(MouthSettings(**settings)))  # type: ignore[arg-type]
        return stages[-1]

    return make


@pytest.fixture
def stage(setup: Callable[..., Stage]) -> Stage:
    return setup()


# --- playing -------------------------------------------------------------------------------------


def test_silence_comes_while_nothing_is_said(stage: Stage) -> None:
    assert not stage.play(1.0).any()
    assert stage.mouth.speaking == SpeakingState()
    assert len(stage.mouth.render(0)) == 0
    assert stage.mouth.render(7).shape == (7,)
    assert stage.mouth.render(7).dtype == np.float32
    for frames in (-1, 10**9):
        with pytest.raises(ValueError):
            stage.mouth.render(frames)


def test_sentences_sound_in_their_order_without_a_gap(stage: Stage) -> None:
    sentences = ("您好，我是送藥的機器人。", "這是您的藥，請收下。", "再見。")
    stage.say(*sentences)
    assert_says(stage.hear(4.0), "".join(sentences))
    state = stage.mouth.speaking
    assert (state.is_speaking, state.is_complete) == (False, True)
    assert state.heard == "".join(sentences)
    assert stage.mouth.figures().gaps == 0


@pytest.mark.parametrize("block", [1, 37, 800, 4001])
def test_blocks_may_have_any_size(stage: Stage, block: int) -> None:
    stage.say("您好，好。", "走。")
    stage.settle()
    blocks = [stage.mouth.render(block) for _ in range(8 * CHAR // block + 1)]
    assert_says(np.concatenate(blocks), "您好，好。走。")


def test_the_first_clause_is_synthesised_alone_and_the_rest_in_larger_pieces(
    stage: Stage,
) -> None:
    stage.say("您好，我是送藥的，來送藥，給您。", "一，二，三，四，五。")
    stage.hear(4.0)
    assert stage.voice.texts[0] == "您好，"
    assert stage.voice.texts[1] == "我是送藥的，"
    assert stage.voice.texts[2:] == ["來送藥，給您。", "一，二，三，四，五。"]


def test_the_first_clause_sounds_while_the_next_is_still_worked_out(stage: Stage) -> None:
    stage.voice.holds_on = "我是"
    stage.say("您好，我是送藥的。")
    assert stage.voice.is_held.wait(WAIT_S)
    played = stage.play(0.6)
    assert_says(played, "您好，")
    assert stage.mouth.speaking.heard == "您好，"
    assert stage.mouth.speaking.is_speaking
    assert stage.mouth.figures().gaps == 1
    stage.voice.go.set()
    stage.settle()
    np.testing.assert_allclose(stage.play(0.6), sound_of("我是送藥的。"), atol=1e-4)


def test_sentences_may_come_while_others_play(stage: Stage) -> None:
    stage.say("一二三。", ends=False)
    first = stage.hear(0.3)
    stage.say("四五六。", first=1)
    rest = stage.hear(0.8)
    assert_says(np.concatenate((first, rest)), "一二三。四五六。")
    assert stage.mouth.speaking.is_complete


def test_no_more_is_worked_out_ahead_than_is_set(setup: Callable[..., Stage]) -> None:
    stage = setup(look_ahead_s=1.0)
    stage.say(*["一二三四。"] * 20)
    stage.settle()
    assert len(stage.voice.texts) == 2
    stage.play(0.5)
    stage.settle()
    assert len(stage.voice.texts) == 3


def test_long_silence_around_the_voice_is_taken_away(stage: Stage) -> None:
    silence = np.zeros(RATE, np.float32)
    stage.voice.gives = np.concatenate((silence, sound_of("好"), silence))
    stage.say("好。")
    played = stage.hear(3.0)
    loud = np.flatnonzero(np.abs(played) > 0.01)
    assert loud[0] < 0.025 * RATE
    assert loud[-1] < (0.025 + 0.1) * RATE
    stage.mouth.close()  # Everything has been told then.
    ended = stage.told(lambda state: not state.is_speaking)
    assert ended.first_audio_at == 1000.0
    # The reply is over soon after the voice, not after a second of silence.
    reference = sum(len(block) for block, _ in stage.witness.played)
    assert reference <= (0.025 + 0.1 + 0.35 + 0.3 + 0.02) * RATE


def test_another_rate_of_the_voice_is_changed(stage: Stage) -> None:
    stage.voice.sound_rate = 2 * RATE
    place = np.arange(2 * RATE) / (2 * RATE)
    stage.voice.gives = (PEAK * np.sin(2 * np.pi * 440 * place)).astype(np.float32)
    stage.say("好。")
    played = stage.hear(1.5)
    wanted = PEAK * np.sin(2 * np.pi * 440 * np.arange(RATE) / RATE)
    np.testing.assert_allclose(played[400 : RATE - 400], wanted[400 : RATE - 400], atol=0.01)
    assert not played[RATE:].any()


def test_a_splitter_that_fails_or_changes_the_text_costs_only_time(
    setup: Callable[..., Stage], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_text: str, _language: Language) -> Sequence[str]:
        raise RuntimeError("broken")

    for splitter in (fail, lambda _text, _language: ["other", " ", "words"]):
        stage = setup()
        monkeypatch.setattr(stage.mouth, "_split", splitter)
        stage.say("您好，再見。")
        assert_says(stage.hear(0.8), "您好，再見。")
        assert stage.voice.texts == ["您好，再見。"]


def test_the_usual_splitter_is_that_of_the_voice() -> None:
    voice, witness = ScriptedVoice(), Witness()
    mouth = Mouth(voice, MouthSettings(), witness)
    try:
        mouth.say(ReplyChunk("a", 0, "您好，我是送藥的機器人，這是您的藥。", ZH, ReplyKind.ANSWER))
        wait_until(lambda: len(voice.texts) > 1)
        assert "".join(voice.texts).startswith("您好，我是送藥的機器人")
        assert len(voice.texts[0]) < 18
    finally:
        mouth.close()


# --- which chunks --------------------------------------------------------------------------------


def test_repeated_and_late_chunks_are_ignored(stage: Stage) -> None:
    stage.say("一。", "二。", ends=False)
    stage.say("一。", "二。", ends=False)
    stage.say("三。", first=2)
    stage.say("四。", first=3)
    assert_says(stage.hear(1.0), "一。二。三。")
    stage.say("一。", "二。", "三。")
    assert not stage.hear(0.5).any()
    assert stage.mouth.figures().ignored_chunks == 6
    assert stage.mouth.speaking.is_complete


def test_what_comes_behind_a_lost_chunk_is_spoken_and_the_reply_is_not_complete(
    stage: Stage,
) -> None:
    stage.say("一。", ends=False)
    stage.say("三。", first=2)
    stage.say("二。", first=1, ends=False)
    assert_says(stage.hear(1.0), "一。三。")
    assert stage.mouth.speaking.heard == "一。三。"
    assert not stage.mouth.speaking.is_complete


def test_a_last_chunk_without_text_ends_the_reply(stage: Stage) -> None:
    stage.say("一。", ends=False)
    stage.hear(0.5)
    assert stage.mouth.speaking.is_speaking
    stage.say("", first=1)
    assert not stage.mouth.speaking.is_speaking
    assert stage.mouth.speaking.is_complete
    stage.say("", reply_id="b")
    assert stage.mouth.speaking.reply_id == "a"


def test_a_reply_whose_rest_never_comes_ends(stage: Stage) -> None:
    stage.say("一。", ends=False)
    stage.hear(1.0)
    stage.play(mouth_module.REPLY_LOST_S - 2)
    assert stage.mouth.speaking.is_speaking
    stage.play(2.0)
    state = stage.mouth.speaking
    assert (state.is_speaking, state.is_complete, state.heard) == (False, False, "一。")


def test_a_new_reply_ends_the_older_one(stage: Stage) -> None:
    stage.say("一二三四五六。", "七八。")
    before = stage.hear(0.35)
    stage.say("好。", reply_id="b")
    stage.settle()
    after = stage.play(0.5)
    assert_says(before[: 3 * CHAR], "一二三")
    # The rest of the older one fades under the beginning of the newer one.
    np.testing.assert_allclose(after[BLOCK : 2 * CHAR], sound_of("好。")[BLOCK:], atol=1e-4)
    assert largest_step(np.concatenate((before, after))) < SMOOTH
    stage.say("九。", first=2)
    assert not stage.hear(0.5).any()
    cut = stage.told(lambda state: state.reply_id == "a" and not state.is_speaking)
    assert (cut.heard, cut.is_complete) == ("一二三", False)
    assert stage.mouth.speaking.reply_id == "b"


def test_a_reply_without_words_ends_no_other(stage: Stage) -> None:
    stage.say("一二三。")
    before = stage.hear(0.1)
    stage.say("", reply_id="b")
    assert_says(np.concatenate((before, stage.hear(0.5))), "一二三。")


def test_an_interrupted_reply_ends_with_its_clause(stage: Stage) -> None:
    stage.say("一，", "二三四，五六。", "七八。", ends=False)
    before = stage.hear(0.4)
    stage.interrupt()
    assert_says(np.concatenate((before, stage.hear(1.0))), "一，二三四，")
    state = stage.mouth.speaking
    assert (state.is_speaking, state.heard, state.is_complete) == (False, "一，二三四，", False)


def test_clauses_without_a_pause_between_them_are_not_cut(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        stage.mouth, "_split", lambda text, _: [text[:2], text[2:]] if len(text) > 3 else [text]
    )
    stage.say("五六。", "一二三四。", ends=False)
    before = stage.hear(0.4)
    stage.interrupt()
    assert stage.voice.texts == ["五六。", "一二三四。"]
    assert_says(np.concatenate((before, stage.hear(1.0))), "五六。一二三四。")


def test_an_interrupted_reply_that_has_not_begun_is_not_said(stage: Stage) -> None:
    stage.say("一二。", ends=False)
    stage.settle()
    stage.interrupt()
    assert not stage.play(0.5).any()
    assert stage.mouth.speaking.heard == ""


# --- duck ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("duck_db", [6.0, 12.0, 20.0])
def test_a_duck_is_softer_by_what_is_set_and_the_end_of_it_as_loud_as_before(
    setup: Callable[..., Stage], duck_db: float
) -> None:
    stage = setup(duck_db=duck_db)
    stage.say("一一一一一一一一。")
    parts = [stage.hear(0.25)]
    stage.mouth.duck()
    assert stage.mouth.speaking.is_ducked
    parts.append(stage.play(0.2))
    stage.mouth.unduck()
    parts.append(stage.play(0.2))
    loud, soft, again = (level(part[BLOCK:]) for part in parts)
    assert soft - loud == pytest.approx(-duck_db, abs=0.1)
    assert again == pytest.approx(loud, abs=0.1)
    assert largest_step(np.concatenate(parts)) < SMOOTH
    np.testing.assert_allclose(
        parts[2][BLOCK:], sound_of("一" * 7)[9 * CHAR // 2 :][BLOCK : len(parts[2])], atol=1e-4
    )
    stage.told(lambda state: state.is_ducked)


def test_a_duck_that_pauses_is_silent_and_repeats_the_clause(setup: Callable[..., Stage]) -> None:
    stage = setup(duck_pauses=True)
    stage.say("一二，三四五六。")
    before = stage.hear(0.55)
    stage.mouth.duck()
    paused = stage.play(1.0)
    assert not paused[round(0.03 * RATE) :].any()
    assert largest_step(np.concatenate((before, paused))) < SMOOTH
    assert stage.mouth.speaking.heard == "一二，三四"
    assert stage.mouth.speaking.is_speaking
    stage.mouth.unduck()
    assert_says(stage.play(1.0), "三四五六。")
    assert stage.mouth.speaking.heard == "一二，三四五六。"
    assert stage.mouth.speaking.is_complete


@pytest.mark.parametrize("duck_pauses", [True, False])
def test_a_duck_that_nothing_ends_is_over_after_a_while(
    setup: Callable[..., Stage], duck_pauses: bool
) -> None:
    stage = setup(longest_duck_s=1.0, duck_pauses=duck_pauses, look_ahead_s=20)
    stage.say("一" * 30)
    stage.hear(0.2)
    stage.mouth.duck()
    stage.play(0.9)
    assert stage.mouth.speaking.is_ducked
    stage.play(0.2)
    assert not stage.mouth.speaking.is_ducked
    assert level(stage.play(0.2)[BLOCK:]) == pytest.approx(level(sound_of("一")), abs=0.1)


def test_a_duck_ends_with_its_reply(stage: Stage) -> None:
    stage.mouth.duck()
    assert not stage.mouth.speaking.is_ducked
    stage.say("一。")
    stage.mouth.duck()
    stage.hear(0.5)
    stage.say("二。", reply_id="b")
    assert_says(stage.hear(0.5), "二。")


# --- stop ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "language", "played_s", "heard"),
    [
        ("一二三四五六。", ZH, 0.0, ""),
        ("一二三四五六。", ZH, 0.09, ""),
        ("一二三四五六。", ZH, 0.11, "一"),
        ("一二三四五六。", ZH, 0.39, "一二三"),
        ("一二，三四五六。", ZH, 0.2, "一二，"),
        ("一二，三四五六。", ZH, 0.49, "一二，三"),
        ("一二三四五六。", ZH, 0.6, "一二三四五六。"),
        ("take two now.", EN, 0.39, ""),
        ("take two now.", EN, 0.41, "take"),
        ("take two now.", EN, 0.79, "take"),
        ("take two now.", EN, 0.81, "take two"),
        ("take two now.", EN, 1.2, "take two now."),
    ],
)
def test_a_stop_tells_the_whole_words_that_were_heard(
    stage: Stage, text: str, language: Language, played_s: float, heard: str
) -> None:
    stage.say(text, language=language)
    stage.settle()
    before = stage.play(played_s)
    result = stage.mouth.stop()
    assert (result.reply_id, result.text, result.is_complete) == ("a", heard, False)
    after = stage.play(1.0)
    assert not after[round(0.03 * RATE) :].any()
    assert largest_step(np.concatenate((before, after))) < SMOOTH
    assert stage.mouth.stop() == result
    told = stage.told(lambda state: not state.is_speaking)
    assert told.heard == heard


def test_sentences_join_as_they_are_written(stage: Stage) -> None:
    stage.say("take two.", "not three.", language=EN)
    stage.hear(1.5)
    assert stage.mouth.stop().text == "take two. not"
    stage.say("一二。", "三四。", reply_id="b")
    stage.hear(0.45)
    assert stage.mouth.stop().text == "一二。三"


def test_what_still_comes_of_a_stopped_reply_is_not_said_and_the_next_is(stage: Stage) -> None:
    stage.say("一二。", ends=False)
    stage.hear(0.1)
    stage.mouth.stop()
    stage.play(0.1)
    stage.say("三四。", first=1, ends=False)
    stage.interrupt(sequence=2)
    assert not stage.hear(0.3).any()
    stage.say("好。", reply_id="b")
    assert_says(stage.hear(0.5), "好。")


def test_a_stop_when_nothing_speaks_tells_of_the_last_reply(stage: Stage) -> None:
    assert stage.mouth.stop() == mouth_module.Heard("", "", is_complete=False)
    stage.say("一二。")
    stage.hear(0.5)
    assert stage.mouth.stop() == mouth_module.Heard("a", "一二。", is_complete=True)


def test_a_stop_while_the_voice_works_leaves_nothing_to_play(stage: Stage) -> None:
    stage.voice.holds_on = "一"
    stage.say("一二。", ends=False)
    assert stage.voice.is_held.wait(WAIT_S)
    assert stage.mouth.stop().text == ""
    stage.voice.go.set()
    stage.settle()
    assert not stage.play(0.5).any()


def test_what_is_still_on_its_way_to_the_ear_is_not_heard(stage: Stage) -> None:
    stage.mouth.output_latency_s = 0.25
    stage.say("一二三四五。")
    stage.settle()
    stage.play(0.4)
    assert stage.mouth.speaking.heard == "一"
    stage.play(0.2)
    assert stage.mouth.speaking.heard == "一二三"
    stage.play(0.1)
    assert stage.mouth.speaking.is_speaking
    stage.play(0.2)
    assert stage.mouth.speaking.is_complete
    stage.mouth.output_latency_s = math.nan
    assert stage.mouth.output_latency_s == 0.0


def test_what_was_on_its_way_when_stopped_counts_for_no_reply(stage: Stage) -> None:
    stage.mouth.output_latency_s = 0.25
    stage.say("一二三四五。")
    stage.settle()
    stage.play(0.4)
    assert stage.mouth.stop().text == "一"
    stage.say("六七。", reply_id="b")
    stage.settle()
    stage.play(0.2)
    assert stage.mouth.speaking.heard == ""
    stage.play(0.5)
    stage.mouth.close()
    assert [s.heard for s in stage.witness.states if s.reply_id == "b"] == ["", "六七。", "六七。"]


@given(st.text(alphabet="一二三四 abc0.5，。-'", max_size=30), st.floats(0, 1), st.floats(0, 1))
def test_more_time_never_means_fewer_words(text: str, one: float, other: float) -> None:
    less, more = sorted((one, other))
    assert 0 <= words_within(text, less) <= words_within(text, more) <= len(text)
    assert words_within(text, 1.0) == len(text)
    cut = words_within(text, less)
    if 0 < cut < len(text):
        before, after = text[cut - 1], text[cut]
        assert not (before.isascii() and before.isalnum() and after.isascii() and after.isalnum())


def test_numbers_and_units_are_never_cut() -> None:
    text = "每次0.5毫克"
    cuts = {text[: words_within(text, share)] for share in np.linspace(0, 0.999, 200)}
    assert cuts == {"", "每", "每次", "每次0.5", "每次0.5毫"}


# --- emergencies -------------------------------------------------------------------------------


def test_a_prepared_emergency_sounds_at_once_whatever_the_voice_does(stage: Stage) -> None:
    stage.prepare(FALL, HELP)
    assert stage.mouth.figures().prepared_phrases == 2
    texts = len(stage.voice.texts)
    stage.voice.holds_on = ""  # From now on it takes for ever.
    stage.say("一二三。")
    assert stage.voice.is_held.wait(WAIT_S)
    stage.warn(FALL, HELP)
    at = stage.now
    played = stage.play(2.5)
    assert_says(played, FALL + HELP)
    assert np.flatnonzero(played)[0] < BLOCK
    state = stage.mouth.speaking
    assert (state.heard, state.is_complete, state.kind) == (FALL + HELP, True, "emergency")
    assert state.first_audio_at == at
    assert len(stage.voice.texts) == texts + 1


def test_an_emergency_cuts_what_speaks(stage: Stage) -> None:
    stage.prepare(FALL)
    stage.say("一二三四五六。", ends=False)
    before = stage.hear(0.35)
    stage.warn(FALL)
    after = stage.play(2.0)
    np.testing.assert_allclose(
        after[2 * BLOCK : len(sound_of(FALL))], sound_of(FALL)[2 * BLOCK :], atol=1e-4
    )
    assert largest_step(np.concatenate((before, after))) < 2 * SMOOTH
    stage.say("七。", first=1)
    assert not stage.hear(0.5).any()
    cut = stage.told(lambda state: state.reply_id == "a" and not state.is_speaking)
    assert cut.heard == "一二三"


def test_an_emergency_is_not_ducked_stopped_muted_or_replaced(stage: Stage) -> None:
    stage.prepare(FALL, HELP)
    stage.warn(FALL, ends=False)
    parts = [stage.play(0.2)]
    stage.mouth.duck()
    parts.append(stage.play(0.2))
    heard = stage.mouth.stop()
    assert (heard.reply_id, heard.text, heard.is_complete) == ("e", FALL[:5], False)
    parts.append(stage.play(0.2))
    stage.mouth.configure(MouthSettings(is_muted=True, volume=0.0, emergency_volume=1.0))
    parts.append(stage.play(0.2))
    stage.mouth.configure(MouthSettings())
    stage.say("好的。", reply_id="b")
    stage.interrupt("e")
    assert not stage.mouth.earcon("listening")
    parts.append(stage.hear(1.5))
    played = np.concatenate(parts)
    assert_says(played[: len(sound_of(FALL))], FALL)
    # What came meanwhile was not lost.
    assert_says(played[len(sound_of(FALL)) :], "好的。")


def test_emergencies_wait_for_each_other_and_everything_else_for_them(stage: Stage) -> None:
    stage.warn("一二。", ends=False)
    stage.say("五六。", reply_id="b")
    stage.say("七八。", reply_id="c")
    stage.warn("三四。", reply_id="e2")
    stage.warn("九。", reply_id="e", ends=True)  # Repeated: its place is taken.
    stage.say("九。", reply_id="e", first=1, kind=ReplyKind.EMERGENCY)
    played = stage.hear(2.0)
    kept = played[np.abs(played) > 0]
    wanted = sound_of("一二。九。三四。七八。")
    assert_says(played[: len(sound_of("一二。九。"))], "一二。九。")
    assert len(kept) == pytest.approx(np.count_nonzero(wanted), abs=20)
    stage.told(lambda state: state.reply_id == "c" and not state.is_speaking)
    ends = [state.reply_id for state in stage.witness.states if not state.is_speaking]
    assert ends == ["b", "e", "e2", "c"]


def test_an_emergency_sounds_though_muted_and_nothing_else_does(
    setup: Callable[..., Stage],
) -> None:
    stage = setup(is_muted=True, emergency_volume=0.5)
    stage.say("一二。", ends=False)
    assert not stage.hear(0.5).any()
    assert stage.voice.texts == []
    stage.warn(FALL)
    assert_says(stage.hear(2.0), FALL, gain=1.0)
    stage.mouth.configure(MouthSettings(volume=0.1, emergency_volume=0.5))
    stage.warn(HELP, reply_id="e2")
    assert_says(stage.hear(2.0), HELP, gain=0.5)
    stage.say("三四。", first=1)
    assert not stage.hear(0.5).any()


def test_the_alarm_takes_the_place_of_words_that_cannot_be_said(stage: Stage) -> None:
    stage.voice.fails_on = "打"
    stage.warn("走。", HELP, "動。")
    played = stage.hear(2.0)
    assert_says(played[: 2 * CHAR], "走。")
    assert level(played[2 * CHAR : 7 * CHAR]) > -20
    assert stage.mouth.speaking.heard == "走。動。"
    assert not stage.mouth.speaking.is_complete
    wait_until(lambda: len(stage.witness.problems) == 1)
    assert "no voice" in stage.witness.problems[0]


def test_the_alarm_sounds_when_the_words_are_late(stage: Stage) -> None:
    stage.voice.holds_on = "打"
    stage.warn(HELP)
    assert stage.voice.is_held.wait(WAIT_S)
    waiting = stage.play(mouth_module.ALARM_AFTER_S)
    assert not waiting.any()
    alarm = stage.play(1.0)
    assert level(alarm[: RATE // 2]) > -20
    assert not alarm[round(0.65 * RATE) :].any()
    assert math.isnan(stage.mouth.speaking.first_audio_at)
    stage.voice.go.set()
    stage.settle()
    played = stage.play(1.0)
    np.testing.assert_allclose(played[BLOCK : 6 * CHAR], sound_of(HELP)[BLOCK:], atol=1e-4)
    assert stage.mouth.speaking.heard == HELP


def test_an_emergency_in_a_reply_that_was_stopped_is_said(stage: Stage) -> None:
    stage.say("一二。", ends=False)
    stage.hear(0.1)
    stage.mouth.stop()
    stage.play(0.1)
    stage.say("快走。", first=1, kind=ReplyKind.EMERGENCY)
    assert_says(stage.hear(0.5), "快走。")
    stage.say("快走。", first=1, kind=ReplyKind.EMERGENCY)
    assert not stage.hear(0.5).any()


def test_a_reply_becomes_an_emergency_with_its_first_sentence_of_one(stage: Stage) -> None:
    stage.say("一二三。", ends=False)
    before = stage.hear(0.1)
    stage.mouth.duck()
    stage.say("快走。", first=1, kind=ReplyKind.EMERGENCY)
    stage.mouth.stop()
    played = np.concatenate((before, stage.hear(1.0)))
    assert_says(played, "一二三。快走。")


def test_only_so_many_emergencies_wait(stage: Stage) -> None:
    for number in range(50):
        stage.warn("走。", reply_id=f"e{number}")
    played = stage.hear(3.0)
    said = np.count_nonzero(played) / np.count_nonzero(sound_of("走。"))
    assert said == pytest.approx(mouth_module.MAX_WAITING_EMERGENCIES + 1, abs=0.1)
    assert stage.witness.problems


# --- prepared phrases ----------------------------------------------------------------------------


def test_phrases_are_prepared_when_nothing_is_to_be_said(stage: Stage) -> None:
    stage.voice.holds_on = "一"
    stage.say("一。", ends=False)
    assert stage.voice.is_held.wait(WAIT_S)
    stage.mouth.prepare([(FALL, ZH), (FALL, ZH), ("  ", ZH)])
    stage.say("二。", first=1)
    stage.voice.go.set()
    stage.settle()
    assert stage.voice.texts == ["一。", "二。", FALL]
    stage.prepare(FALL)
    assert len(stage.voice.texts) == 3


def test_phrases_are_prepared_again_for_another_speed(stage: Stage) -> None:
    stage.prepare(FALL)
    stage.mouth.configure(MouthSettings(is_elderly=True))
    stage.settle()
    assert stage.voice.speeds == [1.0, MouthSettings().elderly_speed]
    assert stage.mouth.figures().prepared_phrases == 1


def test_a_phrase_that_fails_is_told_and_not_kept(stage: Stage) -> None:
    stage.voice.fails_on = "動"
    stage.prepare("走，不要動。", HELP)
    figures = stage.mouth.figures()
    assert (figures.prepared_phrases, figures.unprepared_phrases) == (1, 0)
    wait_until(lambda: len(stage.witness.problems) == 1)


def test_memory_of_phrases_is_bounded(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mouth_module, "MAX_PREPARED_S", 1.0)
    monkeypatch.setattr(mouth_module, "MAX_PREPARED", 10)
    stage.prepare(*(f"走{chr(ord('一') + number)}。" for number in range(100)))
    assert stage.mouth.figures().prepared_phrases == 3
    wait_until(lambda: len(stage.witness.problems) == 1 + 7)


# --- trouble -----------------------------------------------------------------------------------


def test_a_sentence_that_cannot_be_said_is_left_out_and_told_once(stage: Stage) -> None:
    stage.voice.fails_on = "三"
    stage.say("一二。", "三，三。", "四五。")
    played = stage.hear(1.5)
    assert_says(played, "一二。四五。")
    assert stage.mouth.speaking.heard == "一二。四五。"
    assert not stage.mouth.speaking.is_complete
    wait_until(lambda: len(stage.witness.problems) == 1)
    assert "三，三。" in stage.witness.problems[0]
    assert stage.mouth.figures().failed_sentences == 1


@pytest.mark.parametrize(
    "gives",
    [
        np.zeros(0, np.float32),
        np.zeros(800, np.float32),
        np.full(800, np.nan, np.float32),
        np.zeros((2, 800), np.float32),
        np.ones(RATE * 121, np.float32),
    ],
    ids=["nothing", "silence", "nan", "stereo", "endless"],
)
def test_what_is_no_sound_counts_as_a_failure(stage: Stage, gives: Samples) -> None:
    stage.voice.gives = gives
    stage.say("一。")
    assert not stage.hear(0.3).any()
    assert stage.mouth.speaking.heard == ""
    assert not stage.mouth.speaking.is_speaking
    wait_until(lambda: len(stage.witness.problems) == 1)


def test_other_errors_of_the_voice_are_survived(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(*_args: object, **_options: object) -> Sound:
        raise MemoryError("no memory")

    with monkeypatch.context() as patch:
        patch.setattr(stage.voice, "synthesize", crash)
        stage.say("一。")
        stage.settle()
    stage.say("二。", reply_id="b")
    assert_says(stage.hear(0.3), "二。")


def test_a_voice_that_hangs_does_not_hold_up_the_end(stage: Stage) -> None:
    stage.voice.holds_on = "一"
    stage.say("一二。")
    assert stage.voice.is_held.wait(WAIT_S)
    started = time.monotonic()
    stage.mouth.close()
    assert time.monotonic() - started < 20.0
    assert not stage.play(0.3).any()
    other = Stage()
    other.say("好。")
    assert_says(other.hear(0.3), "好。")
    other.mouth.close()


def test_a_voice_that_hangs_is_given_up_and_another_thread_goes_on(stage: Stage) -> None:
    stage.voice.holds_on = "一"
    stage.say("一二。", "三四。")
    assert stage.voice.is_held.wait(WAIT_S)
    stage.now += mouth_module.HUNG_AFTER_S
    wait_until(lambda: bool(stage.witness.problems))
    assert_says(stage.hear(0.5), "三四。")
    assert stage.mouth.figures().hung_voices == 1
    stage.voice.go.set()
    wait_until(lambda: stage.mouth.figures().hung_voices == 0)
    assert not stage.hear(0.3).any()


def test_when_all_threads_of_the_voice_hang_sentences_fail_until_one_returns(
    stage: Stage,
) -> None:
    stage.prepare(FALL)
    stage.voice.holds_on = "一"
    for number in range(mouth_module.MAX_HUNG_VOICES):
        stage.voice.is_held.clear()
        stage.say("一二。", "二三。", reply_id=str(number))
        assert stage.voice.is_held.wait(WAIT_S)
        stage.now += mouth_module.HUNG_AFTER_S
        wait_until(lambda hung=number + 1: stage.mouth.figures().hung_voices == hung)
    stage.say("三四。", reply_id="b")
    assert not stage.play(0.3).any()
    assert not stage.mouth.speaking.is_speaking
    stage.warn(FALL)
    assert_says(stage.play(2.0), FALL)
    stage.voice.go.set()
    wait_until(lambda: stage.mouth.figures().hung_voices == 0)
    stage.say("五六。", reply_id="c")
    assert_says(stage.hear(0.5), "五六。")


def test_a_listener_that_fails_is_told_the_rest(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_state: SpeakingState) -> None:
        raise RuntimeError("broken")

    with monkeypatch.context() as patch:
        patch.setattr(stage.witness, "on_speaking", fail)
        stage.say("一。")
        stage.hear(1.0)
        wait_until(lambda: len(stage.witness.played) >= 40)
    stage.say("二。", reply_id="b")
    assert_says(stage.hear(0.5), "二。")
    stage.told(lambda state: state.is_complete)


def test_a_listener_that_hangs_holds_up_nothing(stage: Stage) -> None:
    stage.witness.may_go_on.clear()
    stage.say("一" * 30, *["二三。"] * 200)
    stage.hear(5.0)
    stage.hear(60.0)
    figures = stage.mouth.figures()
    assert figures.dropped_blocks > 1000
    started = time.monotonic()
    stage.mouth.close()
    assert time.monotonic() - started < 20.0


def test_it_can_be_closed_twice_and_says_nothing_then(stage: Stage) -> None:
    stage.say("一二三。")
    before = stage.hear(0.15)
    stage.mouth.close()
    stage.mouth.close()
    after = stage.play(0.5)
    assert largest_step(np.concatenate((before, after))) < SMOOTH
    assert not after[BLOCK:].any()
    stage.warn(FALL)
    stage.mouth.prepare([(FALL, ZH)])
    stage.mouth.duck()
    stage.mouth.unduck()
    assert not stage.mouth.earcon("alarm")
    assert not stage.play(0.5).any()
    assert stage.mouth.stop().text == "一"
    assert stage.told(lambda state: not state.is_speaking).heard == "一"


# --- much at once ------------------------------------------------------------------------------


def test_a_thousand_sentences_are_said_to_the_last(stage: Stage) -> None:
    sentences = [f"{chr(ord('一') + number)}。" for number in range(1000)]
    stage.say(*sentences)
    parts = []
    while not stage.mouth.speaking.is_complete:
        stage.settle()
        parts.append(stage.mouth.render(RATE))
        assert len(parts) < 300
    assert_says(np.concatenate(parts), "".join(sentences))
    assert stage.mouth.speaking.heard == "".join(sentences)


def test_an_endless_reply_keeps_its_bounds(stage: Stage) -> None:
    sentence = "一" * 99 + "。"
    waiting = mouth_module.MAX_WAITING_CHARS // len(sentence)
    tracemalloc.start()
    stage.say(*[sentence] * 20 * waiting, ends=False)
    stage.settle()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 10e6
    figures = stage.mouth.figures()
    assert figures.dropped_chunks >= 19 * waiting
    wait_until(lambda: len(stage.witness.problems) == 1)
    assert len(stage.voice.texts) <= 2


def test_a_flood_of_replies_leaves_the_newest(stage: Stage) -> None:
    for number in range(3000):
        stage.say(f"走{chr(ord('一') + number)}。", reply_id=str(number))
    assert_says(stage.hear(0.5), f"走{chr(ord('一') + 2999)}。")
    assert len(stage.mouth._ended) == mouth_module.MAX_ENDED


def test_many_threads_at_once(stage: Stage) -> None:
    stage.prepare(FALL)
    errors: list[BaseException] = []
    is_over = threading.Event()

    def run(act: Callable[[int], object]) -> threading.Thread:
        def repeat() -> None:
            try:
                for number in range(300):
                    act(number)
            except BaseException as error:
                errors.append(error)

        thread = threading.Thread(target=repeat)
        thread.start()
        return thread

    def render() -> None:
        try:
            while not is_over.is_set():
                out = stage.mouth.render(BLOCK)
                assert len(out) == BLOCK
                assert float(np.max(np.abs(out))) < 1.0
        except BaseException as error:
            errors.append(error)

    loudspeaker = threading.Thread(target=render)
    loudspeaker.start()
    threads = [
        run(lambda n: stage.say("一二，三。", "四。", reply_id=f"x{n}")),
        run(lambda n: stage.say("五六，七。", "八。", reply_id=f"y{n}")),
        run(lambda n: stage.warn(FALL, reply_id=f"z{n // 100}")),
        run(lambda _: stage.mouth.duck()),
        run(lambda _: stage.mouth.unduck()),
        run(lambda _: stage.mouth.stop()),
        run(lambda _: stage.mouth.speaking),
        run(lambda _: stage.mouth.earcon("listening")),
        run(lambda n: stage.mouth.configure(MouthSettings(duck_pauses=n % 2 == 0))),
    ]
    for thread in threads:
        thread.join(WAIT_S)
    is_over.set()
    loudspeaker.join(WAIT_S)
    assert errors == []
    while stage.mouth.speaking.is_speaking or stage.mouth._replies:
        stage.hear(0.1)
    stage.play(0.1)
    stage.say("好。", reply_id="last")
    assert_says(stage.hear(0.5), "好。")


# --- loudness ----------------------------------------------------------------------------------


def test_volume_and_louder_for_the_elderly(setup: Callable[..., Stage]) -> None:
    stage = setup(volume=0.25)
    stage.say("一一一一一一一一。")
    quiet = stage.hear(0.25)
    stage.mouth.configure(MouthSettings(volume=0.25, is_elderly=True, elderly_louder_db=6.0))
    loud = stage.hear(0.2)
    assert level(quiet[BLOCK:]) == pytest.approx(level(sound_of("一") * 0.25), abs=0.1)
    assert level(loud[BLOCK:]) - level(quiet[BLOCK:]) == pytest.approx(6.0, abs=0.1)
    assert largest_step(np.concatenate((quiet, loud))) < SMOOTH


def test_what_would_clip_is_bent(setup: Callable[..., Stage]) -> None:
    stage = setup(volume=4.0)
    stage.say("一二。")
    played = stage.hear(0.3)
    assert 0.9 < float(np.max(np.abs(played))) < 1.0


def test_a_mute_fades_out_what_speaks_and_forgets_it(stage: Stage) -> None:
    stage.say("一二三。", ends=False)
    before = stage.hear(0.15)
    stage.mouth.configure(MouthSettings(is_muted=True))
    after = stage.play(0.5)
    assert not after[BLOCK:].any()
    assert largest_step(np.concatenate((before, after))) < SMOOTH
    stage.mouth.configure(MouthSettings())
    stage.say("四五。", first=1)
    assert not stage.hear(0.3).any()
    assert stage.mouth.speaking.heard == "一"


def test_speed_is_that_of_who_is_spoken_to(setup: Callable[..., Stage]) -> None:
    stage = setup(speed=1.1, elderly_speed=0.8)
    stage.say("一。")
    stage.settle()
    stage.mouth.configure(MouthSettings(elderly_speed=0.8, is_elderly=True))
    stage.say("二。", reply_id="b")
    stage.settle()
    assert stage.voice.speeds == [1.1, 0.8]


@pytest.mark.parametrize(
    "settings", [{"volume": -1}, {"speed": 0}, {"duck_db": math.nan}, {"niceness": 20}]
)
def test_settings_that_no_robot_can_mean_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(SpeechError, match=next(iter(settings))):
        MouthSettings(**settings)  # type: ignore[arg-type]


@pytest.mark.skipif(not hasattr(os, "getpriority"), reason="Linux's threads")
def test_the_thread_of_the_voice_is_nice(setup: Callable[..., Stage]) -> None:
    own = os.getpriority(os.PRIO_PROCESS, 0)
    stage = setup(niceness=min(19, own + 3))
    stage.say("一。")
    stage.settle()
    assert stage.voice.niceness == min(19, own + 3)
    assert os.getpriority(os.PRIO_PROCESS, 0) == own


# --- signals -----------------------------------------------------------------------------------


def test_a_signal_is_short_quiet_and_never_over_speech(stage: Stage) -> None:
    assert stage.mouth.earcon("listening")
    played = stage.play(0.5)
    assert 0.01 < float(np.max(np.abs(played))) < 0.1
    assert not played[round(0.2 * RATE) :].any()
    stage.say("一二。", ends=False)
    assert not stage.mouth.earcon("listening")
    stage.mouth.stop()
    with pytest.raises(ValueError, match="no earcon"):
        stage.mouth.earcon("fanfare")


def test_speech_cuts_a_signal(stage: Stage) -> None:
    assert stage.mouth.earcon("alarm")
    stage.play(0.1)
    stage.say("一二。")
    stage.settle()
    played = stage.play(0.5)
    np.testing.assert_allclose(played[BLOCK : 3 * CHAR], sound_of("一二。")[BLOCK:], atol=1e-4)


def test_a_muted_robot_gives_no_signal_but_the_alarm(setup: Callable[..., Stage]) -> None:
    stage = setup(is_muted=True)
    assert not stage.mouth.earcon("listening")
    assert stage.mouth.earcon("alarm")
    assert stage.play(0.5).any()


# --- what the listener is told -----------------------------------------------------------------


def test_states_tell_start_sentences_and_end(stage: Stage) -> None:
    stage.say("一二。", "三。")
    stage.settle()
    at = stage.now
    stage.hear(1.0)
    stage.told(lambda state: state.is_complete)
    told = [(state.is_speaking, state.heard, state.is_complete) for state in stage.witness.states]
    assert told == [
        (True, "", False),
        (True, "一二。", False),
        (True, "一二。三。", False),
        (False, "一二。三。", True),
    ]
    assert {state.reply_id for state in stage.witness.states} == {"a"}
    assert {state.utterance_id for state in stage.witness.states} == {"u-a"}
    assert {state.first_audio_at for state in stage.witness.states} == {at}
    assert stage.witness.threads == {"mouth-telling"}


def test_first_audio_is_when_the_first_sample_was_taken(stage: Stage) -> None:
    stage.voice.holds_on = "一"
    stage.say("一二。")
    stage.play(1.0)
    assert math.isnan(stage.mouth.speaking.first_audio_at)
    assert not stage.mouth.speaking.is_speaking
    stage.voice.go.set()
    stage.settle()
    stage.play(0.1)
    assert stage.mouth.speaking.first_audio_at == pytest.approx(1001.0)


def test_the_reference_is_all_that_sounds_and_a_little_silence(stage: Stage) -> None:
    stage.mouth.output_latency_s = 0.05
    stage.play(1.0)
    stage.say("一二。")
    stage.settle()
    at = stage.now
    played = stage.play(1.5)
    length = round((0.2 + mouth_module.REFERENCE_TAIL_S) * RATE)
    stage.mouth.close()  # Everything has been told then.
    blocks = np.concatenate([block for block, _ in stage.witness.played])
    np.testing.assert_array_equal(blocks, played[:length])
    times = [audible_at for _, audible_at in stage.witness.played]
    np.testing.assert_allclose(times, at + 0.05 + 0.01 * np.arange(len(times)))


def test_the_echo_cancellation_is_told_what_comes(stage: Stage) -> None:
    stage.say("一二三四五，六七八九十。")
    stage.settle()
    played = stage.play(3.0)
    stage.mouth.close()  # Everything has been told then.
    told = [(i, ahead) for i, ahead in enumerate(stage.witness.ahead) if len(ahead)]
    assert len(told) >= 5
    longest = round(mouth_module.AHEAD_S * RATE)
    assert max(len(ahead) for _, ahead in told) == longest
    for index, ahead in told:
        start = (index + 1) * BLOCK
        np.testing.assert_allclose(ahead, played[start : start + len(ahead)], atol=1e-4)


def test_of_a_reply_that_was_stopped_nothing_more_is_foreseen(stage: Stage) -> None:
    stage.say("一二三四五六七八九十。")
    stage.settle()
    stage.play(0.3)
    stage.mouth.stop()
    stage.play(1.0)
    stage.mouth.close()
    until_stop = round(0.3 * RATE / BLOCK)
    assert any(map(len, stage.witness.ahead[:until_stop]))
    assert not any(map(len, stage.witness.ahead[until_stop:]))
    silence = stage.witness.played[until_stop + 2 :]
    assert len(silence) * BLOCK >= mouth_module.AHEAD_S * RATE
    assert not any(block.any() for block, _ in silence)


def test_render_is_quick_while_the_voice_works(stage: Stage) -> None:
    """With much waiting, a callback still takes no more than a moment of a busy machine."""
    stage.say(*["一二三四五，六七八九十。"] * 500)
    stage.settle()
    took = []
    for _ in range(500):
        started = time.perf_counter()
        stage.mouth.render(BLOCK)
        took.append(time.perf_counter() - started)
    assert sorted(took)[len(took) // 2] < 0.05
