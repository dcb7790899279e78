"""The pip half of the package: the core and the `medbot` command, without ROS.

The ROS half (messages, nodes) is package.xml and CMakeLists.txt; test/package keeps both in
agreement.
"""

from pathlib import Path

from setuptools import find_packages
from setuptools import setup

NAME = "medbot_llm"
VERSION = "0.1.0"
ROOT = Path(__file__).parent

README = ROOT / "README.md"
RESOURCE_FILES = [
    str(path.relative_to(ROOT / "resource"))
    for path in sorted((ROOT / "resource").rglob("*"))
    if path.is_file() and path.suffix not in (".py", ".pyc")
]

setup(
    name=NAME,
    version=VERSION,
    description=(
        "The voice of a medicine-delivery robot: greets, checks identity by scan, explains what "
        "it brings and answers questions, offline, in Chinese and English."
    ),
    long_description=README.read_text(encoding="utf-8") if README.is_file() else "",
    long_description_content_type="text/markdown",
    author="medbot_llm maintainers",
    maintainer="medbot_llm maintainers",
    maintainer_email="maintainers@medbot-llm.example",
    license="Apache-2.0",
    license_files=["LICENSE", "NOTICE"],
    classifiers=[
        "Intended Audience :: Healthcare Industry",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3",
        "Topic :: Scientific/Engineering :: Human Machine Interfaces",
    ],
    python_requires=">=3.10",
    packages=[*find_packages(include=[NAME, f"{NAME}.*"]), f"{NAME}.resource"],
    package_dir={f"{NAME}.resource": "resource"},
    package_data={f"{NAME}.resource": RESOURCE_FILES},
    install_requires=[
        "jinja2>=3.1",
        "numpy>=1.21.6",
        "onnxruntime>=1.22,<2",
        "opencc>=1.4.1,<1.5",
        "pypinyin>=0.53,<1",
        "rapidfuzz>=3.9,<4",
        "PyYAML>=5.4",
        "tokenizers>=0.20,<1",
        "tqdm>=4.57",
    ],
    extras_require={
        "llama": ["llama-cpp-python>=0.3.36,<0.4"],
        "openai": ["openai>=2,<4"],
        "voice": [
            "ctranslate2>=4.6,<5",
            "faster-whisper>=1.2,<2",
            "jieba>=0.42.1,<0.43",
            "livekit>=1.2,<2",
            "sounddevice>=0.5,<0.6",
        ],
        "dev": [
            "gguf>=0.17",
            "hypothesis>=6.100",
            'misaki>=0.9.4,<0.10; python_version < "3.13"',
            'cn2an>=0.5.22,<0.6; python_version < "3.13"',
            'ordered-set>=4.1,<5; python_version < "3.13"',
            "mypy>=1.10",
            "pre-commit>=3.7",
            "pytest>=8",
            "ruff>=0.6",
            "types-PyYAML",
            "types-tqdm",
        ],
    },
    entry_points={"console_scripts": ["medbot = medbot_llm.apps.cli:main"]},
)
