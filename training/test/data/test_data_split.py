"""Sets have nothing in common, come out the same whatever the order, and stay when data grows."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from data_test_kit import read_all
from data_test_kit import run
from data_test_kit import write_lines

from medbot_llm.domain import Language
from medbot_llm.text.language import to_script

LETTERS = "".join(chr(code) for code in range(0x4E00, 0x4E00 + 3000))
SETS = ("train", "validation", "test", "gold", "red_team")


def questions(count: int, seed: int = 1) -> list[dict[str, str]]:
    chance = random.Random(seed)

    def words(length: int) -> str:
        return "".join(chance.choice(LETTERS) for _ in range(length))

    return [{"question": words(30), "answer": words(60)} for _ in range(count)]


def sets_of(folder: Path) -> dict[str, set[str]]:
    return {
        name: {record.question for record in read_all(folder / f"{name}.jsonl")[0]}
        for name in SETS
        if (folder / f"{name}.jsonl").exists()
    }


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_lines(tmp_path / "all.jsonl", *questions(1000))


def test_shares_are_about_those_asked_for(data, tmp_path):
    """C05: 80, 10, 10; gold out of validation and test."""
    assert run("split", data, "-o", tmp_path / "o") == 0
    sizes = {name: len(found) for name, found in sets_of(tmp_path / "o").items()}
    assert sum(sizes.values()) == 1000
    assert 760 < sizes["train"] < 840
    assert 55 < sizes["validation"] < 110 and 55 < sizes["test"] < 110 and 20 < sizes["gold"] < 65


def test_same_records_come_to_the_same_sets_in_any_order(data, tmp_path):
    lines = data.read_text().splitlines(keepends=True)
    random.Random(2).shuffle(lines)
    (tmp_path / "shuffled.jsonl").write_text("".join(lines))
    assert run("split", data, "-o", tmp_path / "a") == 0
    assert run("split", tmp_path / "shuffled.jsonl", "-o", tmp_path / "b") == 0
    assert sets_of(tmp_path / "a") == sets_of(tmp_path / "b")


def test_another_seed_draws_others_and_the_same_seed_the_same_bytes(data, tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        assert run("split", data, "-o", tmp_path / name, "--seed", seed) == 0
    first, again, other = ((tmp_path / n / "test.jsonl").read_bytes() for n in "abc")
    assert first == again != other


def test_more_data_moves_nothing(data, tmp_path):
    more = write_lines(tmp_path / "more.jsonl", *questions(500, seed=9))
    assert run("split", data, "-o", tmp_path / "a") == 0
    assert run("split", data, more, "-o", tmp_path / "b") == 0
    before, after = sets_of(tmp_path / "a"), sets_of(tmp_path / "b")
    assert all(found <= after[name] for name, found in before.items())


def test_near_duplicates_and_the_same_question_stay_together(tmp_path):
    base = questions(200)
    near = [{**one, "answer": one["answer"][:-1] + "改"} for one in base]
    other = [
        {"question": one["question"], "answer": new["answer"]}
        for one, new in zip(base, questions(200, seed=4), strict=True)
    ]
    data = write_lines(tmp_path / "all.jsonl", *base, *near, *other)
    out = tmp_path / "o"
    assert run("split", data, "-o", out) == 0
    found = sets_of(out)
    assert sum(map(len, found.values())) == 200
    files = [out / f"{name}.jsonl" for name in found]
    assert run("validate", *files, "--only", "leak") == 0


def test_exact_copies_are_left_out_unless_wanted(tmp_path):
    (one,) = questions(1)
    data = write_lines(
        tmp_path / "all.jsonl", one, one, {**one, "question": one["question"] + " "}
    )
    assert run("split", data, "-o", tmp_path / "a") == 0
    assert run("split", data, "-o", tmp_path / "b", "--keep-copies") == 0
    counts = [
        json.loads((tmp_path / name / "split.json").read_text())["counts"] for name in ("a", "b")
    ]
    assert [sum(count.values()) for count in counts] == [1, 3]


def test_other_script_is_kept_beside_its_twin(tmp_path):
    one = {"question": "這個藥飯前還是飯後吃？要配開水嗎？", "answer": "請在飯後吃，配一杯開水。"}
    other = {key: to_script(text, Language.ZH_HANS) for key, text in one.items()}
    data = write_lines(tmp_path / "all.jsonl", one, other, one)
    assert run("split", data, "-o", tmp_path / "o") == 0
    (found,) = sets_of(tmp_path / "o").values()
    assert found == {one["question"], other["question"]}


def test_labelled_answers_are_a_kind_of_their_own(tmp_path):
    (one,) = questions(1)
    labelled = [
        {"prompt": one["question"], "completion": one["answer"], "label": label}
        for label in (True, False)
    ]
    talks = write_lines(tmp_path / "a.jsonl", one)
    judged = write_lines(tmp_path / "b.jsonl", *labelled)
    assert run("split", talks, judged, "-o", tmp_path / "o") == 0
    (file,) = (tmp_path / "o" / "kto").iterdir()
    assert [record.label for record in read_all(file)[0]] == [True, False]
    assert len(list((tmp_path / "o" / "sft").iterdir())) == 1


def test_red_team_takes_its_near_duplicates_out_of_training(tmp_path):
    base = questions(300)
    red = [{**one, "answer": one["answer"] + "好"} for one in base[:30]]
    marked = {**base[40], "meta": {"source": "red_team_safety"}}
    data = write_lines(tmp_path / "all.jsonl", *base[:40], marked, *base[41:])
    red_file = write_lines(tmp_path / "red.jsonl", *red)
    assert run("split", data, "--red-team", red_file, "-o", tmp_path / "o") == 0
    found = sets_of(tmp_path / "o")
    assert found["red_team"] == {one["question"] for one in (*base[:30], base[40])}
    assert not found["red_team"] & (found["train"] | found["test"])


def test_preferences_go_where_their_conversations_go(tmp_path):
    base = questions(300)
    pairs = [
        {"prompt": one["question"], "chosen": one["answer"], "rejected": "不知道。"}
        for one in base[:100]
    ]
    sft, dpo = write_lines(tmp_path / "s.jsonl", *base), write_lines(tmp_path / "d.jsonl", *pairs)
    out = tmp_path / "o"
    assert run("split", sft, dpo, "-o", out) == 0
    talks, preferences = sets_of(out / "sft"), sets_of(out / "dpo")
    assert all(found <= talks[name] for name, found in preferences.items())


def test_a_set_that_became_empty_leaves_no_old_file(data, tmp_path):
    out = tmp_path / "o"
    assert run("split", data, "-o", out) == 0
    assert run("split", data, "-o", out, "--shares", "1,0,0") == 0
    assert [path.name for path in sorted(out.iterdir())] == ["split.json", "train.jsonl"]


def test_manifest_names_inputs_and_outputs_by_hash(data, tmp_path):
    assert run("split", data, "-o", tmp_path / "o", "--seed", 3) == 0
    manifest = json.loads((tmp_path / "o" / "split.json").read_text())
    assert manifest["seed"] == 3 and list(manifest["inputs"]) == [str(data)]
    assert set(manifest["outputs"]) == {
        f"{n}.jsonl" for n in ("train", "validation", "test", "gold")
    }
    assert all(len(value) == 64 for value in manifest["outputs"].values())


def test_unreadable_records_are_counted_and_told(tmp_path, capsys):
    data = write_lines(tmp_path / "all.jsonl", *questions(50), {"question": None, "answer": "x"})
    assert run("split", data, "-o", tmp_path / "o") == 1
    assert "left out: 1 unreadable" in capsys.readouterr().out
