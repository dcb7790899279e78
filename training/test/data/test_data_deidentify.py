"""What tells who somebody is goes; medicines, doses, times and emergency numbers stay."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
from data_test_kit import pair
from data_test_kit import run
from data_test_kit import talk
from data_test_kit import write_lines
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

from medbot_training.data.deidentify import Deidentifier
from medbot_training.data.deidentify import default_deidentifier
from medbot_training.data.deidentify import is_card
from medbot_training.data.deidentify import is_mainland_id
from medbot_training.data.deidentify import is_taiwan_id

GOES = {
    "我是王小明，今年 60 歲。": "我是[姓名]，今年 60 歲。",
    "患者姓名：李美玲，藥袋編號：A1000": "患者姓名：[姓名]，藥袋編號：A1000",
    "陳美玲女士，您好。": "[姓名]女士，您好。",
    "王先生的女兒王小華來電。": "[姓名]先生的女兒[姓名]來電。",
    "這是歐陽小姐的藥。": "這是[姓名]小姐的藥。",
    "您好，林志玲！": "您好，[姓名]！",
    "患者李建国，男。": "患者[姓名]，男。",
    "身分證字號 A123456789": "身分證字號 [身分證字號]",
    "Ａ１２３４５６７８９ 是我的": "[身分證字號] 是我的",
    "居留證 AB12345677": "居留證 [身分證字號]",
    "身份证号11010519491231002X，请核对": "身份证号[身份证号]，请核对",
    "電話 0912-345-678 或 (02)2345-6789 轉 12": "電話 [電話] 或 [電話]",
    "手机13812345678，请联系我": "手机[电话]，请联系我",
    "我的手機是零九一二三四五六七八": "我的手機是[電話]",
    "+886 2 2345 6789": "[電話]",
    "寫到 wang.ming@example.com.tw 給我": "寫到 [電子郵件] 給我",
    "ID: A123 456 789": "ID: [身分證字號]",
    "+886 912 345 678 或 0912.345.678": "[電話] 或 [電話]",
    "I was born 1962-07-04, chart 00123456.": "I was born [DATE], chart [RECORD NUMBER].",
    "LINE 是 ming0912，謝謝": "LINE 是 [號碼]，謝謝",
    "病歷號碼：1234567，謝謝": "病歷號碼：[病歷號]，謝謝",
    "生日民國 75 年 3 月 5 日": "生日[日期]",
    "2024年3月5日入院，3/5 顆": "[日期]入院，3/5 顆",
    "113/03/05 回診": "[日期] 回診",
    "二〇二四年三月五日開刀": "[日期]開刀",
    "住台北市信義區松仁路 100 巷 5 弄 12 號 3 樓，": "住[地址]，",
    "住北京市朝阳区建国路88号2单元501室，对吗": "住[地址]，对吗",
    "我住在中山路5號": "我住在[地址]",
    "卡號 4111 1111 1111 1111": "卡號 [卡號]",
    "她 93 歲了": "她 [90 歲以上]了",
    "My name is John Smith, born on 03/05/1948.": "My name is [NAME], born on [DATE].",
    "Mr. Smith saw Dr. Mary Jones on March 5, 2024.": "Mr. [NAME] saw Dr. [NAME] on [DATE].",
    "MRN: 00123456, call me at (415) 555-2671.": "MRN: [RECORD NUMBER], call me at [PHONE].",
    "I live at 12 Oak Street, Apt 4, Springfield now.": "I live at [ADDRESS] now.",
}

STAYS = [
    "脈優 5 mg，早上 8 點一顆，一天一次，飯後。",
    "阿斯匹靈 100mg，批號 A123456789，許可證字第 12345678 號。",
    "血壓 120/80，血糖 126，體溫 38.5 度，INR 2.5，1/2 顆，每 8 小時一次，吃 3 天。",
    "青黴素 10000000 單位，胰島素 12 units。",
    "請打 119、120、110、1925 或 0800-123-456。心理援助热线：010-82951332",
    "2021 年的指引，5 月起，第 3 週。",
    "高血壓患者請配溫水，任何時候都可以問護理師，許多醫師建議白天吃。",
    "左甲狀腺素何時吃？方便的話請說，謝謝醫生，有助于医生判断。",
    "她 60 歲，住院 12 天，5A 病房 12 床。",
    "Take one 5 mg tablet twice a day at 8:15, no more than 4000 mg in 24 hours. Call 911.",
    "May 5 mg be enough? Nurse Call is on the left. I am Diabetic.",
    "The line is blocked. See chart 2 of A123 456 780.",
    "[姓名]，[日期]，[PHONE]",
]


@pytest.mark.parametrize("text", GOES)
def test_what_tells_who_somebody_is_goes(text):
    cleaned, replaced = default_deidentifier().clean(text)
    assert cleaned == GOES[text] and replaced


@pytest.mark.parametrize("text", STAYS)
def test_what_is_needed_stays(text):
    assert default_deidentifier().clean(text) == (text, [])


def test_cleaning_twice_changes_nothing_more():
    cleaner = default_deidentifier()
    for text in GOES:
        once, _ = cleaner.clean(text)
        assert cleaner.clean(once) == (once, [])


@pytest.mark.parametrize("number", ["A123456789", "F131104093", "A800000014", "AB12345677"])
def test_identity_numbers_of_taiwan(number):
    assert is_taiwan_id(number)
    wrong = number[:-1] + str((int(number[-1]) + 1) % 10)
    assert not is_taiwan_id(wrong)


def test_identity_number_with_a_typing_error_goes_too():
    cleaned, (one,) = default_deidentifier().clean("我的證號是 A123456780。")
    assert cleaned == "我的證號是 [證號]。" and one.kind == "id_like"


def test_identity_numbers_of_the_mainland_and_cards():
    assert is_mainland_id("11010519491231002X") and not is_mainland_id("110105194912310021")
    assert not is_mainland_id("11010519491331002X")
    assert is_card("4111 1111 1111 1111") and not is_card("4111 1111 1111 1112")


def test_a_name_told_once_goes_everywhere_in_the_record():
    record = talk("我是王小明。", "好的，王小明的藥是脈優 5 mg。", note="王小明")
    cleaned, _ = default_deidentifier().clean_record(record)
    assert cleaned.answer == "好的，[姓名]的藥是脈優 5 mg。" and cleaned.meta == {"note": "[姓名]"}


def test_preferences_and_thoughts_are_cleaned():
    cleaned, replaced = default_deidentifier().clean_record(
        pair("我叫王小明。", "王小明您好。", "請打 0912-345-678。")
    )
    assert (cleaned.chosen, cleaned.rejected) == ("[姓名]您好。", "請打 [電話]。")
    assert [one.place for one in replaced] == ["user 1", "chosen", "rejected"]


def test_known_names_go_wherever_they_stand():
    cleaner = Deidentifier(["賴清心", "Ann Lee"])
    assert cleaner.clean("昨天賴清心來過。")[0] == "昨天[姓名]來過。"
    assert cleaner.clean("Then ann lee came; Joann Leeds did not.")[0] == (
        "Then [NAME] came; Joann Leeds did not."
    )


def test_command_writes_data_and_a_report_without_what_was_replaced(tmp_path, capsys):
    source = write_lines(
        tmp_path / "a.jsonl",
        {"question": "我是王小明，電話 0912-345-678。", "answer": "您好，脈優 5 mg。"},
        {"question": "怎麼吃？", "answer": "飯後。"},
    )
    out, report = tmp_path / "b.jsonl", tmp_path / "r.jsonl"
    assert run("deidentify", source, "-o", out, "--report", report, "--to", "qa") == 0
    first = json.loads(out.read_text().splitlines()[0])
    assert first["question"] == "我是[姓名]，電話 [電話]。" and "脈優 5 mg" in first["answer"]
    lines = [json.loads(line) for line in report.read_text().splitlines()]
    assert [(one["record"], one["kind"], one["hint"]) for one in lines] == [
        (1, "name", "王**"),
        (1, "phone", "0***********"),
    ]
    assert "2 replaced in 1 of 2 records" in capsys.readouterr().err
    assert run("validate", out, "--only", "personal_data,unfilled") == 0


@settings(deadline=None)
@given(
    st.text(max_size=60)
    | st.text("王小明先生我是叫09A1-() 年月日路號市區歲at@.com/MrDSmith", max_size=40)
)
def test_any_text_is_cleaned_without_harm_to_the_rest(text):
    cleaner = Deidentifier()
    found = cleaner.find(text)
    assert all(one.start < two.start and one.end <= two.start for one, two in pairwise(found))
    assert all(0 <= one.start < one.end <= len(text) for one in found)
    cleaner.clean(text)
