"""The model catalog and store: where weights come from, pinned by sha256, and where they lie."""

from medbot_llm.models.catalog import Catalog
from medbot_llm.models.catalog import CatalogError
from medbot_llm.models.catalog import ModelEntry
from medbot_llm.models.catalog import UnknownModelError
from medbot_llm.models.store import DiskFullError
from medbot_llm.models.store import ModelNotPulledError
from medbot_llm.models.store import ModelPaths
from medbot_llm.models.store import ModelState
from medbot_llm.models.store import ModelStore
from medbot_llm.models.store import PullError
from medbot_llm.models.store import PullProgress
from medbot_llm.models.store import StoreError

__all__ = [
    "Catalog",
    "CatalogError",
    "DiskFullError",
    "ModelEntry",
    "ModelNotPulledError",
    "ModelPaths",
    "ModelState",
    "ModelStore",
    "PullError",
    "PullProgress",
    "StoreError",
    "UnknownModelError",
]
