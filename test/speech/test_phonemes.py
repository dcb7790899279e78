"""How words are read: Chinese readings and tones, English, both in one sentence, and garbage."""

from __future__ import annotations

import json
import logging

import pytest
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
from voice_test_kit import EN
from voice_test_kit import HANS
from voice_test_kit import HANT
from voice_test_kit import kokoro_folder
from voice_test_kit import need_voice_packages

from medbot_llm.speech.audio import SpeechError
from medbot_llm.speech.espeak import EspeakPhonemes
from medbot_llm.speech.phonemes import Phonemizer
from medbot_llm.speech.phonemes import change_tones
from medbot_llm.speech.phonemes import cut
from medbot_llm.speech.phonemes import english_phonemes
from medbot_llm.speech.phonemes import syllable_phonemes

need_voice_packages()


@pytest.fixture(scope="module")
def phonemizer() -> Phonemizer:
    return Phonemizer()


@pytest.fixture(scope="module")
def vocabulary() -> set[str]:
    return set(json.loads((kokoro_folder() / "vocab.json").read_text(encoding="utf-8"))["vocab"])


def pinyin(*syllables: str) -> str:
    return "".join(map(syllable_phonemes, syllables))


def without_spaces(phonemes: str) -> str:
    return phonemes.replace(" ", "")


@pytest.mark.parametrize(
    ("text", "syllables"),
    [
        ("睡著了", "shui4 zhao2 le5"),
        ("拿著藥", "na2 zhe5 yao4"),
        ("擦乾淨", "ca1 gan1 jing4"),
        ("口乾", "kou3 gan1"),
        ("幹什麼", "gan4 shen2 me5"),
        ("銀行", "yin2 hang2"),
        ("這樣行嗎", "zhe4 yang4 xing2 ma5"),
        ("了解", "liao2 jie3"),
        ("吃完了", "chi1 wan2 le5"),
        ("還要吃", "hai2 yao4 chi1"),
        ("還藥", "huan2 yao4"),
        ("重新", "chong2 xin1"),
        ("體重", "ti3 zhong4"),
        ("很長", "hen3 chang2"),
        ("長大", "zhang3 da4"),
        ("您得先坐下", "nin2 dei3 xian1 zuo4 xia4"),
        ("走得慢", "zou3 de5 man4"),
        ("得到", "de2 dao4"),
        ("覺得", "jue2 de5"),
        ("慢慢地吃", "man4 man4 de5 chi1"),
        ("掉在地上", "diao4 zai4 di4 shang4"),
        ("量血壓", "liang2 xue4 ya1"),
        ("藥的量", "yao4 de5 liang4"),
        ("用量", "yong4 liang4"),
        ("教我", "jiao1 wo3"),
        ("嚼碎", "jiao2 sui4"),
        ("三匙", "san1 chi2"),
        ("鑰匙", "yao4 shi5"),
        ("頭暈", "tou2 yun1"),
        ("暈車", "yun4 che1"),
        ("處方", "chu3 fang1"),
        ("到處", "dao4 chu4"),
        ("便宜", "pian2 yi5"),
        ("大便", "da4 bian4"),
        ("調劑", "tiao2 ji4"),
        ("空腹", "kong1 fu4"),
        ("噁心", "e3 xin1"),
        ("髒手", "zang1 shou3"),
        ("內臟", "nei4 zang4"),
        ("爺爺", "ye2 ye5"),
        ("降血壓藥", "jiang4 xue4 ya1 yao4"),
    ],
)
def test_readings_are_those_of_the_word(phonemizer, text, syllables):
    read = without_spaces(phonemizer.phonemes(text, HANT)).rstrip(".")
    assert read == pinyin(*syllables.split())


@pytest.mark.parametrize(
    ("text", "syllables"),
    [
        ("一天", "yi4 tian1"),
        ("一次", "yi2 ci4"),
        ("一個", "yi2 ge4"),
        ("一起", "yi4 qi3"),
        ("第一次", "di4 yi1 ci4"),
        ("等一等", "deng3 yi5 deng3"),
        ("二十一", "er4 shi2 yi1"),
        ("一百", "yi4 bai3"),
        ("一點五", "yi1 dian2 wu3"),
        ("五月一日", "wu3 yue4 yi1 ri4"),
        ("不要", "bu2 yao4"),
        ("不吃", "bu4 chi1"),
        ("不客氣", "bu2 ke4 qi4"),
        ("是不是", "shi4 bu5 shi4"),
        ("你好", "ni2 hao3"),
        ("我想洗手", "wo2 xiang3 xi2 shou3"),
        ("展覽館", "zhan2 lan2 guan3"),
        ("一會兒", "yi2 hui4 er5"),
        ("女兒", "nv3 er2"),
    ],
)
def test_tones_change_as_in_speech(phonemizer, text, syllables):
    read = without_spaces(phonemizer.phonemes(text, HANT)).rstrip(".")
    assert read == pinyin(*syllables.split())


def test_simplified_and_traditional_are_read_alike(phonemizer):
    assert phonemizer.phonemes("请先扫描您的手环。", HANS) == phonemizer.phonemes(
        "請先掃描您的手環。", HANT
    )


def test_syllables_are_written_as_misaki_does():
    zh = pytest.importorskip("misaki.zh", reason="misaki needs Python before 3.13")
    from pypinyin import Style
    from pypinyin import pinyin as readings

    syllables = {
        reading
        for code in range(0x4E00, 0x9FFF)
        for group in readings(
            chr(code),
            style=Style.TONE3,
            heteronym=True,
            neutral_tone_with_five=True,
            errors="ignore",
        )
        for reading in group
    }
    assert len(syllables) > 1400
    for syllable in syllables:
        assert syllable_phonemes(syllable) == zh.ZHG2P.py2ipa(syllable).replace("\u032f", "")


def test_every_character_is_in_the_vocabulary_of_the_model(phonemizer, vocabulary):
    text = "，".join(chr(code) for code in range(0x4E00, 0x9FA6))
    assert set(phonemizer.phonemes(text, HANS)) <= vocabulary


def test_tones_of_an_empty_reading_stay_empty():
    words = [("〇", [""]), ("一", ["yi1"])]
    change_tones(words)
    assert words[0][1] == [""]


def test_marks_give_pauses_and_every_text_ends_with_one(phonemizer):
    read = phonemizer.phonemes("好，「吃藥」……嗎？", HANT)
    assert [char for char in read if char in ",.!?…"] == [",", ".", "?"]
    assert [char for char in phonemizer.phonemes("痛（很痛）嗎？！", HANT) if char in ",?!"] == [
        ",",
        ",",
        "?",
    ]
    assert phonemizer.phonemes("好", HANT).endswith(".")
    assert phonemizer.phonemes("Yes", EN).endswith(".")


def test_english_is_written_as_misaki_does(phonemizer):
    assert phonemizer.phonemes("Take one tablet, twice a day!", EN) == (
        "tˈAk wˈʌn tˈæblət, twˈIs ə dˈA!"
    )
    assert phonemizer.phonemes("I cannot say that I will.", EN).startswith("ˌI kænˈɑt sˈA")
    assert english_phonemes("t^ʃˈa^ɪld d^ʒˈo^ʊk bˈɔ^ɪ") == "ʧˈIld ʤˈOk bˈY"


def test_drug_names_in_chinese_are_english(phonemizer):
    runs = phonemizer.runs("請吃 Amlodipine 一顆。", HANT)
    assert [run.is_chinese for run in runs] == [True, False, True]
    assert runs[1].phonemes == "ˈæmlədˌɪpIn"
    assert [run.phonemes[-1] == "." for run in runs] == [False, False, True]


def test_chinese_names_in_english_are_chinese(phonemizer):
    runs = phonemizer.runs("This is 脈優, for you.", EN)
    assert [run.is_chinese for run in runs] == [False, True, False]
    assert runs[1].phonemes == f"{pinyin('mai4', 'you1')},"


def test_single_capitals_are_letters(phonemizer):
    assert phonemizer.phonemes("C T", EN) == "sˈi tˈi."
    assert "ˈA" in phonemizer.phonemes("vitamin A now", EN)
    assert phonemizer.phonemes("A nurse", EN).startswith("ə ")
    assert "bˈi" in phonemizer.phonemes("維他命 B", HANT)


def test_digits_that_are_left_are_read_one_by_one(phonemizer):
    assert without_spaces(phonemizer.phonemes("105", HANT)).startswith(pinyin("yi1", "ling2"))


def test_without_espeak_chinese_is_read_and_english_says_what_to_install(caplog):
    phonemizer = Phonemizer(EspeakPhonemes("no-such-espeak"))
    with caplog.at_level(logging.WARNING):
        read = phonemizer.phonemes("請吃 CT 一顆。", HANT)
        phonemizer.phonemes("請吃 CT 一顆。", HANT)
    assert "sˈi tˈi" in read
    assert sum("spelled" in record.getMessage() for record in caplog.records) == 1
    with pytest.raises(SpeechError, match="apt install espeak-ng"):
        phonemizer.phonemes("Take one tablet.", EN)


@pytest.mark.parametrize("text", ["", "   ", "!!!", "……", "😀😀", "\0\x07", "\ud800", "#$%^&*"])
@pytest.mark.parametrize("language", [HANT, EN])
def test_what_is_no_text_gives_nothing(phonemizer, text, language):
    assert phonemizer.phonemes(text, language) == ""


@given(text=st.text(max_size=60), language=st.sampled_from([HANT, HANS, EN]))
@settings(max_examples=150, deadline=None)
def test_any_text_gives_symbols_of_the_vocabulary(phonemizer, vocabulary, text, language):
    read = phonemizer.phonemes(text, language)
    # English words keep espeak-ng's own rarer sounds, which the model then leaves out.
    assert "\n" not in read
    assert not any("\u4e00" <= char <= "\u9fff" for char in read)
    assert not any(char.isdigit() for char in read)


@given(
    text=st.text(alphabet="ab→ ,.;!?", max_size=300),
    longest=st.integers(min_value=3, max_value=60),
)
@settings(max_examples=200, deadline=None)
def test_long_phonemes_are_cut_without_loss(text, longest):
    parts = cut(text, longest)
    assert all(0 < len(part) <= longest for part in parts)
    assert "".join("".join(parts).split()) == "".join(text.split())


def test_long_phonemes_are_cut_between_sentences_before_clauses():
    assert cut("aaa bbb, ccc. ddd eee, fff.", 16) == ["aaa bbb, ccc.", "ddd eee, fff."]
    assert cut("aaa bbb, ccc ddd.", 12) == ["aaa bbb,", "ccc ddd."]
