"""The set-up code is no part of the installed package: the tests find it at the repository's
root."""

from __future__ import annotations

import sys
from pathlib import Path

# At the end: ahead of installed packages the root's folders (resource, test …) would hide them.
sys.path.append(str(Path(__file__).resolve().parents[2]))
