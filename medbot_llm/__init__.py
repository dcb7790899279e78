"""The voice of a medicine-delivery robot; docs/architecture.md says how it is built."""

import os
import pkgutil

# The products of the triage's network are small. OpenBLAS would share them among all cores, and on
# cores that the language model keeps busy that took 20 ms instead of one. It reads this once, when
# NumPy is imported; whoever wants it otherwise sets it before.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

# The package has two halves: this one, and the messages that the ROS build generates. In a colcon
# install both lie in one folder; in an editable install they do not, and then this joins them.
__path__ = pkgutil.extend_path(__path__, __name__)

__version__ = "0.1.0"
