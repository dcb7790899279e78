"""How an English word sounds, from its spelling: enough to tell what a recogniser confuses.

No dictionary of pronunciations knows "atorvastatin", and none "a tore of a statin": both are read
by the same rules, so that their mistakes cancel. A sound is one letter: p b t d k g f v s z m n l
r w y h as usual, S (ship), Z (vision), C (chip), J (jam), T (thin), N (sing); vowels a e i o u @,
and A (day), E (see), I (eye), O (go), W (now).
"""

from __future__ import annotations

import re
from functools import lru_cache

VOWELS = frozenset("aeiou@AEIOW")

_RULES = tuple(
    (re.compile(pattern), sound)
    for pattern, sound in (
        # at the beginning
        (r"(?<![a-z])(?:kn|gn|pn|mn)", "n"),
        (r"(?<![a-z])ps", "s"),
        (r"(?<![a-z])wr", "r"),
        (r"(?<![a-z])rh", "r"),
        (r"(?<![a-z])x", "z"),
        (r"(?<![a-z])y(?=[aeiou])", "y"),
        (r"(?<![a-z])who", "hu"),
        (r"wh", "w"),
        # endings
        (r"(?:t|ss|c|x)ions?\b", "S@n"),
        (r"sions?\b", "Z@n"),
        (r"(?:ti|ci)(?=(?:al|an|ous)\b)", "S"),
        (r"tures?\b", "C@r"),
        (r"(?<=[aeiouy][a-z])le\b|(?<=[a-z][bcdfgkpstz])le\b", "@l"),
        (r"(?<=[td])ed\b", "id"),
        (r"(?<=[a-z][a-z])ed\b", "d"),
        (r"(?<=[a-z])ine\b", "En"),
        (r"(?<=[a-z][a-z])(?:e|es)\b(?<!ee)(?<!ie)(?<!oe)", ""),
        (r"(?<=[a-z])mb\b", "m"),
        # consonants
        (r"tch|ch(?![rl])|(?<=[aeiou])tu(?=[aeour])", "C"),
        (r"sch|sc(?![eiy])", "sk"),
        (r"sc(?=[eiy])", "s"),
        (r"sh", "S"),
        (r"ph", "f"),
        (r"th", "T"),
        (r"igh", "I"),
        (r"(?:augh|ough)(?=t)", "o"),
        (r"(?<=[a-z])gh", ""),
        (r"gh", "g"),
        (r"ck|cc(?![eiy])|kk|ch", "k"),
        (r"cc(?=[eiy])|x", "ks"),
        (r"c(?=[eiy])", "s"),
        (r"qu", "kw"),
        (r"[cq]", "k"),
        (r"dge?(?=\b|[eiy])", "J"),
        (r"ngs?\b", "N"),
        (r"g(?=[eiy])", "J"),
        (r"(?<=[aeiouy])s(?=[aeiouy])", "z"),
        (r"ss?", "s"),
        (r"zz?", "z"),
        (r"j", "J"),
        (r"(?<=[aeiou])h(?![aeiouy])", ""),
        (r"bb?", "b"),
        (r"dd?", "d"),
        (r"ff?", "f"),
        (r"gg?", "g"),
        (r"ll?", "l"),
        (r"mm?", "m"),
        (r"nn?", "n"),
        (r"pp?", "p"),
        (r"rr?", "r"),
        (r"tt?", "t"),
        (r"vv?", "v"),
        # vowels
        (r"eigh|ei(?=n)|ai|ay|ey(?=[a-z])", "A"),
        (r"ee|ea|ie(?=[a-z])|ei|ey\b", "E"),
        (r"ie\b|ye\b", "I"),
        (r"eu|ew|ue|ui|oo", "u"),
        (r"ou|ow(?=[a-z])", "W"),
        (r"oa|oe|ow\b", "O"),
        (r"oi|oy", "oi"),
        (r"au|aw", "o"),
        (r"a(?=[bcdfgklmnpstvz]es?\b)", "A"),
        (r"i(?=[bcdfgklmnprstvz]es?\b)", "I"),
        (r"o(?=[bcdfgklmnprstvz]es?\b)", "O"),
        (r"(?:er|ir|ur|or|ar)(?![aeiouy])", "@r"),
        (r"(?<=[a-z])y\b|(?<=[a-z])i\b", "E"),
        (r"o\b", "O"),
        (r"(?<=\b[bcdfghklmnpst])y\b", "I"),
        (r"\bi\b", "I"),
        (r"y", "i"),
    )
)
_CLASS = {
    **dict.fromkeys("pb", "p"),
    **dict.fromkeys("tdT", "t"),
    **dict.fromkeys("kg", "k"),
    **dict.fromkeys("fv", "f"),
    **dict.fromkeys("szSZCJ", "s"),
    **dict.fromkeys("mnN", "n"),
    "l": "l",
    "r": "r",
}
_ALIKE = {
    frozenset(pair): cost
    for pairs, cost in (
        ("pb td kg fv sz SZ CJ nN TD", 0.6),
        ("mn SC ZJ zZ sS Tf Tt Td Ts JZ", 0.8),
        ("lr tC dJ sC zJ kC gJ vb fp pt dt kt bd dg lw rw yJ hf vw ZC sT td nl bm pf", 1.4),
        ("aA eA iE eE iI oO uO aW oW uW @a @e @i @o @u ou ae ei @O @A @E ao", 0.3),
    )
    for pair in pairs.split()
}
_WEAK = frozenset("hwy")

VOWEL_COST = 0.6
"""Of one vowel for another; all costs are in nats, as in `repair.py`."""
VOWEL_GAP = 0.8
WEAK_GAP = 0.7
CONSONANT_COST = 2.6
CONSONANT_GAP = 2.0


@lru_cache(maxsize=8192)
def sound_of(word: str) -> str:
    """The sounds of one English word, given in lower case."""
    word = word.replace("'", "").replace("’", "")
    sounds = []
    position = 0
    while position < len(word):
        for pattern, sound in _RULES:
            found = pattern.match(word, position)
            if found:
                sounds.append(sound)
                position = found.end()
                break
        else:
            sounds.append(word[position])
            position += 1
    return "".join(sounds)


def skeleton(sounds: str) -> str:
    """What remains of sounds without vowels and without voice: "metformin" is "ntfrnn"."""
    return "".join(_CLASS[sound] for sound in sounds if sound in _CLASS)


def _pair_cost(one: str, other: str) -> float:
    if one == other:
        return 0.0
    if one in VOWELS and other in VOWELS:
        return _ALIKE.get(frozenset((one, other)), VOWEL_COST)
    if one in VOWELS or other in VOWELS:
        return CONSONANT_COST + VOWEL_GAP
    return _ALIKE.get(frozenset((one, other)), CONSONANT_COST)


_SOUNDS = "pbtdkgfvszSZCJTmnNlrwyhaeiou@AEIOWjqxc"
_COSTS = {one: {other: _pair_cost(one, other) for other in _SOUNDS} for one in _SOUNDS}
_GAPS = {
    sound: VOWEL_GAP if sound in VOWELS else WEAK_GAP if sound in _WEAK else CONSONANT_GAP
    for sound in _SOUNDS
}


def distance(heard: str, meant: str, limit: float) -> float:
    """How far two rows of sounds are apart, nats; anything above limit where it is above."""
    gaps = _GAPS
    columns = [gaps[sound] for sound in meant]
    previous = [0.0]
    for gap in columns:
        previous.append(previous[-1] + gap)
    for sound in heard:
        costs = _COSTS[sound]
        gap = gaps[sound]
        last = previous[0] + gap
        current = [last]
        diagonal = previous[0]
        for index, other in enumerate(meant):
            above = previous[index + 1]
            best = diagonal + costs[other]
            if above + gap < best:
                best = above + gap
            if last + columns[index] < best:
                best = last + columns[index]
            current.append(best)
            last = best
            diagonal = above
        if min(current) > limit:
            return limit + 1.0
        previous = current
    return previous[-1]
