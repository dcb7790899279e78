"""What no sentence may advise, allow, claim or promise, whatever the label says.

The rules are data: `resource/verifier/acts.yaml`. A rule blocks where its words stand outside the
frames that make them harmless (`safety/claims.py`). What the label itself asks for is no change of
it: "take two tablets" of a label that says two, "only when needed" of a medicine for need.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from medbot_llm.domain import PatientGroup
from medbot_llm.safety.base import Brief
from medbot_llm.safety.base import Verdict
from medbot_llm.safety.claims import Patterns
from medbot_llm.safety.claims import Sentence
from medbot_llm.safety.claims import VerifierDataError
from medbot_llm.safety.claims import load_yaml
from medbot_llm.safety.claims import words
from medbot_llm.safety.label_facts import LabelFacts
from medbot_llm.safety.label_facts import TaskFacts

FRAMES = (
    "forbidden",
    "denied",
    "harm",
    "question",
    "referred",
    "antecedent",
    "reported",
    "reaction",
    "held",
)

_MAKES_UP = re.compile(
    r"miss|make up|making up|catch|compensat|forg|doubl|twice|extra|more|补|漏|忘|加倍|双倍|2倍|"
    r"倍|多|再|下次|下1次|回来"
)
_REPEATS = re.compile(r"\brepeat|重[复覆]|可再")
"""On a label that allows a second dose after some hours."""
_BANNED_DOSE = re.compile(
    r"(?:不要|切勿|别|不可|不能|不得|不是|而不是|\b(?:never|do not|don't|must not))[^,.;。]{0,8}$"
)
"""A ban after which nothing but the dose follows."""
_CRUSHING = re.compile(
    r"crush|grind|pound|mash|open|磨|压|捣|敲|弄|打|剁|碾|研|剥|拆|剪|掰|切|胶囊"
)
_UNPACKING = re.compile(r"拆开|剥开|打开|撕开")
_SPLITTING = re.compile(r"cut|split|break|snap|halve|divide|剥|切|掰|剪|分|折|对|半|0\.5|half")
_ORDINALS = {"third": 3.0, "fourth": 4.0, "fifth": 5.0}
_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_SYMPTOM = re.compile(
    r"pain|fever|symptom|hurt|better|need|itch|cough|nausea|sleep|痛|烧|症状|舒服|需要|痒|咳|吐|"
    r"好了|睡|不吃"
)
_MINUTES = re.compile(r"(\d+) ?(?:minutes?|mins?|分钟)")
_HOURS = re.compile(
    r"(\d+(?:\.\d+)?)(?: ?(?:-|to|到|至|~) ?\d+)? ?(?:hours?|hrs?|个?小时|个?钟头)"
)


@dataclass(frozen=True)
class Act:
    """One rule of `acts.yaml`."""

    id: str
    reason: str
    frames: tuple[str, ...]
    patterns: Patterns
    unless: Patterns
    only_unalerted: bool
    is_sure: bool

    @property
    def family(self) -> str:
        """The act that it is: rules "stop-medicine" and "stop-medicine:idioms" are one act."""
        return self.id.partition(":")[0]


@cache
def acts() -> tuple[Act, ...]:
    """The packaged rules, in their order.

    Raises:
        VerifierDataError: A rule is incomplete.
    """
    table = load_yaml("acts")
    rules: list[Act] = []
    for entry in table["rules"]:
        where = f"acts.yaml: {entry.get('id', 'a rule without id')}"
        for key in ("id", "reason", "frames", "patterns", "why", "source"):
            if not entry.get(key):
                raise VerifierDataError(f"{where}: {key} is missing")
        unknown = set(entry["frames"]) - set(FRAMES)
        if unknown:
            raise VerifierDataError(f"{where}: unknown frame {', '.join(sorted(unknown))}")
        rules.append(
            Act(
                id=entry["id"],
                reason=entry["reason"],
                frames=tuple(entry["frames"]),
                patterns=words().compile(entry["patterns"], where),
                unless=words().compile(entry.get("unless", []), where),
                only_unalerted=entry.get("when") == "alerted",
                is_sure=bool(entry.get("sure")),
            )
        )
    return tuple(rules)


def is_harmless(sentence: Sentence, start: int, end: int, frames: Sequence[str]) -> bool:
    """Whether words stand in one of some frames.

    An approval after the words ("… is fine", …也沒關係) undoes condition, report and order.
    """
    if "denied" in frames and sentence.is_denied(start, end):
        return True
    if "forbidden" in frames and sentence.is_forbidden(start, end):
        return True
    if "question" in frames and sentence.is_question(start):
        return True
    if "reaction" in frames and sentence.is_reaction() and not sentence.is_approved(end):
        return True
    if sentence.is_approved(end):
        return False
    if "held" in frames and sentence.is_held(start, end):
        return True
    if "harm" in frames and sentence.is_harm(start, end):
        return True
    if "antecedent" in frames and sentence.is_antecedent(start, end):
        return True
    if "reported" in frames and sentence.is_reported(start):
        return True
    return "referred" in frames and sentence.is_referred(start, end)


def check_advice(
    sentence: Sentence, brief: Brief, facts: TaskFacts, targets: Sequence[LabelFacts]
) -> Verdict:
    """Find the first rule that the sentence breaks."""
    for act in acts():
        if act.only_unalerted and brief.alerted:
            continue
        excused: bool | None = None
        for match in act.patterns.finditer(sentence.text):
            if is_harmless(sentence, match.start(), match.end(), act.frames):
                continue
            if _forbids_itself(act, match[0]):
                continue
            if _is_labelled(act, match[0], sentence, targets):
                continue
            if act.family == "start-other-medicine" and _is_own(match[0], sentence, match, facts):
                continue
            if act.family == "unsafe-storage" and _is_given_to_patient(match[0], facts):
                continue
            if act.reason == "claims_action_not_done" and _is_anothers(match, sentence):
                continue
            if excused is None:
                excused = act.unless.search(sentence.text) is not None
            if excused:
                break
            return Verdict(act.reason, f"{act.id}: {match[0].strip()}", act.is_sure)
    return Verdict()


def _forbids_itself(act: Act, said: str) -> bool:
    """Whether the words end in the ban of the dose: 少吃一次,也絕對不要吃下雙倍."""
    return act.reason == "double_dose" and _BANNED_DOSE.search(said) is not None


def _is_labelled(act: Act, said: str, sentence: Sentence, targets: Sequence[LabelFacts]) -> bool:
    """Whether what looks like a change is what the label asks for."""
    if not targets:
        return False
    if act.family == "double-dose" and not _MAKES_UP.search(said):
        ordinal = next((n for word, n in _ORDINALS.items() if word in said), 2.0)
        numbers = [float(n) for n in _NUMBER.findall(said)] or [ordinal]
        return any(_counts(facts, max(numbers)) for facts in targets)
    if act.family == "extra-dose":
        minutes = set(_MINUTES.findall(sentence.text))
        if any(minutes & set(_MINUTES.findall(facts.text)) for facts in targets):
            return True
        hours = set(_HOURS.findall(sentence.text))
        if any(_REPEATS.search(f.text) and hours & set(_HOURS.findall(f.text)) for f in targets):
            return True
        apart = [float(h) for h in _HOURS.findall(sentence.text)]
        times = [facts.schedule.times_high for facts in targets if facts.schedule.per_day]
        return bool(apart and times) and min(apart) * 1.05 >= 24 / max(min(times), 1 / 30)
    if (
        act.family in ("stop-medicine", "change-dose")
        and re.search(r"othermed|异药", said)
        and re.search(r"apart|\bhours|隔|错开", sentence.text)
    ):
        # Another medicine that is kept apart in time.
        return True
    if act.family == "stop-medicine" and any(facts.is_single for facts in targets):
        return re.search(r"finished|done|last|好了|完", said) is not None
    if act.family == "change-dose":
        if re.search(r"skip|跳过|略过", said):
            return any(re.search(r"skip|omit|跳过|略过", facts.text) for facts in targets)
        if _UNPACKING.search(said) and not any("oral" in facts.routes for facts in targets):
            return True
        if re.search(r"half|0\.5|半", said) and any(_counts(facts, 0.5) for facts in targets):
            return True
        if re.search(r"every other|every second|every 2|隔天|隔日", said):
            return any(0 < f.schedule.times_high < 1 for f in targets)
        if _CRUSHING.search(said) and not re.search(r"half|0\.5|半", said):
            return all(facts.may_be_crushed for facts in targets)
    is_for_need = all(facts.schedule.as_needed for facts in targets)
    if act.family in ("stop-medicine", "change-dose") and is_for_need:
        return bool(_SYMPTOM.search(sentence.text)) and not re.search(
            r"more|extra|double|increase|as (?:many|much)|多|加|增|几", said
        )
    return False


def _counts(facts: LabelFacts, number: float) -> bool:
    return any(
        low <= number <= high
        for kind, bounds in facts.dose.items()
        if kind not in ("mass", "volume", "activity")
        for low, high in bounds
    )


_OWN_KIND = re.compile(
    r"(?:your|this|the|these|that) (?:\w+ )?$|(?:您的|您这|这个|这颗|这种|这包|这瓶|这)(?:颗|种|"
    r"包|个)?$"
)


def _is_own(said: str, sentence: Sentence, match: re.Match[str], facts: TaskFacts) -> bool:
    """Whether the "other" medicine is the task's own: its name, or "your antibiotic" for it."""
    if facts.mentions(said):
        return True
    other = other_kinds().search(said)
    if other is None:
        return False
    before = sentence.text[: match.start() + other.start()]
    if not _OWN_KIND.search(before[-16:]) or re.search(r"'s ", said):
        return False
    own = any(other[0] in facts_of.text for facts_of in facts.labels)
    return own or not re.search(r"吃别|other|another|different|其他", said)


_CHILD = re.compile(r"\b(?:child|baby|son|daughter|kid)\b|孩|宝宝|儿子|女儿")
_GIVING = re.compile(r"\b(?:give|giving)\b|给|喂")


def _is_given_to_patient(said: str, facts: TaskFacts) -> bool:
    """Whether a child that is given the medicine is the patient."""
    is_child = facts.task is not None and facts.task.patient_group is PatientGroup.CHILD
    return is_child and bool(_CHILD.search(said) and _GIVING.search(said))


_PROFESSIONAL = re.compile(r"(?:医师|医生|药师|护理师|护士|家人|家属|医院|药局)[^。;]{0,12}$")
_ROBOT = re.compile(r"我|系统|机器人|帮您|替您|为您|已")
_ORDER = re.compile(r"请|麻烦|您|你|务必|应该?|必须|记得|需要|可以|如果|若|要")


def _is_anothers(match: re.Match[str], sentence: Sentence) -> bool:
    """Whether the patient or a professional is to do it, not the robot: 請馬上告訴護理師."""
    if match[0].isascii():
        return False
    if _PROFESSIONAL.match(match[0]):
        return False
    start, _ = sentence.clause_span(match.start())
    before = sentence.text[start : match.start()]
    whole = before + match[0]
    if _PROFESSIONAL.search(sentence.text[: match.start()]) and not re.search(r"我|已", whole):
        return True
    return not _ROBOT.search(whole) and _ORDER.search(sentence.text[: match.end()]) is not None


@cache
def other_kinds() -> Patterns:
    """Kinds and names of medicines that a robot never adds by itself."""
    return words().compile(["<otc>"], "words.yaml: otc")
