"""A hospital's file becomes a new version; what is wrong in it is told record by record."""

import json
import subprocess
import sys
import threading

import pytest

from medbot_llm.domain import Language
from medbot_llm.knowledge.compiler import FormularyError
from medbot_llm.knowledge.compiler import read_database
from medbot_llm.knowledge.formulary import Formulary
from medbot_llm.knowledge.formulary import Versions
from medbot_llm.knowledge.importers import import_file

CSV = """\
name_en,name_zh_hant,brand_en,brand_zh_hant,food,missed
amlodipine,,Amlobest,安倍優,with_food,
newdrug,新藥,Newbrand,新牌,,
"""


@pytest.fixture
def versions(directory, home):
    return Versions(home, directory)


@pytest.fixture
def write(tmp_path):
    def writer(name, content):
        path = tmp_path / name
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            path.write_text(content, encoding="utf-8", newline="")
        return path

    return writer


def opened(versions, version):
    return Formulary(*read_database(versions.path(version)))


def label(**found):
    return {"openfda": found, "dosage_and_administration": ["Take 5 mg once daily."]}


# what is taken


def test_a_csv_changes_known_medicines_and_adds_new_ones(versions, write):
    report = import_file(write("ward.csv", CSV), versions)
    assert (report.changed, report.added, report.rejected) == (("amlodipine",), ("newdrug",), ())
    formulary = opened(versions, report.version)
    amlodipine = formulary.find("安倍優")
    assert amlodipine.id == "amlodipine"
    assert (amlodipine.food, amlodipine.missed) == ("with_food", "standard")
    assert formulary.find("Norvasc") is amlodipine
    assert not formulary.find("新藥").is_full


def test_what_makes_a_medicine_less_than_full_is_told(versions, write):
    report = import_file(write("ward.csv", CSV), versions)
    assert any("newdrug is recognised by name only" in note for note in report.notes)


def test_a_whole_record_makes_a_full_medicine(versions, directory, write):
    text = (directory / "medicines" / "five.yaml").read_text(encoding="utf-8")
    text = text.replace("id: cetirizine", "id: testizine").replace("[cetirizine]", "[testizine]")
    text = (
        text.replace("西替利嗪", "測替利嗪")
        .replace("Zyrtec", "Testec")
        .replace("驅異樂", "測異樂")
    )
    text = text.replace("仙特明", "测特明")
    report = import_file(write("own.yaml", text), versions)
    assert report.rejected == ()
    assert report.added == ("testizine",)
    medicine = opened(versions, report.version).find("測異樂")
    assert medicine.is_full
    assert medicine.classes == ()


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbf" + CSV.encode(),
        CSV.replace("\n", "\r\n").encode(),
        CSV.replace(",", ";").encode(),
        CSV.replace(",", "\t").encode(),
        CSV.rstrip("\n").encode(),
        CSV.replace("name_en", " Name EN ").encode(),
        (CSV + ",,,,,\n").encode(),
    ],
    ids=["bom", "crlf", "semicolons", "tabs", "no last newline", "header", "empty line"],
)
def test_csv_of_every_dialect_is_read(versions, write, content):
    report = import_file(write("ward.csv", content), versions)
    assert report.rejected == ()
    assert opened(versions, report.version).find("安倍優").id == "amlodipine"


def test_openfda_labels_give_names_and_brands(versions, write):
    document = {
        "meta": {"disclaimer": "…"},
        "results": [
            label(generic_name=["AMLODIPINE BESYLATE"], brand_name=["KATERZIA"], route=["ORAL"]),
            label(generic_name=["Testolol"], brand_name=["TESTOLOL", "Betatest"]),
            label(generic_name=["amlodipine and valsartan"], brand_name=["Dafiro"]),
        ],
    }
    report = import_file(write("labels.json", json.dumps(document)), versions)
    assert report.rejected == ()
    formulary = opened(versions, report.version)
    assert formulary.find("Katerzia").id == "amlodipine"
    assert formulary.medicine("amlodipine").name(Language.EN) == "amlodipine"
    assert formulary.find("Betatest").id == "testolol"
    assert formulary.find("Dafiro").id == "amlodipine-valsartan"
    assert formulary.find("Katerzia").food == "any"


def test_labels_of_one_medicine_are_put_together(versions, write):
    document = {
        "results": [
            label(generic_name=["Testolol"], brand_name=["Betatest"]),
            label(generic_name=["TESTOLOL"], brand_name=["Gammatest"]),
        ]
    }
    report = import_file(write("labels.json", json.dumps(document)), versions)
    formulary = opened(versions, report.version)
    assert report.added == ("testolol",)
    assert formulary.find("Betatest") is formulary.find("Gammatest")


def test_the_version_in_use_is_the_base_of_the_next(versions, write):
    first = import_file(write("a.csv", "name_en\nfirstdrug\n"), versions)
    versions.use(first.version)
    second = import_file(write("b.csv", "name_en\nseconddrug\n"), versions)
    assert second.base == first.version
    formulary = opened(versions, second.version)
    assert formulary.find("firstdrug") and formulary.find("seconddrug")


# what is rejected


def rejected(report):
    return {one.record: " ".join(one.reasons) for one in report.rejected}


def test_bad_records_are_rejected_and_good_ones_taken(versions, write):
    text = (
        "id,name_en,food,high_alert,children_from\n"
        "good,good,,,\n"
        "Bad Id,badone,,,\n"
        "worse,worse,with_beer,,\n"
        "third,third,,perhaps,\n"
        "fourth,fourth,,,twelve\n"
        "fifth,,,,\n"
        "good,good,,,\n"
    )
    report = import_file(write("ward.csv", text), versions)
    assert report.added == ("good",)
    reasons = rejected(report)
    assert set(reasons) == {2, 3, 4, 5, 6, 7}
    assert "joined by '-'" in reasons[2]
    assert "with_beer" in reasons[3] and "full_glass_upright" in reasons[3]
    assert "true or false" in reasons[4]
    assert "must be a number" in reasons[5]
    assert "stands twice (also record 1)" in reasons[7]


def test_a_name_of_another_medicine_is_rejected(versions, write):
    text = "id,name_en,brand_en\nnewone,newone,Norvasc\nvalsartan,amlodipine,\n"
    report = import_file(write("ward.csv", text), versions)
    assert "'Norvasc' is a name of amlodipine" in rejected(report)[1]
    assert "several medicines" in rejected(report)[2]


def test_too_many_fields_and_too_long_fields_are_rejected(versions, write):
    text = f"name_en,name_zh_hant\nfine,好\na,b,c\nlong,{'x' * 1_000_000}\n"
    reasons = rejected(import_file(write("ward.csv", text), versions))
    assert "has 3 fields, and the header 2" in reasons[2]
    assert "1000000 characters" in reasons[3]


def test_sql_in_a_name_is_a_name(versions, write):
    evil = "xy') OR 1=1 UNION SELECT * FROM medicine --"
    report = import_file(write("ward.csv", f'name_en\n"{evil}"\n'), versions)
    assert opened(versions, report.version).find(evil) is not None
    assert opened(versions, report.version).find("Norvasc").id == "amlodipine"


@pytest.mark.parametrize(
    "result",
    [
        None,
        [],
        {},
        {"openfda": {}},
        {"openfda": {"generic_name": [7]}},
        {"openfda": {"generic_name": ["x" * 500]}},
        {"openfda": {"generic_name": []}},
        {"openfda": {"generic_name": ["testolol"], "brand_name": ["Norvasc"]}},
    ],
)
def test_labels_without_a_name_are_rejected(versions, write, result):
    document = {"results": [result, label(generic_name=["Goodolol"])]}
    report = import_file(write("labels.json", json.dumps(document)), versions)
    assert set(rejected(report)) == {1}
    assert report.added == ("goodolol",)


def test_if_nothing_is_taken_no_version_is_written(versions, write):
    report = import_file(write("ward.csv", "name_en,food\nx,with_beer\n"), versions)
    assert report.version == ""
    assert versions.names() == ()


# files that can't be read


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", b"", "is empty"),
        ("a.json", b"  \n", "is empty"),
        ("a.csv", "name_en,name_zh_hant\naspirin,阿斯匹靈\n".encode("big5"), "looks like Big5"),
        ("a.csv", "name_en\naspirin\n".encode("utf-16"), "UTF-16"),
        ("a.csv", b"name_en\na\0b\n", "NUL"),
        ("a.csv", b"drug,price\nx,1\n", "name_en (or id) is missing"),
        ("a.csv", b"name_en,name_en\nx,1\n", "stands twice"),
        ("a.csv", b'name_en\n"x\n', "is no CSV"),
        ("a.json", b'{"results": [{"openfda": {"generic_na', "is the file whole"),
        ("a.json", b"[1, 2]", "'results'"),
        ("a.json", b"[" * 100_000, "nested too deep"),
        ("a.yaml", b"medicines: [", "is no YAML"),
        ("a.yaml", b"- 1", "'medicines' is missing"),
        ("a.yaml", b"a: &a [1]\nmedicines: [*a, *a]", "references"),
        ("a.yaml", b"medicines: " + b"[" * 5_000, "YAML"),
        ("a.txt", b"x", "does not tell its format"),
    ],
)
def test_a_file_that_cannot_be_read_is_one_clear_error(versions, write, name, content, message):
    path = write(name, content)
    with pytest.raises(FormularyError) as caught:
        import_file(path, versions)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert versions.names() == ()


def test_a_missing_file_is_an_error(versions, tmp_path):
    with pytest.raises(FormularyError, match="No such file"):
        import_file(tmp_path / "nowhere.csv", versions)


def test_a_full_disk_harms_nothing(versions, write, monkeypatch):
    versions.open_packaged()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("medbot_llm.knowledge.compiler.os.fsync", full)
    with pytest.raises(FormularyError, match="No space left"):
        import_file(write("ward.csv", CSV), versions)
    assert versions.names() == ()
    assert Formulary(*versions.open_current()).find("Norvasc")


# versions


def test_imports_at_once_each_get_a_version(versions, write):
    versions.open_packaged()
    paths = [write(f"{i}.csv", f"name_en\ndrug{i}\n") for i in range(4)]
    reports = []
    threads = [
        threading.Thread(target=lambda path=path: reports.append(import_file(path, versions)))
        for path in paths
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(report.version for report in reports) == ["v1", "v2", "v3", "v4"]
    for report in reports:
        assert opened(versions, report.version).find(report.added[0])


def test_the_chosen_version_is_opened(directory, home, write, monkeypatch):
    monkeypatch.setattr("medbot_llm.knowledge.formulary.packaged_directory", lambda: directory)
    versions = Versions(home, directory)
    report = import_file(write("ward.csv", CSV), versions)
    versions.use(report.version)
    assert Formulary.open().find("安倍優").id == "amlodipine"
    assert Formulary.open(versions.path(report.version)).find("新藥")
    versions.use("packaged")
    assert versions.current == "packaged"


@pytest.mark.parametrize("name", ["v9", "../v1", "", "x" * 1000, "v1.sqlite", "a b"])
def test_a_version_that_is_not_there_cannot_be_chosen(versions, name):
    with pytest.raises(FormularyError, match="there is no version"):
        versions.use(name)


def test_a_damaged_version_cannot_be_chosen(versions, write):
    report = import_file(write("ward.csv", CSV), versions)
    versions.path(report.version).write_bytes(b"x" * 100)
    with pytest.raises(FormularyError, match="damaged"):
        versions.use(report.version)
    assert versions.current == "packaged"


def test_a_chosen_version_that_is_lost_is_an_error_and_not_replaced(versions, write):
    report = import_file(write("ward.csv", CSV), versions)
    versions.use(report.version)
    versions.path(report.version).unlink()
    with pytest.raises(FormularyError, match="there is no version 'v1'"):
        versions.open_current()


def test_a_spoilt_choice_is_an_error(versions):
    versions.home.mkdir(parents=True)
    (versions.home / "current").write_bytes(b"\xff\xfe")
    with pytest.raises(FormularyError, match="current"):
        versions.open_current()


# the command


def medbot(*arguments, home):
    code = (
        "import argparse, sys\n"
        "from medbot_llm.apps import formulary\n"
        "from medbot_llm.domain import MedbotError\n"
        "parser = argparse.ArgumentParser()\n"
        "formulary.add_parser(parser.add_subparsers())\n"
        "args = parser.parse_args(['formulary', *sys.argv[1:]])\n"
        "try:\n"
        "    sys.exit(args.run(args))\n"
        "except MedbotError as error:\n"
        "    sys.exit(f'medbot: {error}')\n"
    )
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True,
        text=True,
        encoding="utf-8",
        env={"MEDBOT_HOME": str(home), "PATH": "", "PYTHONIOENCODING": "utf-8"},
    )


def test_the_command_checks_a_folder(directory, tmp_path):
    done = medbot("check", directory, home=tmp_path)
    # Conditions and foods are missing from the five medicines.
    assert done.returncode == 1
    assert "conditions.yaml: is missing" in done.stdout


def test_the_command_imports_uses_and_finds(tmp_path, write):
    path = write("ward.csv", "name_en,brand_en\ntestolol,Wardolol\nbad,Norvasc\n")
    done = medbot("import", path, "--use", home=tmp_path)
    assert done.returncode == 1, done.stderr
    assert "rejected record 2 (bad): names: 'Norvasc' is a name of amlodipine" in done.stdout
    assert "v1: 1 new, 0 changed, 1 rejected, over packaged" in done.stdout
    done = medbot("find", "Wardolol", "hydralazin", "水", home=tmp_path)
    lines = done.stdout.splitlines()
    assert lines[0] == "Wardolol: testolol"
    assert "ask whether it is hydralazine" in lines[1]
    assert lines[2] == "水: unknown"
    assert done.returncode == 1
    listed = medbot("versions", "--json", home=tmp_path)
    assert [row["is_current"] for row in json.loads(listed.stdout)] == [False, True]
    assert medbot("use", "packaged", home=tmp_path).returncode == 0
    assert medbot("find", "Wardolol", home=tmp_path).returncode == 1


@pytest.fixture(scope="session")
def shared_home(tmp_path_factory):
    """A home whose packaged database is built once."""
    return tmp_path_factory.mktemp("shared_home")


def test_the_command_shows_a_medicine_in_three_languages(shared_home):
    for language, word in (("zh-Hant", "護理師"), ("zh-Hans", "护士"), ("en", "nurse")):
        done = medbot("show", "脈優", "--lang", language, home=shared_home)
        assert done.returncode == 0, done.stderr
        assert word in done.stdout
    record = json.loads(medbot("show", "Norvasc", "--json", home=shared_home).stdout)
    assert record["id"] == "amlodipine"


def test_the_command_asks_back_about_an_unclear_name(shared_home):
    done = medbot("show", "hydralazin", home=shared_home)
    assert done.returncode == 1
    assert "did you mean hydralazine" in done.stderr
