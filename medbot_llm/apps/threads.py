"""How the threads of the models in one process get on with each other."""

from __future__ import annotations

import os

SPIN_COUNT = "300"
SPIN_VARIABLES = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")


def spin_little() -> None:
    """Keep OpenMP's threads, llama.cpp's and CTranslate2's, from spinning for long between two
    steps: they would hold the cores that another model needs. As the launch file does for the
    nodes (docs/performance.md has the figures). To be called before either is loaded; what the
    environment says already stays.
    """
    if not any(name in os.environ for name in SPIN_VARIABLES):
        os.environ["GOMP_SPINCOUNT"] = SPIN_COUNT
