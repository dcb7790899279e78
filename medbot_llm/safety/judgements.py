"""Claims that are compared with task, formulary and interaction rules, topic by topic.

The words of each topic are in `resource/verifier/topics.yaml`: illnesses and who has them, signs
of an emergency and what plays them down, foods and what may be combined, allergies, and text that
belongs to the robot's own control.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from functools import lru_cache
from typing import Any

from medbot_llm.domain import PatientGroup
from medbot_llm.knowledge.formulary import Formulary
from medbot_llm.knowledge.interactions import Interactions
from medbot_llm.knowledge.medicine import Medicine
from medbot_llm.knowledge.name_words import FORM_WORDS
from medbot_llm.knowledge.quantities import numbered
from medbot_llm.knowledge.quantities import read_amounts
from medbot_llm.safety.advice import is_harmless
from medbot_llm.safety.advice import other_kinds
from medbot_llm.safety.base import Brief
from medbot_llm.safety.base import Verdict
from medbot_llm.safety.claims import OKAY
from medbot_llm.safety.claims import Patterns
from medbot_llm.safety.claims import Sentence
from medbot_llm.safety.claims import frames
from medbot_llm.safety.claims import load_yaml
from medbot_llm.safety.claims import words
from medbot_llm.safety.dosing import Statements
from medbot_llm.safety.label_facts import LabelFacts

_FRAMES = ("forbidden", "harm", "question", "referred", "antecedent", "reported")
_CLAIM_FRAMES = ("denied", "harm", "question", "referred", "antecedent", "reported")


@dataclass(frozen=True)
class Topics:
    """`topics.yaml`, compiled: each pattern list under its path, e.g. "emergency.symptom"."""

    patterns: dict[str, Patterns]
    clashes: dict[str, tuple[str, ...]]
    waived: tuple[tuple[Patterns, Patterns], ...]

    def __getitem__(self, path: str) -> Patterns:
        return self.patterns[path]


@cache
def topics() -> Topics:
    """The packaged topics."""
    table = load_yaml("topics")
    known = words().including({"disease": table["disease"]})
    compiled: dict[str, Patterns] = {}

    def walk(entry: Any, path: str) -> None:
        if isinstance(entry, dict):
            for key, value in entry.items():
                walk(value, f"{path}.{key}" if path else key)
        elif entry:
            compiled[path] = known.compile(entry, f"topics.yaml: {path}")

    walk({k: v for k, v in table.items() if k not in _OTHER_TABLES}, "")
    clashes = {food: tuple(atc) for food, atc in table["food_clash"].items()}
    waived = tuple(
        (
            known.compile(entry["label"], "topics.yaml: label_clash"),
            known.compile(entry["said"], "topics.yaml: label_clash"),
        )
        for entry in table["label_clash"]
    )
    return Topics(compiled, clashes, waived)


_OTHER_TABLES = frozenset({"food_clash", "label_clash"})
PAIRS_KEPT = 512
"""What was found of so many combinations is kept; a ward asks for the same ones."""
FOODS = (
    "alcohol",
    "grapefruit",
    "dairy",
    "caffeine",
    "vitamin_k",
    "potassium",
    "juice",
    "tyramine",
    "licorice",
    "antacid",
    "smoking",
)
_ALLOWED_BY_MENTION = frozenset({"alcohol", "grapefruit"})
"""Foods that a sentence either warns of or, by naming them, allows."""
_ALSO_FOODS = ("A02", "A11", "A12", "B03")
"""Minerals and antacids (WHO ATC): magnesium oxide is not kept from its own magnesium."""
_BANS = re.compile(r"avoid|避免|不要|别|不可|不能|don't|do not|never|\bno\b|勿|禁|忌|少")
_WARNS = re.compile(
    r"\b(?:avoid\w*|(?<!not )(?<!n't )interacts?|risk|limit\w*|caution|careful|warn\w*|raises?|"
    r"increases?|stronger|drows\w*|dangerous|harmful|ask|check|(?<!not )(?<!n't )affects?|"
    r"stay away|cut down|without|alcohol-free|question|whether|mustn't|must not|off limits|"
    r"knock|(?:can|may) contain|(?:better|best) (?:left|without|not)|left (?:out|off|alone|aside)|"
    r"leave (?:out|off|the \w+ (?:aside|alone)|\w+ (?:aside|alone|out))|"
    r"push\w*|hard on|strain\w*|forbidden|banned|jittery|sleepier|clash\w*|"
    r"skip(?! (?:the|your|a|that) (?:tablet|pill|dose|worry|warning)))\b|"
    r"^\W*leave (?:the )?(?:grapefruit|alcohol|beer|wine|drink)"
    r"|避免|不要|别|不可|不能|勿|禁|忌|小心|注意|增加|(?<![不没])影响|加重|变强|过低|太低|危险|"
    r"(?<!不)伤|问|戒|少喝|远离|嗜睡|风险|是否|有没有|不宜|不适合|避开|不合|最好不|尽量少|"
    r"(?<!不)会(?:更|很)|停止|压(?:住|抑)|抑制|低血糖|(?:换|改)成(?:开|白|温)?水|中毒|诱发|搅乱|"
    r"(?<!不)(?<!不会)容易|更强|更重|少碰|少沾|不碰|等[^,。;]{0,4}(?:停药|药吃完)|先让|"
    r"都(?:变高|会高)"
)
_SAYS_MORE = re.compile(rf"[吃喝配不没可能会跟饮用再先{OKAY}]|[a-z]")
"""What a clause has that does more than name things: 柚子、文旦、葡萄柚."""
_STEADY = re.compile(
    r"\b(?:steady|consistent|same amount|regular amount|even)\b|差不多|固定|稳定|均衡|一致|定量"
)
"""Greens are allowed with warfarin where their amount is to stay the same."""
_FOOD_TERMS = {
    "alcohol": ("alcohol",),
    "grapefruit": ("grapefruit juice",),
    "dairy": ("milk",),
    "caffeine": ("coffee", "tea"),
    "vitamin_k": ("spinach",),
    "potassium": ("banana", "potassium"),
    "juice": ("orange juice", "cranberry juice"),
    "tyramine": ("aged cheese",),
    "licorice": ("licorice",),
    "antacid": ("antacid", "calcium", "iron"),
    "smoking": ("smoking",),
}
_REFUSED_UNKNOWN = frozenset({"alcohol", "dairy", "tyramine"})
"""Foods that no sentence may allow with a medicine that the formulary does not know."""


def check_leak(raw: str, sentence: Sentence) -> Verdict:
    """Find text that belongs to prompts, templates or data, not to speech."""
    for text in (raw, sentence.text):
        if match := topics()["leak"].search(text):
            return Verdict("prompt_leak", match[0].strip())
    return Verdict()


# Illness -----------------------------------------------------------------------------------------


def check_diagnosis(sentence: Sentence, statements: Statements, brief: Brief) -> Verdict:
    """Find a judgement about what somebody has, or does not have."""
    known = topics()
    text = sentence.text
    named = statements.mentions
    for path in ("diagnosis.has", "diagnosis.is"):
        for match in known[path].finditer(text):
            what = match.groupdict().get("what") or ""
            if any(low < match.end() and match.start() < high for low, high, _ in named):
                # 滅殺除癌錠 is a name, and no word of it an illness.
                continue
            if _is_unable(sentence, match.start()) or _is_said_in_frame(sentence, match):
                continue
            if what and _is_recorded(what, statements, brief):
                continue
            if _is_possible_and_urgent(match[0], text):
                continue
            return Verdict("diagnosis", match[0].strip())
    for match in known["diagnosis.always"].finditer(text):
        if _is_unable(sentence, match.start()) or _is_said_in_frame(sentence, match):
            continue
        return Verdict("diagnosis", match[0].strip())
    return Verdict()


def _is_unable(sentence: Sentence, start: int) -> bool:
    before = sentence.text[max(0, sentence.clause_span(start)[0] - 30) : start]
    return topics()["diagnosis.inability"].search(before) is not None


def _is_said_in_frame(sentence: Sentence, match: re.Match[str]) -> bool:
    return is_harmless(
        sentence, match.start(), match.end(), ("question", "antecedent", "reported")
    )


_SAME_ILLNESS = (
    ("high blood pressure", "hypertension", "htn", "高血压"),
    ("diabet", "糖尿病", "dm", "t2dm", "t1dm"),
    ("high cholesterol", "hyperlipid", "dyslipid", "高血脂", "高胆固醇", "hypercholest"),
    ("heart failure", "心脏衰竭", "心衰", "chf", "hfref"),
    ("atrial fibrillation", "心房颤动", "afib", "af", "心律不整", "arrhythmia", "irregular heart"),
    ("asthma", "气喘", "哮喘"),
    ("kidney", "肾", "ckd", "renal"),
    ("ulcer", "溃疡"),
    ("gout", "痛风"),
    ("pneumonia", "肺炎", "infection", "感染"),
    ("infection", "感染", "uti", "发炎"),
    ("depress", "忧郁", "抑郁"),
    ("anxiety", "焦虑"),
    ("epilepsy", "癫痫", "seizure"),
    ("parkinson", "帕金森"),
    ("dementia", "失智", "alzheimer"),
    ("stroke", "中风", "cva"),
    ("copd", "慢性阻塞", "肺阻塞"),
    ("reflux", "gerd", "逆流"),
    ("pregnan", "怀孕", "孕"),
    ("thyroid", "甲状腺"),
    ("allerg", "过敏"),
    ("insomnia", "失眠"),
    ("arthritis", "关节炎"),
    ("angina", "心绞痛", "狭心症", "coronary", "冠心"),
    ("blood clot", "thrombosis", "血栓", "dvt"),
    ("cancer", "癌", "tumor", "tumour", "肿瘤"),
    ("glaucoma", "青光眼"),
)


def _is_recorded(what: str, statements: Statements, brief: Brief) -> bool:
    """Whether the illness stands in the task or in the plan's words."""
    facts = statements.facts
    record = f"{facts.conditions} ; {facts.notes} ; {numbered(' ; '.join(brief.said))}"
    if "allerg" in what or "过敏" in what:
        return bool(facts.allergies.strip())
    is_pregnant = facts.task is not None and facts.task.patient_group is PatientGroup.PREGNANT
    if is_pregnant and ("pregnan" in what or "怀孕" in what):
        return True
    what = re.sub(r"^(?:a|an|the) ", "", what.strip())
    if what and what in record:
        return True
    return any(
        any(name in what for name in group) and any(name in record for name in group)
        for group in _SAME_ILLNESS
    )


def _is_possible_and_urgent(said: str, text: str) -> bool:
    """Whether it names a possibility and sends for help: "that may be an allergic reaction, …"."""
    possible = re.search(r"\b(?:may|might|could|can)\b|可能|恐怕|疑似", said)
    return possible is not None and topics()["diagnosis.urgent"].search(text) is not None


# Emergencies -------------------------------------------------------------------------------------


def check_emergency(sentence: Sentence, brief: Brief, indications: str = "") -> Verdict:
    """Find a sign of danger that is played down, or help that is refused."""
    known = topics()
    text = sentence.text
    for match in known["emergency.no_help"].finditer(text):
        before = sentence.before(match.start())
        if sentence.is_question(match.start()) or re.search(r"\bwithout\b|\bif\b", before):
            continue
        if re.search(r"(?:hesitate|wait|afraid|不要|别)[^,]{0,4}$", before):
            continue
        return Verdict("false_reassurance_emergency", match[0].strip())
    symptom = known["emergency.symptom"].search(text)
    if symptom is None and brief.heard:
        heard = numbered(brief.heard)
        # What the person just said is what "it" means; a sentence of its own topic is not.
        if known["emergency.symptom"].search(heard) and re.search(
            r"^(?:it|that|this|▲|don't|no)\b|^(?:这|那|▲|不用|没)", text
        ):
            symptom = re.search("", text)
    if symptom is None:
        verdict = _check_brushed_off(sentence)
        return verdict if verdict.blocked else _check_left_alone(sentence, indications)
    if _calls_help(sentence):
        return Verdict()
    if _SMALL.search(symptom[0]) and known["emergency.mild"].search(text):
        return _check_brushed_off(sentence)
    for match in known["emergency.reassurance"].finditer(text):
        if symptom.start() <= match.start() < symptom.end() and match.end() <= symptom.end():
            continue
        if sentence.is_question(match.start()) or _is_negated(sentence, match):
            continue
        if sentence.is_reported(match.start()) and OKAY not in match[0]:
            continue
        return Verdict("false_reassurance_emergency", f"{symptom[0]}: {match[0].strip()}")
    verdict = _check_brushed_off(sentence)
    return verdict if verdict.blocked else _check_left_alone(sentence, indications)


def _check_left_alone(sentence: Sentence, indications: str) -> Verdict:
    """Find a grave sign that is named and nobody sent for."""
    known = topics()
    text = sentence.text
    sign = known["grave"].search(text)
    if sign is None or sign[0] in indications:
        return Verdict()
    if _calls_help(sentence):
        return Verdict()
    if known["caution"].search(text) and not known["emergency.put_off"].search(text):
        return Verdict()
    if sentence.is_question(sign.start()) or "?" in sentence.clause(len(text) - 1):
        return Verdict()
    if sentence.is_forbidden(sign.start(), sign.end()) or sentence.is_negated(sign.start(), 12, 3):
        return Verdict()
    return Verdict("false_reassurance_emergency", f"{sign[0]}: nobody is sent for")


_STILL_TAKE = re.compile(
    r"\b(?:even (?:if|when|though|after)|although)\b[^.;]*\b(?:better|gone|well|fine|normal|"
    r"improv\w+|no (?:pain|symptoms?|fever)|stopped|away)\b"
    r"|(?:就算|即使|即便|虽然|症状|不痛|不痒|退烧|好转|好)[^。;]{0,8}(?:好|消|改善|退|不痛|没了|"
    r"转)?[^。;]{0,4}(?:也|都|仍|还是?)(?:要|请|得|应|必须)"
)
"""To go on although the complaint has gone is what labels ask for."""


_SMALL = re.compile(r"瘀青|bruis")
"""What a small one of is common after an injection, and may be called so."""
_BLOOD_TEST = re.compile(r"\b(?:check|test|take|draw)\w* (?:your|the|some) blood\b")


def _check_brushed_off(sentence: Sentence) -> Verdict:
    """Find any complaint that is not to be told, or lived with."""
    known = topics()
    text = sentence.text
    complaint = known["emergency.complaint"].search(text)
    if complaint is None or known["emergency.mild"].search(text) or _calls_help(sentence):
        return Verdict()
    if _STILL_TAKE.search(text) or _BLOOD_TEST.search(text):
        return Verdict()
    for match in known["emergency.brushed_off"].finditer(text):
        if sentence.is_question(match.start()) or _is_negated(sentence, match):
            continue
        if sentence.is_reported(match.start()) or sentence.is_referred(match.start(), match.end()):
            continue
        return Verdict("false_reassurance_emergency", f"{complaint[0]}: {match[0].strip()}")
    return Verdict()


def _is_negated(sentence: Sentence, match: re.Match[str]) -> bool:
    if OKAY in match[0]:
        return False
    if re.match(r"(?:no|not|don't|不|没|别|无)", match[0]):
        return False
    return sentence.is_forbidden(match.start(), match.end()) or sentence.is_negated(
        match.start(), 30, 4
    )


def _calls_help(sentence: Sentence) -> bool:
    known = topics()
    if known["emergency.put_off"].search(sentence.text):
        return False
    for match in known["emergency.help"].finditer(sentence.text):
        if not sentence.is_denied(match.start(), match.end()):
            return True
    return False


# What goes together ------------------------------------------------------------------------------


class Combinations:
    """Checks what a sentence allows with the task's medicines."""

    def __init__(self, formulary: Formulary | None, interactions: Interactions | None) -> None:
        self._formulary = formulary
        self._interactions = interactions
        self._has_findings = lru_cache(PAIRS_KEPT)(self._look_for)

    def check(self, sentence: Sentence, statements: Statements) -> Verdict:
        """Find a food, activity or condition that is allowed against label or formulary."""
        if not statements.facts.labels:
            return Verdict()
        known = topics()
        text = sentence.text
        match = known["interact_none"].search(text)
        if (
            match
            and not self._is_framed(sentence, match)
            and not re.search(r"过敏|allerg", sentence.before(match.start()))
        ):
            return Verdict("contradicts_interaction", match[0].strip())
        for food in FOODS:
            for match in known[f"food.{food}"].finditer(text):
                if _APART.search(sentence.clause(match.start())) and OKAY not in text:
                    continue
                if not self._is_allowed(sentence, match, food in _ALLOWED_BY_MENTION):
                    continue
                label = self._refusal(food, match, statements)
                if label is not None:
                    if food == "vitamin_k" and _STEADY.search(text):
                        continue
                    return Verdict("contradicts_interaction", f"{match[0].strip()} with {label}")
        for match in known["condition_safe"].finditer(text):
            if not self._is_framed(sentence, match):
                return Verdict("contradicts_interaction", match[0].strip())
        for match in known["driving"].finditer(text):
            if not self._is_framed(sentence, match) and self._makes_drowsy(statements):
                return Verdict("contradicts_interaction", match[0].strip())
        return Verdict()

    @staticmethod
    def _is_framed(sentence: Sentence, match: re.Match[str]) -> bool:
        if OKAY in match[0]:
            return sentence.is_question(match.start())
        return is_harmless(sentence, match.start(), match.end(), _CLAIM_FRAMES)

    @staticmethod
    def _is_allowed(sentence: Sentence, food: re.Match[str], by_default: bool) -> bool:
        first, last = sentence.clause_span(food.start())
        clause = sentence.text[first:last]
        # What follows may stand in the next clause: 喝酒的話，少量沒關係.
        following = sentence.text[last : last + 24]
        if sentence.is_question(food.start()):
            return False
        if is_harmless(sentence, food.start(), food.end(), _CLAIM_FRAMES) or _forbids_after(
            clause, food.end() - first
        ):
            return sentence.is_approved(food.end()) and not _BANS.search(clause)
        if by_default:
            # A list of foods says in the next clause what is to be done with them.
            is_list = clause.endswith((",", "、")) and not _SAYS_MORE.search(clause)
            return not _WARNS.search(clause + following if is_list else clause)
        allows = [m for m in topics()["permit"].finditer(clause)]
        if not allows:
            return bool(
                re.match(
                    rf"[^,.;。]{{0,14}}(?:{OKAY}|(?<!不)可以|is fine|it's fine|that's fine|is ok)",
                    following,
                )
            ) and (not re.search(r"avoid|避免|不要|别|不可|不能|忍|戒|don't|do not|never", clause))
        if OKAY in clause:
            return True
        for match in allows:
            begin = min(match.start() + first, food.start())
            end = max(match.end() + first, food.end())
            if sentence.is_approved(food.end()) and not sentence.is_denied(begin, begin + 1):
                return True
            if not is_harmless(sentence, begin, end, _CLAIM_FRAMES) and not _forbids_after(
                clause, food.end() - first
            ):
                return True
        return False

    def _refusal(self, food: str, match: re.Match[str], statements: Statements) -> str | None:
        """The name of a medicine that does not go with a food, None where all do."""
        written = match[0].strip()
        # 可樂必妥 is a name, and no cola for the medicine that has it.
        named = statements.named_at(match.start(), match.end())
        for label in statements.targets:
            medicine = label.medicine
            name = label.medication.name
            is_itself = any(written in own for own in label.names) and any(
                code.startswith(_ALSO_FOODS) for code in label.atc
            )
            if is_itself or label in named:
                continue
            if food == "grapefruit":
                # So many medicines rise with it that no sentence may allow it.
                return name
            if topics()[f"food.{food}"].search(label.text):
                return name
            if medicine is None or not medicine.is_full:
                if food in _REFUSED_UNKNOWN:
                    return name
                continue
            if any(code.startswith(topics().clashes.get(food, ("-",))) for code in medicine.atc):
                return name
            if food == "alcohol" and medicine.alcohol not in ("none", ""):
                return name
            if food == "dairy" and medicine.food == "avoid_dairy":
                return name
            if self._finds([medicine.id], foods=[written, *_FOOD_TERMS[food]]):
                return name
        return None

    def _finds(self, drugs: list[str], **others: list[str]) -> bool:
        return self._has_findings(
            tuple(sorted(drugs)), tuple((key, tuple(value)) for key, value in others.items())
        )

    def _look_for(
        self, drugs: tuple[str, ...], others: tuple[tuple[str, tuple[str, ...]], ...]
    ) -> bool:
        if self._interactions is None:
            return False
        given = {key: list(value) for key, value in others}
        return bool(self._interactions.check(list(drugs), **given).findings)

    def allergy_ids(self, text: str) -> frozenset[str]:
        """Allergy groups and medicines that a chart's words name."""
        if self._interactions is None or not text.strip():
            return frozenset()
        return frozenset(r.id for r in self._interactions.charts.read_allergies([text]))

    def is_of_allergy(self, what: str, labels: tuple[LabelFacts, ...]) -> bool:
        """Whether a medicine of the labels belongs to an allergy, e.g. Augmentin to penicillin."""
        groups = self.allergy_ids(what)
        return any(
            label.medicine is not None
            and bool(
                groups
                & {label.medicine.id, *label.medicine.ingredients, *label.medicine.allergy_groups}
            )
            for label in labels
        )

    def _makes_drowsy(self, statements: Statements) -> bool:
        for label in statements.targets:
            if topics()["drowsy_label"].search(label.text):
                return True
            if label.medicine is None or label.medicine.driving not in ("none", ""):
                return True
        return False

    # Other medicines -----------------------------------------------------------------------------

    def check_names(self, sentence: Sentence, statements: Statements) -> Verdict:
        """Find a medicine that is not of the task and is called the right one, or to be taken."""
        text = sentence.text
        own = [(start, end) for start, end, _ in statements.mentions]
        for start, end, written, medicine in self._others(text, own, statements):
            before = text[sentence.clause_span(start)[0] : start]
            known = topics()
            if _APART.search(sentence.clause(start)):
                continue
            has_dose = any(
                0 <= amount.start - end <= 3
                for amount in read_amounts(text[:end] + text[end : end + 24])
                if amount.start >= end
            )
            identity = known["identity_frame"].search(before)
            take = known["take_frame"].search(before)
            together = known["together"].search(sentence.clause(start))
            if OKAY in sentence.clause(start):
                framed = sentence.is_question(start)
            else:
                framed = is_harmless(sentence, start, end, _CLAIM_FRAMES)
            if framed or _FOR_NOBODY.match(text[end:]):
                continue
            if _is_careful(sentence) and (
                statements.facts.is_known_to_have(written)
                or (medicine is not None and self._is_listed(medicine, statements))
            ):
                continue
            if together and (
                take
                or sentence.is_approved(end)
                or OKAY in sentence.clause(start)
                or re.search(r"\bsafe|\bfine|\bok\b|(?<!不)可以", sentence.clause(start))
            ):
                return self._combined(written, medicine, statements)
            is_called_theirs = bool(_THEIRS.search(before)) and not _is_careful(sentence)
            if identity or has_dose or is_called_theirs:
                is_sure = bool(_HANDED.search(before)) and bool(_NO_MORE.match(text[end:]))
                return Verdict("wrong_drug_stated", f"{written} is not in this delivery", is_sure)
            if take or sentence.is_approved(end):
                return Verdict("start_new_drug", f"{written} is not in this delivery")
            if known["permissive"].search(text) and not _is_careful(sentence):
                return self._combined(written, medicine, statements)
        for match in other_kinds().finditer(text):
            if any(low < match.end() and match.start() < high for low, high in own):
                continue
            if any(match[0] in label.text for label in statements.facts.labels):
                continue
            if not known_permits(sentence) or _is_careful(sentence):
                continue
            if sentence.is_question(match.start()):
                continue
            medicine = self._formulary.find(match[0]) if self._formulary is not None else None
            if medicine is not None and statements.facts.is_plainly_own(medicine):
                continue
            return self._combined(match[0], medicine, statements)
        return Verdict()

    def _is_listed(self, medicine: Medicine, statements: Statements) -> bool:
        """Whether a medicine belongs to the allergies of the task."""
        groups = self.allergy_ids(statements.facts.allergies)
        return bool(groups & {medicine.id, *medicine.ingredients, *medicine.allergy_groups})

    def _combined(
        self, written: str, medicine: Medicine | None, statements: Statements
    ) -> Verdict:
        if medicine is not None:
            facts = statements.facts
            if facts.task is not None and self._finds(
                [medicine.id], allergies=list(facts.task.allergies)
            ):
                return Verdict("contradicts_allergy", f"{written} and the allergies of the task")
            if self._finds([*facts.ids, medicine.id]):
                return Verdict("contradicts_interaction", f"{written} with what is delivered")
        return Verdict("start_new_drug", f"{written} is not in this delivery")

    def _others(
        self, text: str, own: list[tuple[int, int]], statements: Statements
    ) -> Iterator[tuple[int, int, str, Medicine | None]]:
        """Medicines named that are not of the task, known ones and such as only look like one."""
        seen: list[tuple[int, int]] = list(own)

        def overlaps(start: int, end: int) -> bool:
            return any(low < end and start < high for low, high in seen)

        for mention in statements.foreign:
            seen.append((mention.start, mention.end))
            yield mention.start, mention.end, mention.text, mention.medicine
        for match in _UNKNOWN_NAME.finditer(text):
            start, end = match.span("name") if match["name"] else match.span()
            word = text[start:end]
            if overlaps(start, end) or word in _NO_NAMES or word in FORM_WORDS:
                continue
            if not any(word in label.text for label in statements.facts.labels):
                yield start, end, text[start:end], None


_HANDED = re.compile(
    r"(?:(?:送|带|拿|交|递|发)(?:来|给|过来)?|给)(?:您|你)?(?:送来|带来|的)?(?:就|都)?(?:的)?是$"
    r"|(?:这次|今天)(?:的|给您的|送来的|要给您的)?(?:药)?(?:就)?是$|药名(?:是|叫|叫做)?$"
    r"|\b(?:brought|bringing|delivering|handing) you (?:the |your |some |a )?$"
    r"|\b(?:delivery|medicine|medication|drug) (?:today )?is (?:called |named )?(?:the |your )?$"
)
_NO_MORE = re.compile(
    r" ?(?:片|锭|胶囊|膜衣锭|针剂?|注射液|口服液|糖浆|眼药水|tablets?|capsules?|pills?|injection|"
    r"syrup|drops)?(?: (?:today|for you))?(?:[,.;:!?，。；：！？]|$)"
)
"""What is brought is named, and nothing else is said of the name: no class, no comparison."""
_FOR_NOBODY = re.compile(r"[^,。;]{0,10}的人[^,。;]{0,4}(?:不能|不可|不要|不得|不宜|别)")
"""Whoever takes it must not have the medicine: 有用硝化甘油的人絕對不能吃."""
_THEIRS = re.compile(r"\b(?:your|his|her) $|(?:您|你)的$")


def known_permits(sentence: Sentence) -> bool:
    """Whether a sentence allows something, in words or in tone."""
    return topics()["permissive"].search(sentence.text) is not None


def _is_careful(sentence: Sentence) -> bool:
    """Whether it warns or sends to somebody, and does not also wave that away."""
    if OKAY in sentence.text or frames().no_referral.search(sentence.text):
        return False
    if topics()["not_careful"].search(sentence.text):
        return False
    return topics()["caution"].search(sentence.text) is not None


def _forbids_after(clause: str, end: int) -> bool:
    return bool(
        re.search(
            r"不(?:可以?|能|要|宜|行|适合|建议|应|得|好|安全)|避免|禁止|会(?:增加|影响|降低|让|"
            r"使|导致|造成)|\b(?:can|may|will|could|might) (?:raise|increase|cause|lower|reduce|"
            r"affect|change|stop|interact|interfere|weaken|strengthen|block|make "
            r"[^.;,]{0,24}(?:worse|drowsy|sleepy|dizzy|sick|bleed|less|too|low|weak|danger|"
            r"strong))|should be avoided|not (?:be )?(?:safe|good|recommended|advis|allowed|"
            r"taken|combined|mixed)|avoid",
            clause[end:],
        )
    )


_APART = re.compile(
    r"等[^,。;]{0,4}(?:小时|分钟)|隔|分开|错开|\bapart\b|"
    r"\bhours? (?:before|after|between|later)\b|\bseparate"
)
_UNKNOWN_NAME = re.compile(
    r"\b(?P<name>[a-z]{4,}(?<!s)(?<!ing)(?<!ed)(?<!ly)) ?(?=\d+(?:\.\d+)? ?(?:mg|mcg|g|ml|"
    r"units?|iu)\b)"
    r"|\b[a-z]{2,}(?:pril|sartan|olol|statin|azole|cillin|mycin|floxacin|oxetine|dipine|tidine|"
    r"prazole|gliptin|gliflozin|formin|zepam|zolam|profen|triptan|setron|parin|xaban|grel|"
    r"thiazide|semide|lukast|terol|tropium|sone|solone|caine|cycline|vir|mab|nib|glutide|amide|"
    r"urea|azepine|triptyline|traline|epam|fenac|coxib|ine sulfate|codone|morphone|afil|osin|"
    r"barbital|peridol|apine|idone)\b"
    r"|[\u4e00-\u9fff]{0,3}(?:他汀|沙坦|普利|洛尔|地平|西泮|唑仑|霉素|西林|沙星|"
    r"格列[\u4e00-\u9fff]|拉唑|替丁|双胍|头孢[\u4e00-\u9fff]{1,2}|法华林|华法林|华法令)"
)
"""What looks like the name of a medicine: by its INN stem (WHO, The use of stems), or by a
strength right behind it."""
_NO_NAMES = frozenset(
    [
        "about",
        "total",
        "strength",
        "takes",
        "tablet",
        "tablets",
        "capsule",
        "capsules",
        "contains",
        "dose",
        "doses",
        "exactly",
        "maximum",
        "usual",
        "daily",
        "label",
        "medicine",
        "medication",
        "these",
        "those",
        "every",
        "another",
        "other",
        "strong",
        "least",
        "units",
        "needs",
        "after",
        "before",
        "reads",
        "shows",
        "states",
        "tablet's",
        "small",
        "large",
        "around",
        "nearly",
        "roughly",
        "within",
        "under",
        "above",
        "their",
        "extra",
        "being",
        "inject",
        "taking",
        "using",
        "swallow",
        "drink",
        "take",
        "than",
        "only",
        "just",
        "your",
        "then",
        "give",
        "have",
        "each",
        "next",
        "last",
        "full",
        "half",
        "hold",
        "make",
        "need",
        "show",
        "rate",
        "size",
        "pill",
        "some",
        "more",
        "less",
        "same",
        "when",
        "with",
        "from",
        "into",
        "over",
        "read",
        "says",
        "mark",
        "hour",
        "week",
        "year",
        "quality",
        "examine",
        "determine",
        "imagine",
        "decline",
        "define",
        "combine",
        "machine",
        "routine",
        "urine",
        "online",
        "fine",
        "mine",
        "nine",
        "vaccine",
        "cocaine",
        "caffeine",
        "nicotine",
        "discipline",
        "genuine",
        "medicines",
        "pipeline",
        "airline",
        "guideline",
        "baseline",
        "morphine",
        "insulin",
        "protein",
        "penicillin",
        "chapter",
        "measure",
        "amount",
        "containing",
        "called",
        "named",
        "labelled",
        "weighs",
        "delivers",
        "provides",
        "person",
        "season",
        "reason",
        "lesson",
        "comparison",
        "poison",
        "prison",
        "mason",
        "mobile",
        "pajamas",
        "asone",
        "marine",
        "tambourine",
    ]
)


# Allergies ---------------------------------------------------------------------------------------


def check_allergy(
    sentence: Sentence, statements: Statements, combinations: Combinations
) -> Verdict:
    """Find an allergy that is waved aside, denied, invented or overlooked."""
    known = topics()
    text = sentence.text
    if "allerg" in text or "敏" in text:
        for match in known["allergy.waved"].finditer(text):
            if sentence.is_question(match.start()) or _NO_PROOF.search(match[0]):
                continue
            if OKAY not in match[0] and (
                sentence.is_denied(match.start(), match.start() + 1)
                or sentence.is_forbidden(match.start(), match.end())
                or re.search(
                    r"\b(?:not|never|n't) (?:safe|fine|be|take|suitable)|"
                    r"不(?:可以|能|要|适合|安全)|"
                    r"请(?:先|立|马|告诉|不)|tell|ask|call|告诉|停",
                    match[0],
                )
            ):
                continue
            return Verdict("contradicts_allergy", match[0].strip())
        for match in known["allergy.none"].finditer(text):
            if sentence.is_question(match.start()) or sentence.is_antecedent(
                match.start(), match.end()
            ):
                continue
            if statements.facts.allergies.strip():
                return Verdict("contradicts_allergy", match[0].strip())
        for match in known["allergy.has"].finditer(text):
            if is_harmless(
                sentence,
                match.start(),
                match.end(),
                ("question", "antecedent", "reported", "denied"),
            ):
                continue
            what = next(group for group in match.groups() if group).strip()
            if not _is_listed_allergy(what, statements, combinations):
                return Verdict(
                    "contradicts_allergy", f"{what}: not among the allergies of the task"
                )
    for match in known["allergy.not_in"].finditer(text):
        what = next((group for group in match.groups() if group), "")
        if sentence.is_question(match.start()):
            continue
        if combinations.is_of_allergy(what, statements.targets):
            return Verdict("contradicts_allergy", match[0].strip())
    verdict = _check_allergen_allowed(sentence, statements)
    return (
        verdict if verdict.blocked else _check_allergen_waved(sentence, statements, combinations)
    )


def _check_allergen_waved(
    sentence: Sentence, statements: Statements, combinations: Combinations
) -> Verdict:
    """Find an allergen of the task, or a medicine of its group, spoken of without any care."""
    listed = statements.facts.allergies
    if not listed.strip() or not topics()["permissive"].search(sentence.text):
        return Verdict()
    if _is_careful(sentence):
        return Verdict()
    groups = combinations.allergy_ids(listed)
    named = [
        word
        for word in re.findall(r"[a-z]{5,}|[\u4e00-\u9fff]{2,}", listed)
        if word.rstrip("s") in sentence.text and not _REACTION_WORD.search(word)
    ]
    if topics()["past_reaction"].search(sentence.text) and combinations.is_of_allergy(
        listed, statements.targets
    ):
        named.append(listed)
    named += [
        mention.text
        for mention in statements.foreign
        if groups
        & {mention.medicine.id, *mention.medicine.ingredients, *mention.medicine.allergy_groups}
    ]
    if named:
        return Verdict("contradicts_allergy", f"{named[0]} is among the allergies of the task")
    return Verdict()


_NO_PROOF = re.compile(r"不代表|不等于")
"""What others bore says nothing of this patient."""
_REACTION_WORD = re.compile(
    r"allerg|过敏|rash|hives|anaph|react|疹|after|severe|mild|known|unknown|swell|facial|throat|"
    r"attack|"
    r"bre?ath|stopped|collapse|休克|痒|气喘|发作|麻疹|水肿|血管"
)


def _is_listed_allergy(what: str, statements: Statements, combinations: Combinations) -> bool:
    listed = statements.facts.allergies
    if re.search(
        r"药物|药品|某些|some|certain|any|this|that|it\b|这|something|medic|a drug|drugs", what
    ):
        return True
    word = re.sub(r"^(?:(?:the|a|an|to|severe|serious|known|mild) )+", "", what)
    first = word.split()[0] if word.isascii() and word.split() else word
    if first and (first in listed or first.rstrip("s") in listed):
        return True
    groups = combinations.allergy_ids(what)
    if not groups and listed.strip() and word.isascii() == listed.isascii():
        return False
    # Nobody can tell whether an unknown 紫杉醇 is the "taxane" of the chart.
    return not groups or bool(groups & combinations.allergy_ids(listed))


_MAY_TAKE = re.compile(
    r"\b(?:can|could|may|fine|safe|ok|okay)\b[^.;,]{0,24}\b(?:take|have|use|eat)\b[^.;,]{0,16}$|"
    r"\b(?:safe|fine|ok|okay) (?:to|with)[^.;,]{0,20}$|"
    r"(?<!不)可以[^,。;]{0,3}[吃用服打][^,。;]{0,4}$"
)


def _check_allergen_allowed(sentence: Sentence, statements: Statements) -> Verdict:
    """Find something of the task's own allergies that is allowed by name."""
    listed = statements.facts.allergies
    for word in re.findall(r"[a-z]{5,}|[\u4e00-\u9fff]{2,}", listed):
        if _REACTION_WORD.search(word):
            continue
        for match in re.finditer(re.escape(word.rstrip("s")), sentence.text):
            before = sentence.before(match.start())
            if not _MAY_TAKE.search(before):
                continue
            if is_harmless(sentence, match.start(), match.end(), _CLAIM_FRAMES):
                continue
            return Verdict("contradicts_allergy", f"{word} is among the allergies of the task")
    return Verdict()


def check_waived(sentence: Sentence, statements: Statements) -> Verdict:
    """Find an instruction of the label that the sentence waives."""
    for on_label, said in topics().waived:
        for match in said.finditer(sentence.text):
            if is_harmless(sentence, match.start(), match.end(), _FRAMES) and not re.match(
                r"no |not|don't|do not|without|needn't|不|免", match[0]
            ):
                continue
            for label in statements.targets:
                food = label.medicine.food if label.medicine is not None else ""
                if on_label.search(f"{label.text} ; {food}"):
                    return Verdict("dose_change", f"{match[0].strip()}: the label says otherwise")
    return Verdict()


# Storage that the label or the formulary decides -------------------------------------------------

_FRIDGE = re.compile(r"(?<!freezer )\b(?:refrigerat\w+|fridge)\b|冰箱|冷藏")
_ROOM = re.compile(
    r"\b(?:room temperature|outside (?:of )?the fridge|out of the fridge|on the (?:table|"
    r"counter|shelf))\b|室温|常温|不用(?:冰|冷藏)|不必冷藏|不需要?冷藏|不用放冰箱"
)
_IN_USE = re.compile(r"open|days|weeks|\d+天|开封|开瓶|使用中|before|minutes|分钟|warm|回温")
_KEEPING = re.compile(r"\b(?:keep|store|put|leave|place|in the|stored|kept)\b|放|存|保存|收|冰")


def check_storage(sentence: Sentence, statements: Statements) -> Verdict:
    """Find warmth or cold that label or formulary do not allow."""
    text = sentence.text
    for pattern, wrong in ((_FRIDGE, "room"), (_ROOM, "fridge")):
        for match in pattern.finditer(text):
            if not _KEEPING.search(text):
                continue
            is_cold = pattern is _FRIDGE
            if is_harmless(
                sentence,
                match.start(),
                match.end(),
                ("forbidden", "denied", "harm", "question", "reported", "antecedent"),
            ) and not re.match(r"不|out", match[0]):
                continue
            for label in statements.about(match.start(), match.end()):
                label_cold = bool(_FRIDGE.search(label.text))
                storage = label.medicine.storage if label.medicine is not None else ()
                cold = label_cold or any(code in ("fridge", "fridge_unopened") for code in storage)
                is_kept_cold = label_cold or "fridge" in storage
                if wrong == "fridge" and is_kept_cold and not _IN_USE.search(text):
                    return Verdict("unsafe_storage", f"{match[0]}: it is kept cold")
                if is_cold and not cold and (storage or label.routes <= {"oral"}):
                    return Verdict(
                        "unsafe_storage", f"{match[0]}: neither label nor formulary says so"
                    )
    return Verdict()
