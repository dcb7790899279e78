"""Amounts, frequencies and routes in any wording agree with the label or are blocked."""

import pytest
from verifier_test_kit import check
from verifier_test_kit import task_of

AGREES = [
    ("amlodipine", "每次吃一顆，每天早餐後吃一次。"),
    ("amlodipine", "這是脈優錠，一顆五毫克，每天早上吃一顆。"),
    ("amlodipine", "Take one tablet once a day after breakfast."),
    ("amlodipine", "This is amlodipine 5 mg; take one tablet every morning."),
    ("amlodipine", "That's 0.005 g, which is the same as 5000 mcg."),
    ("amlodipine", "一天只吃一顆，一顆是 5 mg。"),
    ("amlodipine", "一日一次，每次１錠。"),
    ("amlodipine", "Your Norvasc is one pill daily."),
    ("amlodipine", "現在是早上八點，請您用藥。"),
    ("amlodipine", "The nurse comes every 4 hours to measure your blood pressure."),
    ("amlodipine", "請一天量兩次血壓。"),
    ("amlodipine", "您住 5A 病房 12 號床，對嗎？"),
    ("amlodipine", "You have three medicines in the bag today."),
    ("amlodipine", "Swallow it with a glass of water, about 200 ml."),
    ("amlodipine", "盒子裡有 28 顆，剛好四個星期的量。"),
    ("amlodipine", "It starts working within 6 to 12 hours."),
    ("amlodipine", "起床時請慢慢起身，坐一下再站起來。"),
    ("amlodipine", "Did you take two tablets this morning?"),
    ("amlodipine", "Taking two tablets at once can make your blood pressure drop too low."),
    ("amlodipine", "No more than one tablet a day, please."),
    ("amlodipine", "How many tablets did you take today?"),
    ("amlodipine", "It is one tablet, not two."),
    ("amlodipine", "標籤寫的是一顆，不是兩顆。"),
    ("amoxiclav", "This is Augmentin 875/125 mg, one tablet twice a day with food."),
    ("amoxiclav", "早晚各一顆，隨餐吃。"),
    ("amoxiclav", "每十二小時吃一次，一次一錠。"),
    ("amoxiclav", "Take it every 12 hours, one tablet each time."),
    (
        "amoxiclav",
        "One tablet contains 875 milligrams of amoxicillin and 125 milligrams of clavulanate.",
    ),
    ("metformin", "每次兩顆，一共 1000 毫克，早晚飯後吃。"),
    ("metformin", "Take two tablets of 500 mg after breakfast and after dinner."),
    ("metformin", "一次一公克，一天兩次，飯後吃。"),
    ("metformin", "That makes 2000 mg a day in total."),
    ("metformin", "Take 2 tablets at a time, BID, after meals."),
    ("warfarin", "每天睡前吃半顆，也就是 2.5 毫克。"),
    ("warfarin", "Half a tablet at bedtime."),
    ("warfarin", "Take 2.5 mg once a day, before bed."),
    ("paracetamol", "需要時每六小時吃一到兩顆。"),
    (
        "paracetamol",
        "Take one or two tablets every six hours as needed, no more than 8 tablets a day.",
    ),
    ("paracetamol", "一天最多四公克。"),
    ("paracetamol", "Up to four times a day, only when you need it."),
    ("paracetamol", "不痛就可以不用吃。"),
    ("insulin", "睡前打 10 個單位，打在皮下。"),
    ("insulin", "Inject 10 units under the skin at bedtime."),
    ("insulin", "The pen holds 100 units per mL."),
    ("latanoprost", "每天晚上兩眼各點一滴。"),
    ("latanoprost", "Put one drop in each eye every evening."),
    ("levothyroxine", "空腹吃一顆，50 微克，早餐前半小時。"),
    ("levothyroxine", "Take 0.05 mg on an empty stomach."),
    ("omeprazole", "飯前吃一顆膠囊，整顆吞服，不要咬碎。"),
    ("omeprazole", "Swallow the capsule whole before a meal."),
    ("bisacodyl", "需要時睡前塞一顆到肛門。"),
    ("bisacodyl", "Insert one suppository into the rectum at bedtime; do not swallow it."),
    ("budesonide", "一天兩次，每次吸兩下，吸完要漱口。"),
    ("budesonide", "Inhale two puffs twice a day and rinse your mouth afterwards."),
    ("methotrexate", "一個星期吃一次，每次三顆，絕對不要每天吃。"),
    ("methotrexate", "Take 7.5 mg, that is three tablets, once a week on Monday."),
    ("amoxicillin_syrup", "每次喝十毫升，一天三次，喝之前搖一搖。"),
    ("amoxicillin_syrup", "Ten mL each time is 500 mg; take it three times daily."),
    ("amoxicillin_syrup", "每次兩茶匙，早午晚各一次。"),
    ("unknown", "一天三次，每次一顆，飯後吃。"),
    ("unknown", "Zyrmolux 30 mg, one tablet after each meal."),
    ("unknown", "三餐飯後各吃一顆。"),
]
DISAGREES = [
    ("amlodipine", "每次吃兩顆，每天一次。", "wrong_dose_stated"),
    ("amlodipine", "這顆是十毫克。", "wrong_dose_stated"),
    ("amlodipine", "Take 10 mg every morning.", "wrong_dose_stated"),
    ("amlodipine", "Each tablet is 50 mg.", "wrong_dose_stated"),
    ("amlodipine", "It is 5 mcg per tablet.", "wrong_dose_stated"),
    ("amlodipine", "一次半顆，每天一次。", None),
    ("amlodipine", "每次１～２顆。", "wrong_dose_stated"),
    ("amlodipine", "每次貳顆。", "wrong_dose_stated"),
    ("amlodipine", "每次 ２ 顆", "wrong_dose_stated"),
    ("amlodipine", "Take it twice a day.", "wrong_frequency"),
    ("amlodipine", "一天三次，每次一顆。", "wrong_frequency"),
    ("amlodipine", "早晚各一顆。", None),
    ("amlodipine", "每八小時吃一次。", "wrong_frequency"),
    ("amlodipine", "Take one in the morning and one in the evening.", "wrong_frequency"),
    ("amlodipine", "睡前吃一顆。", "wrong_frequency"),
    ("amlodipine", "每週吃一次就夠了。", None),
    ("amlodipine", "三餐飯後吃。", "wrong_frequency"),
    ("amlodipine", "Only take it when you have a headache.", "wrong_frequency"),
    ("amlodipine", "頭暈的時候再吃就好。", None),
    ("amlodipine", "Up to three tablets a day.", "wrong_dose_stated"),
    ("amlodipine", "請空腹吃。", "wrong_frequency"),
    ("amlodipine", "把藥放在舌下含化。", "wrong_route"),
    ("amlodipine", "請塗在皮膚上。", "wrong_route"),
    ("amlodipine", "Inject it into your thigh.", "wrong_route"),
    ("amlodipine", "Chew it well before you swallow.", "wrong_route"),
    ("amoxiclav", "This is 500 mg, one tablet three times a day.", None),
    ("amoxiclav", "每天吃一次。", "wrong_frequency"),
    ("amoxiclav", "Take it every 6 hours.", "wrong_frequency"),
    ("metformin", "每次五百毫克，一天兩次。", "wrong_dose_stated"),
    ("metformin", "每次吃一顆。", "wrong_dose_stated"),
    ("metformin", "飯前吃。", "wrong_frequency"),
    ("metformin", "Take four tablets at a time.", "wrong_dose_stated"),
    ("warfarin", "每天吃一顆，5 毫克。", "wrong_dose_stated"),
    ("warfarin", "Take one whole tablet at bedtime.", "wrong_dose_stated"),
    ("warfarin", "每天早上吃。", "wrong_frequency"),
    ("paracetamol", "每四小時吃兩顆。", "wrong_frequency"),
    ("paracetamol", "一次吃三顆。", None),
    ("paracetamol", "You may take up to 12 tablets a day.", "wrong_dose_stated"),
    ("paracetamol", "一天最多可以吃到六公克。", "wrong_dose_stated"),
    ("insulin", "睡前打 100 個單位。", "wrong_dose_stated"),
    ("insulin", "Inject 10 mL at bedtime.", "wrong_dose_stated"),
    ("insulin", "打在肌肉裡，用肌肉注射。", "wrong_route"),
    ("insulin", "口服十個單位。", "wrong_route"),
    ("latanoprost", "滴在耳朵裡，每晚一滴。", "wrong_route"),
    ("latanoprost", "這瓶是點左邊耳朵的，睡前點一次。", "wrong_route"),
    ("latanoprost", "Put one drop in each ear every evening.", "wrong_route"),
    ("latanoprost", "每次點三滴。", "wrong_dose_stated"),
    ("latanoprost", "把眼藥水喝下去。", "wrong_route"),
    ("levothyroxine", "每次 50 毫克。", "wrong_dose_stated"),
    ("levothyroxine", "Take it with breakfast.", "wrong_frequency"),
    ("omeprazole", "咬碎再吞比較快。", None),
    ("omeprazole", "Open the capsule and sprinkle it on hot soup.", None),
    ("bisacodyl", "請把栓劑吞下去，配一杯水。", "wrong_route"),
    ("bisacodyl", "Swallow the suppository with water.", "wrong_route"),
    ("budesonide", "每次噴四下。", "wrong_dose_stated"),
    ("budesonide", "Spray two puffs into your nose.", "wrong_route"),
    ("methotrexate", "每天吃三顆。", None),
    ("methotrexate", "Take three tablets daily.", None),
    ("amoxicillin_syrup", "每次喝一百毫升。", "wrong_dose_stated"),
    ("amoxicillin_syrup", "Take 5 mL four times a day.", None),
    ("unknown", "每次兩顆，一天三次。", "wrong_dose_stated"),
    ("unknown", "一天一次就好。", None),
    ("unknown", "Take it at bedtime only, once a day.", "wrong_frequency"),
]


@pytest.mark.parametrize(("medicine", "sentence"), AGREES)
def test_what_the_label_says_passes(medicine, sentence):
    verdict = check(sentence, task_of(medicine))
    assert not verdict.blocked, verdict


@pytest.mark.parametrize(("medicine", "sentence", "reason"), DISAGREES)
def test_what_the_label_does_not_say_is_blocked(medicine, sentence, reason):
    verdict = check(sentence, task_of(medicine))
    assert verdict.blocked
    assert reason is None or verdict.reason == reason, verdict


def test_an_amount_belongs_to_the_medicine_named_beside_it():
    both = task_of("amlodipine", "metformin")
    assert not check("脈優錠吃一顆，庫魯化錠吃兩顆。", both).blocked
    assert not check("Take one tablet of amlodipine and two tablets of metformin.", both).blocked
    assert check("脈優錠吃兩顆，庫魯化錠吃一顆。", both).reason == "wrong_dose_stated"
    assert check("Take two tablets of amlodipine.", both).reason == "wrong_dose_stated"
    assert check("Amlodipine is taken twice a day.", both).reason == "wrong_frequency"
    assert not check("Amlodipine once a day, metformin twice a day.", both).blocked


def test_where_none_is_named_any_medicine_of_the_task_may_agree():
    both = task_of("amlodipine", "metformin")
    assert not check("每次吃兩顆。", both).blocked
    assert check("每次吃三顆。", both).blocked


SUMS = [
    ("metformin", "早晚各兩顆，一天總共四顆。"),
    ("metformin", "一天兩次，合計兩千毫克。"),
    ("metformin", "That adds up to four tablets over the whole day."),
    ("amoxiclav", "一天兩次，一次一顆，吃五天共十顆。"),
    ("amlodipine", "Two tablets a day would be too much."),
]
NO_SUMS = [
    ("amlodipine", "一顆不夠就吃三顆。"),
    ("amlodipine", "Take 3 tablets if 1 is not enough."),
    ("amlodipine", "一天吃八顆不算過量。"),
    ("amlodipine", "Six tablets a day is hardly too much."),
    ("amlodipine", "您漏了三天，總共吃三顆。"),
    ("amlodipine", "You skipped 3 days, so take 3 tablets in all."),
    ("metformin", "早晚各兩顆，一天總共兩顆。"),
    ("metformin", "一天總量是一千毫克。"),
    ("metformin", "Swallow 1 tablet 500 mg."),
    ("metformin", "庫魯化一片五百毫克，早晚各吃一次。"),
    ("amlodipine", "一次吃三劑。"),
    ("paracetamol", "Take 9 tablets tonight, 9 is the limit."),
    ("insulin", "Dial the pen to 120."),
    ("insulin", "Inject 112 units at bedtime."),
]


@pytest.mark.parametrize(("medicine", "sentence"), SUMS)
def test_sums_and_warnings_agree(medicine, sentence):
    assert check(sentence, task_of(medicine)).reason == ""


@pytest.mark.parametrize(("medicine", "sentence"), NO_SUMS)
def test_what_only_looks_like_a_sum_or_a_warning_is_blocked(medicine, sentence):
    assert check(sentence, task_of(medicine)).blocked
