"""Wrong data does not get into a database, and whoever wrote it is told all that is wrong."""

import pytest
from formulary_test_kit import problems_of
from formulary_test_kit import small_directory
from formulary_test_kit import spoil

from medbot_llm.knowledge.compiler import FormularyError
from medbot_llm.knowledge.compiler import check_directory
from medbot_llm.knowledge.compiler import compile_directory
from medbot_llm.knowledge.formulary import packaged_directory
from medbot_llm.knowledge.medicine import CODES


def only(directory):
    problems = problems_of(directory)
    assert len(problems) == 1, [str(problem) for problem in problems]
    return problems[0]


def test_the_packaged_data_has_no_problem():
    _, problems = check_directory(packaged_directory())
    assert [str(problem) for problem in problems] == []


def test_the_small_data_has_no_problem(directory):
    assert [str(problem) for problem in problems_of(directory)] == []


def test_an_unknown_code_names_file_entry_field_and_what_is_allowed(directory):
    spoil(directory, "amlodipine", food="with_beer")
    problem = only(directory)
    assert (problem.file, problem.entry, problem.field) == (
        "medicines/five.yaml",
        "amlodipine",
        "food",
    )
    assert "with_beer" in problem.message
    assert all(code in problem.message for code in CODES["food"])


def test_all_problems_are_told(directory):
    spoil(directory, "amlodipine", food="x", time="y")
    spoil(directory, "valsartan", missed="z")
    assert {(p.entry, p.field) for p in problems_of(directory)} == {
        ("amlodipine", "food"),
        ("amlodipine", "time"),
        ("valsartan", "missed"),
    }


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"alchohol": "limit"}, "alchohol"),
        ({"stop": ...}, "stop"),
        ({"common": ["dizzyness"]}, "common"),
        ({"common": ["dizziness", "dizziness"]}, "common"),
        ({"common": ["angioedema"]}, "serious"),
        ({"sources": ["wikipedia"]}, "sources"),
        ({"sources": []}, "sources"),
        ({"atc": ["C08CA1"]}, "atc"),
        ({"storage": ["cupboard"]}, "storage"),
        ({"storage": "room"}, "storage"),
        ({"allergy_groups": ["milk"]}, "allergy_groups"),
        ({"names": {"en": ["amlodipine"], "zh-Hant": ["氨氯地平"]}}, "names"),
        ({"names": {"en": ["amlodipine"], "de": ["x"]}}, "names.de"),
        ({"use": {"en": "high blood pressure"}}, "use"),
        ({"use": {"en": "x" * 1000, "zh-Hant": "高血壓"}}, "use.en"),
        ({"advice": [{"en": "a.", "zh-Hant": "一。"}] * 4}, "advice"),
        ({"children_from": "six"}, "children_from"),
        ({"days": -1}, "days"),
        ({"high_alert": "perhaps"}, "high_alert"),
        ({"forms": [{"form": "pill", "route": "oral", "strengths": []}]}, "form"),
        ({"forms": [{"form": "tablet", "rout": "oral"}]}, "forms.rout"),
        ({"dose": [{"route": "oral", "single": [10, 5], "unit": "mg"}]}, "dose.single"),
        ({"dose": [{"route": "oral", "single": 10, "unit": "mg"}]}, "dose.single"),
        (
            {"dose": [{"route": "oral", "single": [1, 2], "unit": "mg", "frequency": ["TIW"]}]},
            "dose.frequency",
        ),
    ],
)
def test_each_kind_of_slip_is_noticed(directory, changes, field):
    spoil(directory, "amlodipine", **changes)
    assert field in {problem.field for problem in problems_of(directory)}


def test_a_slip_is_told_what_was_probably_meant(directory):
    spoil(directory, "amlodipine", common=["dizzines"])
    assert "did you mean dizziness?" in only(directory).message


def test_an_id_twice_names_both_places(directory):
    path = directory / "medicines" / "other.yaml"
    path.write_bytes((directory / "medicines" / "five.yaml").read_bytes())
    problems = problems_of(directory)
    assert any(p.field == "id" and "medicines/five.yaml" in p.message for p in problems)


def test_a_generic_name_of_two_medicines_is_a_problem(directory):
    spoil(
        directory,
        "cetirizine",
        names={"en": ["amlodipine"], "zh-Hant": ["某藥"], "zh-Hans": ["某藥"]},
    )
    assert any("'amlodipine' is also of" in problem.message for problem in problems_of(directory))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("classes.yaml", "classes:\n  - {id: a, en: a, zh-Hant: 甲, atc: [ABC]}"),
        ("classes.yaml", "classes: {}"),
        ("classes.yaml", "- 1"),
        ("classes.yaml", ""),
        ("classes.yaml", "classes: ["),
        ("classes.yaml", "classes: []\nclasses: []"),
        ("conditions.yaml", "conditions:\n  - {id: a, en: a}"),
        ("foods.yaml", "foods:\n  - {en: tea, zh-Hant: 茶}"),
        ("interactions/few.yaml", "rules:\n  - {id: a, kind: drug_dog, severity: mild}"),
    ],
)
def test_a_spoilt_table_is_named(directory, name, text):
    (directory / name).write_text(text, encoding="utf-8")
    problems = [problem for problem in problems_of(directory) if problem.file == name]
    assert problems


def test_a_file_in_another_encoding_is_named(directory):
    (directory / "foods.yaml").write_bytes("foods: 葡萄柚".encode("big5"))
    assert str(only(directory)) == "foods.yaml: is not in UTF-8"


def test_yes_and_no_are_words_and_not_truths(directory):
    tables = compile_directory(directory, is_whole=False)
    crush = {medicine.id: medicine.crush for medicine in tables.medicines}
    assert (crush["amlodipine"], crush["valsartan"]) == ("yes", "no")


def test_a_code_without_a_sentence_is_a_problem(directory):
    path = directory / "statements.yaml"
    text = path.read_text(encoding="utf-8").replace("    with_food:", "    with_fud:")
    path.write_text(text, encoding="utf-8")
    messages = [str(problem) for problem in problems_of(directory)]
    assert any("the code with_food is missing" in message for message in messages)
    assert any("'with_fud' is no code" in message for message in messages)


def test_a_whole_formulary_lacks_no_file(tmp_path):
    directory = small_directory(tmp_path / "yaml")
    missing = {p.file for p in check_directory(directory)[1] if p.message == "is missing"}
    assert "conditions.yaml" in missing


def test_the_error_counts_what_it_does_not_say(directory):
    spoil(directory, "amlodipine", food="x", time="y", missed="z")
    with pytest.raises(FormularyError) as caught:
        compile_directory(directory, is_whole=False)
    assert "2 more problems" in str(caught.value)
    assert len(caught.value.problems) == 3


def test_a_folder_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(FormularyError, match="no folder"):
        check_directory(tmp_path / "nowhere")
