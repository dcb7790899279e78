"""Speak one plan: from the model's tokens, or from its prepared words, to published chunks.

A reply always ends with exactly one chunk that says so, whatever happens: the model fails, is
blocked, says nothing, or is cancelled. Where the model cannot finish, the plan's own words take
its place.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
from collections.abc import Set
from contextlib import suppress
from dataclasses import dataclass
from dataclasses import field
from dataclasses import replace

from medbot_llm.dialogue.history import History
from medbot_llm.dialogue.plans import Plan
from medbot_llm.dialogue.spoken import clean
from medbot_llm.dialogue.statistics import Statistics
from medbot_llm.dialogue.thinking import ThinkFilter
from medbot_llm.domain import ChatMessage
from medbot_llm.domain import DeliveryTask
from medbot_llm.domain import Language
from medbot_llm.domain import ReplyChunk
from medbot_llm.domain import ReplyKind
from medbot_llm.domain import StageTimes
from medbot_llm.engines.base import CancelToken
from medbot_llm.engines.base import EngineError
from medbot_llm.engines.base import EngineUnavailableError
from medbot_llm.engines.base import Sampling
from medbot_llm.engines.worker import EngineWorker
from medbot_llm.safety.base import Brief
from medbot_llm.safety.base import Verdict
from medbot_llm.safety.base import Verifier
from medbot_llm.safety.garble import check_garble
from medbot_llm.safety.label_facts import bare
from medbot_llm.safety.prompt_leak import recites
from medbot_llm.text.language import detect_language
from medbot_llm.text.language import to_script
from medbot_llm.text.sentences import SentenceSplitter

logger = logging.getLogger(__name__)

LOOP_FROM_CHARS = 6
"""A shorter sentence (謝謝您) may be said twice in a reply."""
SENTENCE_ENDS = '。！？；….!?;」』”")）'


@dataclass
class Reply:
    """A reply under way. Setting `cancel`, from any thread, ends it."""

    plan: Plan
    brief: Brief
    utterance_id: str = ""
    times: StageTimes = field(default_factory=StageTimes)
    cancel: CancelToken = field(default_factory=CancelToken)
    reply_id: str = field(default_factory=lambda: uuid.uuid4().hex[:12])
    chunks: int = 0
    sentences_said: int = 0
    said: set[str] = field(default_factory=set)

    @property
    def task(self) -> DeliveryTask | None:
        """The task it belongs to."""
        return self.brief.task


class ReplySpeaker:
    """Turns replies into chunks. Everything runs on the dialogue's thread."""

    def __init__(
        self,
        worker: EngineWorker,
        verifier: Verifier,
        history: History,
        statistics: Statistics,
        publish: Callable[[ReplyChunk], None],
        on_blocked: Callable[[str, Verdict], None],
    ) -> None:
        self._worker = worker
        self._verifier = verifier
        self._history = history
        self._statistics = statistics
        self._publish = publish
        self._on_blocked = on_blocked

    def prepare(self, task: DeliveryTask | None, language: Language) -> None:
        """Have the labels read while nobody waits; what fails here is told by the first check."""
        with suppress(Exception):
            self._verifier.prepare(task, language)

    def speak(self, reply: Reply, messages: Sequence[ChatMessage], sampling: Sampling) -> None:
        """Publish the reply to its end. `messages` are for the model, where the plan asks for
        it.
        """
        kind = reply.plan.kind
        for sentence in reply.plan.opening:
            if not reply.cancel.cancelled:
                self._say(reply, kind, sentence, is_last=False)
        if reply.plan.use_model:
            # The reply outlives the model's part in it when the model fails or a sentence is
            # blocked.
            stop_model = CancelToken()
            reply.cancel.on_cancel(stop_model.cancel)
            try:
                if self._speak_with_model(reply, messages, sampling, stop_model):
                    return
            except EngineError as error:
                self._note_error(str(error))
            except Exception as error:  # whatever fails on the way, the reply must end
                logger.exception("a reply failed")
                self._note_error(f"{type(error).__name__}: {error}")
            finally:
                stop_model.cancel()
            if not reply.cancel.cancelled:
                kind = ReplyKind.FALLBACK
        self._speak_words(reply, kind)

    def _speak_words(self, reply: Reply, kind: ReplyKind) -> None:
        sentences = _not_yet_said(reply.plan.sentences, reply.said)
        for index, sentence in enumerate(sentences):
            if reply.cancel.cancelled:
                break
            is_last = index == len(sentences) - 1
            self._say(reply, kind, sentence, is_last=is_last)
            if is_last:
                return
        self._say(reply, kind, "", is_last=True)

    def _speak_with_model(
        self,
        reply: Reply,
        messages: Sequence[ChatMessage],
        sampling: Sampling,
        stop_model: CancelToken,
    ) -> bool:
        """Publish the model's sentences as they come. False: the plan's own words must end the
        reply.

        Raises:
            EngineError: the engine failed; what was published stands.
        """
        plan = reply.plan
        spoken = 0
        seen: set[str] = set()
        for sentence, is_last in self._model_sentences(reply, messages, sampling, stop_model):
            words = bare(sentence)
            if len(words) >= LOOP_FROM_CHARS and words in seen:
                # A model that says a sentence again has no more to say, and may do so for ever.
                break
            seen.add(words)
            verdict = self._check(sentence, plan.language, reply.brief)
            if verdict.blocked:
                logger.warning("a sentence was blocked (%s): %s", verdict.reason, verdict.detail)
                self._statistics.note_blocked(verdict.reason)
                self._on_blocked(sentence, verdict)
                return False
            if reply.cancel.cancelled:
                return False
            self._say(reply, plan.kind, sentence, is_last=is_last)
            reply.said.add(words)
            spoken += 1
            if is_last:
                return True
        if reply.cancel.cancelled or not spoken:
            if not spoken and not reply.cancel.cancelled:
                self._note_error("the model gave no words")
            return False
        self._say(reply, plan.kind, "", is_last=True)
        return True

    def _check(self, sentence: str, language: Language, brief: Brief) -> Verdict:
        heard_as = detect_language(sentence, language)
        if heard_as.is_chinese is not language.is_chinese:
            return Verdict("wrong_language", f"{heard_as} instead of {language}")
        verdict = check_garble(sentence, language, _names(brief.task))
        if verdict.blocked:
            return verdict
        if recites(sentence, brief.instructions):
            return Verdict("prompt_leak", "recites its instructions")
        try:
            return self._verifier.check(sentence, language, brief)
        except Exception as error:  # what cannot be judged must not be spoken
            logger.exception("the verifier failed")
            return Verdict("verifier_failed", f"{type(error).__name__}: {error}")

    def _model_sentences(
        self,
        reply: Reply,
        messages: Sequence[ChatMessage],
        sampling: Sampling,
        stop_model: CancelToken,
    ) -> Iterator[tuple[str, bool]]:
        """Yield each sentence fit to be spoken, and whether it is known to be the last."""
        times, language, keep = reply.times, reply.plan.language, _names(reply.task)
        first_sentence_by = time.monotonic() + self._worker.timeouts.first_sentence_s
        stream = self._worker.stream(messages, sampling, stop_model)
        thinking, splitter = ThinkFilter(), SentenceSplitter()
        spoken = False
        for piece in stream:
            times.tokens += 1
            times.first_token, times.last_token = stream.first_token_at, stream.last_token_at
            times.held_s = stream.held_s
            for sentence in splitter.feed(thinking.feed(piece)):
                for text in _speakable(sentence, language, keep):
                    spoken = True
                    yield text, False
            if not spoken and time.monotonic() > first_sentence_by:
                raise EngineUnavailableError("the model was too slow for a first sentence")
        if stop_model.cancelled:
            if not reply.cancel.cancelled:
                raise EngineUnavailableError("the engine was stopped in mid-reply")
            return
        rest = [*splitter.feed(thinking.flush()), *splitter.flush()]
        texts = [text for sentence in rest for text in _speakable(sentence, language, keep)]
        ran_out = times.tokens >= sampling.max_tokens
        if (
            ran_out
            and texts
            and not texts[-1].endswith(tuple(SENTENCE_ENDS))
            and (spoken or texts[1:])
        ):
            # Half a sentence about a medicine may say the contrary of the whole one.
            texts.pop()
        for index, text in enumerate(texts):
            yield text, index == len(texts) - 1

    def _say(self, reply: Reply, kind: ReplyKind, text: str, *, is_last: bool) -> None:
        if text and reply.sentences_said == 0:
            reply.times.first_sentence = time.monotonic()
        interrupted = is_last and reply.cancel.cancelled
        chunk = ReplyChunk(
            reply_id=reply.reply_id,
            sequence=reply.chunks,
            text=text,
            language=reply.plan.language,
            kind=kind,
            is_last=is_last,
            was_interrupted=interrupted,
            task_id=reply.task.task_id if reply.task is not None else "",
            utterance_id=reply.utterance_id,
            times=replace(reply.times),
        )
        reply.chunks += 1
        try:
            self._publish(chunk)
        except Exception as error:  # whoever listens must not break the reply
            logger.exception("a chunk could not be published")
            self._statistics.note_error(f"{type(error).__name__}: {error}")
        else:
            if text:
                self._history.speak(text, reply.plan.language, reply.reply_id)
                reply.sentences_said += 1
        if interrupted and reply.sentences_said > 0:
            self._history.mark_interrupted()
        if is_last:
            self._statistics.note_reply(kind, reply.times, interrupted=interrupted)

    def _note_error(self, message: str) -> None:
        logger.error("prepared words take the model's place: %s", message)
        self._statistics.note_error(message)


def _not_yet_said(sentences: Sequence[str], said: Set[str]) -> list[str]:
    """Prepared words without those sentences that the model has said word by word."""
    if not said:
        return list(sentences)
    left = []
    for sentence in sentences:
        splitter = SentenceSplitter()
        parts = [*splitter.feed(sentence), *splitter.flush()]
        kept = [part for part in parts if bare(part) not in said]
        left += [sentence] if len(kept) == len(parts) else kept
    return left


def _speakable(sentence: str, language: Language, keep: Sequence[str]) -> list[str]:
    """The sentence as a voice says it, in the script of its language; nothing if nothing is left
    of it.
    """
    text = clean(to_script(sentence, language, keep))
    return [text] if text else []


def _names(task: DeliveryTask | None) -> tuple[str, ...]:
    """Names that must stay as the task writes them, whatever script the model chose."""
    if task is None:
        return ()
    medicines = [name for m in task.medications for name in (m.name, m.name_zh, m.generic_name)]
    return tuple(name for name in [task.spoken_name, *medicines] if name)
