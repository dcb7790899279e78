"""Build llama-cpp-python for this processor, once, and keep the wheel.

It comes as source only, and a plain `pip install` of it takes several times longer than this: left
out here are what only other programs use (llama.cpp's common library for its command-line tools,
and the vision library). By default llama.cpp is compiled for exactly the processor that it is
built on, and such a wheel dies with an illegal instruction on a lesser one. So each kept wheel
lies in a folder named after everything that made it.

The source also has llama.cpp's own converters, which write a trained model as GGUF, and the wheel
does not: they are kept too, out of the same source.
"""

from __future__ import annotations

import fcntl
import os
import platform
import re
import shutil
import sysconfig
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import SetupError
from .layout import Layout
from .processes import environment_of_pip
from .processes import run_logged
from .steps import digest

_COMMON_LIBRARY = re.compile(r"(set\(LLAMA_BUILD_COMMON )ON( CACHE)")
_CPU_LINES = re.compile(r"^(?:flags|Features|model name|CPU part)\s*:.*$", re.MULTILINE)
_DEFINES = ("LLAMA_BUILD_COMMON=OFF", "LLAVA_BUILD=OFF")
"""How this build differs from the plain one; a part of the kept wheel's name."""
_BUILD_VARIABLES = ("CMAKE_ARGS", "CC", "CXX", "CFLAGS", "CXXFLAGS", "CUDACXX", "CUDAARCHS")
_DIGITS_OF_KEY = 12
_CONVERTERS = (
    *("convert_hf_to_gguf.py", "convert_lora_to_gguf.py", "conversion"),
    *("gguf-py", "LICENSE"),
)
"""What is kept of vendor/llama.cpp; with the licence under which it is passed on."""


def kept_wheel_folder(layout: Layout) -> Path:
    """Where the wheel for this processor, these pinned versions and these build flags is kept."""
    pin = layout.requirements("llama")
    key = digest(
        pin,
        layout.requirements("llama-build"),
        *_DEFINES,
        describe_processor(),
        " ".join(platform.libc_ver()),
        *(os.environ.get(name, "") for name in _BUILD_VARIABLES),
    )
    machine = sysconfig.get_platform().replace("-", "_").replace(".", "_")
    version = _pinned_version(pin)
    return layout.home / "wheels" / f"llama_cpp_python-{version}-{machine}-{key[:_DIGITS_OF_KEY]}"


def describe_processor() -> str:
    """What decides which machine code runs here: the processor's model and features."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return f"{platform.machine()} {platform.processor()}"
    return "\n".join(sorted(set(_CPU_LINES.findall(text))))


def find_kept_wheel(layout: Layout) -> Path | None:
    """The wheel that was built earlier; None: there is none yet."""
    return next(iter(kept_wheel_folder(layout).glob("*.whl")), None)


def converters_folder(layout: Layout) -> Path:
    """Where llama.cpp's converters are kept, named after version and sha256 of their source."""
    pin = layout.requirements("llama")
    found = re.search(r"sha256:([0-9a-f]{64})", pin.read_text())
    if found is None:
        raise SetupError(f"{pin} does not pin a sha256")
    name = f"llama_cpp_python-{_pinned_version(pin)}-{found[1][:_DIGITS_OF_KEY]}"
    return layout.home / "converters" / name


def keep_converters(layout: Layout, python: Path) -> Path:
    """Fetch the source for its converters unless they are there; their folder.

    Raises SetupError.
    """
    folder = converters_folder(layout)
    if folder.is_dir():
        return folder
    wheel = kept_wheel_folder(layout)
    wheel.parent.mkdir(parents=True, exist_ok=True)
    with _locked(wheel.with_name(f"{wheel.name}.lock")):
        if not folder.is_dir():
            work = wheel.with_name(f"{wheel.name}.build")
            _fetch_source(layout, python, work)
            shutil.rmtree(work, ignore_errors=True)
    return folder


def build_wheel(layout: Layout, python: Path) -> Path:
    """Build the wheel unless it is there; its path.

    One process builds at a time, others wait for it. What a build that was killed has compiled is
    used again. Raises SetupError.
    """
    folder = kept_wheel_folder(layout)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _locked(folder.with_name(f"{folder.name}.lock")):
        kept = find_kept_wheel(layout)
        if kept is not None:
            return kept
        work = folder.with_name(f"{folder.name}.build")
        _build(layout, python, work)
        shutil.rmtree(folder, ignore_errors=True)
        (work / "wheel").replace(folder)
        shutil.rmtree(work, ignore_errors=True)
    wheel = find_kept_wheel(layout)
    if wheel is None:
        raise SetupError(f"building llama-cpp-python left no wheel in {folder}")
    return wheel


def _fetch_source(layout: Layout, python: Path, work: Path) -> list[str | Path]:
    """Unpack the source in a folder, and keep the converters; gives the pip that can build it."""
    tools = work / "tools"
    pip: list[str | Path] = [
        *(tools / "bin" / "python", "-I", "-m", "pip"),
        *("--disable-pip-version-check", "--no-input"),
    ]
    ready = work / "ready"
    if not ready.exists():
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        run_logged(
            [python, "-I", "-m", "venv", tools],
            layout.logs / "llama-tools.log",
            what="making an environment to build llama-cpp-python in",
        )
        run_logged(
            [*pip, "install", "-r", layout.requirements("llama-build")],
            layout.logs / "llama-tools.log",
            what="installing what llama-cpp-python is built with",
            environment=environment_of_pip(),
        )
        run_logged(
            [
                *pip,
                *("download", "--no-deps", "--no-build-isolation", "--no-binary", ":all:"),
                *("--require-hashes", "-r", layout.requirements("llama"), "--dest", work),
            ],
            layout.logs / "llama-download.log",
            what="downloading the source of llama-cpp-python",
            environment=environment_of_pip(),
        )
        _unpack(next(work.glob("*.tar.gz")), work / "source")
        ready.touch()
    _copy_converters(work / "source", converters_folder(layout))
    return pip


def _copy_converters(source: Path, folder: Path) -> None:
    if folder.is_dir():
        return
    unfinished = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    for name in _CONVERTERS:
        original = source / "vendor" / "llama.cpp" / name
        if original.is_dir():
            shutil.copytree(original, unfinished / name)
        elif original.is_file():
            shutil.copy2(original, unfinished / name)
        else:
            raise SetupError(
                f"the pinned llama-cpp-python has no {name} any more: adapt "
                "tools/bootstrap/llama_wheel.py and training/medbot_training/export/converter.py"
            )
    unfinished.replace(folder)


def _build(layout: Layout, python: Path, work: Path) -> None:
    tools = work / "tools"
    pip = _fetch_source(layout, python, work)
    shutil.rmtree(work / "wheel", ignore_errors=True)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    run_logged(
        [
            *pip,
            *("wheel", "--no-deps", "--no-build-isolation", "--no-cache-dir"),
            *("-C", "cmake.define.LLAVA_BUILD=OFF", "-C", f"build-dir={work / 'objects'}"),
            *("--wheel-dir", work / "wheel", work / "source"),
        ],
        layout.logs / "llama-build.log",
        what="compiling llama-cpp-python",
        environment={
            "CMAKE_BUILD_PARALLEL_LEVEL": str(cores),
            **environment_of_pip(),
            "PATH": f"{tools / 'bin'}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        },
    )


def _unpack(archive: Path, source: Path) -> None:
    """Unpack the sdist without its top folder, and switch the common library off."""
    with tarfile.open(archive) as content:
        # The archive's sha256 has been checked; the filter is a second lock where Python has it.
        safe = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
        content.extractall(source.parent, **safe)  # type: ignore[arg-type]
    (source.parent / archive.name.removesuffix(".tar.gz")).rename(source)
    cmake_file = source / "CMakeLists.txt"
    text, count = _COMMON_LIBRARY.subn(r"\1OFF\2", cmake_file.read_text())
    if count == 0:
        raise SetupError(
            "the pinned llama-cpp-python sets LLAMA_BUILD_COMMON elsewhere now: adapt "
            "tools/bootstrap/llama_wheel.py to its CMakeLists.txt"
        )
    cmake_file.write_text(text)


def _pinned_version(pin: Path) -> str:
    found = re.search(r"^llama-cpp-python==(\S+)", pin.read_text(), re.MULTILINE)
    if found is None:
        raise SetupError(f"{pin} does not pin llama-cpp-python")
    return found.group(1)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold a lock that the system takes back when the process ends, however it ends."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
