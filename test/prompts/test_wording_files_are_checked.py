"""A hospital's own words are checked when they are read, and the error names file and key."""

import shutil
from pathlib import Path

import pytest
import yaml

from medbot_llm.dialogue.phrases import Phrases
from medbot_llm.domain import Language
from medbot_llm.domain import MedbotError
from medbot_llm.domain import PatientGroup
from medbot_llm.domain import Scene
from medbot_llm.knowledge.label_terms import LabelTerms
from medbot_llm.prompts.builder import PromptBuilder
from medbot_llm.prompts.wording import packaged_resources


@pytest.fixture
def words(tmp_path):
    """A copy of the packaged files that a test may change."""
    source = Path(str(packaged_resources()))
    shutil.copytree(source / "prompts", tmp_path / "prompts")
    for name in ("phrases.yaml", "answers.yaml", "label_terms.yaml"):
        shutil.copy(source / name, tmp_path / name)
    return tmp_path


def change(file, edit):
    content = yaml.safe_load(file.read_text(encoding="utf-8"))
    edit(content)
    file.write_text(yaml.safe_dump(content, allow_unicode=True), encoding="utf-8")


def refused(make, *names):
    with pytest.raises(MedbotError) as error:
        make()
    message = str(error.value)
    assert "\n" not in message
    for name in names:
        assert name in message


def test_unchanged_copies_are_accepted_with_the_same_fingerprint(words):
    assert PromptBuilder(words / "prompts").fingerprint == PromptBuilder().fingerprint
    Phrases(words)
    LabelTerms(words)


def test_other_words_are_used_and_change_the_fingerprint(words):
    def edit(content):
        content["scenes"]["ward"]["who"] = "You are Medi."

    change(words / "prompts/en.yaml", edit)
    builder = PromptBuilder(words / "prompts")
    assert builder.fingerprint != PromptBuilder().fingerprint
    text = builder.instructions(Scene.WARD, PatientGroup.ADULT, Language.EN)
    assert text.startswith("You are Medi.")


def test_a_missing_key_is_named(words):
    change(words / "prompts/zh-Hant.yaml", lambda c: c["scenes"]["er"]["groups"].pop("child"))
    refused(lambda: PromptBuilder(words / "prompts"), "zh-Hant.yaml", "scenes.er.groups.child")


def test_an_unknown_key_is_named(words):
    change(words / "prompts/en.yaml", lambda c: c["scenes"].update(icu={}))
    refused(lambda: PromptBuilder(words / "prompts"), "en.yaml", "scenes.icu")


@pytest.mark.parametrize("text", ["{patient_id}", "{staff.name}", "{staff!r}", "{staff:>9}", "{}"])
def test_an_unknown_placeholder_is_named(words, text):
    def edit(content):
        content["scenes"]["home"]["groups"]["adult"] = f"Ask {text}"

    change(words / "prompts/en.yaml", edit)
    refused(lambda: PromptBuilder(words / "prompts"), "en.yaml", "home.groups.adult", "{staff}")


@pytest.mark.parametrize("value", ["", "   ", None, 3, ["x"], "a { b"])
def test_a_value_that_is_no_text_is_named(words, value):
    change(words / "prompts/en.yaml", lambda c: c.update(reminder=value))
    refused(lambda: PromptBuilder(words / "prompts"), "en.yaml", "reminder")


def test_a_lost_fact_is_named(words):
    change(words / "prompts/en.yaml", lambda c: c["data"].update(notes="There are notes"))
    refused(lambda: PromptBuilder(words / "prompts"), "data.notes", "{value}")


def test_a_missing_or_broken_file_is_one_clear_line(words):
    (words / "prompts/en.yaml").write_text("a: [", encoding="utf-8")
    refused(lambda: PromptBuilder(words / "prompts"), "en.yaml", "YAML")
    (words / "prompts/en.yaml").write_bytes(b"\xff\xfe\x00")
    refused(lambda: PromptBuilder(words / "prompts"), "en.yaml")
    (words / "prompts/en.yaml").write_text("- a list", encoding="utf-8")
    refused(lambda: PromptBuilder(words / "prompts"), "en.yaml", "rules")
    (words / "prompts/en.yaml").unlink()
    refused(lambda: PromptBuilder(words / "prompts"), "en.yaml", "no such file")


def test_a_phrase_that_lacks_a_language_scene_or_placeholder_is_named(words):
    original = (words / "phrases.yaml").read_text(encoding="utf-8")
    for edit, key in (
        (lambda c: c["greeting"].pop("en"), "greeting.en"),
        (lambda c: c["greeting"]["en"].pop("er"), "greeting.en.er"),
        (lambda c: c["medicine"].update(en=["{medicine}"]), "{how}"),
        (lambda c: c["farewell"].update(en=["Bye {name}"]), "{name}"),
        (lambda c: c["farewell"].update(en="Bye"), "farewell.en"),
        (lambda c: c.pop("no_task"), "no_task"),
    ):
        (words / "phrases.yaml").write_text(original, encoding="utf-8")
        change(words / "phrases.yaml", edit)
        refused(lambda: Phrases(words), "phrases.yaml", key)


def test_a_label_term_that_is_incomplete_is_named(words):
    original = (words / "label_terms.yaml").read_text(encoding="utf-8")
    for edit, key in (
        (lambda c: c["terms"][0].pop("en"), "en is missing"),
        (lambda c: c["terms"][0].update(en="tablets"), "lacks {n}"),
        (lambda c: c["terms"][0].update(forms=[]), "entry 1"),
        (lambda c: c["terms"][0]["forms"].append("tablet"), "all or none"),
        (lambda c: c["each_time"].update(en="each time"), "{dose}"),
        (lambda c: c.pop("compounds"), "compounds"),
    ):
        (words / "label_terms.yaml").write_text(original, encoding="utf-8")
        change(words / "label_terms.yaml", edit)
        refused(lambda: LabelTerms(words), "label_terms.yaml", key)
