"""How a stretch of a sentence is graded by the labels that it may speak of.

And whether it says anything besides: where every statement is borne out and nothing else is said,
numbers and times have been compared one by one, and a model's doubt is worth nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator

from medbot_llm.safety.dosing import BRINGS
from medbot_llm.safety.dosing import Statements
from medbot_llm.safety.dosing import states_nothing
from medbot_llm.safety.label_facts import LabelFacts

Test = Callable[[LabelFacts], "bool | None"]
"""Whether a label says so; None where it says nothing of the kind."""

ALL = re.compile(
    r"\b(?:both|all (?:of (?:them|these|those)|\d|three|two|the)|each of|every one|neither|"
    r"either)\b|(?:\d|几)(?:种|样|个|颗|瓶|支|条)药?都|都是|全部|通通|各(?:是|吃|\d)"
)
"""Of every medicine of the delivery."""
NOT_SO = re.compile(
    r"^[^,。;]{0,4}?(?:都|就|也|那(?:颗|片|次|粒))*"
    r"(?:没有?写|没有|不用|不必|不需|不[点滴吃擦喷]|不要|别|免|才不|才能|不行|不可|不能)|"
    r"^ (?:is|are) (?:not|left out|free)\b"
)
"""Behind what is denied: 左眼不用."""


def grade(
    subject: str,
    statements: Statements,
    start: int,
    end: int,
    test: Test,
    *,
    is_denied_behind: bool = True,
) -> Iterator[str]:
    """Grade a stretch by what a test makes of each label; nothing where it states nothing.

    Args:
        is_denied_behind: A "not" behind it denies it, as in 左眼不用; not so in 30分鐘內不要躺.
    """
    sentence = statements.sentence
    is_denied = sentence.is_contrasted(start) or (
        is_denied_behind and bool(NOT_SO.match(sentence.text[end:]))
    )
    if not is_denied and states_nothing(sentence, start, end):
        return
    found = [test(label) for label in statements.about(start, end)]
    if not found:
        return
    if True in found and not (False in found and ALL.search(sentence.text)):
        name = "right"
    else:
        name = "wrong" if False in found else "silent"
    yield f"{subject}_denied_{name}" if is_denied and name != "silent" else f"{subject}_{name}"


_FILLERS = re.compile(
    r"\bso (?:that )?it (?:is|sits|goes) (?:\w+ )?(?:kinder|gentler|easier|better) "
    r"(?:to|on|for) (?:your|the) stomach\b|(?:这样|才|比较)*不(?:会)?伤胃|"
    r"\b(?:please|you|your|it|its|it's|this|these|that|is|are|the|a|an|of|and|with|by|mouth|take|"
    r"takes|taken|swallow|swallowed|use|used|tablets?|pills?|capsules?|medicine|each|every|one|"
    r"once|time|times|day|daily|at|in|on|for|to|as|some|water|glass|should|must|total|altogether|"
    r"all|have|has|had|will|be|best|better|goes|go|down|comes|makes|make|means|just|says|label|"
    r"labelled|printed|prescribed|ordered|written|what|i|new|sip|here|there|always|whole|together|dose|"
    r"per|per dose|amount|same|around|about|hello|good (?:morning|afternoon|evening))\b|"
    r"'(?:s|re|ll|ve)\b"
    r"|您好|这样|请|您|你|的|了|是|这|个|种|药|要|用|吃|服用|服|每|次|天|日|1|颗|粒|片|锭|各|和|跟|以及|"
    r"配|温|开水|喔|哦|就是|也|就?可以|即可|记得|固定|最好|都|就(?:好|行|够)?|只有?|标签上?|"
    r"药?袋|标示|写着?|照着?|按照?|剂量|[1一总]?共|合计|合起来|加起来|1起|里面?有?|正好|刚好|"
    r"直接|完|之?后|时候?|在|下去?|补充"
)
"""Words that add nothing to a dose. No negation is among them, and none that a condition opens."""
_VERBS = {
    "subcutaneous": re.compile(r"打|注射|\binject(?:ed)?\b"),
    "intramuscular": re.compile(r"打|注射|\binject(?:ed)?\b"),
    "injected": re.compile(r"打|注射|\binject(?:ed)?\b"),
    "ophthalmic": re.compile(r"点|滴|\bput\b"),
    "otic": re.compile(r"点|滴|\bput\b"),
    "nasal": re.compile(r"喷|\bspray\b"),
    "inhaled": re.compile(r"吸|喷|\b(?:inhale|breathe in)\b"),
    "topical": re.compile(r"擦|涂|抹|\b(?:apply|rub in|spread)\b"),
    "transdermal": re.compile(r"贴|\b(?:apply|stick|patch)\b"),
    "rectal": re.compile(r"塞|\binsert\b"),
}
"""By route, what is done with such a medicine."""
_MORE_WORDS = re.compile(r"[a-z0-9\u4e00-\u9fff]")


def says_nothing_else(statements: Statements, others: Iterable[tuple[int, int]]) -> bool:
    """Whether nothing is said besides medicines of the task, amounts, times and routes.

    Args:
        others: Further stretches that have been graded.
    """
    text = statements.sentence.text
    routes = statements.routes
    is_of_medicine = statements.states_dosing or routes or statements.mentions
    if not statements.facts.labels or not (is_of_medicine or BRINGS.search(text)):
        return False
    letters = list(text)
    spans = [(a.start, a.end) for a in statements.amounts]
    spans += [(t.start, t.end) for t in statements.timings]
    spans += [(route.start, route.end) for route in routes]
    spans += [(start, end) for start, end, _ in statements.mentions]
    for start, end in (*spans, *others):
        letters[start:end] = " " * (end - start)
    rest = BRINGS.sub(" ", "".join(letters))
    for route in frozenset.intersection(*(label.routes for label in statements.targets)):
        if route in _VERBS:
            rest = _VERBS[route].sub(" ", rest)
    return not _MORE_WORDS.search(_FILLERS.sub(" ", rest))
