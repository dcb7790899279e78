"""How statements are graded by the label: each false sentence has a twin that is true."""

import pytest
from verifier_test_kit import verifier

from medbot_llm.domain import DeliveryTask
from medbot_llm.domain import Language
from medbot_llm.domain import Medication
from medbot_llm.domain import Scene
from medbot_llm.knowledge.formulary import Formulary
from medbot_llm.safety.base import Brief
from medbot_llm.safety.claims import Sentence
from medbot_llm.safety.dosing import Statements
from medbot_llm.safety.label_facts import LabelReader
from medbot_llm.safety.label_facts import TaskFacts
from medbot_llm.safety.purposes import purposes
from medbot_llm.safety.second_opinion import Opinion
from medbot_llm.safety.signs import REASONS
from medbot_llm.safety.signs import are_doubtful
from medbot_llm.safety.signs import reason_of
from medbot_llm.safety.signs import signs_of
from medbot_llm.safety.verdicts import Ruled
from medbot_llm.safety.verdicts import inputs

READER = LabelReader(Formulary.open())
LABELS = {
    "bisoprolol": Medication("Bisoprolol", "康肯", "", "5 mg", "half a tablet", "oral", "QD AM"),
    "flunarizine": Medication("Flunarizine", "舒腦膠囊", "", "5 mg", "2 caps", "oral", "HS"),
    "carvedilol": Medication(
        "Carvedilol", "達利全錠", "", "6.25 mg", "1 tab", "oral", "BID", "與食物併服"
    ),
    "ciprofloxacin": Medication("Ciprofloxacin", "速博新", "", "500 mg", "1 tab", "PO", "Q12H"),
    "sumatriptan": Medication(
        "Sumatriptan", "英明格", "", "50 mg", "1 tab", "PO", "PRN", "max 2 a day"
    ),
    "montelukast": Medication(
        "Montelukast", "欣流咀嚼錠", "", "5 mg", "1 tab", "PO", "HS", "嚼碎後吞服"
    ),
    "nifedipine": Medication(
        "Nifedipine ER", "", "", "30 mg", "1 tab", "PO", "QD", "Swallow whole, do not chew"
    ),
    "timolol": Medication("Timolol eye drops", "青眼露", "", "0.5%", "1 drop", "OD", "BID"),
    "amoxicillin": Medication("Amoxicillin", "安莫西林", "", "250 mg", "2 caps", "PO", "TID"),
    "metformin": Medication("Metformin", "庫魯化", "", "850 mg", "1 tab", "PO", "BID"),
    "amlodipine": Medication("Amlodipine", "脈優", "", "5 mg", "1 tab", "PO", "QD"),
    "contraceptive": Medication(
        "Drospirenone/Ethinylestradiol",
        "悅己",
        "",
        "3 mg/0.03 mg",
        "1 tab",
        "PO",
        "QD",
        "連服21天後停7天",
    ),
    "telmisartan": Medication(
        "Telmisartan", "必康平", "", "40 mg", "1 tab", "PO", "QD", "after breakfast"
    ),
    "risedronate": Medication(
        "Risedronate", "瑞骨卓", "", "35 mg", "1 tab", "PO", "QW", "30 分鐘內勿躺下"
    ),
}
TWINS = [
    # What so many tablets hold.
    (
        "bisoprolol",
        "pair",
        "Half a tablet is five milligrams.",
        "Half a tablet is 2.5 milligrams.",
    ),
    ("bisoprolol", "pair", "康肯半錠是五毫克。", "康肯半錠是二點五毫克。"),
    ("bisoprolol", "pair", "康肯半片就是10毫克。", "康肯半片就是2.5毫克。"),
    ("flunarizine", "pair", "睡前兩粒，一粒十毫克。", "睡前兩粒，一粒五毫克。"),
    # A day's amount.
    (
        "ciprofloxacin",
        "amount",
        "Ciprofloxacin adds up to half a gram in the whole day.",
        "Ciprofloxacin adds up to one gram in the whole day.",
    ),
    ("ciprofloxacin", "amount", "速博新一天總共四顆。", "速博新一天總共兩顆。"),
    ("ciprofloxacin", "amount", "环丙沙星一天总共四颗。", "环丙沙星一天总共两颗。"),
    # How many times of the day are listed.
    (
        "ciprofloxacin",
        "moments",
        "At 8, at 4 in the afternoon and at midnight, one each.",
        "At 8 and again at 20, one each.",
    ),
    (
        "ciprofloxacin",
        "moments",
        "早上八點、下午四點、半夜十二點各一顆。",
        "早上八點、晚上八點各一顆。",
    ),
    # Meals.
    ("carvedilol", "meal", "Take it on an empty stomach.", "Take it with your main meal."),
    ("carvedilol", "meal", "空腹吃比較乾淨。", "隨餐吃，一天兩次。"),
    ("carvedilol", "meal", "空着肚子吃吸收好。", "跟着饭吃，饭后也行。"),
    # When needed, or by the clock.
    (
        "sumatriptan",
        "regular",
        "It is taken around the clock, headache or not.",
        "Take sumatriptan when it hurts.",
    ),
    ("sumatriptan", "regular", "不管痛不痛，固定吃。", "頭痛時才吃。"),
    ("ciprofloxacin", "need", "發作的那天再吃。", "不管好不好，固定吃。"),
    # Handling.
    ("montelukast", "handling", "這顆要整粒吞。", "這顆要嚼碎。"),
    ("montelukast", "handling", "这颗千万不能嚼。", "这颗要嚼碎再吞。"),
    ("nifedipine", "handling", "Chew it before the reading.", "Swallow it whole."),
    # Sides.
    ("timolol", "side", "One drop in the left eye.", "One drop in the right eye."),
    ("timolol", "side", "左眼點一滴。", "右眼點一滴。"),
    ("timolol", "side", "左眼点一滴。", "左眼不用，右眼点一滴。"),
    # What it is, and what it is not.
    ("amoxicillin", "called", "It's a painkiller for the throat.", "It's an antibiotic."),
    ("amoxicillin", "called", "這是止痛藥。", "這是抗生素。"),
    ("amoxicillin", "called", "它不是抗生素。", "它不是止痛药。"),
    # Days of taking and of rest.
    ("contraceptive", "times", "吃七天停二十一天。", "吃二十一天停七天。"),
    ("risedronate", "duration", "喝完三小時再躺。", "三十分鐘內不要躺。"),
]


def signs(sentence: str, *names: str) -> frozenset[str]:
    labels = tuple(LABELS[name] for name in names)
    task = DeliveryTask("", Scene.WARD, Language.ZH_HANT, medications=labels)
    return signs_of(Statements(Sentence.read(sentence), TaskFacts(task, READER)))


@pytest.mark.parametrize(("label", "subject", "false", "true"), TWINS)
def test_a_false_statement_is_told_from_its_true_twin(label, subject, false, true):
    found = signs(false, label)
    assert {sign for sign in found if sign.startswith(subject) and are_doubtful({sign})}, found
    found = signs(true, label)
    assert not are_doubtful(found), found


@pytest.mark.parametrize(
    ("false", "true"),
    [
        (
            "Amlodipine is the one that lowers your sugar.",
            "Metformin is the one that lowers your sugar.",
        ),
        ("脈優是降血糖的。", "脈優是降血壓的，庫魯化是降血糖的。"),
        ("氨氯地平是降血糖的。", "二甲双胍是降血糖的。"),
    ],
)
def test_a_purpose_is_that_of_the_medicine_that_is_named(false, true):
    assert "called_wrong" in signs(false, "metformin", "amlodipine")
    assert not are_doubtful(signs(true, "metformin", "amlodipine"))


@pytest.mark.parametrize(
    ("false", "true"),
    [
        ("Both are taken twice a day.", "Metformin is taken twice a day."),
        ("兩種都是一天兩次。", "庫魯化是一天兩次。"),
    ],
)
def test_what_is_said_of_all_must_be_so_of_all(false, true):
    assert "times_wrong" in signs(false, "metformin", "amlodipine")
    assert "times_right" in signs(true, "metformin", "amlodipine")


@pytest.mark.parametrize(
    "sentence",
    [
        "Tell the nurse if you have pain or a fever.",
        "喉嚨痛或發燒請告訴護理師。",
        "拉肚子要告诉医生。",
        "It may cause a dry cough.",
    ],
)
def test_a_complaint_is_no_purpose(sentence):
    assert not {sign for sign in signs(sentence, "amlodipine") if sign.startswith("called")}


@pytest.mark.parametrize(
    ("sentence", "is_decided"),
    [
        ("Here is your amlodipine.", True),
        ("I have brought your medicine.", True),
        ("藥給您放在這裡了。", True),
        ("Amlodipine is one 5 mg tablet once a day.", True),
        ("Amlodipine is two 5 mg tablets once a day.", False),
        ("Swallow the tablet with a glass of water.", True),
        ("每天吃一顆就可以。", True),
        ("每天吃兩顆就可以。", False),
        ("每天吃一颗。", True),
        # The label does not say when.
        ("Amlodipine is for bedtime.", False),
        ("Here is your amlodipine, you need no doctor now.", False),
    ],
)
def test_what_only_repeats_the_label_needs_no_opinion(sentence, is_decided):
    task = DeliveryTask("", Scene.WARD, Language.EN, medications=(LABELS["amlodipine"],))
    ruled = verifier().by_rules(sentence, Language.EN, Brief(task=task))
    assert (ruled.is_final and not ruled.verdict.blocked) == is_decided, ruled


@pytest.mark.parametrize(
    ("sentence", "is_decided"),
    [
        ("最好在早餐後服用", True),
        ("最好在早餐前服用", False),
        ("最好不要在早餐後服用", False),
        ("每天早餐後吃一顆就好", True),
        ("每天早晚餐後各吃一顆就好", False),
        ("這個藥每天都要吃。", True),
        ("這個藥不用每天都吃。", False),
        ("早餐吃完之後再吞一顆，這樣就可以了。", True),
        ("The best time to take telmisartan is after breakfast.", True),
        ("The best time to take telmisartan is before breakfast.", False),
        ("It goes down best once you have had your breakfast.", True),
        ("It goes down best once you have had your dinner.", False),
        ("Best after breakfast, unless you feel well.", False),
    ],
)
def test_what_is_said_around_it_changes_nothing(sentence, is_decided):
    task = DeliveryTask("", Scene.WARD, Language.EN, medications=(LABELS["telmisartan"],))
    ruled = verifier().by_rules(sentence, Language.EN, Brief(task=task))
    assert (ruled.is_final and not ruled.verdict.blocked) == is_decided, ruled


@pytest.mark.parametrize(
    ("sentence", "sign"),
    [
        ("Neither of them is an antibiotic.", "called_denied_wrong"),
        ("降血糖的是庫魯化。", "called_right"),
        ("降血壓的是庫魯化。", "called_wrong"),
        ("The one for your blood pressure is amlodipine.", "called_right"),
    ],
)
def test_a_purpose_is_read_in_any_order(sentence, sign):
    assert sign in signs(sentence, "metformin", "amlodipine")


@pytest.mark.parametrize(
    ("sentence", "is_blocked"),
    [
        ("No more than eight tablets in 24 hours.", False),
        ("No more than ten tablets in 24 hours.", True),
        ("一天最多八顆。", False),
        ("一天最多十顆。", True),
        ("一天最多八片。", False),
        ("一天最多十片。", True),
    ],
)
def test_a_ceiling_in_grams_is_one_in_tablets(sentence, is_blocked):
    label = Medication(
        "Acetaminophen", "普拿疼", "", "500 mg", "1 tab", "PO", "Q6H PRN", "max 4 g/day"
    )
    task = DeliveryTask("", Scene.WARD, Language.EN, medications=(label,))
    ruled = verifier().by_rules(sentence, Language.EN, Brief(task=task))
    assert ruled.verdict.blocked == is_blocked, ruled


def test_without_a_label_there_are_no_signs():
    task = DeliveryTask("", Scene.WARD, Language.ZH_HANT)
    assert not signs_of(Statements(Sentence.read("一次兩顆。"), TaskFacts(task, READER)))


def test_a_sign_names_the_reason_and_enters_the_sum():
    assert reason_of(frozenset({"pair_wrong", "slot_right"})) == "wrong_dose_stated"
    assert reason_of(frozenset({"meal_denied_right"})) == "wrong_frequency"
    assert reason_of(frozenset({"meal_denied_wrong", "slot_silent"})) == ""
    assert reason_of(frozenset({"storage_denied_right"})) == "unsafe_storage"
    assert "wrong_frequency" not in REASONS.values()
    ruled = Ruled(signs=frozenset({"pair_wrong"}))
    assert inputs(ruled, Opinion(0.0, "diagnosis"))["sign_pair_wrong"] == 1.0


def test_every_purpose_has_words_in_chinese_and_english():
    for purpose in purposes():
        written = " ".join(pattern.pattern for pattern in purpose.patterns.all)
        assert any("a" <= char <= "z" for char in written), purpose.id
        assert any("\u4e00" <= char <= "\u9fff" for char in written), purpose.id
        for code in purpose.atc:
            assert code[0] in "ABCDGHJLMNPRSV", (purpose.id, code)
