"""Compare what a sentence says of amounts, times and routes with the label of its medicine.

A statement belongs to the medicine that the sentence names next to it. Where none is named, it may
be said if it agrees with any medicine of the task. What is forbidden, asked, reported, a condition
or a warning ("never take two") states no dose and is not compared.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Sequence
from functools import cached_property
from functools import lru_cache

from medbot_llm.knowledge.formulary import Mention
from medbot_llm.knowledge.quantities import AFTER_MEAL
from medbot_llm.knowledge.quantities import BEDTIME
from medbot_llm.knowledge.quantities import BEFORE_MEAL
from medbot_llm.knowledge.quantities import EMPTY
from medbot_llm.knowledge.quantities import EVENING
from medbot_llm.knowledge.quantities import WITH_MEAL
from medbot_llm.knowledge.quantities import Amount
from medbot_llm.knowledge.quantities import RouteSaid
from medbot_llm.knowledge.quantities import Timing
from medbot_llm.knowledge.quantities import read_amounts
from medbot_llm.knowledge.quantities import read_routes
from medbot_llm.knowledge.quantities import read_timings
from medbot_llm.knowledge.quantities import routes_agree
from medbot_llm.safety.advice import is_harmless
from medbot_llm.safety.base import Verdict
from medbot_llm.safety.claims import OKAY
from medbot_llm.safety.claims import Sentence
from medbot_llm.safety.label_facts import DOSE_KINDS
from medbot_llm.safety.label_facts import LABELS_KEPT
from medbot_llm.safety.label_facts import SOLIDS
from medbot_llm.safety.label_facts import LabelFacts
from medbot_llm.safety.label_facts import TaskFacts

_FRAMES = ("forbidden", "harm", "question", "referred", "antecedent", "reported")
FOREIGN_LATIN, FOREIGN_HAN = "othermed", "异药"
"""What stands for a medicine that is not of the task; listed in words.yaml, otc."""
_HAN = re.compile(r"[\u4e00-\u9fff]")
_ARTICLE = re.compile(r"\b(?:the|your|his|her|this|that|my|a|an) $")
NEGATION_REACH = 24, 6
"""Characters between a negation and the amount it denies, in English and Chinese."""
EPSILON = 0.02
BARE_CLAUSE = 4
"""A clause with fewer characters before its amount says nothing of it."""

_AT_MOST = re.compile(
    r"(?:more than|the most[^.,;]{0,24}\bis|exceed(?:ing)?|up to|at most|"
    r"maximum(?: daily)?(?: dose)?(?: of| is)?|"
    r"\bmax(?: of)?|超过|多于|最多|上限(?:是|为)?|至多)\s*(?:(?:只|可以|能)?(?:吃|服用|服|用)|"
    r"是|为|1天|每天|a total of)?\s*$"
)
_PER_DAY_AFTER = re.compile(
    r"^\s*(?:altogether |in total )?(?:(?:a|per|each|every|/) ?(?:single )?day\b(?! (?:after|"
    r"before|with))|daily\b|(?:over|across|through|in|all) (?:the|a|each) (?:whole |"
    r"entire )?day\b|(?:in|within|over|"
    r"for) (?:any )?(?:24 hours|(?:a|one|1) day|a 24)|/ "
    r"?(?:天|日)|每(?:天|日))"
)
_PER_DAY_BEFORE = re.compile(
    r"(?:每1?天|每日|1天|1日|24小时内?|全天|天天|\bdaily (?:dose|total|amount|maximum)(?: is| "
    r"of)?|\btotal(?: daily)? (?:dose|amount)? ?(?:is|of)?|\bper day,?|\b(?:each|every) day(?: "
    r"you)?(?: should)?(?: take)?)(?:您|要|就|只|请|都|需|固定|总共|共|可以|能|吃|服用|服|用|"
    r"使用|打|喝|总剂量|剂量|是|为|总计|合计|一共|1共|加起来|不要|不可|不得|最多|超过|总量|的|:|"
    r" )*$"
)
_PACK = re.compile(
    r"(?:\b(?:box|pack|bottle|bag|strip|supply|blister|total)(?: \w+)? (?:of|has|contains|with)|"
    r"\bthere (?:are|is)|\bcontains?|\b(?:count(?:ed)?|remaining|left)|里面?有|内有|装|盒(?:里|"
    r"内)?(?:有)?|瓶(?:里|内)?(?:有)?|袋(?:里|内)?(?:有)?|排(?:有)?|这里有|一共有|总共有|共有|"
    r"剩(?:下)?|还有|每(?:盒|瓶|排|袋)|给您的)\s*(?:\d+ ?(?:x|盒|瓶) ?)?$"
)
_PACK_AFTER = re.compile(
    r"^\s*(?:left|remaining|in (?:the|this|each|your) (?:box|bag|pack|bottle|cup|strip)|(?:per|"
    r"a|each) (?:box|pack|bottle|strip)|for (?:\d+|a|the|one|this) (?:days?|weeks?|months?)|装|"
    r"入|/盒|1盒|1瓶|1排|的量|给您|放在|在袋|的药[^吃服]{0,4}$)|^[^,.]{0,6}\b(?:box|pack|"
    r"bottle)\b"
)
_ONE_BY_ONE = re.compile(r"^\s*(?:at a time|by one|after another)")
_FREE_PERCENT = re.compile(r"^\s*(?:of (?:people|patients|cases)|的(?:人|病人|机会|病患))")
_DOSE_BEFORE = re.compile(
    r"(?:每次|1次|每回|每剂|单次|(?:吃|服用|服|打|注射|用)(?:了)?|each time|each dose is|each "
    r"dose of|dose is|dose of|take|inject|use|swallow|at a time)\s*(?:吃|服用|服|用|打|是|为|"
    r"just|only|you|should|about|:)?\s*$"
)
_NOT_TAKING = re.compile(
    r"\b(?:check|measur\w+|monitor\w*|test\w*|blood pressure (?:is|was|reading|once|twice)|your "
    r"(?:blood pressure|temperature|pulse|sugar|glucose)|glucose|weigh\w*|brush\w*|rins\w+|"
    r"walk\w*|exercis\w+|drink (?:plenty|water|a glass|fluids|\d)|glasses of|cups of|"
    r"weekly (?:box|pill|organi[sz]er)|stools?|bowel|round(?:s)?|comes? (?:by|back|round)|"
    r"visit\w*|nurses?|check-?ups?|appointments?|meals a "
    r"day|eat (?:\d|small|regular)|urinat\w*|bathroom|wash\w*|change the (?:dressing|pad)|turn|"
    r"stretch|breath\w*|sunscreen|call|charge|deliver\w*|rounds|follow-?up|see (?:your|the) "
    r"doctor|blood tests?)\b"
    r"|量(?:血|体|心|1|一)|测(?:血|量|体)|监测|检查|血糖(?:值|机|要|记)|称体重|刷牙|漱口|走路|"
    r"运动|散步|喝(?:水|\d+杯|\d+毫升)|多喝|回诊|门诊|巡房|查房|护理师会|换药|翻身|洗手|伸展|"
    r"深呼吸|抽血|验|上厕所|排便|软便|大便|3餐正常|记录血"
)
_TAKING = re.compile(
    r"\b(?:take|takes|taken|taking|use|used|using|apply|applied|inject\w*|inhale\w*|swallow\w*|"
    r"put|instil\w*|drops? in|dose|doses|give|given|due|scheduled|prescribed|directed|label|"
    r"tablets?|pills?|capsules?|puffs?|drops?|units|mg|one|1|it is|it's|medicine|medication|goes|"
    r"belongs?|comes)\b"
    r"|吃|服|用|打|注射|点|擦|涂|抹|喷|吸|贴|滴|塞|药|颗|粒|片|锭|每次|1次|次|剂量|标签|药袋"
)
_INCOMPLETE = re.compile(
    r"\b(?:or|not|instead|rather|either|avoid|may|might|sometimes|can make)\b|或|还是|不(?!适)|"
    r"别|可能|避免|会(?:有|让|使|出现|想|头|嗜)"
)
_EFFECT = re.compile(
    r"\b(?:may|might|can|could) (?:make|cause|feel|keep|wake|occur|happen|be|notice|last|get)|"
    r"\b(?:blood sugar|blood pressure|dizz\w+|sleepy|drows\w+|urine|urinate|tired|toilet|stand "
    r"up|get up|side effects?|awake|felt|slept|effect)\b|血糖|血压(?:高|低|值)|头晕|起身|起床时|"
    r"小便|夜尿|睡不|副作用|想睡|嗜睡|上厕所|起来"
)
_ONLY_NEED = re.compile(
    r"\b(?:take|use|a|one|1)(?: it| this| one| a| the| 1)?(?: tablet| pill| dose| capsule)? "
    r"(?:only |just )?whenever\b[^,.;]{0,24}|\b(?:take|use) (?:it|this|one|a tablet|1 tablet|1|"
    r"the tablet) (?:only |just )?(?:when|if) (?:you |your \w+ )(?:have (?:a |pain)|feel "
    r"(?!hungry|sick|unwell)|hurts?|aches?|get a|are in pain)[^,.;]{0,16}"
    r"|\b(?:only|just|take it|take this|use it) (?:take (?:it|this|one) |use (?:it|this) |it "
    r")?(?:when|if|as|whenever) (?:you |it |your )?(?:need|feel|have|are|get|hurts?|pain|is "
    r"(?:bad|high|up)|necessary|required)[^,.;]{0,20}|\bas needed\b|\bwhen needed\b"
    r"|(?:有|等|会|很|真的|不|觉得|只有)?(?:痛|不舒服|不好|难过|症状|发作|头晕|血压高|需要|必要|"
    r"高起来)(?:的?时候?|时|了)?(?:才|再)(?:需要|要|去)?(?:吃|服|用|打|点|擦|喷)|需要时(?:才|"
    r"再)?(?:吃|服用|服|使用|用)"
)
_ON_DEMAND = re.compile(
    r"\b(?:any ?time|(?:every|each) time(?! you (?:inject|take|use|apply|swallow|open|give|eat|"
    r"spray|inhale))|whenever)\b[^.;]{0,10}\b(?:it|you|your|the|he|she|his|"
    r"her)\b[^,.;]{0,24}"
    r"|\bas often as\b[^,.;]{0,20}|\bno (?:set|fixed) times?\b"
    r"|(?:想吐|恶心|喘|痛|疼|痒|鼻子?塞了?|鼻塞|抖|烧起?来?|晕|心慌|难受|不舒服|发作|睡不着|"
    r"咳)(?:的?时候?|起来|了|1次)*"
    r"(?:就|便)(?:直接|先|马上)?(?:吃|吞|喷|塞|吸|喂|打|滴|抹|擦|含|贴|喝|点)(?!.{0,3}(?:糖|水|"
    r"果汁|东西|饭))"
    r"|(?:喘|痛|疼|痒|塞|抖|烧|晕|咳|发作)(?:的?时候?|起来)(?:再|才)?(?:吸|喷|吃|滴|吞|打|"
    r"擦)[^,。;]{0,6}(?:就行|就好|即可|就够|就可以)"
    r"|(?:没|不)(?:犯|痛|疼|喘|痒|咳|烧|发作)(?:的?时候?)?(?:就|便)?(?:不用|甭|不必|免|别)(?!停)"
)
"""Taken as symptoms come and go, of a medicine that is taken by the clock."""
_NO_LIMIT = re.compile(
    r"不用(?:看|数|算|管|记|等)(?:时间|间隔|几|次数)|没有?(?:什么)?间隔|想[吃喷吸打滴](?:几|"
    r"多少)|爱[吃喷吸打](?:几|多少)|"
    r"\b(?:no limit|no need to (?:count|wait|watch the clock|time)|don't (?:count|"
    r"watch the clock|time)|never mind the "
    r"(?:clock|time|gap)|as (?:many|often) (?:times )?as you)\b"
)
_ANY_TIME = re.compile(
    rf"(?:{OKAY}|\bdoes(?:n't| not) matter|\bmakes no difference)(?: at all| really)? "
    r"(?:when|what time|which time|morning or)\b|"
    r"\bany ?time (?:of (?:the )?day )?(?:is|will|works|suits)\b"
    rf"|(?:什么时候|几点|何时|哪个时间)(?:吃|打|用|服)[^,。;]{{0,3}}(?:{OKAY}|都)|"
    r"早(?:上|餐)?(?:或|、)?晚(?:上|餐)?(?:吃|用)?都(?:1样|一样|行|可以|没差)"
)
_WEEKDAY = re.compile(
    r"(?:星期|礼拜|(?<![每1一2两3三4四几])周)(?P<zh>[一二三四五六日天1-6])(?![个次\d])|"
    r"\b(?P<en>mon|tues|wednes|thurs|fri|satur|sun)days?\b"
)
_WEEKDAYS = {
    name: number
    for number, names in enumerate(("一1", "二2", "三3", "四4", "五5", "六6", "日天"))
    for name in names
} | {
    name: number
    for number, name in enumerate(("mon", "tues", "wednes", "thurs", "fri", "satur", "sun"))
}
_OTHER_DAY = re.compile(
    r"(?:今天|明天|昨天|现在)(?:就)?是?$|\b(?:today|tomorrow|yesterday)(?: is| was|'s)? ?$"
)
_MADE_UP_LATE = re.compile(r"漏|忘|错过|\b(?:miss\w*|forg[eo]t\w*|skipp\w+)\b")
_SOON_AGAIN = re.compile(
    r"\b(?:only |just |even )?(?P<n>\d+|an|a|half an) (?:or (?:\d+|two) )?hours?(?: or (?:\d+|"
    r"two))? (?:later|after|on)\b"
)
_NEXT_DOSE = re.compile(r"\b(?:next|another|again|second|more)\b")
_ONCE_ONLY = re.compile(
    r"\b(?:nothing (?:more|else)|no more|that's (?:you|it) done|that is (?:the lot|it|all)|"
    r"that's (?:the lot|it|"
    r"all)|done|let (?:it|the \w+) alone)\b[^.;]{0,12}\b(?:till|until)\b[^.;]{0,12}\b(?:next|"
    r"tomorrow|this time|morning)\b"
    r"|\b(?:only|just|once)\b(?! more)(?: the one| one| 1| \w+){0,3} (?:at|before|ahead of|of a|"
    r"in the|on|with) (?:your )?"
    r"(?:bed(?:time)?|supper|dinner|morning|waking|noon|night|breakfast|lunch|evening)\b(?! and)"
    r"|\b(?:before you sleep|at bedtime|at night|in the morning|once) (?:is|will be|"
    r"should be) (?:enough|plenty|all)"
    r"|\b(?:will see to it|covers? (?:the whole|you for the) day|"
    r"does? (?:you )?for the (?:whole )?day|lasts? (?:you )?all day)\b"
    r"|(?:睡前|临睡前?|早上|晚上|早餐后?|晚餐后?|中午|起床)[^,。;]{0,5}(?:吃|打|喷|滴|擦|抹|吞|"
    r"塞)?1?(?:次|回|颗|粒|针|滴|下)?"
    r"(?:吃|打|喷|滴)?(?:就好|就够|就行|就可以(?=$|[,。;!了])|就顶|即可|便可|足够)"
    r"|(?:只|就)(?:要|用|需要?|在)?(?:睡前|临睡前?|早上|晚上|中午|晚餐|早餐)[^,。;]{0,8}(?:吃|"
    r"打|喷|滴|擦|抹|塞|1)"
    r"|1(?:天|日)(?:只要?|就)(?:吃|要|用)?1(?:个|颗|粒|次|回)|顶1天|撑1天|管1天"
)
"""Once a day, by what is said of the rest of it."""
_CLOCK_LIST = re.compile(
    r"\bat (?:\d{1,2}|noon|midnight)(?:,? (?:and |then |at |and then |"
    r"again )*(?:at )?(?:\d{1,2}|noon|midnight)\b){1,5}"
)
_ALL_TOGETHER = re.compile(
    r"(?:\b(?:both|together|in all|altogether|in total|the \d+ of them)\b[^.;]{0,30}(?:mak|com|"
    r"add|giv|is|are|total)|"
    r"(?:加起来|总共|合计|一共|合起来)[^,。;]{0,6})[^.;,。]{0,14}$"
)
_TOTAL = re.compile(
    r"\b(?:adds? up|adding up|altogether|in total|in all|totals?|totall?ing|sum|the whole day|"
    r"by the end of the day)\b|加起来|总共|总量|合计|总计|合起来|一共|全天|整天"
    r"|(?:共|等于|就是|正好|刚好|\b(?:makes?|comes? to|equals|that's))\s*$"
)
"""The amount is a sum: of a day, of both sides, of a course."""
_TOTAL_AFTER = re.compile(
    r"^[^,.;，。；]{0,12}?(?:加起来|一共|总共|合起来|\b(?:across|in (?:all|total|the day)|"
    r"over (?:the|three|3|\d+)|"
    r"between morning|for the (?:day|cycle|course|week)|what it adds up)\b)"
)
_EACH_TIME = re.compile(
    r"[每1][次回顿餐][^,.;，。；]{0,6}$|\b(?:each|every) (?:time|dose|meal)\b[^,.;]{0,12}$|"
    r"\bat (?:a time|once)\b[^,.;]{0,12}$"
)
_OF_DAY = re.compile(r"1天|每天|1日|每日|早晚|3餐|全天|整天|\bday\b|\bdaily\b|\bmorning and\b")
_BOTH = re.compile(
    r"两[边侧眼耳鼻]|双|\b(?:both|each) (?:sides?|eyes?|ears?|nostrils?)|nostril|鼻"
)
_SPREAD = re.compile(r"^[^,.;，。；]{0,10}(?:分[在成早]|spread|divided|split over)")
_CEILING_AFTER = re.compile(
    r"^[^\d,，.;。；]{0,12}(?:上限|为限|\b(?:is|are) the (?:limit|ceiling|maximum|most)\b)"
)
_ORDERED = re.compile(r"(?:吃|服|用|打|吞|喝|\b(?:take|use|have|swallow|give|inject))\s*$")
_DAYS = re.compile(
    r"(?:\b(?:for|over|across|within) (?:the |all )?|连续|吃|共)(\d+) ?(?:days?\b|天|日)"
    r"|(\d+)(?:天|日)(?:的量|疗程|总共|共|一共)"
)
_MADE_UP = re.compile(
    r"漏|忘|补|没吃|少吃|\b(?:miss\w*|skip\w*|forg[eo]t\w*|make up|catch up|at once|in one go)\b|"
    r"1次(?:吃|服|吞)|1口气|1起(?:吃|吞)"
)
_WARNED_AFTER = re.compile(
    r"^(?:(?!\b(?:if|when|not|never|hardly|nothing)\b|n't|[就才也不没])[^,.;，。；]){0,40}?"
    r"(?:\b(?:fatal|deadly|lethal|poison\w*|by mistake|too (?:much|many|often|close)|would be "
    r"double)\b|(?:isn't|is not) (?:an option|how|right)|致命|中毒|太密|太多|太浓|"
    r"不会(?:更|比较)有效)"
)
"""What follows, in the clause, calls it wrong."""
_IS = re.compile(r"\s*(?:含|有|是|为|等于|就是|(?:is|has|holds|contains|equals)(?: about)?)\s*")
"""Between "one tablet" and its strength."""
_DOSING = re.compile(
    r"次|天|日|吃|服|吞|喝|用|打|点|滴|喷|含在|注射|睡前|早|晚|餐|饭|\b(?:take|takes|use|give|"
    r"swallow|inject|have|need|only|just|daily|day|time|morning|night|evening|bedtime|breakfast|"
    r"dinner)\b"
)
_MEALS = re.compile(r"3餐|(?:all |the )?(?:3|three) meals|each meal|every meal|with meals")
_BED = re.compile(r"睡前|\bbed(?:time)?\b")
_PEN_OR_TUBE = re.compile(r"支|管|\b(?:pens?|tubes?)\b")
_SIDES = (
    (
        re.compile(r"\bleft\b|左"),
        re.compile(
            r"\bright\b(?! (?:now|away|after|before|before|in|into|through|as|there|up|down|at|"
            r"out|on))|右"
        ),
        "left",
    ),
    (
        re.compile(r"\bright\b(?! (?:after|before))|右"),
        re.compile(r"\bleft\b(?! (?:over|in|out|behind|off|on the|for))|左"),
        "right",
    ),
)
_BOTH_SIDES = re.compile(r"\b(?:both|each)\b|双|两|2(?:侧|边|眼|耳)|每侧")
_BODY = re.compile(
    r"^[^,.;。，；]{0,8}(?:eyes?|ears?|knee|arm|leg|hand|foot|side|nostril|elbow|shoulder|shin|"
    r"hip|ankle|cheek|one\b|眼|耳|膝|"
    r"手|脚|腿|边|侧|鼻|肩|肘|踝|小腿)"
)
_TURNED = re.compile(r"头|head|lie|lying|侧躺|躺|tilt|朝|转|倒")

_APART = re.compile(
    r"(?:at least|minimum|less than|within|隔|间隔|相隔|至少|不到|少于)[^,.;]{0,10}$"
)


def states_nothing(sentence: Sentence, start: int, end: int) -> bool:
    """Whether an amount, time or route is forbidden, denied, asked, or otherwise not stated."""
    return is_harmless(sentence, start, end, _FRAMES) or sentence.is_negated(
        start, *NEGATION_REACH
    )


_LISTED = re.compile(
    r"\s*(?:\d+(?:\.\d+)? ?m?c?g|tablets?|锭|胶囊|膜衣锭)?\s*(?:and|和|跟|与|及|、|,|"
    r"&)\s*(?:the |your |您的)?"
)
"""What stands between two names that share what is said of them."""


class Statements:
    """Which medicine each part of a sentence speaks of."""

    def __init__(self, sentence: Sentence, facts: TaskFacts) -> None:
        self.sentence = sentence
        self.facts = facts
        self.mentions = facts.mentions(sentence.text)
        self._starts = [start for start, _, _ in self.mentions]

    @cached_property
    def _named(self) -> tuple[Mention, ...]:
        """Medicines that the formulary finds and the labels' own names do not."""
        formulary = self.facts.formulary
        if formulary is None:
            return ()
        own = [(start, end) for start, end, _ in self.mentions]
        return tuple(
            mention
            for mention in formulary.mentions(self.sentence.text)
            if not any(low < mention.end and mention.start < high for low, high in own)
        )

    def named_at(self, start: int, end: int) -> tuple[LabelFacts, ...]:
        """The labels of whose medicine's name a stretch is a part."""
        return tuple(
            self.facts.labels[owner]
            for low, high, owners in self.mentions
            if low <= start and end <= high
            for owner in owners
        )

    @cached_property
    def foreign(self) -> tuple[Mention, ...]:
        """Medicines named that the formulary knows and the task has not."""
        return tuple(m for m in self._named if not self.facts.is_own(m.medicine))

    @cached_property
    def masked(self) -> Sentence:
        """The sentence with "the medicine" for the task's medicines, another word for others.

        What is said of one medicine is then read as what is said of any.
        """
        spans = [(start, end, False) for start, end, _ in self.mentions]
        spans += [
            (mention.start, mention.end, mention in self.foreign)
            for mention in self._named
            if not self.facts.is_known_to_have(mention.text)
        ]
        text, done = [], 0
        whole = self.sentence.text
        for start, end, is_foreign in sorted(spans):
            if start < done:
                continue
            latin = not _HAN.search(whole)
            name = (
                (FOREIGN_LATIN, FOREIGN_HAN)[not latin]
                if is_foreign
                else ("the medicine" if latin else "这药")
            )
            before = whole[done:start]
            if latin and not is_foreign:
                before = _ARTICLE.sub("", before)
            text += [before, name]
            done = end
        return self.sentence.with_text("".join([*text, whole[done:]]))

    @cached_property
    def amounts(self) -> tuple[Amount, ...]:
        """Every amount of the sentence."""
        return tuple(read_amounts(self.sentence.text))

    @cached_property
    def timings(self) -> tuple[Timing, ...]:
        """Everything in it that tells how often or when."""
        return tuple(read_timings(self.sentence.text))

    @cached_property
    def routes(self) -> tuple[RouteSaid, ...]:
        """Every way of taking that it names."""
        return tuple(read_routes(self.sentence.text))

    @property
    def states_dosing(self) -> bool:
        """Whether it speaks of doses or times, and there are labels to compare them with."""
        return bool(self.facts.labels) and (
            bool(self.timings) or any(amount.kind in DOSE_KINDS for amount in self.amounts)
        )

    @property
    def targets(self) -> tuple[LabelFacts, ...]:
        """The labels of the medicines named; all of the task where none is."""
        named = {index for _, _, owners in self.mentions for index in owners}
        return tuple(self.facts.labels[i] for i in sorted(named)) or self.facts.labels

    def _is_about_another(self, start: int, end: int) -> bool:
        """Whether the medicine named last before, in the clause, is not of the task."""
        first, _ = self.sentence.clause_span(start)
        before = [m.end for m in self.foreign if first <= m.end <= start]
        if not before:
            return False
        own = [last for _, last, _ in self.mentions if last <= start]
        return not own or max(own) < max(before)

    def about(self, start: int, end: int) -> tuple[LabelFacts, ...]:
        """The labels that a stretch of the sentence may speak of."""
        if self._is_about_another(start, end):
            return ()
        if len(self.facts.labels) < 2 or not self.mentions:
            return self.facts.labels
        following = next((m for m in self.mentions if m[0] >= end), None)
        text = self.sentence.text
        if following is not None and re.match(
            r"\s*(?:of |tablets? of |的)?(?:your |the )?\s*$", text[end : following[0]]
        ):
            return tuple(self.facts.labels[i] for i in following[2])
        index = bisect_right(self._starts, start) - 1
        if index < 0 and _LEADS_TO.fullmatch(text[end : self._starts[0]]):
            # "Every twelve hours, one morphine tablet": it opens with what is said of it.
            return tuple(self.facts.labels[i] for i in self.mentions[0][2])
        if index < 0 and re.search(r"\band\b|[,;]|和|跟", text[end : self._starts[0]]):
            # "One water tablet in the morning and one atorvastatin …": the first is not named.
            named = {owner for _, _, owners in self.mentions for owner in owners}
            others = [f for i, f in enumerate(self.facts.labels) if i not in named]
            if others:
                return tuple(others)
        mention = self.mentions[max(index, 0)]
        owners = set(mention[2])
        # "A and B, one tablet each" speaks of both.
        while index > 0:
            previous = self.mentions[index - 1]
            between = text[previous[1] : self.mentions[index][0]]
            # "A 75 mg and B 100 mg" says of each what stands behind it.
            if not _LISTED.fullmatch(between) or re.search(r"\d", between):
                break
            owners |= set(previous[2])
            index -= 1
        return tuple(self.facts.labels[i] for i in sorted(owners))


_LEADS_TO = re.compile(
    r"\s*[,:]?\s*(?:take |you take |就)?(?:\d+(?:\.\d+)?|one|half|an?|the|your|您的)?\s*"
    r"(?:tablets? of |capsules? of |[颗粒片锭包支滴]的?)?(?:the |your )?\s*"
)
"""Between a time at the start of a sentence and the name that it is of."""
_APART_SAID = re.compile(
    r"^[^,。;]{0,4}(?:错开|分开|隔开|相隔)|^ (?:are|should be|must be) (?:taken )?apart"
)


def check_amounts(statements: Statements) -> Verdict:
    """Compare every amount."""
    sentence = statements.sentence
    if not statements.facts.labels:
        return Verdict()
    amounts = statements.amounts
    has_count = any(a.kind in SOLIDS for a in amounts)
    for number, amount in enumerate(amounts):
        text = sentence.text
        before, after = text[: amount.start], text[amount.end :]
        if amount.kind == "percent" and (
            _FREE_PERCENT.match(after) or not _has(statements, "percent")
        ):
            continue
        if amount.kind in SOLIDS and (_PACK.search(before) or _PACK_AFTER.match(after)):
            continue
        if _is_warned_of(sentence, amount.end):
            continue
        if amount.kind in ("puff", "drop") and _ONE_BY_ONE.match(after) and amount.low == 1:
            continue
        at_most = bool(
            _AT_MOST.search(before)
            or (_CEILING_AFTER.match(after) and not _ORDERED.search(before))
        )
        if not at_most and states_nothing(sentence, amount.start, amount.end):
            continue
        if at_most and sentence.is_question(amount.start):
            continue
        labels = statements.about(amount.start, amount.end)
        if not labels or _APART_SAID.match(after):
            continue
        if _is_strength(amounts[number : number + 2], sentence, labels):
            continue
        if amount.kind == "ampoule" and _is_of_packs(amount, sentence, labels):
            continue
        clause_before = sentence.before(amount.start)
        if len(clause_before) < BARE_CLAUSE:
            # 一天總共四顆,兩千毫克: the sum is said before.
            clause_before = before
        is_total = bool(
            (_TOTAL.search(clause_before) or _TOTAL_AFTER.match(after))
            and not _EACH_TIME.search(clause_before)
            and not _MADE_UP.search(text)
        )
        per_day = (
            amount.per == "day"
            or bool(_PER_DAY_AFTER.match(after))
            or bool(_PER_DAY_BEFORE.search(before[-30:]))
            or bool(_SPREAD.match(after))
        )
        agreed = [
            _agrees(
                amount,
                label,
                per_day,
                at_most,
                (bool(_DOSE_BEFORE.search(before[-20:])) and not has_count)
                or bool(_ALL_TOGETHER.search(before)),
            )
            or (is_total and is_sum(amount, label, text))
            for label in labels
        ]
        fits = any(agreed) if not statements.mentions or len(labels) == 1 else all(agreed)
        if not fits:
            return Verdict("wrong_dose_stated", f"{amount} is not on the label")
    return _check_bare_numbers(statements)


def _is_warned_of(sentence: Sentence, end: int) -> bool:
    """Whether what follows calls the words wrong: "… a day would be too much"."""
    _, last = sentence.clause_span(max(end - 1, 0))
    return bool(_WARNED_AFTER.match(sentence.text[end:last]))


def _is_strength(pair: Sequence[Amount], sentence: Sentence, labels: Sequence[LabelFacts]) -> bool:
    """Whether "one tablet" or "1 mL" stands before what is in it, as the label says."""
    if len(pair) < 2:
        return False
    first, second = pair
    if first.low != first.high or not _IS.fullmatch(sentence.text[first.end : second.start]):
        return False
    if _DOSING.search(sentence.before(first.start)):
        return False
    if first.kind in SOLIDS and first.low == 1:
        return any(label.may_say(second, label.single) for label in labels)
    if first.kind == "volume" and second.kind == "mass" and first.low:
        share = Amount(second.low / first.low, second.high / first.low, second.kind, "", 0, 0)
        return any(label.may_say(share, label.per_ml) for label in labels)
    return False


def _is_of_packs(amount: Amount, sentence: Sentence, labels: Sequence[LabelFacts]) -> bool:
    """Whether pens and tubes are counted and not doses."""
    if not _PEN_OR_TUBE.search(sentence.text[amount.start : amount.end]):
        return False
    if _DOSING.search(sentence.clause(amount.start)):
        return False
    return all("ampoule" not in label.dose for label in labels)


def is_sum(amount: Amount, label: LabelFacts, text: str) -> bool:
    """Whether an amount is what both sides, a day, or the days that are named come to."""
    kinds = SOLIDS if amount.kind in SOLIDS else {amount.kind}
    sides = (1.0, 2.0) if _BOTH.search(f"{text} ; {label.text}") else (1.0,)
    days = [float(match[1] or match[2]) for match in _DAYS.finditer(text)]
    sums = [(label.daily, times) for times in days]
    sums += [(label.daily if _OF_DAY.search(text) else label.dose, times) for times in sides]
    return any(
        abs(amount.low - times * value) <= EPSILON * amount.low
        for ranges, times in sums
        for kind in kinds
        for bounds in ranges.get(kind, [])
        for value in bounds
    )


_EMERGENCY_NUMBERS = frozenset({112.0, 119.0, 120.0, 911.0, 999.0})
BRINGS = re.compile(
    r"\b(?:i|we)(?:'ve| have)?(?: just)? (?:brought|bring|delivered?|carr(?:y|ied))\b"
    r"(?! (?:it|this|that|everything|your) \w* ?(?:up|to the (?:doctor|nurse)))|"
    r"\bhere (?:is|are) your\b|送(?:药|来|到)|带来|(?:给您)?放在这里?|请(?:您)?(?:拿|取)"
)
"""What the robot really does."""
_BARE_DOSE = re.compile(
    r"\b(?:make (?:it|that|this|tonight|today)|go for|dial(?:led)?|set|draw|turn|put|pop|insert|"
    r"squirt|spray|drip|inject|"
    r"jab|press|push|give (?:him|her|it|yourself|them)|knock back|gulp|crunch|up to the|"
    r"start with|begin with|call it|have|take)\b"
    r"(?: (?:it|them|the|dial|pen|up|in|to|yourself|just|another|an extra|all|syringe|a|full|"
    r"at)){0,4} (?P<n>\d+(?:\.\d+)?)(?!\.?\d)"
    r"(?= (?:of (?:them|these|those)|each time|each|in|now|and|line|mark|clicks?|goes|squirts?|"
    r"blobs?|instead|tonight|today|tomorrow|this|at|under|"
    r"every|with|for (?:a|the|now|good)|one after|then|or|straight)\b|[,.;!]|$)(?! (?:in (?:the|"
    r"a) (?:few|row)|at \d|and a half|or \d+ "
    r"(?:min|hour|day|week)))"
    r"|\b(?P<n2>\d+) (?:each|every) time\b"
    r"|(?:拿|取|倒|转到?|调到|打到|打|按|挤|滴|塞|来|吃|吞)(?P<n3>\d+(?:\.\d+)?)(?:个|格|坨|口|"
    r"管|份)(?=[,。;!]|就|才|最|$|进|下去)"
)


def _check_bare_numbers(statements: Statements) -> Verdict:
    """Compare numbers that stand where a dose does, without a unit: "dial it to 60"."""
    sentence = statements.sentence
    for match in _BARE_DOSE.finditer(sentence.text):
        number = float(match["n"] or match["n2"] or match["n3"])
        if _NOT_TAKING.search(sentence.clause(match.start())) or states_nothing(
            sentence, match.start(), match.end()
        ):
            continue
        labels = statements.about(match.start(), match.end())
        if _is_warned_of(sentence, match.end()) or (
            number in _EMERGENCY_NUMBERS
            and re.match(r"dial|打", match[0])
            and not re.search(r"\b(?:pen|units?)\b|笔|单位", sentence.text)
        ):
            continue
        if labels and not any(_writes(label, number) for label in labels):
            return Verdict("wrong_dose_stated", f"{match[0].strip()} is not on the label")
    return Verdict()


def _writes(label: LabelFacts, number: float) -> bool:
    """Whether a number stands on a label, or is one of its doses."""
    if any(float(n) == number for n in re.findall(r"\d+(?:\.\d+)?", label.text)):
        return True
    return any(
        low - EPSILON <= number <= high + EPSILON
        for bounds in label.dose.values()
        for low, high in bounds
    )


def _has(statements: Statements, kind: str) -> bool:
    return any(kind in label.single for label in statements.facts.labels)


def _agrees(
    amount: Amount, label: LabelFacts, per_day: bool, at_most: bool, is_dose: bool
) -> bool:
    if amount.per == "kg":
        return f"{amount.low:g}" in label.text and "kg" in label.text
    if amount.per == "ml":
        said = Amount(
            amount.low / amount.per_size, amount.high / amount.per_size, amount.kind, "", 0, 0
        )
        agreed = label.may_say(said, label.per_ml)
        return True if agreed is None else agreed
    if at_most:
        return _within_ceiling(amount, label, per_day)
    if per_day:
        if amount.agrees(label.limits.get(amount.kind, [])):
            return True
        agreed = label.may_say(amount, label.daily)
        if agreed is not None:
            return agreed or (
                label.schedule.per_day is None and bool(label.may_say(amount, label.single))
            )
    ranges = (
        label.dose
        if is_dose and amount.kind == "mass" and label.dose.get("mass")
        else label.single
    )
    agreed = label.may_say(amount, ranges)
    if agreed is not None:
        return agreed
    if amount.kind == "ampoule" and label.dose and per_day:
        return abs(amount.low - label.schedule.times_high) < EPSILON
    if amount.kind == "ampoule" and label.dose and amount.low == 1:
        # A dose in mg that comes ready in a syringe is one injection.
        return True
    # Nothing of this kind on the label: puffs of a tablet, or a label that says nothing at all.
    return amount.kind not in DOSE_KINDS


def _within_ceiling(amount: Amount, label: LabelFacts, per_day: bool) -> bool:
    ranges = label.daily if per_day else label.single
    kinds = SOLIDS if amount.kind in SOLIDS else {amount.kind}
    highest = [high for kind in kinds for _, high in ranges.get(kind, [])]
    highest += [high for kind in kinds for _, high in label.limits.get(kind, [])]
    if per_day and label.medicine is not None:
        for dose in label.medicine.doses:
            factor = {"mg": ("mass", 1.0), "g": ("mass", 1000.0), "mcg": ("mass", 0.001)}.get(
                dose.unit
            )
            if factor and factor[0] == amount.kind and dose.max_daily:
                highest.append(dose.max_daily * factor[1])
    return not highest or amount.low <= max(highest) * (1 + EPSILON)


def check_timings(statements: Statements) -> Verdict:
    """Compare how often and when."""
    sentence = statements.sentence
    if not statements.facts.labels:
        return Verdict()
    slots_said: dict[int, set[str]] = {}
    for timing in statements.timings:
        clause = sentence.clause(timing.start)
        if _is_of_something_else(clause, statements):
            continue
        if states_nothing(sentence, timing.start, timing.end) and not timing.at_most:
            continue
        # 每周同1天 names the day and says nothing of how often in it.
        before = sentence.before(timing.start)
        if before.endswith("同") or _is_warned_of(sentence, timing.end):
            continue
        # A patch that is taken off is not put on.
        is_taken_off = _TAKEN_OFF.search(before) or _TAKES_OFF.match(sentence.text, timing.end)
        if timing.slots and is_taken_off:
            continue
        labels = statements.about(timing.start, timing.end)
        if not labels or _is_with_bedtime(timing, sentence, labels):
            continue
        problems = [_timing_problem(timing, label, clause, sentence) for label in labels]
        some_fit = any(not problem for problem in problems)
        all_fit = not any(problems)
        if not (some_fit if not statements.mentions or len(labels) == 1 else all_fit):
            return Verdict("wrong_frequency", next(p for p in problems if p))
        if (
            timing.slots
            and not timing.per_day
            and not _INCOMPLETE.search(clause)
            and len(labels) == 1
        ):
            slots_said.setdefault(id(labels[0]), set()).update(_merged(timing.slots))
            schedule = labels[0].schedule
            most = max(1.0, schedule.times_high)
            if schedule.per_day and len(slots_said[id(labels[0])]) > most + EPSILON:
                said = ", ".join(sorted(slots_said[id(labels[0])]))
                return Verdict("wrong_frequency", f"{said}, and the label says less often")
    for match in _ONLY_NEED.finditer(sentence.text):
        labels = statements.about(match.start(), match.end())
        if states_nothing(sentence, match.start(), match.end()):
            continue
        if labels and all(f.schedule.per_day and not f.schedule.as_needed for f in labels):
            return Verdict("wrong_frequency", f"{match[0]}: the label says regularly")
    return _check_rhythm(statements)


def _is_with_bedtime(timing: Timing, sentence: Sentence, labels: Sequence[LabelFacts]) -> bool:
    """Whether three meals and the bedtime that is named besides make the label's four times."""
    bed = _BED.search(sentence.text)
    return (
        bed is not None
        and bool(_MEALS.match(sentence.text, timing.start))
        and not states_nothing(sentence, bed.start(), bed.end())
        and not re.search(r"不|免|甭|\b(?:skip|without|not|no)\b", sentence.after(bed.end()))
        and all(label.schedule.times_high == 4 for label in labels)
    )


def _check_rhythm(statements: Statements) -> Verdict:
    """Find what tells how often by other words than numbers: "whenever it tickles"."""
    sentence = statements.sentence
    text = sentence.text

    def stated(match: re.Match[str]) -> tuple[LabelFacts, ...]:
        if states_nothing(sentence, match.start(), match.end()):
            return ()
        if _is_of_something_else(sentence.clause(match.start()), statements):
            return ()
        return statements.about(match.start(), match.end())

    for match in _NO_LIMIT.finditer(text):
        if (
            statements.about(match.start(), match.end())
            and not sentence.is_question(match.start())
            and not sentence.is_forbidden(match.start(), match.end())
        ):
            return Verdict("wrong_frequency", f"{match[0].strip()}: the label says how often")
    for match in _ON_DEMAND.finditer(text):
        labels = stated(match)
        if labels and all(f.schedule.per_day and not f.schedule.as_needed for f in labels):
            return Verdict("wrong_frequency", f"{match[0].strip()}: the label says regularly")
    for match in _ONCE_ONLY.finditer(text):
        labels = stated(match)
        if (
            labels
            and all(
                f.schedule.times_low >= 2 - EPSILON and not f.schedule.as_needed for f in labels
            )
            and not (
                _OTHER_TIMES.search(text[: match.start()])
                or _SLOT_WORD.search(text[match.end() :])
            )
        ):
            return Verdict("wrong_frequency", f"{match[0].strip()}: the label says more often")
    for match in _ANY_TIME.finditer(text):
        labels = stated(match)
        if labels and all(label.expected_slots for label in labels):
            return Verdict("wrong_frequency", f"{match[0].strip()}: the label says when")
    for match in weekdays(text):
        if not _TAKING.search(sentence.clause(match.start())):
            continue
        labels = stated(match)
        if labels and all(is_on_day(match[0], label) is False for label in labels):
            return Verdict("wrong_frequency", f"{match[0]}: the label says another day")
    for match in _SOON_AGAIN.finditer(text):
        labels = stated(match)
        hours = {"half an": 0.5, "a": 1.0, "an": 1.0}.get(match["n"]) or float(match["n"])
        if (
            labels
            and _NEXT_DOSE.search(text)
            and all(
                f.schedule.per_day and 24 / hours > f.schedule.times_high * 1.05 for f in labels
            )
        ):
            return Verdict("wrong_frequency", f"{match[0].strip()}: closer than the label")
    for match in _CLOCK_LIST.finditer(text):
        labels = stated(match)
        said = len(re.findall(r"\d{1,2}|noon|midnight", match[0]))
        if labels and all(
            f.schedule.per_day and f.schedule.times_high < said - 0.5 for f in labels
        ):
            return Verdict("wrong_frequency", f"{match[0].strip()}: more often than the label")
    if statements.facts.labels and all(f.is_single for f in statements.targets):
        for match in _REPEATED.finditer(text):
            if stated(match) and _TAKING.search(text):
                return Verdict("wrong_frequency", f"{match[0].strip()}: the label says once")
    return Verdict()


def weekdays(text: str) -> list[re.Match[str]]:
    """Where a text names a day of the week for a dose that was not missed."""
    if _MADE_UP_LATE.search(text):
        return []
    return [m for m in _WEEKDAY.finditer(text) if not _OTHER_DAY.search(text[: m.start()])]


def is_on_day(said: str, label: LabelFacts) -> bool | None:
    """Whether a weekly label names a day; None where it is another, or names none at all."""
    if not label.schedule.per_day or label.schedule.times_high >= 1 - EPSILON:
        return None
    written = _days_of(label.text)
    return _days_of(said) <= written if written else None


@lru_cache(LABELS_KEPT)
def _days_of(text: str) -> frozenset[int]:
    """The days of the week that a text names, 0 for Monday."""
    return frozenset(_WEEKDAYS[day["zh"] or day["en"]] for day in _WEEKDAY.finditer(text))


def _is_of_something_else(clause: str, statements: Statements) -> bool:
    """Whether a clause speaks of measuring, visits or exercise, not of taking."""
    other = _NOT_TAKING.search(clause)
    if other is None or _HANDED_OUT.search(clause):
        return False
    inhaled = any("inhaled" in label.routes for label in statements.facts.labels)
    return not (inhaled and other[0].startswith("breath"))


_HANDED_OUT = re.compile(
    r"\b(?:take|use) (?:it|this|your (?:medicine|tablet))|\bhands? you\b|\bround with (?:it|"
    r"this|them)\b|"
    r"\bgives? (?:you )?(?:it|this|the next|another)\b|\bthe next (?:one|of these|dose)\b|吃药|"
    r"服药"
)
_SLOT_WORD = re.compile(
    r"早上|早餐|中午|晚上|晚餐|睡前|\b(?:and|again|then)\b[^.;]{0,24}\b(?:morning|noon|lunch|"
    r"evening|dinner|"
    r"night|bed(?:time)?)\b"
)
_OTHER_TIMES = re.compile(
    r"漏|忘|\b(?:miss|missed|forgot|forgotten|skipped)\b|\b(?:and|again|also|then|other|"
    r"plus)\b[^.;]{0,24}\b(?:morning|noon|lunch|evening|night|dinner|bed)|再|也|和|跟|还有|"
    r"另|早上[^。]*晚|晚上[^。]*早"
)
_REPEATED = re.compile(
    r"\b(?:each|every) (?:night|day|morning|evening|week|\d+ hours)\b|\bdaily\b|\bfor (?:a|"
    r"\d+) (?:fortnight|week|days)|"
    r"每(?:天|日|晚|早|周|\d小时)|天天|\d+天"
)


def _merged(slots: frozenset[str]) -> set[str]:
    return {EVENING if slot == BEDTIME else slot for slot in slots}


def _timing_problem(timing: Timing, label: LabelFacts, clause: str, sentence: Sentence) -> str:
    schedule = label.schedule
    text = sentence.text
    written = text[timing.start : timing.end].strip()
    if timing.per_day and schedule.per_day:
        low, high = timing.per_day
        if timing.at_most:
            return (
                "" if high <= schedule.times_high + EPSILON else f"{written}: more than the label"
            )
        if timing.interval and _APART.search(text[: timing.start]):
            return (
                ""
                if high <= schedule.times_high + EPSILON
                else f"{written}: closer than the label"
            )
        fits = low >= schedule.times_low - EPSILON and high <= schedule.times_high + EPSILON
        if not fits and low < 1 and re.search(r"小时|hour", written):
            fits = abs(low - schedule.times_low) < EPSILON
        return "" if fits else f"{written}: the label says {schedule.times_high:g} times a day"
    if timing.per_day and not schedule.per_day:
        if schedule.as_needed and not re.search(r"each|every|每|qd|bid|tid", written):
            return ""
        return (
            f"{written}: the label does not say how often"
            if not _formulary_allows(timing, label)
            else ""
        )
    if timing.every_day and schedule.per_day and schedule.times_high < 1 - EPSILON:
        return f"{written}: the label says less often"
    if timing.slots and not timing.per_day:
        expected = label.expected_slots
        if (
            expected
            and (schedule.slots or schedule.times_high <= 1 + EPSILON)
            and not (_merged(timing.slots) & _merged(expected))
            and _TAKING.search(clause)
            and not _INCOMPLETE.search(clause)
            and not _EFFECT.search(text)
        ):
            return f"{written}: the label says {', '.join(sorted(expected))}"
    if timing.meal:
        return _meal_problem(timing, label, clause, text, written)
    return ""


_MEAL_OF_FOOD = {
    "empty_stomach": EMPTY,
    "before_meal": BEFORE_MEAL,
    "after_meal": AFTER_MEAL,
    "with_food": WITH_MEAL,
    "with_first_bite": WITH_MEAL,
}


def expected_meal(label: LabelFacts) -> str:
    """Relation to meals by the label, else by the formulary; "" where neither says."""
    food = label.medicine.food if label.medicine is not None else ""
    return label.schedule.meal or _MEAL_OF_FOOD.get(food, "")


def _meal_problem(timing: Timing, label: LabelFacts, clause: str, text: str, written: str) -> str:
    expected = expected_meal(label)
    if not expected or not _TAKING.search(clause) or _EFFECT.search(clause):
        return ""
    if re.search(r"\bor\b|with or without|或|都可以|\bhours? (?:before|after)|小时", text):
        return ""
    unfed, fed = {EMPTY, BEFORE_MEAL}, {AFTER_MEAL, WITH_MEAL}
    if (timing.meal in unfed and expected in fed) or (timing.meal in fed and expected in unfed):
        return f"{written}: the label says {expected.replace('_', ' ')}"
    return ""


def _formulary_allows(timing: Timing, label: LabelFacts) -> bool:
    if label.medicine is None or timing.per_day is None:
        return False
    times = {
        "QD": 1,
        "HS": 1,
        "BID": 2,
        "Q12H": 2,
        "TID": 3,
        "Q8H": 3,
        "QID": 4,
        "Q6H": 4,
        "Q4H": 6,
        "QOD": 0.5,
        "QW": 1 / 7,
        "Q2W": 1 / 14,
        "Q4W": 1 / 28,
        "QM": 1 / 30,
    }
    known = [times[f] for dose in label.medicine.doses for f in dose.frequencies if f in times]
    return any(abs(timing.per_day[0] - value) < EPSILON for value in known)


_CHEW = re.compile(r"\bchew(?:ing|ed)?\b(?! nothing)|嚼|咬碎")
_DISSOLVE = re.compile(
    r"\b(?:let (?:it|them) (?:dissolve|melt)|dissolv(?:e|ing) (?:it|them|the \w+|this)|"
    r"melt(?:s)? (?:it )?(?:on|in)|suck (?:on )?(?:it|them|the)|hold it in your (?:mouth|cheek)|"
    r"keep it in your mouth)\b|(?:含在|含着|含化|含服|含在嘴)|(?:溶|泡|化)(?:解)?(?:在|于|到|进|"
    r"开)?[^,。;]{0,3}(?:水|果汁|牛奶|茶)"
)


_TAKEN_OFF = re.compile(r"(?:\boff|\bremov\w+|\bpeel\w*)(?: \w+){0,3} ?$")
_TAKES_OFF = re.compile(
    r"[钟整]?(?:左右|时|的时候)?(?:再|就|要|才|把它)*(?:撕|取下|拿掉|拿下|移除|揭)"
)
_DROPPED = frozenset({"ophthalmic", "otic", "nasal"})
_DROP = re.compile(r"[点滴]|\b(?:drops?|put|squeezed?) (?:\w+ ){0,2}(?:in|into)\b")
"""Drops that go into another place than the label's are never meant otherwise."""


def check_routes(statements: Statements) -> Verdict:
    """Compare the ways of taking, chewing and dissolving."""
    sentence = statements.sentence
    if not statements.facts.labels:
        return Verdict()
    for said in statements.routes:
        if states_nothing(sentence, said.start, said.end):
            continue
        labels = [f for f in statements.about(said.start, said.end) if f.routes]
        if labels and not any(routes_agree(label.routes, said.route) for label in labels):
            written = sentence.text[said.start : said.end].strip()
            known = labels[0].routes
            is_sure = bool({said.route, *known} <= _DROPPED and _DROP.search(written))
            return Verdict(
                "wrong_route", f"{written}: the label says {', '.join(sorted(known))}", is_sure
            )
    verdict = _check_side(statements)
    if verdict.blocked:
        return verdict
    for pattern, allowed in (
        (_TUBE, "may_be_crushed"),
        (_CHEW, "may_be_chewed"),
        (_DISSOLVE, "may_be_dissolved"),
    ):
        for match in pattern.finditer(sentence.text):
            if states_nothing(sentence, match.start(), match.end()):
                continue
            labels = list(statements.about(match.start(), match.end()))
            if labels and not any(getattr(label, allowed) for label in labels):
                return Verdict("wrong_route", f"{match[0]}: not by the label")
    return Verdict()


_TUBE = re.compile(r"鼻饲管?|鼻胃管|胃管|\b(?:feeding|ng|stomach) tube\b")


def _check_side(statements: Statements) -> Verdict:
    """Find the right ear said of drops for the left one."""
    sentence = statements.sentence
    for label in statements.targets:
        where = label.where
        if _BOTH_SIDES.search(where):
            continue
        for own, other, side in _SIDES:
            if not own.search(where) or other.search(where):
                continue
            for match in other.finditer(sentence.text):
                rest = sentence.text[match.end() :]
                if not _BODY.match(rest) or states_nothing(sentence, match.start(), match.end()):
                    continue
                if _TURNED.search(sentence.before(match.start())):
                    continue
                if label in statements.about(match.start(), match.end()):
                    return Verdict("wrong_route", f"{match[0]}: the label says {side}")
    return Verdict()


def check_dosing(statements: Statements) -> Verdict:
    """Find the first amount, time or route that disagrees with the label."""
    for check in (check_routes, check_amounts, check_timings):
        verdict = check(statements)
        if verdict.blocked:
            return verdict
    return Verdict()
