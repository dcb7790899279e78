"""The voice of a medicine-delivery robot; docs/architecture.md says how it is built."""

import os
import pkgutil

# pypinyin reads this when it is imported. Its phrases take 42 MB, and only the compiler of names
# (knowledge/names.py) asks how characters sound in a phrase; it loads them itself.
os.environ.setdefault("PYPINYIN_NO_PHRASES", "true")

# The package has two halves: this one, and the messages that the ROS build generates. In a colcon
# install both lie in one folder; in an editable install they do not, and then this joins them.
__path__ = pkgutil.extend_path(__path__, __name__)

__version__ = "0.1.0"
