"""The data files of medbot_llm, found by `importlib.resources.files("medbot_llm.resource")`."""

if __name__ == "resource":
    # Not imported as medbot_llm.resource: Python runs with the repository's root first on its path
    # (as `python -m` does there), where this folder hides the standard library's module of that
    # name. Hand over to it.
    import importlib.util
    import sys
    from importlib.machinery import PathFinder
    from pathlib import Path

    _root = Path(__file__).resolve().parent.parent
    _spec = PathFinder.find_spec(
        "resource", [entry for entry in sys.path if Path(entry).resolve() != _root]
    )
    if _spec is None or _spec.loader is None:
        raise ModuleNotFoundError("No module named 'resource'", name="resource")
    sys.modules["resource"] = importlib.util.module_from_spec(_spec)
    _spec.loader.exec_module(sys.modules["resource"])
