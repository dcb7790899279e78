"""Traditional words hold no Simplified characters, nor the other way round."""

from pathlib import Path

import opencc
import pytest
import yaml

from medbot_llm.domain import Language
from medbot_llm.prompts.wording import packaged_resources

ROOT = Path(str(packaged_resources()))
# Each converter changes a text exactly where it is of the other script.
TO_OWN_SCRIPT = {Language.ZH_HANT: opencc.OpenCC("s2t"), Language.ZH_HANS: opencc.OpenCC("t2s")}
# Right in Taiwan, though the general table of Traditional Chinese prefers another form.
USED_IN_TAIWAN = str.maketrans(
    {"台": "臺", "才": "纔", "群": "羣", "床": "牀", "污": "汙", "吃": "喫"}
)


def texts(node):
    if isinstance(node, str):
        yield node
    elif isinstance(node, dict):
        for child in node.values():
            yield from texts(child)
    elif isinstance(node, list):
        for child in node:
            yield from texts(child)


def in_language(node, language):
    """The texts of one language, wherever in a file they stand."""
    if isinstance(node, dict):
        for key, child in node.items():
            yield from texts(child) if key == language.value else in_language(child, language)


def words_of(language):
    prompts = yaml.safe_load((ROOT / "prompts" / f"{language}.yaml").read_text(encoding="utf-8"))
    yield from texts(prompts)
    for name in ("phrases.yaml", "answers.yaml"):
        phrases = yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))
        for phrase in phrases.values():
            yield from texts(phrase[language.value])
    yield from in_language(
        yaml.safe_load((ROOT / "emergency.yaml").read_text(encoding="utf-8")), language
    )
    terms = yaml.safe_load((ROOT / "label_terms.yaml").read_text(encoding="utf-8"))
    for entry in [*terms["numbers"], terms["each_time"], *terms["terms"]]:
        yield entry[language.value]


@pytest.mark.parametrize("language", [Language.ZH_HANT, Language.ZH_HANS])
def test_every_text_is_in_the_script_of_its_language(language):
    converter = TO_OWN_SCRIPT[language]
    wrong = []
    for text in words_of(language):
        ours, own = text, converter.convert(text)
        if language is Language.ZH_HANT:
            ours, own = ours.translate(USED_IN_TAIWAN), own.translate(USED_IN_TAIWAN)
        wrong += [(text, a, b) for a, b in zip(ours, own, strict=True) if a != b]
    assert not wrong


@pytest.mark.parametrize(
    ("language", "foreign"),
    [
        (Language.ZH_HANT, ["護士", "腕帶", "醫保", "藥房", "信息", "屏幕"]),
        (Language.ZH_HANS, ["护理师", "手圈", "健保", "药局", "领药", "饭後"]),
    ],
)
def test_the_words_are_those_of_the_place(language, foreign):
    said = "\n".join(words_of(language))
    assert not [word for word in foreign if word in said]
