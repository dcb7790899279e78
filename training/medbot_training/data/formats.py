"""The formats of training data: how each is told, read into records, and written.

Every format is a row of FORMATS. A file has one format, told by the fields of its first records,
or forced; a record that does not fit is a finding, and the next one is read. What a record has
beside the fields of its format goes into `meta`, so that nothing is lost.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import replace
from pathlib import Path
from typing import Any

from medbot_training.data.files import Advance
from medbot_training.data.files import Value
from medbot_training.data.files import read_values
from medbot_training.data.findings import Finding
from medbot_training.data.findings import shown
from medbot_training.data.records import Conversation
from medbot_training.data.records import DataError
from medbot_training.data.records import Message
from medbot_training.data.records import Preference
from medbot_training.data.records import Record
from medbot_training.data.records import Role
from medbot_training.data.records import Text
from medbot_training.data.records import full_answer
from medbot_training.data.records import join_thinking
from medbot_training.data.records import split_thinking
from medbot_training.data.records import texts_of

REPEATED = "prompt_repeated"
"""In `meta` of a preference whose answers came with the prompt before them: it was taken off."""
ID_DIGITS = 16
MESSAGE_FIELDS = "message_fields"
"""In `meta`: what messages had beside role, content and thought (name, weight), by place."""
RECORDS_TO_TELL = 20
"""So many records are looked at to tell a file's format."""

_ROLES: dict[str, Role] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "patient": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "bot": "assistant",
    "model": "assistant",
    "doctor": "assistant",
}
_TOOL_ROLES = ("tool", "function", "function_call", "tool_call", "observation", "ipython")
_TOOL_FIELDS = ("tool_calls", "function_call")
_META = ("meta", "metadata")
_QUESTION = ("question", "Question", "query", "content.Q")
_ANSWER = ("answer", "Response", "response", "content.A")
_NOTHING_SAID: tuple[object, ...] = (None, "", [], {})
_THINKING = ("think", "thinking", "Complex_CoT", "reasoning", "reasoning_content")


class Misfit(Exception):
    """A record is not what its format wants."""

    def __init__(self, kind: str, detail: str) -> None:
        super().__init__(detail)
        self.kind = kind


@dataclass(frozen=True)
class Format:
    """One format.

    Attributes:
        name: As `--format` and `--to` call it.
        shape: Its fields, for help.
        tells: Whether an object with these fields is of it.
        read: Makes a record of an object. Raises Misfit.
        write: Makes an object of a record. Raises Misfit.
    """

    name: str
    shape: str
    tells: Callable[[Mapping[str, Any]], bool]
    read: Callable[[Fields], Record]
    write: Callable[[Record], dict[str, Any]]


class Fields:
    """The fields of one object, taken one by one; the rest is `meta`."""

    def __init__(self, fields: Mapping[str, Any]) -> None:
        self._fields = fields
        self._taken: set[str] = set(_META) | {"id"}
        self._beside: dict[str, dict[str, Any]] = {}

    def has(self, name: str) -> bool:
        """Whether it is there and not null."""
        return self._fields.get(name) is not None

    def take(self, name: str) -> Any:
        """A value as it is; None where it is absent or null."""
        self._taken.add(name)
        return self._fields.get(name)

    def set_beside(self, where: str, rest: dict[str, Any]) -> None:
        """Keep what a message has beside its role and content."""
        if rest:
            self._beside[where] = rest

    def truth(self, name: str) -> bool | None:
        """True or false; None where it is absent. Raises Misfit."""
        value = self.take(name)
        if isinstance(value, bool):
            return value
        if name in self._fields:
            raise Misfit("wrong_type", f"{name} must be true or false, not {_kind(value)}")
        return None

    def text(self, *names: str) -> str:
        """The first of these texts that is there. Raises Misfit."""
        for name in names:
            if name in self._fields:
                return _text(self.take(name), name)
        raise Misfit("missing_field", f"{names[0]} is missing")

    def optional(self, *names: str) -> str:
        """The first of these texts that is there and not null, else "". Raises Misfit."""
        for name in names:
            if self.take(name) is not None:
                return _text(self._fields[name], name)
        return ""

    def listed(self, name: str) -> list[Any]:
        """A list, also where a table has it as JSON. Raises Misfit."""
        value = self.take(name)
        if isinstance(value, str) and value.lstrip().startswith("["):
            try:
                value = json.loads(value)
            except (ValueError, RecursionError):
                raise Misfit("wrong_type", f"{name} is no list") from None
        if value is None:
            raise Misfit("missing_field", f"{name} is missing")
        if not isinstance(value, list):
            raise Misfit("wrong_type", f"{name} must be a list, not {_kind(value)}")
        return value

    @property
    def id(self) -> str:
        """The record's own id, "" if it has none. Raises Misfit."""
        value = self._fields.get("id")
        if value is None:
            return ""
        if isinstance(value, (dict, list, bool)):
            raise Misfit("wrong_type", f"id must be a text or a number, not {_kind(value)}")
        return str(value)

    @property
    def all(self) -> Mapping[str, Any]:
        """The object as it is."""
        return self._fields

    @property
    def has_taken(self) -> bool:
        """Whether anything was taken that is there."""
        return any(self.has(name) for name in self._taken - {*_META, "id", "system"})

    @property
    def rest(self) -> dict[str, Any]:
        """The fields that were not taken, without `meta`."""
        return {k: v for k, v in self._fields.items() if k not in self._taken and v is not None}

    @property
    def meta(self) -> dict[str, Any]:
        """All that was not taken. Raises Misfit."""
        rest = self.rest | ({MESSAGE_FIELDS: self._beside} if self._beside else {})
        for name in _META:
            value = self._fields.get(name)
            if isinstance(value, str) and value.lstrip().startswith("{"):
                try:
                    value = json.loads(value)
                except (ValueError, RecursionError):
                    raise Misfit("wrong_type", f"{name} is no object") from None
            if value is None or value == "":
                continue
            if not isinstance(value, dict):
                raise Misfit("wrong_type", f"{name} must be an object, not {_kind(value)}")
            rest |= value
        return rest


# Reading -----------------------------------------------------------------------------------------


def read(
    path: Path | str,
    *,
    form: str | None = None,
    encoding: str | None = None,
    advance: Advance | None = None,
) -> Iterator[Record | Finding]:
    """Yield the records of a file in order, and a finding for each one that can't be read.

    Args:
        path: See files.py for what it may be.
        form: Name of its format; None: told by the fields of its first records.
        encoding: Its encoding; None: UTF-8, or what its byte order mark says.
        advance: Is told how many bytes have been read.

    Raises DataError if there is no such format, or nothing in the file can be read.
    """
    path = Path(path)
    is_forced = form is not None
    found = None if form is None else format_called(form)
    waiting: list[Value] = []
    is_any = False
    for item in read_values(path, encoding, advance):
        if isinstance(item, Finding):
            yield item
            continue
        is_any = True
        if found is None:
            waiting.append(item)
            found = _format_of(item)
            if found is None:
                if len(waiting) == RECORDS_TO_TELL:
                    break
                continue
            for earlier in waiting:
                yield _record(earlier, found, is_forced=is_forced)
            continue
        yield _record(item, found, is_forced=is_forced)
    if found is None and waiting:
        raise DataError(f"{path}: {_unknown(waiting[0].value)}")
    if not is_any:
        raise DataError(f"{path}: no record can be read")


def read_records(
    paths: Iterable[Path | str], *, form: str | None = None, encoding: str | None = None
) -> Iterator[Record]:
    """Yield the records of several files; the first that can't be read ends it.

    So does an answer that is labelled bad: whoever reads here learns from answers.

    Raises DataError, worded as `data validate` words its findings.
    """
    for path in paths:
        for item in read(path, form=form, encoding=encoding):
            if isinstance(item, Finding):
                raise DataError(f"{item}; `medbot-train data validate {path}` lists all of them")
            if isinstance(item, Conversation) and item.label is False:
                raise DataError(
                    f"{item.origin}: is labelled false: no stage learns from single bad answers; "
                    "`medbot-train data convert --to messages` leaves them out"
                )
            yield item


def format_called(name: str) -> Format:
    """The format of this name. Raises DataError."""
    try:
        return FORMATS[name]
    except KeyError:
        known = ", ".join(FORMATS)
        raise DataError(f"there is no format '{name}'; there are {known}") from None


def _format_of(item: Value) -> Format | None:
    if isinstance(item.value, str):
        return FORMATS["text"]
    if not isinstance(item.value, dict):
        return None
    return next((form for form in FORMATS.values() if form.tells(item.value)), None)


def _unknown(value: Any) -> str:
    if not isinstance(value, dict):
        return f"records must be objects, not {_kind(value)}"
    if "scores" in value and "prompt" in value:
        return "has a judge's notes (prompt, scores), which are no training data"
    fields = shown(", ".join(map(str, value)), 80) or "none"
    return (
        f"is of no known format; its records have the fields: {fields}. "
        "`medbot-train data convert --help` lists the formats"
    )


def _record(item: Value, form: Format, *, is_forced: bool) -> Record | Finding:
    value = item.value
    if isinstance(value, str) and form.name == "text":
        value = {"text": value}
    if not isinstance(value, dict):
        detail = f"a record must be an object, not {_kind(value)}"
        return Finding(item.origin, "wrong_type", detail)
    fields = Fields(value)
    try:
        record = form.read(fields)
        if not is_forced:
            _check_rest(record, fields.rest, form)
    except Misfit as misfit:
        if misfit.kind == "missing_field" and (other := _other_format(fields, form)):
            detail = f"is of the format {other.name}, the file's is {form.name}"
            return Finding(item.origin, "other_format", detail)
        return Finding(item.origin, misfit.kind, str(misfit))
    return named(replace(record, origin=item.origin))


def _other_format(fields: Fields, form: Format) -> Format | None:
    """The format of a record that is not of its file's; None where it only lacks a field."""
    if form.tells(fields.all):
        return None
    other = next((one for one in FORMATS.values() if one.tells(fields.all)), None)
    # Half a record of one format is often a whole one of these.
    is_half = other is not None and other.name in ("prompt", "text") and fields.has_taken
    return None if is_half else other


def _check_rest(record: Record, rest: Mapping[str, Any], form: Format) -> None:
    """Raise Misfit where what is left of a record says something else in another format."""
    for other in FORMATS.values():
        # A prompt or a text beside a conversation is a note on it.
        if not rest or other.name in ("prompt", "text") or not other.tells(rest):
            continue
        try:
            second = other.read(Fields(rest))
        except Misfit:
            continue
        ours, theirs = (
            [" ".join(text.split()) for _, text in texts_of(one)] for one in (record, second)
        )
        if not set(theirs) <= set(ours) and not set(ours) <= set(theirs):
            raise Misfit(
                "ambiguous",
                f"has the fields of {form.name} and of {other.name}, which say different things; "
                "--format chooses",
            )


def named(record: Record) -> Record:
    """The record with an id; one that has none gets it from its texts."""
    if record.id:
        return record
    whole = "\x1e".join(text for _, text in texts_of(record))
    digest = hashlib.sha256(whole.encode("utf-8", "replace")).hexdigest()
    return replace(record, id=digest[:ID_DIGITS])


def _kind(value: object) -> str:
    names = {dict: "an object", list: "a list", bool: "true or false", type(None): "null"}
    return names.get(type(value)) or f"{type(value).__name__} {shown(value, 30)}"


def _text(value: Any, name: str) -> str:
    if isinstance(value, str):
        return value
    if value is None:
        raise Misfit("missing_field", f"{name} is null")
    raise Misfit("wrong_type", f"{name} must be text, not {_kind(value)}")


def _messages(
    fields: Fields,
    entries: Sequence[Any],
    name: str,
    role_keys: Sequence[str] = ("role",),
    content_keys: Sequence[str] = ("content",),
) -> list[Message]:
    found: list[Message] = []
    for number, entry in enumerate(entries, start=1):
        where = f"{name}, entry {number}"
        if not isinstance(entry, dict):
            raise Misfit("wrong_type", f"{where}: must be an object, not {_kind(entry)}")
        role_key = key = next((key for key in role_keys if key in entry), role_keys[0])
        role = _text(entry.get(key), f"{where}: {key}").strip().lower()
        called = next((field for field in _TOOL_FIELDS if entry.get(field)), None)
        if called is not None or role in _TOOL_ROLES:
            what = f"has {called}" if called is not None else f"{key} is '{role}'"
            raise Misfit("tools", f"{where}: {what}; conversations with tools are not read")
        if role not in _ROLES:
            raise Misfit("wrong_role", f"{where}: {key} is '{shown(role, 30)}'")
        key = next((key for key in content_keys if key in entry), content_keys[0])
        content = entry.get(key)
        if isinstance(content, list):
            content = _joined_parts(content, f"{where}: {key}")
        content = _text(content, f"{where}: {key}")
        thought = next((entry[key] for key in _THINKING if entry.get(key)), "")
        if thought:
            content = join_thinking(_text(thought, f"{where}: thinking").strip(), content)
        found.append(Message(_ROLES[role], content))
        known = {role_key, key, *_THINKING}
        rest = {k: v for k, v in entry.items() if k not in known and v not in _NOTHING_SAID}
        fields.set_beside(where, rest)
    if not found:
        raise Misfit("missing_field", f"{name} is empty")
    return found


def _joined_parts(parts: list[Any], where: str) -> str:
    """The text of a content in parts, as OpenAI's messages may have it."""
    texts = []
    for part in parts:
        if not isinstance(part, dict) or not isinstance(part.get("text"), str):
            raise Misfit("wrong_type", f"{where}: has a part that is no text")
        texts.append(part["text"])
    return "".join(texts)


def _conversation(
    fields: Fields, messages: list[Message], label: bool | None = None
) -> Conversation:
    thinking = ""
    if messages and messages[-1].role == "assistant":
        thinking, answer = split_thinking(messages[-1].content)
        messages = [*messages[:-1], Message("assistant", answer)]
    return Conversation(fields.id, tuple(messages), fields.meta, thinking, label=label)


def _with_system(system: str, *rest: Message) -> list[Message]:
    return [Message("system", system), *rest] if system.strip() else list(rest)


def _headed(system: str, messages: list[Message]) -> list[Message]:
    """Messages after a system's that stands beside them; a second, different one is kept, and
    `validate` finds it."""
    first = messages[0]
    if first.role == "system" and (not first.content.strip() or first.content == system):
        messages = messages[1:]
    return _with_system(system, *messages)


def _read_messages(name: str) -> Callable[[Fields], Record]:
    role_keys, content_keys = ("role", "from"), ("content", "value")

    def read_one(fields: Fields) -> Record:
        system = fields.optional("system")
        messages = _messages(fields, fields.listed(name), name, role_keys, content_keys)
        return _conversation(fields, _headed(system, messages))

    return read_one


def _read_alpaca(fields: Fields) -> Record:
    system, instruction = fields.optional("system"), fields.text("instruction")
    extra, output = fields.optional("input"), fields.text("output")
    asked = "\n".join(part for part in (instruction, extra) if part.strip())
    messages = _with_system(system, *_history(fields), Message("user", asked))
    return _conversation(fields, [*messages, Message("assistant", output)])


def _read_instruction(fields: Fields) -> Record:
    instruction, asked = fields.text("instruction"), fields.optional("input")
    output = fields.text("output")
    if not asked.strip():
        instruction, asked = "", instruction
    messages = _with_system(instruction, Message("user", asked))
    return _conversation(fields, [*messages, Message("assistant", output)])


def _read_qa(fields: Fields) -> Record:
    asked, answer = fields.text(*_QUESTION), fields.text(*_ANSWER)
    messages = _with_system(fields.optional("system"), *_history(fields), Message("user", asked))
    answer = join_thinking(fields.optional(*_THINKING).strip(), answer)
    return _conversation(fields, [*messages, Message("assistant", answer)])


def _history(fields: Fields) -> list[Message]:
    """Earlier turns: pairs of question and answer. Raises Misfit."""
    pairs = fields.listed("history") if fields.has("history") else []
    messages = []
    for number, pair in enumerate(pairs, start=1):
        where = f"history, entry {number}"
        if not isinstance(pair, list) or len(pair) != 2:
            raise Misfit("wrong_type", f"{where}: must be a question with its answer")
        messages.append(Message("user", _text(pair[0], where)))
        messages.append(Message("assistant", _text(pair[1], where)))
    return messages


def _prompt_messages(fields: Fields, name: str) -> list[Message]:
    """A prompt that is a text, or a list of messages. Raises Misfit."""
    value = fields.take(name)
    if isinstance(value, list) or (isinstance(value, str) and value.startswith('[{"')):
        return _messages(fields, fields.listed(name), name)
    return [Message("user", _text(value, name))]


def _read_prompt(fields: Fields) -> Record:
    name = "prompt" if fields.has("prompt") else "query"
    messages = _headed(fields.optional("system"), _prompt_messages(fields, name))
    return Conversation(fields.id, tuple(messages), fields.meta)


def _read_completion(fields: Fields) -> Record:
    messages = _headed(fields.optional("system"), _prompt_messages(fields, "prompt"))
    messages += _answer(fields, "completion")
    return _conversation(fields, messages, fields.truth("label"))


def _read_preference(fields: Fields) -> Record:
    prompt: list[Message] = []
    if fields.has("prompt"):
        prompt = _prompt_messages(fields, "prompt")
    system = fields.optional("system")
    answers = [_answer(fields, name) for name in ("chosen", "rejected")]
    if not prompt:
        prompt = _common(*answers)
        if not prompt and max(map(len, answers)) > 1:
            raise Misfit("ambiguous", "chosen and rejected do not begin with the same prompt")
        if not prompt:
            raise Misfit("missing_field", "prompt is missing")
        answers = [answer[len(prompt) :] for answer in answers]
    prompt = _headed(system, prompt)
    texts, is_repeated = [], False
    for name, answer in zip(("chosen", "rejected"), answers, strict=True):
        said = [message for message in prompt if message.role != "system"]
        spoken = [message for message in answer if message.role != "system"]
        if any(m.role == "system" and m.content.strip() and m not in prompt for m in answer):
            raise Misfit("ambiguous", f"{name} has a system message that the prompt has not")
        if len(answer) > 1 and spoken[: len(said)] == said:
            answer, is_repeated = spoken[len(said) :], True
        if len(answer) != 1 or answer[0].role != "assistant":
            raise Misfit("wrong_type", f"{name} must be one answer of the assistant")
        texts.append(answer[0].content)
    meta = fields.meta | ({REPEATED: True} if is_repeated else {})
    return Preference(fields.id, tuple(prompt), texts[0], texts[1], meta)


def _answer(fields: Fields, name: str) -> list[Message]:
    value = fields.take(name)
    if isinstance(value, str) and value.startswith('[{"'):
        value = fields.listed(name)
    if isinstance(value, (list, dict)):
        return _messages(fields, value if isinstance(value, list) else [value], name)
    return [Message("assistant", fields.text(name))]


def _common(first: list[Message], second: list[Message]) -> list[Message]:
    """What two conversations begin with, without their last messages."""
    shared = []
    for one, other in zip(first[:-1], second[:-1], strict=False):
        if one != other:
            break
        shared.append(one)
    return shared


def _read_question(fields: Fields) -> Record:
    prompt = [*_history(fields), Message("user", fields.text("question"))]
    return Preference(
        fields.id,
        tuple(_with_system(fields.optional("system"), *prompt)),
        fields.text("response_chosen"),
        fields.text("response_rejected"),
        fields.meta,
    )


def _read_text(fields: Fields) -> Record:
    return Text(fields.id, fields.text("text"), fields.meta)


# Writing -----------------------------------------------------------------------------------------


def _as_conversation(record: Record) -> Conversation:
    """A conversation; of a preference the one with the better answer. Raises Misfit."""
    if isinstance(record, Text):
        raise Misfit("not_convertible", "a plain text is no conversation")
    if isinstance(record, Preference):
        thinking, answer = split_thinking(record.chosen)
        messages = (*record.prompt, Message("assistant", answer))
        return Conversation(record.id, messages, record.meta, thinking, record.origin)
    return record


def _to_imitate(record: Record) -> Conversation:
    """A conversation whose answer is good, or not known to be bad. Raises Misfit."""
    talk = _as_conversation(record)
    if talk.label is False:
        raise Misfit("bad_answer", "is labelled false: nothing to imitate")
    return talk


def _as_preference(record: Record) -> Preference:
    if isinstance(record, Preference):
        return record
    raise Misfit("not_convertible", "has no rejected answer")


def _single(record: Record) -> tuple[str, str, str]:
    """System, question and answer of one turn. Raises Misfit."""
    talk = _to_imitate(record)
    messages = talk.messages[1:] if talk.system else talk.messages
    if [message.role for message in messages] != ["user", "assistant"]:
        raise Misfit("not_convertible", "is not one question with one answer")
    return talk.system, messages[0].content, full_answer(talk)


def _listed(messages: Iterable[Message]) -> list[dict[str, str]]:
    return [{"role": message.role, "content": message.content} for message in messages]


def _whole(talk: Conversation) -> list[Message]:
    """All messages, the last with its thinking."""
    if not talk.thinking:
        return list(talk.messages)
    return [*talk.prompt, Message("assistant", full_answer(talk))]


def _about(record: Record) -> dict[str, Any]:
    meta = {name: value for name, value in record.meta.items() if name != REPEATED}
    return {"meta": meta} if meta else {}


def _write_messages(record: Record) -> dict[str, Any]:
    talk = _to_imitate(record)
    return {"id": talk.id, "messages": _listed(_whole(talk)), **_about(talk)}


def _write_dialogue(record: Record) -> dict[str, Any]:
    talk = _to_imitate(record)
    return {"id": talk.id, "conversation": _listed(_whole(talk)), **_about(talk)}


def _write_sharegpt(record: Record) -> dict[str, Any]:
    talk = _to_imitate(record)
    names = {"user": "human", "assistant": "gpt", "system": "system"}
    turns = [{"from": names[m.role], "value": m.content} for m in _whole(talk)]
    return {"id": talk.id, "conversations": turns, **_about(talk)}


def _write_alpaca(record: Record) -> dict[str, Any]:
    system, asked, answer = _single(record)
    fields = {"instruction": asked, "input": "", "output": answer, "system": system}
    return {"id": record.id, **fields, **{k: v for k, v in record.meta.items() if k not in fields}}


def _write_instruction(record: Record) -> dict[str, Any]:
    system, asked, answer = _single(record)
    fields = {"instruction": system or asked, "input": asked if system else "", "output": answer}
    return {"id": record.id, **fields, "meta": dict(record.meta)}


def _write_qa(record: Record) -> dict[str, Any]:
    talk = _to_imitate(record)
    system, asked, _ = _single(talk)
    thinking = {"think": talk.thinking} if talk.thinking else {}
    fields = {"system": system, "question": asked, **thinking, "answer": talk.answer}
    return {"id": talk.id, **fields, **_about(talk)}


def _write_completion(record: Record) -> dict[str, Any]:
    talk = _as_conversation(record)
    if talk.wants_answer:
        raise Misfit("not_convertible", "has no answer")
    answer = [Message("assistant", full_answer(talk))]
    return {
        "id": talk.id,
        "prompt": _listed(talk.prompt),
        "completion": _listed(answer),
        **({} if talk.label is None else {"label": talk.label}),
        **_about(talk),
    }


def _write_prompt(record: Record) -> dict[str, Any]:
    talk = _to_imitate(record)
    # An answer that is known to be good helps rewards.
    known = {} if talk.wants_answer else {"reference": talk.answer}
    return {"id": talk.id, "prompt": _listed(talk.prompt), **known, **_about(talk)}


def _write_preference(record: Record) -> dict[str, Any]:
    pair = _as_preference(record)
    return {
        "id": pair.id,
        "prompt": _listed(pair.prompt),
        "chosen": _listed([Message("assistant", pair.chosen)]),
        "rejected": _listed([Message("assistant", pair.rejected)]),
        **_about(pair),
    }


def _write_question(record: Record) -> dict[str, Any]:
    pair = _as_preference(record)
    messages = pair.prompt[1:] if pair.system else pair.prompt
    roles = [message.role for message in messages]
    if not roles or roles != ["user", "assistant"] * (len(roles) // 2) + ["user"]:
        raise Misfit("not_convertible", "user and assistant are not in turn")
    turns = [message.content for message in messages]
    return {
        "id": pair.id,
        "system": pair.system,
        "history": [turns[at : at + 2] for at in range(0, len(turns) - 1, 2)],
        "question": turns[-1],
        "response_chosen": pair.chosen,
        "response_rejected": pair.rejected,
        **_about(pair),
    }


def _write_text(record: Record) -> dict[str, Any]:
    if not isinstance(record, Text):
        raise Misfit("not_convertible", "a conversation is no plain text")
    return {"id": record.id, "text": record.text, **_about(record)}


def _has(*names: str) -> Callable[[Mapping[str, Any]], bool]:
    return lambda fields: all(name in fields for name in names)


def _tells_qa(fields: Mapping[str, Any]) -> bool:
    return any(name in fields for name in _QUESTION) and any(name in fields for name in _ANSWER)


def _tells_prompt(fields: Mapping[str, Any]) -> bool:
    # What a judge has written down has a prompt too: its own.
    return ("prompt" in fields and "scores" not in fields) or "query" in fields


FORMATS = {
    form.name: form
    for form in (
        Format(
            "question",
            "system?, history?, question, response_chosen, response_rejected",
            _has("question", "response_chosen", "response_rejected"),
            _read_question,
            _write_question,
        ),
        Format(
            "preference",
            "prompt, chosen, rejected: texts, or TRL's lists of messages (prompt may be missing)",
            _has("chosen", "rejected"),
            _read_preference,
            _write_preference,
        ),
        Format(
            "messages",
            "messages: [{role, content}], as TRL and OpenAI have them",
            _has("messages"),
            _read_messages("messages"),
            _write_messages,
        ),
        Format(
            "sharegpt",
            "conversations: [{from: human|gpt, value}]",
            _has("conversations"),
            _read_messages("conversations"),
            _write_sharegpt,
        ),
        Format(
            "dialogue",
            "conversation: [{role: patient|doctor, content}]",
            _has("conversation"),
            _read_messages("conversation"),
            _write_dialogue,
        ),
        Format(
            "instruction",
            "instruction (the system's), input (the question), output with <think>, meta",
            _has("instruction", "output", "meta"),
            _read_instruction,
            _write_instruction,
        ),
        Format(
            "alpaca",
            "instruction, input?, output, system?, history?",
            _has("instruction", "output"),
            _read_alpaca,
            _write_alpaca,
        ),
        Format(
            "prompt_completion",
            "prompt, completion: texts, or TRL's lists of messages; label? (true or false)",
            _has("prompt", "completion"),
            _read_completion,
            _write_completion,
        ),
        Format(
            "qa",
            "question, answer, think?; also Question, Complex_CoT, Response; content.Q, content.A",
            _tells_qa,
            _read_qa,
            _write_qa,
        ),
        Format(
            "prompt",
            "prompt: a text or a list of messages, for reinforcement learning; or query",
            _tells_prompt,
            _read_prompt,
            _write_prompt,
        ),
        Format(
            "text",
            "text; or a plain text file, a document or paragraph a line",
            _has("text"),
            _read_text,
            _write_text,
        ),
    )
}
"""All formats by name, in the order in which they are tried."""
