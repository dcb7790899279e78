"""The parts of a voice put together: recogniser, repair by sound, synthesizer.

The ROS nodes, `medbot voice`, `listen` and `say` build them here, so that all hear and speak
alike.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from medbot_llm.apps.threads import spin_little
from medbot_llm.domain import DeliveryTask
from medbot_llm.domain import Language
from medbot_llm.domain import MedbotError
from medbot_llm.knowledge.formulary import Formulary
from medbot_llm.models.store import ModelStore
from medbot_llm.models.store import default_root
from medbot_llm.speech.ordinary import Ordinary
from medbot_llm.speech.recognizer import WhisperRecognizer
from medbot_llm.speech.repair import SoundRepair
from medbot_llm.speech.repair import Word
from medbot_llm.speech.repair import ward_words
from medbot_llm.speech.synthesizer import CachedSynthesizer
from medbot_llm.speech.synthesizer import VoiceSettings
from medbot_llm.speech.synthesizer import build_synthesizer

RECOGNITION_MODEL = "whisper-base"
VOICE_MODEL = "kokoro-82m-v1.0-int8"
ESPEAK = "espeak-ng"
"""As the name of a voice model: the light fall-back voice alone."""


class Vocabulary:
    """The words that speech is repaired by: of the ward and the formulary, which stay, and of the
    task, which changes.
    """

    def __init__(self, formulary: Formulary) -> None:
        """Takes about a second. Raises SpeechError."""
        words = [*ward_words(), *_formulary_words(formulary)]
        self._every_day = SoundRepair(words, Ordinary.load())

    def repair(self, task: DeliveryTask | None) -> SoundRepair:
        """Repair by these words; takes milliseconds."""
        return self._every_day.with_task(_task_words(task))


def load_recognizer(
    model: str = RECOGNITION_MODEL,
    *,
    threads: int = 2,
    device: str = "cpu",
    compute_type: str = "int8",
    chinese: Language = Language.ZH_HANT,
    store: ModelStore | None = None,
) -> WhisperRecognizer:
    """Load a recogniser by the id of its model, or its folder. Raises MedbotError."""
    spin_little()
    found = (store or ModelStore()).resolve(model)
    folder = found if found.is_dir() else found.parent
    return WhisperRecognizer(
        folder, threads=threads, device=device, compute_type=compute_type, chinese=chinese
    )


def load_synthesizer(
    model: str = VOICE_MODEL,
    settings: VoiceSettings | None = None,
    *,
    fixed: Iterable[str] = (),
    store: ModelStore | None = None,
) -> CachedSynthesizer:
    """Load a voice by the id of its model, its folder, or `espeak-ng`.

    A missing model is not the end of speech: the fall-back voice speaks, and says why in the log.

    Args:
        fixed: Phrases whose sound is kept on disk, so that it is there at the next start.

    Raises:
        MedbotError: There is no voice at all.
    """
    folder: Path | None = None
    problem: MedbotError | None = None
    if model != ESPEAK:
        try:
            found = (store or ModelStore()).resolve(model)
            folder = found if found.is_dir() else found.parent
        except MedbotError as error:
            problem = error
    try:
        return build_synthesizer(folder, settings, folder=default_root() / "phrases", fixed=fixed)
    except MedbotError as error:
        raise problem or error from error


def _formulary_words(formulary: Formulary) -> list[Word]:
    return [
        word
        for medicine in formulary.medicines
        for name in medicine.all_names()
        for word in _names(name, "formulary")
    ]


def _task_words(task: DeliveryTask | None) -> list[Word]:
    if task is None:
        return []
    names = [
        name
        for medication in task.medications
        for name in (medication.name, medication.name_zh, medication.generic_name)
    ]
    return [word for name in (*names, *task.allergies) for word in _names(name, "task")]


def _names(text: str, source: str) -> list[Word]:
    """The word, in the language that its letters tell."""
    if not text.strip():
        return []
    language = Language.EN if text.isascii() else None
    assert source in ("task", "formulary")
    return [Word(text, language, "task" if source == "task" else "formulary", matters=True)]
