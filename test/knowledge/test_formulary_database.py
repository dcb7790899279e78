"""The database is built once, kept by the hash of what it is made of, and never half of one."""

import logging
import os
import sqlite3
import subprocess
import sys
import threading

import pytest
from formulary_test_kit import spoil

from medbot_llm.knowledge import compiler
from medbot_llm.knowledge.compiler import FormularyError
from medbot_llm.knowledge.compiler import read_database
from medbot_llm.knowledge.formulary import Formulary
from medbot_llm.knowledge.formulary import Versions


@pytest.fixture
def versions(directory, home):
    return Versions(home, directory)


def cached(versions):
    return sorted(versions.home.glob("packaged-*.sqlite"))


def test_what_is_read_is_what_was_compiled(versions, directory):
    tables, about = versions.open_packaged()
    fresh = compiler.compile_directory(directory, is_whole=False)
    assert tables.medicines == fresh.medicines
    assert tables.effects == fresh.effects
    assert tables.statements == fresh.statements
    assert tables.frames == fresh.frames
    assert tables.names == fresh.names
    assert tables.written == fresh.written
    assert about.source == "packaged"
    assert about.built_at


def test_the_second_time_nothing_is_built(versions, monkeypatch):
    versions.open_packaged()
    monkeypatch.setattr("medbot_llm.knowledge.formulary.compile_directory", None)
    assert versions.open_packaged()[0].medicines


def test_changed_yaml_makes_another_database(versions, directory):
    versions.open_packaged()
    spoil(directory, "amlodipine", food="with_food")
    tables, _ = versions.open_packaged()
    assert next(m for m in tables.medicines if m.id == "amlodipine").food == "with_food"
    assert len(cached(versions)) == 2


def test_old_builds_do_not_fill_the_disk(versions, directory):
    for food in ("any", "with_food", "before_meal", "after_meal", "empty_stomach"):
        spoil(directory, "amlodipine", food=food)
        versions.open_packaged()
    assert len(cached(versions)) == 3


@pytest.mark.parametrize("damage", ["cut", "noise", "empty", "text", "byte"])
def test_a_damaged_cache_is_built_again(versions, damage):
    versions.open_packaged()
    (path,) = cached(versions)
    raw = bytearray(path.read_bytes())
    place = raw.index("脈優".encode())
    flipped = raw[:place] + "脈憂".encode() + raw[place + 6 :]
    path.write_bytes(
        {
            "cut": raw[: len(raw) // 2],
            "noise": os.urandom(len(raw)),
            "empty": b"",
            "text": b"not a database",
            "byte": flipped,
        }[damage]
    )
    formulary = Formulary(*versions.open_packaged())
    assert formulary.find("脈優").id == "amlodipine"
    assert read_database(path)


def test_a_given_database_that_is_damaged_is_an_error(versions, tmp_path):
    path = tmp_path / "x.sqlite"
    path.write_bytes(b"SQLite format 3\0" + os.urandom(5000))
    with pytest.raises(FormularyError, match="damaged"):
        Formulary.open(path)


def test_another_schema_is_an_error_that_names_both(versions):
    versions.open_packaged()
    (path,) = cached(versions)
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 99")
    with pytest.raises(FormularyError, match=r"schema 99.*reads schema 1"):
        Formulary.open(path)


def test_a_database_of_another_program_is_an_error(tmp_path):
    path = tmp_path / "other.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE medicine (id TEXT)")
    with pytest.raises(FormularyError, match="no formulary"):
        Formulary.open(path)


def test_a_row_that_was_changed_by_hand_is_noticed(versions):
    versions.open_packaged()
    (path,) = cached(versions)
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE name SET medicine = 'valsartan' WHERE key = 'norvasc'")
    with pytest.raises(FormularyError, match="not as written"):
        Formulary.open(path)


def test_a_missing_database_is_an_error(tmp_path):
    with pytest.raises(FormularyError, match="there is no formulary"):
        Formulary.open(tmp_path / "nowhere.sqlite")


def test_without_a_disk_it_is_kept_in_memory(directory, tmp_path, caplog):
    # A file stands where the folder should be: no user can write there, not even root.
    blocked = tmp_path / "blocked"
    blocked.write_text("")
    with caplog.at_level(logging.WARNING):
        formulary = Formulary(*Versions(blocked / "formulary", directory).open_packaged())
    assert formulary.find("Norvasc").id == "amlodipine"
    assert "in memory only" in caplog.text


def test_a_full_disk_keeps_it_in_memory(versions, monkeypatch, caplog):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(compiler.os, "replace", full)
    assert versions.open_packaged()[0].medicines
    assert "No space left" in caplog.text
    assert list(versions.home.iterdir()) == []


def test_reading_does_not_change_the_file(versions):
    versions.open_packaged()
    (path,) = cached(versions)
    before = path.read_bytes()
    path.chmod(0o444)
    Formulary.open(path)
    assert path.read_bytes() == before
    assert [p for p in path.parent.iterdir() if p != path] == []


def test_processes_that_build_at_once_all_get_a_whole_one(directory, home):
    code = (
        "import sys; from pathlib import Path;"
        "from medbot_llm.knowledge.formulary import Formulary, Versions;"
        "f = Formulary(*Versions(Path(sys.argv[1]), Path(sys.argv[2])).open_packaged());"
        "print(f.find('脈優').id)"
    )
    command = [sys.executable, "-c", code, str(home), str(directory)]
    running = [
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True, encoding="utf-8")
        for _ in range(3)
    ]
    assert [process.communicate()[0].strip() for process in running] == ["amlodipine"] * 3
    assert len(list(home.glob("*"))) == 1


def test_many_threads_may_ask(formulary):
    wrong = []

    def ask():
        for _ in range(50):
            found = formulary.look_up("麥優").match
            if found is None or found.id != "amlodipine" or not formulary.mentions("吃脈優"):
                wrong.append(found)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_the_packaged_one_opens_in_half_a_second_and_forty_megabytes(tmp_path):
    code = (
        "import resource, time, medbot_llm.text.normal as n; n.canonical('脈優');"
        "import yaml, sqlite3;"
        "from medbot_llm.knowledge.formulary import Formulary;"
        "Formulary.open() if __import__('sys').argv[1] == 'build' else None;"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss; t = time.monotonic();"
        "Formulary.open();"
        "print(time.monotonic() - t,"
        " (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)"
    )
    environment = {**os.environ, "MEDBOT_HOME": str(tmp_path)}
    for kind in ("build", "open"):
        done = subprocess.run(
            [sys.executable, "-c", code, kind],
            capture_output=True,
            text=True,
            check=True,
            env=environment,
        )
    seconds, megabytes = map(float, done.stdout.split())
    assert megabytes < 40
    # The limit is for a robot; the machine of the tests may be busy.
    assert seconds < 1.5


def test_home_must_be_absolute(monkeypatch):
    monkeypatch.setenv("MEDBOT_HOME", "somewhere")
    with pytest.raises(FormularyError, match="absolute"):
        Formulary.open()
