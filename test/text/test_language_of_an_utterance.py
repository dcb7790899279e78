"""The reply follows the language of the utterance, and Chinese comes in the session's script."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

from medbot_llm.domain import Language
from medbot_llm.text.language import detect_language
from medbot_llm.text.language import to_script

HANT, HANS, EN = Language.ZH_HANT, Language.ZH_HANS, Language.EN

PAIRS = [
    pair.split("|")
    for pair in """请先饭后服药，每次 1 片（5 mg）。|請先飯後服藥，每次 1 片（5 mg）。
您的降压药是氨氯地平，每天早上吃一次。|您的降壓藥是氨氯地平，每天早上吃一次。
不要和葡萄柚汁一起服用。|不要和葡萄柚汁一起服用。
如果漏服了一次，想起来时就吃，但不要一次吃两片。|如果漏服了一次，想起來時就吃，但不要一次吃兩片。
这个药可能会头晕、脚肿，起来的时候慢一点。|這個藥可能會頭暈、腳腫，起來的時候慢一點。
阿司匹林肠溶片 100 mg，每日一次，饭后服用。|阿司匹林腸溶片 100 mg，每日一次，飯後服用。
二甲双胍 500 mg，随餐服用。|二甲雙胍 500 mg，隨餐服用。
胰岛素要放在冰箱冷藏 2–8 °C。|胰島素要放在冰箱冷藏 2–8 °C。
我帮您呼叫护士。|我幫您呼叫護士。
请出示您的手环，我来核对身份。|請出示您的手環，我來核對身份。
布洛芬不要与阿司匹林同时吃。|布洛芬不要與阿司匹林同時吃。
每天不要超过 4000 mg。|每天不要超過 4000 mg。
青霉素过敏的人不能用阿莫西林。|青黴素過敏的人不能用阿莫西林。
硝酸甘油舌下含服，5 分钟后还痛就叫医生。|硝酸甘油舌下含服，5 分鐘後還痛就叫醫生。
华法林需要定期抽血检查 INR。|華法林需要定期抽血檢查 INR。
怀孕期间请先问医生。|懷孕期間請先問醫生。
吸入器用完要漱口。|吸入器用完要漱口。
胶囊请整粒吞服，不要咬碎。|膠囊請整粒吞服，不要咬碎。
干眼症的眼药水，每天滴四次。|乾眼症的眼藥水，每天滴四次。
头发干燥请告诉医生。|頭髮乾燥請告訴醫生。
里面有两盒药，请取出后关上仓门。|裡面有兩盒藥，請取出後關上倉門。
数据已经保存。|數據已經保存。
请用 10 毫升的温水送服。|請用 10 毫升的溫水送服。
一只手扶着床栏。|一隻手扶著床欄。
面条可以吃，土豆和菠萝也可以吃。|麵條可以吃，土豆和菠蘿也可以吃。
血压计显示 128/76，心率 72 次/分。|血壓計顯示 128/76，心率 72 次/分。
他汀类药物：阿托伐他汀 20 mg 晚上吃。|他汀類藥物：阿托伐他汀 20 mg 晚上吃。
奥美拉唑饭前 30 分钟吃。|奧美拉唑飯前 30 分鐘吃。
左甲状腺素钠片早上空腹吃。|左甲狀腺素鈉片早上空腹吃。
维生素 D 和钙片|維生素 D 和鈣片
氯吡格雷 75 mg|氯吡格雷 75 mg
头孢氨苄胶囊|頭孢氨苄膠囊
地高辛有效浓度窄|地高辛有效濃度窄
呋塞米利尿|呋塞米利尿
泼尼松不要突然停药|潑尼松不要突然停藥
复方甘草片|複方甘草片
干扰素|干擾素
请在这里签名，核对药单。|請在這裡簽名，核對藥單。
通过静脉注射给药|通過靜脈注射給藥
激光手术后|激光手術後
新冠肺炎疫苗|新冠肺炎疫苗
心脏搭桥|心臟搭橋
服务台在一楼。|服務台在一樓。
这种药会影响酶的活性|這種藥會影響酶的活性
发炎了，要用抗生素|發炎了，要用抗生素
您吃了几颗？|您吃了幾顆？
血液循环不好|血液循環不好
请到领药窗口|請到領藥窗口
检查项目|檢查項目
药物在体内存在多久|藥物在體內存在多久
手术程序|手術程序
过敏对象|過敏對象
支持疗法|支持療法
高级护理|高級護理
联系医生|聯繫醫生
恶心、呕吐、腹泻|噁心、嘔吐、腹瀉
肾脏和肝脏|腎臟和肝臟
每周一次，每次 0.5 mL|每週一次，每次 0.5 mL
升高、回复、恢复|升高、回覆、恢復
嘴里发苦，咽干舌燥|嘴裡發苦，咽乾舌燥""".splitlines()
    for pair in [pair]
]

CORRECT_TRADITIONAL = """請先確認您的手圈，我才能把藥交給您。
這是您的降血壓藥脈優錠 5 毫克，每天早上飯後吃一顆。
普拿疼（乙醯胺酚）每天不要超過 4 公克。
冠脂妥、立普妥、耐適恩、泰諾林、安莫西林、阿斯匹靈
頭髮、乾燥、乾咳、幹部、干擾、皇后、以後、公里、里長
台灣台北榮總、台大醫院、臺大醫院、後台、櫃台
鐘頭、鍾先生、游先生、范小姐、余小姐、于先生、沈小姐、葉先生、岳小姐、丑小姐
癒合、憂鬱、佔用、占卜、群眾、便祕、便秘、人蔘、鼻樑
回覆、恢復、複方、覆診、品質、質量、污染、曬太陽、晒太陽
維他命 B12、糖尿病、酵素、甲狀腺素、支持、通過、透過""".splitlines()


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("這個 Panadol 可以跟 aspirin 一起吃嗎", HANT),
        ("请问 Amlodipine Besylate 5 mg tablet 怎么吃", HANS),
        ("Dr. Wang 說 take with food 是什麼意思", HANT),
        ("Norvasc 是什麼", HANT),
        ("OK 這樣就好", HANT),
        ("ㄟ，護士在哪裡", HANT),
        ("What is 普拿疼?", EN),
        ("How do I take 阿斯匹靈腸溶膜衣錠?", EN),
        ("I am allergic to 花生 and 盤尼西林", EN),
        ("What is this for?", EN),
        ("hello", EN),
        ("thank you", EN),
        ("help", EN),
        ("No.", EN),
        ("chest pain", EN),
        ("Ｈｅｌｐ　ｍｅ", EN),
        ("這個藥怎麼吃", HANT),
        ("这个药怎么吃", HANS),
        ("谢谢", HANS),
        ("謝謝", HANT),
    ],
)
@pytest.mark.parametrize("default", Language)
def test_an_utterance_that_tells_its_language_is_of_that_language(text, language, default):
    assert detect_language(text, default) is language


@pytest.mark.parametrize("default", Language)
@pytest.mark.parametrize(
    "text",
    [
        "",
        "   ",
        "OK",
        "ok!",
        "mg",
        "5 mg",
        "123",
        "8:30",
        "😀",
        "……",
        "ICU",
        "\x00",
        "�",
        "Panadol",
        "aspirin",
        "Amlodipine Besylate",
        "Panadol 500 mg",
        "これは何の薬ですか",
        "약은 어떻게 먹어요?",
        "спасибо доктор",
        "ยานี้กินอย่างไร",
    ],
)
def test_an_utterance_that_tells_no_language_is_of_the_default(text, default):
    assert detect_language(text, default) is default


@pytest.mark.parametrize("text", ["疼", "吃", "以后", "我要回家"])
def test_chinese_alike_in_both_scripts_is_of_the_sessions_script(text):
    assert detect_language(text, HANT) is HANT
    assert detect_language(text, HANS) is HANS
    assert detect_language(text, EN) is HANT


@pytest.mark.parametrize(("hans", "hant"), PAIRS)
def test_a_reply_is_written_in_the_sessions_script(hans, hant):
    assert to_script(hans, HANT) == hant
    assert to_script(hant, HANS) == hans


@pytest.mark.parametrize(("hans", "hant"), PAIRS)
def test_a_text_already_in_the_script_stays_as_it_is(hans, hant):
    assert to_script(hant, HANT) == hant
    assert to_script(hans, HANS) == hans


@pytest.mark.parametrize("text", CORRECT_TRADITIONAL)
def test_correct_taiwanese_text_stays_as_it_is(text):
    assert to_script(text, HANT) == text


def test_text_that_mixes_the_scripts_is_put_right():
    mixed = "您的藥在後面，请先吃飯，干擾不大，一天两次"
    assert to_script(mixed, HANT) == "您的藥在後面，請先吃飯，干擾不大，一天兩次"
    assert to_script(mixed, HANS) == "您的药在后面，请先吃饭，干扰不大，一天两次"


def test_forms_of_other_places_become_those_of_taiwan():
    assert to_script("裏面，爲什麼，吃着飯，説", HANT) == "裡面，為什麼，吃著飯，說"


def test_surnames_are_not_taken_for_words():
    assert (
        to_script("于先生，余美丽小姐，游医师，这是药", HANT)
        == "于先生，余美麗小姐，游醫師，這是藥"
    )
    assert to_script("关于先生的药，其余医生", HANT) == "關於先生的藥，其餘醫生"


def test_names_to_keep_are_kept():
    assert not to_script("范后里，这是您的药", HANT).startswith("范后里")
    assert to_script("范后里，这是您的药", HANT, keep=["范后里", ""]) == "范后里，這是您的藥"
    assert to_script("鍾小姐的藥", HANS, keep=["鍾小姐"]) == "鍾小姐的药"


def test_english_is_not_touched():
    assert to_script("Take 普拿疼 (这个) 5 mg", EN) == "Take 普拿疼 (这个) 5 mg"


def test_what_is_no_chinese_character_stays_in_its_place():
    text = "每次\x00 0.5 mg，\ud800“药” Panadol® → ½ 片\u200b 😀"
    assert to_script(text, HANT) == text.replace("药", "藥")


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=60), st.sampled_from([HANT, HANS]))
def test_conversion_keeps_the_length_and_all_but_chinese_characters(text, language):
    converted = to_script(text, language)
    assert len(converted) == len(text)
    for old, new in zip(text, converted, strict=True):
        assert old == new or old >= "\u3105"


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet="这這个個药藥后後里裡裏干乾幹发發髮于於余餘台臺先生吃 5mg。", max_size=20))
def test_converting_twice_changes_nothing_more(text):
    for language in (HANT, HANS):
        once = to_script(text, language)
        assert to_script(once, language) == once


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=60), st.sampled_from(Language))
def test_any_text_has_a_language(text, default):
    assert detect_language(text, default) in Language


def test_any_thread_may_convert():
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda pair: to_script(pair[0], HANT), PAIRS * 50))
    assert results == [hant for _, hant in PAIRS * 50]
