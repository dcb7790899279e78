"""Bad input is a clear line with file and record, never a traceback; what can be read is read."""

from __future__ import annotations

import gzip
import json
import resource
import subprocess
import sys

import pytest
from data_test_kit import kinds_of
from data_test_kit import read_all
from data_test_kit import run
from data_test_kit import write_lines
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

from medbot_training.data import files
from medbot_training.data.findings import KINDS
from medbot_training.data.formats import read_records
from medbot_training.data.records import DataError
from medbot_training.data.writing import Output

GOOD = {"instruction": "飯前還是飯後吃？", "input": "", "output": "請飯後吃。"}
LINE = json.dumps(GOOD, ensure_ascii=False) + "\n"

BAD_RECORDS = {
    "missing_field": {"instruction": "嗎？"},
    "null": {**GOOD, "output": None},
    "number": {**GOOD, "output": 5},
    "list": {**GOOD, "output": ["a"]},
    "object": {**GOOD, "instruction": {"a": 1}},
    "true": {**GOOD, "input": True},
    "meta is text": {**GOOD, "meta": "x"},
    "id is a list": {**GOOD, "id": [1]},
    "history of nulls": {**GOOD, "history": [None]},
    "history of three": {**GOOD, "history": [["a", "b", "c"]]},
}


@pytest.mark.parametrize("name", BAD_RECORDS)
def test_wrong_field_is_a_finding_and_the_next_record_is_read(tmp_path, name):
    path = tmp_path / "a.jsonl"
    write_lines(path, GOOD, BAD_RECORDS[name], GOOD)
    records, findings = read_all(path)
    assert [record.origin.record for record in records] == [1, 3]
    assert kinds_of(findings) == [
        "missing_field" if name in ("missing_field", "null") else "wrong_type"
    ]
    assert str(findings[0]).startswith(f"{path}:2: ")


BAD_MESSAGES = {
    "null among messages": [None],
    "null content": [{"from": "human", "value": None}],
    "content is an object": [{"from": "human", "value": {}}],
    "no role": [{"value": "x"}],
    "a call of a tool": [{"from": "gpt", "value": "", "tool_calls": [{"id": "c1"}]}],
    "nobody's role": [{"from": "function_call", "value": "x"}],
    "picture": [{"role": "user", "content": [{"type": "image_url", "image_url": "x"}]}],
    "empty": [],
    "no list": "x",
    "null": None,
}


@pytest.mark.parametrize("name", BAD_MESSAGES)
def test_wrong_message_is_named_by_its_place(tmp_path, name):
    path = write_lines(tmp_path / "a.jsonl", {"conversations": BAD_MESSAGES[name]})
    records, (finding,) = read_all(path)
    assert not records
    assert finding.kind in ("missing_field", "wrong_type", "wrong_role", "tools")
    assert "conversations" in finding.detail
    if isinstance(BAD_MESSAGES[name], list) and BAD_MESSAGES[name]:
        assert "entry 1" in finding.detail


def test_byte_order_mark_and_windows_line_ends(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + (LINE * 2).replace("\n", "\r\n").encode())
    records, findings = read_all(path)
    assert len(records) == 2 and not findings
    assert records[0].question == "飯前還是飯後吃？"


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "big5", "gb18030"])
def test_another_encoding_is_told_or_asked_for(tmp_path, encoding):
    path = tmp_path / "a.jsonl"
    path.write_bytes((LINE * 3).encode(encoding, "replace"))
    if encoding == "utf-16":  # It has a byte order mark.
        assert len(read_all(path)[0]) == 3
        return
    with pytest.raises(DataError, match=r"is no UTF-8; it may be .*: try --encoding"):
        read_all(path)
    records, _ = read_all(path, encoding=encoding)
    assert records[0].answer == "請飯後吃。"


def test_one_line_in_another_encoding_is_one_finding(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(LINE.encode() + LINE.encode("big5") + LINE.encode())
    records, findings = read_all(path)
    assert [record.origin.record for record in records] == [1, 3]
    assert kinds_of(findings) == ["encoding"] and findings[0].origin.record == 2


def test_one_record_of_a_list_in_another_encoding_is_one_finding(tmp_path):
    path = tmp_path / "a.json"
    wrong = json.dumps({**GOOD, "output": "飯後"}, ensure_ascii=False).encode("gb18030")
    path.write_bytes(b"[" + LINE.encode() + b"," + wrong + b"," + LINE.encode() + b"]")
    records, findings = read_all(path)
    assert len(records) == 2
    assert [(finding.kind, finding.origin.record) for finding in findings] == [("encoding", 2)]


def test_half_a_character_smuggled_in_by_json_is_a_finding(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text(LINE + '{"instruction":"\\ud83d","output":"x"}\n')
    _, findings = read_all(path)
    assert kinds_of(findings) == ["encoding"] and "U+D83D" in str(findings[0])


def test_broken_line_is_one_finding(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text(LINE + "{oops}\n" + "[1]\n" + "3\n" + LINE)
    records, findings = read_all(path)
    assert [record.origin.record for record in records] == [1, 5]
    assert kinds_of(findings) == ["unreadable", "wrong_type", "wrong_type"]


def test_cut_line_is_told(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text(LINE + LINE[:40])
    records, findings = read_all(path)
    assert len(records) == 1 and kinds_of(findings) == ["cut_off_file"]


@pytest.mark.parametrize("cut", [1, 2, 10, 60, 100])
def test_cut_list_gives_what_is_whole(tmp_path, cut):
    path = tmp_path / "a.json"
    whole = json.dumps([GOOD] * 3, ensure_ascii=False, indent=1)
    path.write_text(whole[:-cut])
    records, findings = read_all(path)
    assert len(records) in (2, 3) if cut < 60 else len(records) in (1, 2)
    assert kinds_of(findings) == ["cut_off_file"]


def test_reading_goes_on_after_a_broken_record_of_a_list(tmp_path):
    path = tmp_path / "a.json"
    broken = LINE.replace('"output":', '"output"')
    path.write_text(f"[{LINE},{broken},{LINE},\n{LINE}]")
    records, findings = read_all(path)
    assert len(records) == 3
    assert kinds_of(findings) == ["unreadable"]
    assert findings[0].origin.record == 2 and "(line" in findings[0].detail


@pytest.mark.parametrize("indent", [None, 1])
def test_reading_goes_on_where_the_first_record_is_broken_or_keys_change(tmp_path, indent):
    other = {"id": 1, **GOOD}
    first, second, third = (json.dumps(one, indent=indent) for one in (GOOD, other, GOOD))
    path = tmp_path / "a.json"
    broken = first.replace('"output": ', '"output" ')
    path.write_text(f"[\n{broken},\n{second},\n{third}\n]")
    records, findings = read_all(path)
    assert [record.origin.record for record in records] == [2, 3]
    assert kinds_of(findings) == ["unreadable"] and not findings[0].stops


def test_the_rest_of_a_list_that_is_not_read_is_told(tmp_path):
    path = tmp_path / "a.json"
    path.write_text(f'[{LINE},{{"x" 1}},{{"y": 1}}]')
    records, (finding,) = read_all(path)
    assert len(records) == 1 and finding.stops
    assert "the rest of the file is not read" in finding.detail


def test_raw_line_break_in_a_text_is_no_end_of_the_file(tmp_path):
    path = tmp_path / "a.json"
    path.write_text('[{"instruction": "a\nb", "output": "x"}]')
    with pytest.raises(DataError, match=r"unreadable: .*raw line break.* at column 20 \(line 1\)"):
        list(read_records([path]))


def test_last_line_cut_within_a_letter_is_a_cut_file(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(LINE.encode() + LINE.encode()[:18])
    assert kinds_of(read_all(path)[1]) == ["cut_off_file"]


NO_NUMBERS = ['{"n": NaN}', '{"n": [-Infinity]}', '{"n": 1e400}', f'{{"n": {"1" * 5000}}}']


@pytest.mark.parametrize("meta", NO_NUMBERS)
@pytest.mark.parametrize("name", ["a.json", "a.jsonl"])
def test_number_that_json_has_not_is_a_finding(tmp_path, name, meta):
    path = tmp_path / name
    wrong = LINE.strip()[:-1] + f', "meta": {meta}}}'
    lines = [LINE.strip(), wrong, LINE.strip()]
    path.write_text("[" + ",".join(lines) + "]" if name == "a.json" else "\n".join(lines))
    records, (finding,) = read_all(path)
    assert len(records) == 2 and finding.kind == "unreadable" and finding.origin.record == 2
    assert "number" in finding.detail and "no JSON" not in finding.detail


def test_number_that_json_has_not_is_never_written(tmp_path):
    with pytest.raises(ValueError), Output(tmp_path / "a.jsonl") as output:
        output.write({"n": float("nan")})


@pytest.mark.parametrize("name", ["a.json", "a.jsonl"])
def test_key_that_is_there_twice_is_a_finding(tmp_path, name):
    path = tmp_path / name
    twice = LINE.strip()[:-1] + ', "output": "都可以。"}'
    same = LINE.strip()[:-1] + ', "input": ""}'
    lines = [twice, same, LINE.strip()]
    path.write_text("[" + ",".join(lines) + "]" if name == "a.json" else "\n".join(lines))
    records, (finding,) = read_all(path)
    assert len(records) == 2
    assert (finding.kind, finding.origin.record) == ("ambiguous", 1) and "output" in str(finding)


@pytest.mark.parametrize("name", ["a.txt", "a.md", "a.csv"])
@pytest.mark.parametrize("form", ["{}\n{}\n", "[{},\n{}]", "[\n {}, {}]"])
def test_json_is_json_whatever_it_is_called(tmp_path, name, form):
    path = tmp_path / name
    path.write_text(form.format(LINE.strip(), LINE.strip()))
    records, findings = read_all(path)
    assert [record.answer for record in records] == ["請飯後吃。"] * 2 and not findings


def test_text_that_begins_with_a_bracket_is_text(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("[註] 飯後吃。\n　　\n{一} 多喝水。\n")
    records, _ = read_all(path)
    assert [record.text for record in records] == ["[註] 飯後吃。", "{一} 多喝水。"]


@pytest.mark.parametrize("indent", [None, 1])
def test_list_in_a_later_field_of_an_object(tmp_path, indent):
    path = tmp_path / "a.json"
    whole = {"version": "1.0", "count": 2, "data": [GOOD, GOOD]}
    path.write_text(json.dumps(whole, ensure_ascii=False, indent=indent))
    assert len(read_all(path)[0]) == 2


def test_record_that_has_a_list_of_such_a_name_is_a_record(tmp_path):
    said = [{"role": "user", "content": "嗨"}, {"role": "assistant", "content": "您好。"}]
    one = {"id": "x", "data": [{"a": 1}], "messages": said}
    (record,), _ = read_all(write_lines(tmp_path / "a.jsonl", one))
    assert record.meta == {"data": [{"a": 1}]}


def test_control_characters_never_reach_the_terminal(tmp_path, capsys):
    wrong = {**GOOD, "output": "請\u001b[31m看\u0007藥袋\u0000。\u202e"}
    path = write_lines(tmp_path / "a.jsonl", wrong, {**GOOD, "output": {"\u001b[2J": 1}})
    run("validate", path)
    run("convert", write_lines(tmp_path / "b.jsonl", {"\u001b[31m": 1}))
    said = capsys.readouterr()
    assert "\\x1b[31m" in said.out
    assert not set("\u001b\u0007\u0000\u202e") & set(said.out + said.err)


def test_git_lfs_pointer_is_named(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n")
    with pytest.raises(DataError, match="is a Git LFS pointer"):
        read_all(path)


def test_nothing_is_said_to_be_right_in_a_file_that_is_not_read(tmp_path, capsys):
    path = tmp_path / "a.json"
    path.write_text("[]")
    assert run("validate", path) == 2
    assert "nothing is wrong" not in capsys.readouterr().err


def test_missing_comma_loses_no_record(tmp_path):
    path = tmp_path / "a.json"
    path.write_text(f"[{LINE}{LINE}]")
    records, findings = read_all(path)
    assert len(records) == 2 and kinds_of(findings) == ["unreadable"]


def test_list_in_the_first_field_of_an_object(tmp_path):
    path = tmp_path / "a.json"
    path.write_text('{"data": [' + LINE + "," + LINE + '], "version": 1}')
    records, findings = read_all(path)
    assert len(records) == 2 and not findings


def test_objects_one_after_another_over_many_lines(tmp_path):
    path = tmp_path / "a.json"
    path.write_text("\n".join(json.dumps(GOOD, ensure_ascii=False, indent=2) for _ in range(3)))
    assert len(read_all(path)[0]) == 3


def test_nested_too_deeply(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text(LINE + "[" * 100_000 + "\n" + LINE)
    records, findings = read_all(path)
    assert len(records) == 2 and "nested too deeply" in str(findings[0])


def test_too_long_record(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "MAX_RECORD_CHARS", 1000)
    monkeypatch.setattr(files, "CHUNK_CHARS", 300)
    long = {**GOOD, "output": "x" * 5000}
    path = write_lines(tmp_path / "a.jsonl", GOOD, long, GOOD)
    records, findings = read_all(path)
    assert len(records) == 2 and kinds_of(findings) == ["too_long"]
    path = tmp_path / "a.json"
    path.write_text(json.dumps([GOOD, long, GOOD], ensure_ascii=False))
    records, findings = read_all(path)
    assert len(records) == 2 and kinds_of(findings) == ["too_long"]


def test_damaged_gzip(tmp_path):
    path = tmp_path / "a.jsonl.gz"
    whole = gzip.compress(
        "".join(
            json.dumps({**GOOD, "id": str(number)}, ensure_ascii=False) + "\n"
            for number in range(20_000)
        ).encode()
    )
    path.write_bytes(whole[: len(whole) // 2])
    records, findings = read_all(path)
    assert records and findings[-1].kind == "cut_off_file" and findings[-1].stops
    assert findings[-1].origin.record == len(records) + 1
    assert "the rest of it is lost" in findings[-1].detail
    path.write_bytes(b"\x1f\x8b" + b"nothing of the kind")
    with pytest.raises(DataError, match="damaged gzip"):
        read_all(path)


CSV = "question,answer\n怎麼吃？,飯後。\n"


def test_csv_with_quotes_line_breaks_and_a_nameless_column(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes(b'\xef\xbb\xbf,content.A,content.Q\r\n0,C,"1\r\n(A)\xe7\x94\xb2, (B)"\r\n')
    (record,), findings = read_all(path)
    assert record.answer == "C" and "(A)甲, (B)" in record.question and not findings


@pytest.mark.parametrize("row", ["只有一欄", "a,b,c", 'x,"y" z'])
def test_row_that_does_not_fit_its_header(tmp_path, row):
    path = tmp_path / "a.csv"
    path.write_text(CSV + row + "\n多久？,一天。\n")
    records, findings = read_all(path)
    assert len(records) == 2 and kinds_of(findings) == ["unreadable"]


def test_quote_that_is_never_closed(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text(CSV + '"a,b\nc,d\n')
    records, findings = read_all(path)
    assert len(records) == 1 and "never closed" in str(findings[0])


def test_semicolons_and_tabs(tmp_path):
    for name, text in {"a.csv": CSV.replace(",", ";"), "a.tsv": CSV.replace(",", "\t")}.items():
        (tmp_path / name).write_text(text)
        assert len(read_all(tmp_path / name)[0]) == 1


UNREADABLE = {
    "empty": b"",
    "spaces": b" \n\n ",
    "words": b"hello",
    "zip": b"PK\x03\x04....",
    "parquet": b"PAR1....",
    "numbers": b"[1, 2, 3]",
    "no fields": b"[{}]",
    "strange fields": b'[{"a": 1}]',
    "empty list": b"[]",
    "only broken": b"{oops\n{oops\n",
    "cut in the first": b'[{"instruction": "x',
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_file_without_a_record_is_unreadable(tmp_path, capsys, name):
    path = tmp_path / "a.json"
    path.write_bytes(UNREADABLE[name])
    with pytest.raises(DataError, match=r"a\.json(:1)?: "):
        list(read_records([path]))
    for command in (["validate"], ["stats"], ["convert"], ["split", "-o", tmp_path / "o"]):
        assert run(*command, path) == 2, command
        said = capsys.readouterr()
        assert "Traceback" not in said.err and f"{path}: " in said.err
    assert not (tmp_path / "o").exists() or not list((tmp_path / "o").iterdir())


def test_missing_files_folders_formats_and_encodings(tmp_path, capsys):
    good = write_lines(tmp_path / "a.jsonl", GOOD)
    for arguments in (
        ["validate", tmp_path / "none.jsonl"],
        ["stats", tmp_path],
        ["convert", good, "--format", "excel"],
        ["convert", good, "--to", "excel"],
        ["convert", good, "--encoding", "klingon"],
        ["stats", good, "--tokenizer", tmp_path],
        ["split", good, "-o", tmp_path / "o", "--shares", "1,2"],
        ["split", good, "-o", tmp_path / "o", "--gold", "200"],
        ["validate", good, "--only", "beauty"],
        ["validate", good, "--claims", "many"],
        ["validate", good, "--split", "test"],
        ["deidentify", good, "--names", tmp_path / "none.txt"],
        ["convert", good, "-o", tmp_path],
        ["frobnicate"],
        [],
    ):
        assert run(*arguments) == 2, arguments
        said = capsys.readouterr()
        lines = [line for line in said.err.splitlines() if line.startswith("medbot-train")]
        assert len(lines) == 1 and "Traceback" not in said.err, said.err


def test_strict_reading_stops_at_the_first_bad_record(tmp_path):
    path = write_lines(tmp_path / "a.jsonl", GOOD, {**GOOD, "output": None})
    with pytest.raises(DataError, match=r"a\.jsonl:2: missing_field: output is null; .*validate"):
        list(read_records([path]))


def test_full_disk_leaves_nothing_half_written(tmp_path):
    source = write_lines(tmp_path / "a.jsonl", *[{**GOOD, "id": n} for n in range(5000)])
    out = tmp_path / "out" / "b.jsonl"
    command = [sys.executable, "-m", "medbot_training.cli", "data", "convert", source, "-o", out]
    result = subprocess.run(
        [str(part) for part in command],
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000)),
        # The limit would cut the byte code of large modules as well, for all who come later.
        env={"PYTHONPATH": ":".join(sys.path), "PYTHONDONTWRITEBYTECODE": "1"},
    )
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1 and "can't be written" in result.stderr
    assert list(out.parent.iterdir()) == []


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                [
                    "messages",
                    "conversations",
                    "prompt",
                    "chosen",
                    "rejected",
                    "question",
                    "meta",
                    "instruction",
                    "output",
                    "input",
                    "history",
                    "role",
                    "content",
                    "from",
                    "value",
                    "text",
                    "completion",
                    "answer",
                    "id",
                    "system",
                ]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None)
@given(values=st.lists(JSON, min_size=1, max_size=4))
def test_no_json_whatever_brings_a_reader_down(tmp_path_factory, values):
    folder = tmp_path_factory.mktemp("fuzz")
    path = folder / "a.json"
    path.write_text(json.dumps(values))
    try:
        records, findings = read_all(path)
    except DataError as error:
        assert "\n" not in str(error)
        return
    assert len(records) + len(findings) >= 1
    assert set(kinds_of(findings)) <= set(KINDS)


@settings(max_examples=150, deadline=None)
@given(data=st.binary(max_size=200), name=st.sampled_from(["a.json", "a.jsonl", "a.csv", "a.txt"]))
def test_no_bytes_whatever_bring_a_reader_down(tmp_path_factory, data, name):
    path = tmp_path_factory.mktemp("fuzz") / name
    path.write_bytes(b'{"text": "' + data if name == "a.jsonl" else data)
    try:
        read_all(path)
    except DataError as error:
        assert str(path) in str(error)


@settings(max_examples=60, deadline=None)
@given(
    texts=st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=40), max_size=30),
    chunk=st.integers(20, 200),
)
def test_a_list_reads_the_same_in_pieces_of_any_size(tmp_path_factory, texts, chunk):
    path = tmp_path_factory.mktemp("fuzz") / "a.json"
    values = [{"question": text, "answer": "x", "n": [1.5, -2e3, True]} for text in texts]
    path.write_text(json.dumps([{"question": "first", "answer": "x"}, *values]), encoding="utf-8")
    old, files.CHUNK_CHARS = files.CHUNK_CHARS, chunk
    try:
        records, findings = read_all(path)
    finally:
        files.CHUNK_CHARS = old
    assert [record.question for record in records] == ["first", *texts] and not findings


@pytest.mark.slow
def test_a_list_larger_than_memory_may_be_is_read_in_little(tmp_path):
    """300 MB, with 100 MB of address space on top of what the imports take."""
    path = tmp_path / "big.json"
    record = {**GOOD, "output": "答" * 500}
    with path.open("w") as stream:
        for number in range(200_000):
            stream.write("[\n" if not number else ",\n")
            stream.write(json.dumps({**record, "id": number}, ensure_ascii=False))
        stream.write("\n]")
    code = (
        "import resource, sys\nfrom medbot_training.data.formats import read\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "count = sum(1 for _ in read(sys.argv[1]))\n"
        "after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "print(count, (after - before) // 1024)\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, str(path)],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": ":".join(sys.path)},
    )
    count, megabytes = map(int, result.stdout.split())
    assert count == 200_000 and megabytes < 60
