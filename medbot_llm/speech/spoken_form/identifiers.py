"""What names and does not count: telephone numbers, rooms and beds, numbered things, addresses."""

from __future__ import annotations

import re
from string import ascii_letters

from medbot_llm.speech.spoken_form.patterns import GAP
from medbot_llm.speech.spoken_form.patterns import NO_CODE
from medbot_llm.speech.spoken_form.patterns import NO_DIGIT
from medbot_llm.speech.spoken_form.patterns import NO_LETTER
from medbot_llm.speech.spoken_form.reader import Kind
from medbot_llm.speech.spoken_form.reader import Reader
from medbot_llm.speech.spoken_form.rule import rule

_CALL_BEFORE = re.compile(
    r"(?:打|撥|拨|電話|电话|專線|专线|熱線|热线|分機|分机|手機|手机|傳真|传真|簡訊|短信|聯絡|联系|"
    r"(?<![A-Za-z])(?:call|dial|numbers?|phone|tel|hotline|helpline|text|extension|ext|fax|ring|telephone|"
    r"contact))"
    r"(?:號碼|号码|給|给|到|是|為|为|請|请|us|at|on|the|number|is|line|now|[ :：.,，(（「#])*$",
    re.IGNORECASE,
)
_CALL_AFTER = re.compile(
    rf"{GAP}(?:安心|自殺|自杀|防治|急救|救護|救护|心理|援助)?(?:專線|专线|熱線|热线|救護|救护|急救)"
    rf"|{GAP}(?:crisis |suicide |emergency |life)?(?:hotline|helpline|line\b)",
    re.IGNORECASE,
)
_AND_ALSO = re.compile(r"^ $|^\s{0,2}(?:或是|或者|或|和|及|、|，|,|/|or|and|,\s?or)\s{0,2}$", re.I)
_MEASURED_BEFORE = re.compile(
    r"(?:血壓|血压|血糖|心跳|心率|脈搏|脉搏|收縮壓|收缩压|舒張壓|舒张压|體重|体重|身高|飯前|饭前|飯後|饭后|約|约|"
    r"到|過|过|達|达|剩|共|[<>≥≤=]|pressure|glucose|sugar|rate|pulse|BP|HR|systolic|"
    r"diastolic|over|below|above|room|bed|about)[ :：是為为of]*$",
    re.IGNORECASE,
)
_CALLED = frozenset({"119", "911"})
"""Emergency numbers that hardly ever count anything."""
_CALLED_IN_CHINESE = frozenset({"1925", "1995", "1980", "1922", "1966", "12356", "12320"})
"""Help lines of Taiwan and mainland China; as years they are read in the same way."""
_ID_BEFORE = re.compile(
    r"(?:病歷號|病历号|身分證|身份证|號碼|号码|編號|编号|代碼|代码|代號|代号|批號|批号|處方號|处方号|驗證碼|验证码|密碼|密码|"
    r"領藥號|领药号|取藥號|取药号|領藥碼|领药码|取藥碼|取药码|領藥單|條碼|条码|流水號|code|pin|mrn|lot|batch|order|"
    r"prescription|passcode|barcode|\bid|password)"
    r"(?:碼|码|是|為|为|number|is|no|[ :：.#])*$",
    re.IGNORECASE,
)
_ROOM_BEFORE = re.compile(
    r"(?:病房|房號|房号|房間|房间|病室|診間|诊室|診室|門診|门诊|床號|床号|病床|(?:\b(?:room|rm|ward|bed|suite)))"
    r"(?:是|為|为|number|no|[ :：.#])*$",
    re.IGNORECASE,
)
_ROOM_AFTER = re.compile(rf"{GAP}(?:號|号)?(?:病房|病室|診間|诊室|診室|房|室|床|病床)")


# Telephone numbers and codes -----------------------------------------------------------------


@rule(
    rf"(?:0[0-9]{{1,3}}-[0-9]{{3,4}}-?[0-9]{{3,5}}|[0-9]{{3}}-[0-9]{{3}}-[0-9]{{4}}"
    rf"|1-[0-9]{{3}}-[0-9]{{3}}-[0-9]{{4}}|[48]00-[0-9]{{3,4}}-[0-9]{{3,4}}"
    rf"|1[3-9][0-9][- ]?[0-9]{{4}}[- ]?[0-9]{{4}}){NO_DIGIT}",
    behind="-0123456789",
)
def telephone(reader: Reader, found: re.Match[str]) -> int:
    """0912-345-678: each group of digits by itself."""
    groups = [group for group in re.split(r"[^0-9]+", found[0]) if group]
    plus = reader.pick("加", "加", "plus ") if found[0].startswith("+") else ""
    reader.say(plus + reader.comma.join(map(reader.digits, groups)), Kind.NUMBER)
    reader.called_until = found.end()
    reader.pause()
    return found.end()


telephone_with_area = telephone.at(
    rf"(?:\+[0-9]{{1,3}}[- ][0-9]{{1,4}}(?:[- ][0-9]{{2,4}}){{1,3}}"
    rf"|[(（]0[0-9]{{1,3}}[)）][ ]?[0-9]{{3,4}}[- ]?[0-9]{{3,4}}"
    rf"|[(（][0-9]{{3}}[)）][ ]?[0-9]{{3}}-[0-9]{{4}}){NO_DIGIT}"
)


def is_telephone_range(reader: Reader, second: str) -> bool:
    """Whether what looks like a range that ends with `second` is a telephone number."""
    return len(second) >= 3 and bool(_CALL_BEFORE.search(reader.before))


def is_called(reader: Reader, digits: str, end: int) -> bool:
    """Whether a number of three digits or more is one that people call."""
    before = reader.before
    if _CALL_BEFORE.search(before) or _CALL_AFTER.match(reader.text, end):
        return True
    last = reader.called_until
    if 0 <= last <= reader.place <= last + 6 and _AND_ALSO.match(reader.text[last : reader.place]):
        return True
    if digits in _CALLED:
        return not _MEASURED_BEFORE.search(before)
    return reader.is_chinese and digits in _CALLED_IN_CHINESE


def is_identifier(reader: Reader) -> bool:
    """Whether the words before a number say that it names somebody or something."""
    return bool(_ID_BEFORE.search(reader.before))


# Rooms and numbered things -------------------------------------------------------------------


@rule(rf"([0-9]{{3,4}}|[0-9]{{1,4}}(?=-[0-9]))(?:-([0-9]{{1,3}}))?{NO_DIGIT}")
def room(reader: Reader, found: re.Match[str]) -> int | None:
    """512 房, 512-1 床: the room's digits."""
    if not (_ROOM_AFTER.match(reader.text, found.end()) or _ROOM_BEFORE.search(reader.before)):
        return None
    bed = reader.row(found[2]) if found[2] else ""
    reader.say(_room_and_bed(reader, reader.row(found[1]), bed), Kind.NUMBER)
    return found.end()


@rule(
    r"((?:[Rr]oom|[Rr]m|[Ww]ard|[Bb]ed|[Ss]uite|ROOM|BED|WARD)s?)(?:[ ]?(?:#|[Nn]o\.?|number))?"
    rf"[ ]?([0-9]{{1,5}})([A-Za-z]{NO_LETTER})?(?:-([0-9]{{1,3}}))?{NO_DIGIT}"
)
def named_room(reader: Reader, found: re.Match[str]) -> int:
    """Room 512, bed 12, ward 5A."""
    reader.pass_on(found[1])
    reader.add(" ")
    reader.kind = Kind.TEXT
    reader.say(_room_with_letter(reader, found[2], found[3], found[4]), Kind.NUMBER)
    return found.end()


@rule(
    rf"([0-9]{{1,3}})([A-Za-z]){NO_CODE}(?:-([0-9]{{1,3}}){NO_DIGIT})?",
    behind=ascii_letters,
)
def number_and_letter(reader: Reader, found: re.Match[str]) -> int:
    """5A, 12B, and the bed behind: 5A-12."""
    reader.say(_room_with_letter(reader, found[1], found[2], found[3]), Kind.WORD)
    return found.end()


def _room_with_letter(reader: Reader, digits: str, letter: str | None, bed: str | None) -> str:
    words = reader.row(digits)
    if letter:
        words += reader.gap + letter.upper()
    return _room_and_bed(reader, words, reader.number(bed) if bed else "")


def _room_and_bed(reader: Reader, room_words: str, bed_words: str) -> str:
    if not bed_words:
        return room_words
    return room_words + ("之" if reader.is_chinese else ", ") + bed_words


@rule(r"(?:No|NO|no|Nr)\.[ ]?([0-9]{1,6})(?![0-9.:/])")
def number_abbreviated(reader: Reader, found: re.Match[str]) -> int:
    """No. 3."""
    return _say_numbered(reader, found, "第")


@rule(rf"#[ ]?([0-9]{{1,6}}){NO_DIGIT}")
def number_mark(reader: Reader, found: re.Match[str]) -> int:
    """#3."""
    return _say_numbered(reader, found, "")


def _say_numbered(reader: Reader, found: re.Match[str], prefix: str) -> int:
    number = reader.number(found[1])
    words = reader.pick(f"{prefix}{number}號", f"{prefix}{number}号", f"number {number}")
    reader.say(words, Kind.NUMBER)
    return found.end()


# Addresses -----------------------------------------------------------------------------------


@rule(r"(?:https?://|www\.)[^\s\u3000-\uffef]+")
def web_address(reader: Reader, found: re.Match[str]) -> int:
    """An address that nobody could follow by ear is only named."""
    reader.say(reader.pick("網址", "网址", "the web address"), Kind.WORD)
    # The mark behind an address is the sentence's.
    return found.start() + len(found[0].rstrip(".,;:!?)'\""))


web_address_without_scheme = web_address.at(
    r"[A-Za-z0-9-]{2,63}\.(?:com|org|net|gov|edu|tw|cn|info)(?:\.[a-z]{2})?(?:/[^\s\u3000-\uffef]*)?"
    + NO_LETTER
)


@rule(r"[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63})+")
def mail_address(reader: Reader, found: re.Match[str]) -> int:
    reader.say(reader.pick("電子郵件地址", "电子邮件地址", "the email address"), Kind.WORD)
    return found.end()
