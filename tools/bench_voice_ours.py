"""Our loop in one process, without a sound device: ear, dialogue with the real model, mouth.

Wired as the three nodes are (docs/architecture.md), with calls in the place of topics. Blocks are
fed and samples are pulled in real time, as a microphone and a loudspeaker do.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from dataclasses import field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from bench_voice_sounds import Said
from bench_voice_sounds import room

from medbot_llm.apps.voice_parts import VOICE_MODEL
from medbot_llm.apps.voice_parts import Vocabulary
from medbot_llm.apps.voice_parts import load_recognizer
from medbot_llm.dialogue.resources import DialogueResources
from medbot_llm.dialogue.session import DialogueSession
from medbot_llm.dialogue.session import Snapshot
from medbot_llm.domain import Alert
from medbot_llm.domain import ChatMessage
from medbot_llm.domain import DeliveryTask
from medbot_llm.domain import IdentityScan
from medbot_llm.domain import Language
from medbot_llm.domain import Medication
from medbot_llm.domain import ReplyChunk
from medbot_llm.domain import RobotContext
from medbot_llm.domain import ScanResult
from medbot_llm.domain import ScanSource
from medbot_llm.domain import Scene
from medbot_llm.domain import SpeakerRole
from medbot_llm.domain import TripStage
from medbot_llm.domain import Utterance
from medbot_llm.engines.base import CancelToken
from medbot_llm.engines.base import Sampling
from medbot_llm.engines.llama_cpp import LlamaCppEngine
from medbot_llm.engines.llama_cpp import LlamaCppOptions
from medbot_llm.engines.worker import EngineWorker
from medbot_llm.engines.worker import Timeouts
from medbot_llm.knowledge.formulary import Formulary
from medbot_llm.models.store import ModelStore
from medbot_llm.safety.base import Verdict
from medbot_llm.speech.audio import RATE
from medbot_llm.speech.audio import Block
from medbot_llm.speech.audio import Samples
from medbot_llm.speech.audio import Sound
from medbot_llm.speech.devices import BLOCK
from medbot_llm.speech.devices import LOUDSPEAKER_PERIOD_S
from medbot_llm.speech.espeak import EspeakPhonemes
from medbot_llm.speech.listener import Ear
from medbot_llm.speech.listener import EarSettings
from medbot_llm.speech.listener import Heard
from medbot_llm.speech.mouth import Mouth
from medbot_llm.speech.mouth import MouthSettings
from medbot_llm.speech.mouth import SpeakingState
from medbot_llm.speech.recognizer import WhisperRecognizer
from medbot_llm.speech.synthesizer import KokoroSynthesizer
from medbot_llm.speech.synthesizer import VoiceSettings
from medbot_llm.speech.vad import SileroVad

CONFIG = Path(__file__).resolve().parents[1] / "config" / "cpu-2core.yaml"
MODEL = "qwen2.5-coder-0.5b-instruct-q4_k_m"
MAX_TOKENS = 160
AUDIBLE = 0.01
"""Louder than this a sample counts as sound, -40 dBFS; as in bench_voice_pipecat.py."""
AFTER_AUDIO_S = 0.7
GIVE_UP_S = 25.0
SETTLE_TIMEOUT_S = 120.0


@dataclass(frozen=True)
class Cores:
    """How the parts share the cores, from a parameter file (its nodes' defaults elsewhere)."""

    recognition_threads: int
    voice_threads: int
    voice_niceness: int
    model_threads: int
    model_batch: int
    context: int

    @classmethod
    def read(cls, file: Path = CONFIG) -> Cores:
        """Read a file of config/."""
        nodes = {
            name.rpartition("/")[2]: values["ros__parameters"]
            for name, values in yaml.safe_load(file.read_text(encoding="utf-8")).items()
        }
        ear, voice = nodes.get("listener_node", {}), nodes.get("speaker_node", {})
        model = nodes["dialogue_node"]["llama_cpp"]
        return cls(
            recognition_threads=ear.get("threads", 2),
            voice_threads=voice.get("threads", VoiceSettings.threads),
            voice_niceness=voice.get("niceness", MouthSettings.niceness),
            model_threads=model["n_threads"],
            model_batch=model["n_batch"],
            context=model["n_ctx"],
        )


def sampling() -> Sampling:
    """How both loops choose tokens."""
    return Sampling(max_tokens=MAX_TOKENS, seed=7)


def delivery(language: Language) -> DeliveryTask:
    """What the robot brings; the patient is made up."""
    return DeliveryTask(
        task_id="bench",
        scene=Scene.WARD,
        language=language,
        patient_id="P-BENCH",
        spoken_name="林女士" if language.is_chinese else "Mrs Lin",
        room="5A-12",
        bed="3",
        medications=(
            Medication(
                name="Norvasc",
                name_zh="脈優錠" if language.is_chinese else "",
                generic_name="amlodipine",
                strength="5 mg",
                dose="1 tablet",
                route="oral",
                frequency="QD",
                instructions="早餐後服用" if language.is_chinese else "after breakfast",
            ),
        ),
    )


class Parts:
    """What is loaded once."""

    def __init__(self, cores: Cores, model: str = MODEL, *, foresees: bool = True) -> None:
        """
        Args:
            foresees: Have the model begin at the likely end of a turn, as the product does.
        """
        self.cores = cores
        self.foresees = foresees
        self.store = ModelStore()
        self._model = model

    @cached_property
    def recognizer(self) -> WhisperRecognizer:
        """Whisper base, int8."""
        return load_recognizer(threads=self.cores.recognition_threads, store=self.store)

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """What speech is repaired by."""
        return Vocabulary(Formulary.open(None))

    @cached_property
    def resources(self) -> DialogueResources:
        """Words, rules and facts."""
        return DialogueResources.load()

    @cached_property
    def model_file(self) -> Path:
        """The model of the dialogue."""
        if self._model in self.store.catalog:
            self.store.ensure(self._model)
        return self.store.resolve(self._model)

    @cached_property
    def engine(self) -> WatchedEngine:
        """The model, loaded by its worker."""
        cores = self.cores
        return WatchedEngine(
            LlamaCppOptions(
                model=str(self.model_file),
                n_ctx=cores.context,
                n_batch=cores.model_batch,
                n_threads=cores.model_threads,
            )
        )

    @cached_property
    def worker(self) -> EngineWorker:
        """The model's thread."""
        worker = EngineWorker(self.engine, Timeouts(first_token_s=120.0, first_sentence_s=120.0))
        worker.load(lambda share: None).result()
        return worker

    @cached_property
    def voice(self) -> KokoroSynthesizer:
        """Kokoro, int8, without the product's memory of what it said before: a model that answers
        twice the same would seem quicker than it is.
        """
        folder = self.store.resolve(VOICE_MODEL).parent
        settings = VoiceSettings(threads=self.cores.voice_threads)
        return KokoroSynthesizer(folder, settings, espeak=EspeakPhonemes())

    def close(self) -> None:
        """Free the model."""
        if "worker" in self.__dict__:
            self.worker.close()


class WatchedEngine(LlamaCppEngine):
    """Notes what it is asked, and whether it works."""

    def __init__(self, options: LlamaCppOptions) -> None:
        super().__init__(options)
        self.asked: Sequence[ChatMessage] = ()
        self._working = 0

    @property
    def is_working(self) -> bool:
        """Whether it generates, or works through a prompt."""
        return self._working > 0

    @contextmanager
    def _work(self) -> Iterator[None]:
        self._working += 1
        try:
            yield
        finally:
            self._working -= 1

    def prefill(self, messages: Sequence[ChatMessage], cancel: CancelToken) -> None:
        """Work through a prompt."""
        with self._work():
            super().prefill(messages, cancel)

    def stream(
        self, messages: Sequence[ChatMessage], sampling: Sampling, cancel: CancelToken
    ) -> Iterator[str]:
        """Reply."""
        self.asked = messages
        with self._work():
            yield from super().stream(messages, sampling, cancel)


@dataclass
class Turn:
    """One question and its answer. Times in s after the end of speech, NaN for what never was.

    Attributes:
        heard: What was recognised.
        answer: The first sentence of the answer.
        kind: What the answer is: "answer" of the model, or other.
        pieces: Into how many the speech was cut for recognition.
        early_ends: Turns that were over before the person was.
        recognised: The recognition of the whole was done (ours: may be before the turn is over).
        synthesised: The first sound was there to be played.
    """

    said: Said
    heard: str = ""
    answer: str = ""
    kind: str = ""
    pieces: int = 1
    early_ends: int = 0
    recognised: float = math.nan
    final_text: float = math.nan
    first_token: float = math.nan
    first_sentence: float = math.nan
    synthesised: float = math.nan
    first_audio: float = math.nan

    @property
    def by_model(self) -> bool:
        """Whether what sounded first are the model's words."""
        return not math.isnan(self.first_token) and self.kind in ("answer", "model")


def feed_in_real_time(ear: Ear, said: Said, goes_on: Any) -> None:
    """Feed a recording, and the room behind it for as long as `goes_on(end)` says.

    Args:
        goes_on: Called between blocks, with the end of the voice as a time of the monotonic clock.
    """
    samples = said.samples
    begun = time.monotonic()
    end = begun + said.end_s
    step = 0
    noise = room(BLOCK * 64, seed=1)
    while True:
        block = samples[step * BLOCK : (step + 1) * BLOCK]
        if len(block) < BLOCK:
            start = step % 63 * BLOCK
            block = np.concatenate([block, noise[start : start + BLOCK - len(block)]])
        captured_at = begun + step * BLOCK / RATE
        step += 1
        time.sleep(max(0.0, begun + step * BLOCK / RATE - time.monotonic()))
        ear.feed(Block(block, captured_at))
        if time.monotonic() > end and not goes_on(end):
            return


class Loop:
    """Conversations in one language, from the scan on."""

    def __init__(self, parts: Parts, language: Language) -> None:
        self._parts = parts
        self._language = language
        self._turn: Turn | None = None
        self._end = math.nan
        self._events: list[tuple[str, float]] = []
        self._is_answered = threading.Event()
        self._is_set_up = False
        self._is_closed = threading.Event()
        task = delivery(language)
        self._mouth = Mouth(parts.voice, MouthSettings(niceness=parts.cores.voice_niceness), self)
        self._session = DialogueSession(parts.worker, self, parts.resources, sampling=sampling())
        self._ear = Ear(
            parts.recognizer,
            SileroVad(),
            self,
            EarSettings(),
            language=language,
            repair=parts.vocabulary.repair(task),
        )
        self._session.start()
        self._session.context_changed(RobotContext(scene=Scene.WARD, trip_stage=TripStage.ARRIVED))
        self._session.task_arrived(task)
        self._scan = IdentityScan(
            ScanSource.WRISTBAND,
            ScanResult.MATCH,
            task.task_id,
            task.patient_id,
            SpeakerRole.PATIENT,
            matched_identifiers=("patient_id", "name", "birth_date"),
        )
        self._player = threading.Thread(target=self._play_out, name="loudspeaker", daemon=True)
        self._player.start()

    def _begin_again(self) -> None:
        """A fresh conversation, so that each question finds the same prompt."""
        self._is_set_up = False
        self._session.reset()
        self._settle()
        self._session.identity_scanned(self._scan)
        self._settle()
        self._is_set_up = True

    def _settle(self) -> None:
        if not self._session.settled().wait(SETTLE_TIMEOUT_S):
            raise RuntimeError("the dialogue does not come to rest")
        while self._parts.engine.is_working or self._mouth.is_synthesizing:
            time.sleep(0.02)

    def close(self) -> None:
        """End the conversation."""
        self._is_closed.set()
        self._ear.close()
        self._session.close()
        self._mouth.close()

    def ask(self, said: Said) -> Turn:
        """Say a question to the robot, and wait for its answer."""
        self._begin_again()
        self._events.clear()
        self._is_answered.clear()
        turn = self._turn = Turn(said, pieces=0)

        def goes_on(end: float) -> bool:
            self._end = end
            now = time.monotonic()
            if now > end + GIVE_UP_S:
                return False
            audio = self._time("audio")
            is_done = self._is_answered.is_set() and now > audio + AFTER_AUDIO_S
            return now < end + AFTER_AUDIO_S or not is_done

        feed_in_real_time(self._ear, said, goes_on)
        self._turn = None
        end = self._end
        for name in ("recognised", "final_text", "first_token", "first_sentence", "synthesised"):
            setattr(turn, name, self._time(name) - end)
        turn.first_audio = self._time("audio") - end
        turn.early_ends = sum(at < end for name, at in self._events if name == "final_text")
        turn.pieces = sum(name == "final_text" for name, _ in self._events)
        self._mouth.stop()
        # What fades out is no sound of the next answer.
        time.sleep(0.2)
        self._settle()
        return turn

    def prompt(self) -> Sequence[ChatMessage]:
        """What the model was last asked, the question included."""
        return self._parts.engine.asked

    def _time(self, name: str) -> float:
        """When it happened last."""
        return max((at for event, at in self._events if event == name), default=math.nan)

    def _note(self, name: str, at: float | None = None) -> None:
        self._events.append((name, time.monotonic() if at is None else at))

    # --- the loudspeaker -------------------------------------------------------------------------

    def _play_out(self) -> None:
        size = round(LOUDSPEAKER_PERIOD_S * self._mouth.rate)
        due = time.monotonic()
        while not self._is_closed.is_set():
            due = max(due + LOUDSPEAKER_PERIOD_S, time.monotonic() - 0.1)
            time.sleep(max(0.0, due - time.monotonic()))
            now = time.monotonic()
            samples = self._mouth.render(size)
            if math.isnan(self._time("audio")) and self._turn is not None:
                loud = np.flatnonzero(np.abs(samples) > AUDIBLE)
                if len(loud):
                    self._note("audio", now + int(loud[0]) / self._mouth.rate)

    # --- EarListener -----------------------------------------------------------------------------

    def on_voice(self, started: float) -> None:
        """Somebody may be speaking."""
        self._mouth.duck()

    def on_words(self, heard: Heard) -> None:
        """The robot is interrupted."""
        self._mouth.stop()

    def on_nothing(self) -> None:
        """Nobody spoke."""
        self._mouth.unduck()

    def on_heard(self, heard: Heard) -> None:
        """Have a turn answered."""
        utterance = Utterance(
            heard.text, heard.language, heard.confidence, utterance_id=heard.utterance_id
        )
        if heard.is_partial:
            if not heard.is_likely_end:
                self._session.goes_on()
            elif self._parts.foresees:
                self._session.foresee(utterance)
            return
        self._note("final_text")
        self._note("recognised", heard.recognised)
        self._mouth.unduck()
        if self._turn is not None:
            self._turn.heard = (self._turn.heard + " " + heard.text).strip()
        self._session.heard(utterance)

    # --- SessionListener and MouthListener -------------------------------------------------------

    def on_reply(self, chunk: ReplyChunk) -> None:
        """Speak it."""
        if not self._is_set_up:
            return
        turn = self._turn
        if chunk.text and turn is not None:
            if chunk.sequence == 0:
                turn.answer, turn.kind = chunk.text, str(chunk.kind)
                self._note("first_token", chunk.times.first_token)
                self._note("first_sentence", chunk.times.first_sentence)
            self._ear.robot_says(chunk.text)
        self._mouth.say(chunk)
        if chunk.is_last:
            self._is_answered.set()

    def on_speaking(self, state: SpeakingState) -> None:
        """Tell the ear and the dialogue."""
        self._ear.robot_speaks(state.is_speaking)
        self._session.voice("robot", is_active=state.is_speaking)
        if state.is_speaking and math.isnan(self._time("synthesised")):
            self._note("synthesised", state.first_audio_at)

    def on_played(self, sound: Sound, audible_at: float, ahead: Samples) -> None:
        """There is no echo here."""

    def on_problem(self, problem: str) -> None:
        """Ear or mouth is in trouble."""
        if problem:
            raise RuntimeError(problem)

    def on_alert(self, alert: Alert) -> None:
        """No question here calls a human."""

    def on_state(self, snapshot: Snapshot) -> None:
        """Not needed here."""

    def on_blocked(self, sentence: str, verdict: Verdict) -> None:
        """The turn is counted as one of prepared words."""
        self._note("blocked")


@dataclass
class Hearing:
    """What an ear alone made of a recording."""

    said: Said
    texts: list[str] = field(default_factory=list)
    early_ends: int = 0


class ListeningEar:
    """Only the ear, for how turns end."""

    def __init__(self, parts: Parts, language: Language) -> None:
        self._found: list[tuple[float, str]] = []
        self._ear = Ear(
            parts.recognizer,
            SileroVad(),
            self,
            EarSettings(),
            language=language,
            repair=parts.vocabulary.repair(delivery(language)),
        )

    def hear(self, said: Said) -> Hearing:
        """Listen to a recording until its turn is over."""
        self._found.clear()
        ends: list[float] = []

        def goes_on(end: float) -> bool:
            ends.append(end)
            now = time.monotonic()
            last = max((at for at, _ in self._found), default=math.nan)
            return not (now > end + GIVE_UP_S or now > max(last, end) + AFTER_AUDIO_S)

        feed_in_real_time(self._ear, said, goes_on)
        return Hearing(
            said,
            [text for _, text in self._found],
            sum(at < ends[-1] for at, _ in self._found),
        )

    def close(self) -> None:
        """End its threads."""
        self._ear.close()

    def on_voice(self, started: float) -> None:
        """Not needed here."""

    def on_words(self, heard: Heard) -> None:
        """Not needed here."""

    def on_nothing(self) -> None:
        """Not needed here."""

    def on_heard(self, heard: Heard) -> None:
        """A turn is over."""
        if not heard.is_partial:
            self._found.append((time.monotonic(), heard.text))

    def on_problem(self, problem: str) -> None:
        """The ear is in trouble."""
        if problem:
            raise RuntimeError(problem)
