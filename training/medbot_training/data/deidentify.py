"""Find and replace what tells who somebody is, in Traditional and Simplified Chinese and English.

Found are names, identity numbers (Taiwan and mainland China, with their checksums), telephone
numbers, e-mail addresses, record numbers, bank cards, long numbers, calendar dates, street
addresses and ages of 90 and more: the identifiers of HIPAA's Safe Harbor (45 CFR 164.514) that
text can hold. What is found is replaced by a mark that says what it was: [姓名], [姓名], [NAME].

Kept are medicines, doses, times of the day, durations, years by themselves, and numbers that
anybody may call (119, 120, 911, 0800 …): without them the data would teach nothing.

These are rules, no reader: a name that no title, label or phrase gives away is not found unless
it stands in the list of names that the hospital gives. docs/data.md says what is missed.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import replace
from functools import cache
from typing import Any

from medbot_llm.domain import Language
from medbot_llm.knowledge.formulary import Formulary
from medbot_training.data.languages import main_language
from medbot_training.data.records import Conversation
from medbot_training.data.records import Message
from medbot_training.data.records import Preference
from medbot_training.data.records import Record
from medbot_training.data.records import Text
from medbot_training.data.records import texts_of

MARKS = {
    "name": ("姓名", "姓名", "NAME"),
    "taiwan_id": ("身分證字號", "身份证号", "ID NUMBER"),
    "mainland_id": ("身分證字號", "身份证号", "ID NUMBER"),
    "id_like": ("證號", "证号", "ID NUMBER"),
    "phone": ("電話", "电话", "PHONE"),
    "email": ("電子郵件", "电子邮件", "E-MAIL"),
    "record_number": ("病歷號", "病历号", "RECORD NUMBER"),
    "card": ("卡號", "卡号", "CARD NUMBER"),
    "number": ("號碼", "号码", "NUMBER"),
    "date": ("日期", "日期", "DATE"),
    "address": ("地址", "地址", "ADDRESS"),
    "age": ("90 歲以上", "90 岁以上", "90 OR OLDER"),
}
"""Every kind, and its mark in Traditional Chinese, Simplified Chinese and English."""
MARK = re.compile(
    r"\[(?:" + "|".join(re.escape(word) for words in MARKS.values() for word in words) + r")\]"
)

_H = r"[\u4e00-\u9fff]"
_FULL_WIDTH = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)}
_SPOKEN = re.compile(r"[零〇一二三四五六七八九]{7,}")
_SPOKEN_DIGITS = str.maketrans("零〇一二三四五六七八九", "00123456789")
_START, _END = r"(?<![0-9A-Za-z])", r"(?![0-9A-Za-z])"


@dataclass(frozen=True)
class Found:
    """A stretch of text that tells who somebody is."""

    start: int
    end: int
    kind: str


@dataclass(frozen=True)
class Replacement:
    """What was replaced where.

    Attributes:
        place: Which text of the record, e.g. "user 1".
        start: Where it stood in the original text, in characters.
        hint: What it was like, with all but its first letter hidden.
    """

    place: str
    kind: str
    start: int
    length: int
    hint: str


# Numbers -----------------------------------------------------------------------------------------

_LETTER_VALUES = {letter: 10 + n for n, letter in enumerate("ABCDEFGHJKLMNPQRSTUVXYWZIO")}


def is_taiwan_id(text: str) -> bool:
    """Whether a text is an identity number of Taiwan: a letter, 1, 2, 8 or 9, and eight digits of
    which the last is right; or a resident certificate of before 2021 with two letters.

    Source: Ministry of the Interior, 國民身分證統一編號; National Immigration Agency, 統一證號.
    """
    match = re.fullmatch(r"([A-Z])([1289A-D])(\d{8})", text.upper())
    if match is None:
        return False
    value = _LETTER_VALUES[match[1]]
    second = match[2] if match[2].isdigit() else str(_LETTER_VALUES[match[2]] % 10)
    digits = f"{value}{second}{match[3]}"
    weights = (1, 9, 8, 7, 6, 5, 4, 3, 2, 1, 1)
    return sum(int(d) * w for d, w in zip(digits, weights, strict=True)) % 10 == 0


def is_mainland_id(text: str) -> bool:
    """Whether a text is an identity number of mainland China by GB 11643-1999: 18 digits with a
    possible date of birth, and the last one right (ISO 7064 mod 11-2)."""
    match = re.fullmatch(r"\d{6}(?:19|20)\d{2}(\d{2})(\d{2})\d{3}[\dX]", text.upper())
    if match is None or not (1 <= int(match[1]) <= 12 and 1 <= int(match[2]) <= 31):
        return False
    weights = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
    total = sum(int(d) * w for d, w in zip(text[:17], weights, strict=True))
    return "10X98765432"[total % 11] == text[17].upper()


def is_card(text: str) -> bool:
    """Whether digits are a bank card's, by Luhn (ISO/IEC 7812)."""
    digits = [int(char) for char in text if char.isdigit()]
    if not 13 <= len(digits) <= 19 or len(set(digits)) < 2:
        return False
    doubled = [d * 2 - 9 * (d > 4) if n % 2 else d for n, d in enumerate(reversed(digits))]
    return sum(doubled) % 10 == 0


_IDS = re.compile(rf"{_START}[A-Za-z][1289A-Da-d]\d{{8}}{_END}")
_SPACED_ID = re.compile(rf"{_START}[A-Za-z][ -]?[1289A-Da-d]\d{{2}}[ -]?\d{{3}}[ -]?\d{{3}}{_END}")
"""Only with a right checksum: other things have letters and digits too."""
_MAINLAND = re.compile(rf"{_START}\d{{17}}[\dXx]{_END}")
_CARD = re.compile(r"(?<![\d.])\d(?:[ -]?\d){12,18}(?![\d.])")
_EMAIL = re.compile(r"[A-Za-z0-9._%+-]+@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+")
_PUBLIC = r"(?!0800|0809|1800|1-800)"
_PHONES = [
    re.compile(pattern)
    for pattern in (
        # Taiwan: mobile, then fixed with its area in brackets or set off.
        rf"{_START}\+?886[- ]?\(?0?\)?\d{{1,2}}[- ]?\d{{3,4}}[- ]?\d{{3,4}}(?!\d)",
        rf"{_START}09\d{{2}}[- .]?\d{{3}}[- .]?\d{{3}}(?!\d)",
        rf"{_START}{_PUBLIC}(?:\(0\d{{1,3}}\) ?|0\d{{1,2}}[- ])\d{{3,4}}[- ]?\d{{4}}(?!\d)"
        r"(?: ?(?:#|轉|转|分機|分机|ext\.?) ?\d{1,6})?",
        # Mainland China.
        rf"{_START}(?:\+?86[- ]?)?1[3-9]\d[- ]?\d{{4}}[- ]?\d{{4}}(?!\d)",
        rf"{_START}0\d{{2,3}}-\d{{7,8}}(?!\d)",
        # North America, and anything with a country's number.
        rf"{_START}{_PUBLIC}(?:\+?1[-. ])?\(?[2-9]\d{{2}}\)?[-. ]\d{{3}}[-. ]\d{{4}}(?!\d)",
        r"\+\d{1,3}(?:[-. ]?\(?\d{1,4}\)?){2,5}(?!\d)",
    )
]
_LABELLED_PHONE = re.compile(
    r"(?:電話|电话|手機|手机|號碼|号码|phone|mobile|cell|tel\.?|call me (?:at|on))"
    rf"(?: ?(?:號碼|号码|number))? ?(?:是|為|为|is|[:：])? ?{_PUBLIC}"
    r"(\d[\d -]{5,14}\d)(?! ?(?:mg|毫克))",
    re.IGNORECASE,
)
_LABELLED_NUMBER = re.compile(
    r"(?:病[歷历](?:號|号|號碼|号码|編號|编号)|住院[號号]碼?|[門门][診诊][號号]|就[診诊][號号]|"
    r"健保卡[號号]?碼?|[護护]照[號号]碼?|身[分份][證证](?:字?[號号]碼?)?|[檔档]案[號号]|"
    r"social security(?: number)?|medical record(?: number| no\.?)?|\bchart(?: number| no\.?)?|"
    r"patient (?:id|number)|passport(?: number| no\.?)?|\bmrn\b|\bssn\b|\bnhi card(?: number)?)"
    r" ?(?:是|為|为|is|was|[:：#])* ?#?((?=[A-Za-z-]{0,5}\d)[A-Za-z0-9][A-Za-z0-9-]{4,19})",
    re.IGNORECASE,
)
_LABELLED_ACCOUNT = re.compile(
    r"(?:line ?(?:id|帳號|账号)|(?-i:(?<![A-Za-z])LINE)(?= ?[是為为:：])|"
    r"微信[號号]?|wechat(?: id)?|(?:銀行)?[帳账][號号户戶]) ?"
    r"(?:是|為|为|is|[:：])+ ?@?([A-Za-z0-9][A-Za-z0-9._-]{3,29})",
    re.IGNORECASE,
)
_COUNTED = (
    r"國?際?單位|国?际?单位|IU|iu|units?|U\b|元|塊|块|人|次|例|個|个|顆|颗|mg|mcg|ml|mL|g\b|kg|"
    r"/|×|x10"
)
_LONG_NUMBER = re.compile(rf"(?<![\d.,+/A-Za-z]){_PUBLIC}\d{{8,}}(?![\d.]| ?(?:{_COUNTED}))")

# Dates and ages ----------------------------------------------------------------------------------

_N = r"[0-9〇零一二三四五六七八九十]"
_MONTHS = (
    r"(?:Jan(?:uary)?|Feb(?:ruary)?|Mar(?:ch)?|Apr(?:il)?|May|June?|July?|Aug(?:ust)?|"
    r"Sep(?:t(?:ember)?)?|Oct(?:ober)?|Nov(?:ember)?|Dec(?:ember)?)\.?"
)
_NO_DOSE = r"(?! ?(?:mg|mcg|g|ml|mL|tablets?|pills?|units?|times|per|%)\b)"
_DATES = [
    re.compile(pattern)
    for pattern in (
        rf"(?:民[國国] ?)?(?:{_N}{{4}}|[0-9]{{2,4}}) ?年 ?"
        rf"{_N}{{1,3}} ?月(?: ?{_N}{{1,3}} ?[日號号])?",
        rf"(?<!{_N}){_N}{{1,3}} ?月 ?{_N}{{1,3}} ?[日號号]",
        r"(?<![\d./-])(?:19|20)\d{2}([-/.])(?:0?[1-9]|1[0-2])\1(?:0?[1-9]|[12]\d|3[01])(?![\d/-])",
        # The calendar of Taiwan: 113/03/05 is 2024.
        r"(?<![\d./-])(?:[4-9]\d|1[0-2]\d)/(?:0?[1-9]|1[0-2])/(?:0?[1-9]|[12]\d|3[01])(?![\d/-])",
        r"(?<![\d./-])(?:0?[1-9]|[12]\d|3[01])([-/.])(?:0?[1-9]|[12]\d|3[01])\1"
        r"(?:(?:19|20)\d{2}|(?<=/)\d{2})(?![\d/-]|\.\d)",
        rf"\b{_MONTHS} \d{{1,2}}(?:st|nd|rd|th)?\b{_NO_DOSE}(?:,? (?:19|20)\d{{2}})?",
        rf"\b\d{{1,2}}(?:st|nd|rd|th)?(?: of)? {_MONTHS}(?:,? (?:19|20)\d{{2}})?(?![a-z])",
    )
]
_BIRTH = re.compile(
    r"(?:出?生日期?|生於|生于|date of birth|DOB|born (?:on|in))(?:是|為|为| is|[:：])? ?"
    r"((?:19|20)?\d{2}(?:[-/. ]\d{1,2}){1,2}|[0-9]{6,8})(?![\d歲岁])"
)
_AGE = re.compile(
    r"(?<!\d)(?:9\d|1[01]\d) ?(?:多 ?)?[歲岁]|九十[一二三四五六七八九多]?[歲岁]|"
    r"一百(?:[零〇][一二三四五六七八九])?多?[歲岁]|\b(?:9\d|1[01]\d)[- ]years?[- ]old\b|"
    r"\baged? (?:9\d|1[01]\d)\b"
)

# Addresses ---------------------------------------------------------------------------------------

_REGION = (
    rf"(?:{_H}{{2,3}}[省]|[內内]蒙古自治[區区])?(?:{_H}{{2,3}}[市縣县州盟])?"
    rf"(?:{_H}{{1,3}}[區区鄉乡鎮镇市旗])?(?:{_H}{{1,4}}[里村])?(?:\d{{1,3}}[鄰邻])?"
)
_ADDRESSES = [
    re.compile(pattern)
    for pattern in (
        rf"{_REGION}(?:{_H}|\d){{1,6}}(?:路|街|大道|胡同|巷)"
        r"(?: ?[一二三四五六七八九十\d]{1,3} ?段)?"
        r"(?: ?\d{1,4} ?巷)?(?: ?\d{1,4} ?弄)?(?: ?\d{1,4} ?衖)?"
        r" ?\d{1,4}(?:之\d{1,3}|-\d{1,3})? ?[號号]"
        r"(?!線|线|公車)(?:[,， ]?(?:地下)?[\dA-Z一二三四五六七八九十]{1,4} ?"
        r"(?:[樓楼層层棟栋幢座室]|单元|F)(?:之\d{1,3})?)*",
        rf"{_REGION}{_H}{{2,8}}?(?:小[區区]|花[園园]|社[區区]|家[園园]|新村|公寓|大[廈厦])"
        r"\d{1,4}(?:[號号][樓楼]?|[棟栋幢座])(?:\d{1,2}(?:单元|單元))?(?:\d{1,5}[室號号])?",
        rf"(?<=[住在於于址])[:：]?(?:{_H}{{2,3}}[市縣县])(?:{_H}{{1,3}}[區区鄉乡鎮镇市])"
        rf"(?:{_H}{{1,5}}(?:路|街|村|里))?",
        r"\b\d{1,5}(?: [NSEW]\.?)? (?:[A-Z][a-z]+ ){1,3}(?:Street|St|Road|Rd|Avenue|Ave|Lane|Ln|"
        r"Drive|Dr|Boulevard|Blvd|Court|Ct|Way|Place|Pl|Terrace|Square)\b\.?"
        r"(?:,? (?:Apt|Apartment|Unit|Suite|Flat|#)\.? ?#?\w{1,6})?"
        r"(?:, [A-Z][a-z]+(?: [A-Z][a-z]+)?){0,2}(?:,? [A-Z]{2} \d{5}(?:-\d{4})?)?",
    )
]
_BEFORE_ADDRESS = re.compile(r".*(?:[住在於于到是址為为叫請请從从去往]|[:：,，])")

# Names -------------------------------------------------------------------------------------------

_SURNAMES = (
    "王李張张陳陈劉刘黃黄吳吴林楊杨趙赵周徐孫孙馬马朱胡郭何高羅罗鄭郑梁謝谢宋唐許许韓韩馮冯鄧邓曹彭曾蕭肖田"
    "董潘袁蔡蔣蒋于余杜葉叶程蘇苏魏呂吕丁任盧卢姚沈鍾钟姜崔譚谭陸陆汪范廖石金韋韦賈贾夏付方鄒邹熊白孟秦邱江"
    "尹薛閻阎段雷龍龙黎史陶賀贺毛郝顧顾龔龚邵萬万覃武戴孔莫湯汤溫温康施洪翁游柯簡简紀纪倪俞詹巫嚴严駱骆連连"
    "涂童凌尤辛左馬牛裴藍蓝卓侯殷甘塗"
)
_DOUBLE_SURNAMES = (
    "歐陽|欧阳|司馬|司马|諸葛|诸葛|上官|司徒|夏侯|張簡|范姜|尉遲|尉迟|公孫|公孙|慕容|皇甫|令狐|東方|东方|"
    "宇文|長孫|长孙"
)
_AMBIGUOUS = "于余謝谢何任方高万萬史連连"
"""Surnames that are everyday words: 感謝醫師, 有助于医生."""
_SURNAME = rf"(?:{_DOUBLE_SURNAMES}|[{_SURNAMES}])"
_TITLE = (
    r"(?:先生|小姐|女士|太太|同學|同学|小朋友|阿姨|伯伯|叔叔|爺爺|爷爷|奶奶|阿公|阿嬤|阿嬷|阿伯|老師|老师|"
    r"醫師|医师|醫生|医生|大夫|護理師|护理师|護士|护士|藥師|药师|護理長|护士长|主任|院長|院长|教授)"
)
_NO_GIVEN = (
    "的了是我你您他她它們们嗎吗呢吧啊呀在有沒没不要會会可以和跟與与及也都就還还很太從从對对把被讓让請请問问說说吃喝服"
    "用藥药醫医護护病患時时間间次種种些這这那哪什麼么怎如果因為为所後后前裡里上下左右內内外已將将應应該该並并或"
    "但而且最更再又才只每各多少幾几一二三四五六七八九十百千歲岁號号床點点分秒血壓压糖脂尿痛熱热燒烧咳嗽"
    "，。！？；：、,.!?;:「」『』（）() "
)
_NO_NAMES = re.compile(
    "高(?:血|燒|烧|熱|热|齡|龄|危|風|风|齡|尿|興|兴|度|於|于|劑|剂|劑|中|溫|温|纖|纤|脂|壓|压|鈣|钙|鉀|钾|級|级|峰|達|达|低|端)"
    "|方(?:便|法|式|面|向|案|才|可)|白(?:天|飯|饭|色|血|細|细|蛋|開|开|癜|內|内|粥|粉|帶|带|斑|米|袍)|何(?:時|时|種|种|人|況|况|必|處|处|謂|谓)|任(?:何|意|務|务|由)"
    "|許(?:多|可|久)|许(?:多|可|久)|周(?:圍|围|邊|边|末|期|一|二|三|四|五|六|日|歲|岁|全|到|休)|金(?:屬|属|色|額|额|錢|钱|會|会)|江(?:湖|河)"
    "|溫(?:水|度|和|熱|热|開|开|馨|暖|柔)|温(?:水|度|和|热|开|馨|暖|柔)|連(?:續|续|同|絡|络|接|忙|帶|带)|连(?:续|同|接|忙|带)"
    "|施(?:打|用|行|救)|康(?:復|复|健|泰|寧|宁)|馬(?:上|桶|鈴|拉)|马(?:上|桶|铃|拉)|石(?:頭|头|化|膏)|莫(?:非|名|大|氏)|萬(?:一|分)|万(?:一|分)"
    "|左(?:右|邊|边|側|侧|手|腳|脚|腿|眼|心|旋)|嚴(?:重|格|禁|肅)|严(?:重|格|禁|肃)|于(?:是|此)|余(?:下|額)|田(?:間|间|七)|史(?:無|上)|范(?:圍|围|例)"
    "|程(?:度|序)|段(?:時|时|落)|雷(?:射|同)|龍(?:眼|膽|骨)|龙(?:眼|胆|骨)|黃(?:色|疸|體|芩|連|豆|耆|金|斑)|黄(?:色|疸|体|芩|连|豆|芪|金|斑|曲)|甘(?:油|草|甜)"
    "|簡(?:單|便|介|稱|短|易)|简(?:单|便|介|称|短|易)|紀(?:錄|念)|纪(?:录|念)|顧(?:慮|及|問|客)|顾(?:虑|及|问|客)|曾(?:經|经)|付(?:款|費|费|出)"
    "|夏(?:天|季|日|枯)|毛(?:病|巾|囊|孔|細|细|髮|发|衣)|湯(?:匙|水|藥)|汤(?:匙|水|药)|苏(?:醒|打)|蘇(?:醒|打)|賀爾|贺尔|尤(?:其|為|为)|辛(?:苦|辣)|童(?:年|話|话)"
    "|洪(?:水|亮)|游(?:泳|離|离)|林(?:可|立|口)|牛(?:奶|肉|皮|磺)|胡(?:亂|乱|說|说|蘿|萝|思|椒)|謝(?:謝|谢|絕)|谢(?:谢|绝)|秦(?:艽|皮)|孔(?:洞|雀)|武(?:器|漢|汉)"
    "|叶(?:酸|黄|片|子)|葉(?:酸|黃|片|子)|陸(?:續|续)|陆(?:续)|戴(?:口|上|眼|手|著|助|帽)|孟(?:魯|鲁)|陶(?:瓷|醉)|杜(?:絕|绝|仲|冷)|朱砂|唐(?:氏|突)|宋代|梁木|崔促|董事|袁大"
    "|馮了|鄭重|郑重|郭外|羅列|罗列|韓國|韩国|楊桃|杨桃|杨梅|楊梅|李斯|王不|吳郭|陳舊|陈旧|陳述|陈述|張開|张开|張力|张力|張嘴|张嘴|徐徐|孫子|孙子|孫女|孙女|趙爾"
)
"""What begins with a surname and is no name."""
_AFTER_NAME = (
    rf"(?=$|[\s，。！？；：、,.!?;:「」『』（）()\[\]]|的|今|昨|是|在|住|來|来|說|说|表|因|於|于|從|从|{_TITLE}|"
    r"您|你|生日|出生|身|電|电|病|男|女|要|想|有|和|跟|與|与|年|也|已|需|請|请|打|吃|服|對|对|過|过)"
)
_GIVEN = rf"(?:(?![{_NO_GIVEN}]){_H}){{1,2}}"
_CHINESE_NAMES = [
    re.compile(pattern)
    for pattern in (
        # A title follows; the surname alone would do.
        rf"({_SURNAME}{_GIVEN}|(?![{_AMBIGUOUS}])[{_SURNAMES}]|{_DOUBLE_SURNAMES})(?={_TITLE})",
        rf"(?:^|(?<=[^\u4e00-\u9fff]))([{_AMBIGUOUS}])(?={_TITLE})",
        # A label or a phrase stands before it.
        rf"(?:姓名|名字|病人|患者|病患|家屬|家属|聯絡人|联系人|受檢者|立書人|簽名|签名|女兒|女儿|兒子|儿子|丈夫|妻子|"
        rf"弟弟|妹妹|哥哥|姊姊|姐姐|媽媽|妈妈|爸爸|名叫|叫做|我叫|叫|我是|我係|"
        rf"這位是|这位是|您是|你是)(?:叫|是|為|为)?[:： ]?({_SURNAME}{_GIVEN}){_AFTER_NAME}",
        # A label that nothing but a name follows.
        rf"(?:姓名|聯絡人|联系人)[:：] ?({_H}{{2,4}}(?:[·・]{_H}{{1,6}})?)(?=$|[\s，。；、,;)）])",
        # Somebody is addressed.
        rf"(?:^|[，。！？,!? ])({_SURNAME}(?:(?![{_NO_GIVEN}]){_H}){{2}})(?=[,， ]?[您你]好)",
        rf"[您你]好[,，!！ ]{{1,2}}({_SURNAME}(?:(?![{_NO_GIVEN}]){_H}){{2}})(?=$|[\s，。！,!.])",
        # Something is somebody's.
        rf"(?:^|[，。！？,!? 是給给為为幫帮替])({_SURNAME}(?:(?![{_NO_GIVEN}]){_H}){{2}})"
        r"(?=的(?:藥|药|病[歷历]|處方|处方|床|家|媽|妈|爸|兒|儿|女|檢|检|報|报))",
    )
]
_CAPITAL = r"[A-Z][a-z]+(?:[-'’][A-Z][a-z]+)?"
_ENGLISH_NAMES = [
    re.compile(pattern)
    for pattern in (
        rf"\b(?:Mr|Mrs|Ms|Miss|Mx|Dr|Prof|Professor|Doctor|Nurse|Sister)\b\.? "
        rf"({_CAPITAL}(?: [A-Z]\.)?(?: {_CAPITAL}){{0,2}})",
        rf"\b(?:[Mm]y|[Hh]is|[Hh]er|[Tt]he patient's|[Pp]atient's) name is "
        rf"({_CAPITAL}(?: [A-Z]\.)?(?: {_CAPITAL}){{0,2}})",
        rf"\b(?:I am|I'm|[Tt]his is|called|named|[Pp]atient|[Aa]re you) "
        rf"({_CAPITAL}(?: [A-Z]\.)? {_CAPITAL})\b",
        rf"\b(?:[Pp]atient(?: name)?|[Nn]ame|[Cc]ontact): ?"
        rf"({_CAPITAL}(?: [A-Z]\.)?(?: {_CAPITAL}){{0,2}})",
    )
]
_NO_ENGLISH_NAMES = frozenset(
    word
    for line in (
        "Call Station Practitioner Manager Desk Care Office Nurse Doctor Patient Please The A An",
        "Your My This That It If When Do Is Are Of On In For To And Or Robot Room Ward Department",
        "Clinic Hospital Pharmacy Emergency Type Stage Grade Diabetic Allergic Monday Tuesday",
        "Wednesday Thursday Friday Saturday Sunday Safety Information Leaflet Dose Not",
    )
    for word in line.split()
)


class Deidentifier:
    """Finds and replaces what tells who somebody is.

    Args:
        names: Names that are known, of patients and staff: found wherever they stand.
        formulary: Its medicines are never taken for names.
    """

    def __init__(self, names: Iterable[str] = (), formulary: Formulary | None = None) -> None:
        known = sorted({n.strip() for n in names if len(n.strip()) > 1}, key=len, reverse=True)
        self._known = (
            re.compile("|".join(_bounded(name) for name in known), re.IGNORECASE)
            if known
            else None
        )
        self._formulary = formulary

    def find(self, text: str, also: Sequence[str] = ()) -> list[Found]:
        """What of a text tells who somebody is, in order, without overlaps.

        Args:
            text: Any text.
            also: Full names that were found in other texts of the same record.
        """
        # One character stays one: places in the copy are places in the text.
        plain = text.translate(_FULL_WIDTH)
        plain = _SPOKEN.sub(lambda match: match[0].translate(_SPOKEN_DIGITS), plain)
        taken: list[Found] = []
        marks = [Found(m.start(), m.end(), "") for m in MARK.finditer(plain)]
        for found in (*self._numbers(plain), *self._names(plain, also)):
            clash = (*taken, *marks)
            if not any(found.start < one.end and one.start < found.end for one in clash):
                taken.append(found)
        return sorted(taken, key=lambda found: found.start)

    def clean(
        self, text: str, place: str = "text", also: Sequence[str] = ()
    ) -> tuple[str, list[Replacement]]:
        """The text with marks in place of what was found, and what that was."""
        language = main_language(text)
        column = list(Language).index(language)
        pieces, replaced, at = [], [], 0
        for found in self.find(text, also):
            pieces += [text[at : found.start], f"[{MARKS[found.kind][column]}]"]
            at = found.end
            original = text[found.start : found.end]
            replaced.append(
                Replacement(place, found.kind, found.start, len(original), _hint(original))
            )
        return "".join([*pieces, text[at:]]), replaced

    def clean_record(self, record: Record) -> tuple[Record, list[Replacement]]:
        """A record with all its texts cleaned; a name found in one is replaced in all.

        Texts in `meta` are cleaned too.
        """
        names = sorted(self.full_names(text for _, text in texts_of(record)))
        replaced: list[Replacement] = []

        def clean(text: str, place: str) -> str:
            cleaned, more = self.clean(text, place, names)
            replaced.extend(more)
            return cleaned

        meta = _cleaned_meta(record.meta, "meta", clean)
        if isinstance(record, Text):
            return replace(record, text=clean(record.text, "text"), meta=meta), replaced
        messages = record.prompt if isinstance(record, Preference) else record.messages
        cleaned = tuple(
            Message(message.role, clean(message.content, f"{message.role} {number}"))
            for number, message in enumerate(messages, start=1)
        )
        if isinstance(record, Preference):
            chosen, rejected = clean(record.chosen, "chosen"), clean(record.rejected, "rejected")
            return (
                replace(record, prompt=cleaned, chosen=chosen, rejected=rejected, meta=meta),
                replaced,
            )
        assert isinstance(record, Conversation)
        thinking = clean(record.thinking, "thinking")
        return replace(record, messages=cleaned, thinking=thinking, meta=meta), replaced

    def full_names(self, texts: Iterable[str]) -> set[str]:
        """Names with more than a surname that are found in texts."""
        found = {
            text[one.start : one.end]
            for text in texts
            for one in self.find(text)
            if one.kind == "name"
        }
        return {name for name in found if len(name) > 2 or (len(name) == 2 and _is_full(name))}

    # --- inside ----------------------------------------------------------------------------------

    def _numbers(self, text: str) -> Iterator[Found]:
        if not _HAS_NUMBER.search(text):
            return
        for match in _EMAIL.finditer(text):
            yield Found(match.start(), match.end(), "email")
        for match in _IDS.finditer(text):
            kind = "taiwan_id" if is_taiwan_id(match[0]) else "id_like"
            if not _of_a_batch(text, match.start()):
                yield Found(match.start(), match.end(), kind)
        for match in _SPACED_ID.finditer(text):
            is_id = is_taiwan_id(re.sub(r"[ -]", "", match[0]))
            if is_id and not _of_a_batch(text, match.start()):
                yield Found(match.start(), match.end(), "taiwan_id")
        for match in _MAINLAND.finditer(text):
            if is_mainland_id(match[0]):
                yield Found(match.start(), match.end(), "mainland_id")
        for match in _LABELLED_NUMBER.finditer(text):
            yield Found(match.start(1), match.end(1), "record_number")
        for match in _LABELLED_ACCOUNT.finditer(text):
            yield Found(match.start(1), match.end(1), "number")
        yield from _all(_DATES, text, "date")
        for match in _BIRTH.finditer(text):
            yield Found(match.start(1), match.end(1), "date")
        for match in _AGE.finditer(text):
            yield Found(match.start(), match.end(), "age")
        yield from _addresses(text)
        for found in _all(_PHONES, text, "phone"):
            if not _of_a_hotline(text, found.start):
                yield found
        for match in _LABELLED_PHONE.finditer(text):
            yield Found(match.start(1), match.end(1), "phone")
        for match in _CARD.finditer(text):
            if is_card(match[0]):
                yield Found(match.start(), match.end(), "card")
        for match in _LONG_NUMBER.finditer(text):
            start = match.start()
            if not (_of_a_batch(text, start) or _of_a_hotline(text, start)):
                yield Found(start, match.end(), "number")

    def _names(self, text: str, also: Sequence[str]) -> Iterator[Found]:
        if self._known is not None:
            for match in self._known.finditer(text):
                yield Found(match.start(), match.end(), "name")
        for name in also:
            for match in re.finditer(_bounded(name), text):
                yield Found(match.start(), match.end(), "name")
        candidates = [
            match
            for patterns in (_CHINESE_NAMES, _ENGLISH_NAMES)
            for pattern in patterns
            for match in pattern.finditer(text)
        ]
        if not candidates:
            return
        medicines = self._medicines(text)
        for match in candidates:
            start, end = match.span(1)
            words = match[1].split()
            if words[0] in _NO_ENGLISH_NAMES:
                continue
            for number, word in enumerate(words):
                if word in _NO_ENGLISH_NAMES:
                    end = start + len(" ".join(words[:number]))
                    break
            name = text[start:end]
            if _NO_NAMES.match(text, start) or any(word in name for word in medicines):
                continue
            yield Found(start, end, "name")

    def _medicines(self, text: str) -> set[str]:
        """The words of a text that name medicines, as they are written in it."""
        if self._formulary is None:
            return set()
        named = self._formulary.mentions(text)
        return {mention.text for mention in named} | {
            mention.text.capitalize() for mention in named
        }


@cache
def default_deidentifier() -> Deidentifier:
    """One that knows the packaged formulary, and no names."""
    return Deidentifier(formulary=Formulary.open())


def count_kinds(replaced: Iterable[Replacement]) -> Counter[str]:
    """How many of each kind were replaced."""
    return Counter(one.kind for one in replaced)


_HAS_NUMBER = re.compile(
    r"[0-9@〇]|[一二三四五六七八九十][月日號号歲岁]|[歲岁]|[市縣县區区]|路|街"
)
_HOTLINE = re.compile(
    r"(?:[熱热]線|热线|專線|专线|hot ?line|helpline)\D{0,6}[\d-]{0,5}$", re.IGNORECASE
)
_BATCH = re.compile(
    r"(?:批號|批号|批次|許可證|许可证|國藥準字|国药准字|lot|batch|NDC|字第)\D{0,6}$", re.IGNORECASE
)


def _of_a_hotline(text: str, start: int) -> bool:
    """Whether a number is one that everybody may call."""
    return _HOTLINE.search(text, max(0, start - 20), start) is not None


def _of_a_batch(text: str, start: int) -> bool:
    """Whether a number is that of a medicine's batch or licence."""
    return _BATCH.search(text, max(0, start - 12), start) is not None


def _all(patterns: Iterable[re.Pattern[str]], text: str, kind: str) -> Iterator[Found]:
    for pattern in patterns:
        for match in pattern.finditer(text):
            yield Found(match.start(), match.end(), kind)


def _addresses(text: str) -> Iterator[Found]:
    for pattern in _ADDRESSES:
        for match in pattern.finditer(text):
            start = match.start()
            # A street's name has no mark at its front: what leads up to it may have been taken in.
            road = re.search(r"路|街|大道|胡同|巷|小[區区]", match[0])
            before = _BEFORE_ADDRESS.match(match[0][: road.start()] if road else "")
            if before is not None and before.end() < len(match[0]) - 3:
                start += before.end()
            yield Found(start, match.end(), "address")


def _bounded(name: str) -> str:
    """A pattern for a name; one in Latin letters is not found within a word."""
    pattern = re.escape(name).replace(r"\ ", r"\s+")
    before = r"(?<![A-Za-z])" if name[0].isascii() else ""
    after = r"(?![A-Za-z])" if name[-1].isascii() else ""
    return f"{before}{pattern}{after}"


def _is_full(name: str) -> bool:
    return re.fullmatch(_DOUBLE_SURNAMES, name) is None


def _hint(original: str) -> str:
    return original[0] + "*" * min(len(original) - 1, 12)


def _cleaned_meta(
    value: Mapping[str, Any], place: str, clean: Callable[[str, str], str]
) -> dict[str, Any]:
    def cleaned(value: object, place: str) -> object:
        if isinstance(value, str):
            return clean(value, place)
        if isinstance(value, dict):
            return {key: cleaned(part, f"{place}.{key}") for key, part in value.items()}
        if isinstance(value, list):
            return [cleaned(part, place) for part in value]
        return value

    return {key: cleaned(part, f"{place}.{key}") for key, part in value.items()}
