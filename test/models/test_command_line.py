"""`medbot models` as a user and a script see it."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from model_test_kit import CONTENT
from model_test_kit import Page
from model_test_kit import WebServer
from model_test_kit import catalog_text
from model_test_kit import model_data

from medbot_llm.apps.cli import main

MEDBOT = [sys.executable, "-m", "medbot_llm.apps.cli"]


@pytest.fixture
def home(web: WebServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a store whose catalog has the model "tiny"."""
    web.pages["/m"] = Page()
    (tmp_path / "catalog.d").mkdir()
    text = catalog_text(model_data([{"url": f"{web.url}/m"}]))
    (tmp_path / "catalog.d/test.yaml").write_text(text, encoding="utf-8")
    monkeypatch.setenv("MEDBOT_HOME", str(tmp_path))
    return tmp_path


def test_help_imports_nothing_heavy() -> None:
    """Such as the YAML parser. Modules are counted, not time: these machines are busy."""
    code = "\n".join(
        (
            "import sys",
            "from medbot_llm.apps.cli import main",
            "try: main(['--help'])",
            "finally: print(*sys.modules)",
        )
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout
    assert "medbot models pull" in said
    assert not {"yaml", "tqdm", "urllib.request", "medbot_llm.models"} & set(said.split())


def test_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert re.fullmatch(r"medbot \d+\.\d+\.\d+\S*\n", capsys.readouterr().out)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["modles"], "invalid choice: 'modles'"),
        (["models"], "required: ACTION"),
        (["models", "pull"], "required: ID"),
        (["models", "list", "--role", "cook"], "invalid choice: 'cook'"),
    ],
)
def test_a_wrong_command_line_is_one_line_and_exit_2(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    said = capsys.readouterr()
    assert (ended.value.code, said.out, said.err.count("\n")) == (2, "", 1)
    assert message in said.err


def test_without_a_command_the_help_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "examples:" in capsys.readouterr().out


def test_pull_then_path_then_verify_then_remove(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["models", "path", "tiny"]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert (
        said.err == "medbot: model 'tiny' is not on this machine; run: medbot models pull tiny\n"
    )

    assert main(["models", "pull", "tiny"]) == 0
    place = home / "models/tiny/tiny.gguf"
    said = capsys.readouterr()
    assert said.out == f"tiny is at {place}\n"
    assert said.err.startswith("tiny: 0 of 3 MB (0%)\n")

    assert main(["models", "path", "tiny"]) == 0
    assert capsys.readouterr().out == f"{place}\n"

    assert main(["models", "verify"]) == 0
    assert capsys.readouterr().out == "ok       tiny  tiny.gguf\n"

    place.write_bytes(b"!" + CONTENT[1:])
    assert main(["models", "verify", "tiny"]) == 1
    said = capsys.readouterr()
    assert said.out.startswith(f"DAMAGED  tiny  {place} sha256 is ")
    assert said.err == "mend by: medbot models pull tiny\n"

    assert main(["models", "pull", "tiny"]) == 0
    assert "tiny.gguf is damaged (sha256 is" in capsys.readouterr().err
    assert place.read_bytes() == CONTENT

    assert main(["models", "remove", "tiny"]) == 0
    assert main(["models", "verify"]) == 0
    assert "no model is on this machine" in capsys.readouterr().out


def test_list_shows_what_is_here(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["models", "pull", "tiny"])
    capsys.readouterr()
    assert main(["models", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(re.fullmatch(r"tiny +chat +3 MB +Apache-2\.0 +here", line) for line in lines)
    assert any(
        re.match(r"whisper-base +speech_recognition +148 MB +MIT +-", line) for line in lines
    )
    assert any(re.match(r"qwen3-4b-q4_k_m +chat +~2,500 MB", line) for line in lines)


def test_list_for_programs(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["models", "pull", "tiny"])
    capsys.readouterr()
    assert main(["models", "list", "--json"]) == 0
    records = {record["id"]: record for record in json.loads(capsys.readouterr().out)}
    assert records["tiny"]["state"] == "ready"
    assert records["tiny"]["path"] == str(home / "models/tiny/tiny.gguf")
    assert records["whisper-base"]["path"] is None
    assert records["qwen3-4b-q4_k_m"]["sha256_from"] == "pinned at first pull"


def test_a_model_of_ones_own_is_added(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (home / "Ward V1.gguf").write_bytes(CONTENT)
    assert main(["models", "add", str(home / "Ward V1.gguf"), "--licence", "MIT"]) == 0
    assert main(["models", "path", "ward-v1"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == str(home / "models/ward-v1/Ward V1.gguf")


def test_a_mistyped_second_id_is_told_before_the_first_is_fetched(
    home: Path, web: WebServer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["models", "pull", "tiny", "tinny"]) == 2
    assert "did you mean tiny?" in capsys.readouterr().err
    assert web.seen == []


def test_a_wrong_catalog_is_one_line(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (home / "catalog.d/wrong.yaml").write_text("models: [}", encoding="utf-8")
    assert main(["models", "list"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "wrong.yaml line 1 is not valid YAML" in said


def test_ctrl_c_ends_a_pull_quietly_and_the_next_goes_on(home: Path, web: WebServer) -> None:
    web.pages["/m"].delay_s = 0.05
    pull = subprocess.Popen([*MEDBOT, "models", "pull", "tiny"], stderr=subprocess.PIPE, text=True)
    end = time.monotonic() + 15
    while not any(path.stat().st_size for path in home.glob("staging/tiny/*.partial")):
        assert time.monotonic() < end
        time.sleep(0.01)
    pull.send_signal(signal.SIGINT)
    _, said = pull.communicate(timeout=15)
    assert pull.returncode == 130
    assert "Traceback" not in said
    web.pages["/m"].delay_s = 0
    assert main(["models", "pull", "tiny"]) == 0
    assert web.gets("/m")[-1].range is not None


def test_a_reader_that_goes_away_is_no_error(home: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    listing = subprocess.run([*MEDBOT, "models", "list"], stdout=writer, stderr=subprocess.PIPE)
    os.close(writer)
    assert (listing.returncode, listing.stderr) == (141, b"")


def test_on_a_terminal_a_bar_shows_rate_and_time_left(home: Path, web: WebServer) -> None:
    web.pages["/m"].delay_s = 0.01
    primary, secondary = pty.openpty()
    pull = subprocess.Popen(
        [*MEDBOT, "models", "pull", "tiny"], stdout=subprocess.PIPE, stderr=secondary
    )
    os.close(secondary)
    said = b""
    try:
        while chunk := os.read(primary, 1 << 16):
            said += chunk
    except OSError:
        pass  # the other end of a terminal is gone: its only way to say so
    os.close(primary)
    pull.communicate()
    assert pull.returncode == 0
    assert re.search(r"tiny 100% \|.*\| 3\.15M/3\.15M [\d.]+MB/s, 00:00 left", said.decode())


@pytest.mark.slow
def test_a_real_model_is_pulled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MEDBOT_HOME", str(tmp_path))
    assert main(["models", "pull", "smollm2-135m-instruct"]) == 0
    assert main(["models", "verify"]) == 0
    path = Path(capsys.readouterr().out.split(" is at ")[1].splitlines()[0])
    with open(path, "rb") as stream:
        assert stream.read(4) == b"GGUF"
