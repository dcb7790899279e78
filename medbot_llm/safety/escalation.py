"""The fixed words of an emergency: chosen by category, scene, language and region, never made up.

They are said by a robot whose model is down, hangs or was never there. `sent` tells whether the
alert has really gone out: words that claim a call are said only then.
"""

from __future__ import annotations

import importlib.resources
from collections.abc import Mapping
from collections.abc import Sequence
from pathlib import Path
from string import Formatter
from typing import Any

import yaml

from medbot_llm.domain import Language
from medbot_llm.domain import MedbotError
from medbot_llm.domain import Scene
from medbot_llm.safety.triage_rules import CATEGORIES

FILE_NAME = "emergency.yaml"
DEFAULT_REGION = "tw"
SUICIDE = "suicide_self_harm"

COMPLAINTS = frozenset(CATEGORIES) - {
    SUICIDE,
    "med_refusal",
    "dose_change_request",
    "suspected_error",
    "benign",
}
"""Categories of the triage that can get worse while one waits; docs/triage.md lists them all."""

_CALLS = ("emergency", SUICIDE, "nurse", "staff")
_JOINT = {Language.ZH_HANT: "或", Language.ZH_HANS: "或", Language.EN: " or "}


class EmergencyWordsError(MedbotError):
    """The words of an emergency are missing or incomplete; names file and key."""


class EmergencyWords:
    """Says the words of an emergency.

    Args:
        region: A region of the file: whose numbers are told.
        file: The words; None: the packaged ones.

    Raises:
        EmergencyWordsError: The file or one of its words is missing, or the region is unknown.
    """

    def __init__(self, region: str = DEFAULT_REGION, file: Path | None = None) -> None:
        source = file or importlib.resources.files("medbot_llm.resource") / FILE_NAME
        self._where = str(file or FILE_NAME)
        try:
            tree = yaml.safe_load(source.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            reason = " ".join(str(error).split())
            raise EmergencyWordsError(f"{self._where}: can't be read: {reason}") from None
        if not isinstance(tree, dict):
            raise EmergencyWordsError(f"{self._where}: must be a mapping")
        self._words: dict[str, Any] = tree
        regions = self._mapping("regions")
        if region not in regions:
            known = ", ".join(map(str, regions))
            raise EmergencyWordsError(
                f"{self._where}: there is no region {region}; it is one of {known}, or add it"
            )
        numbers = regions[region]
        self.region = region
        try:
            self.emergency_number = str(numbers["emergency"])
            self._lines = [str(line) for line in numbers["lines"]]
        except (KeyError, TypeError):
            raise EmergencyWordsError(
                f"{self._where}: regions.{region} needs emergency and lines"
            ) from None
        self._check()

    def emergency(
        self, category: str, language: Language, scene: Scene, *, sent: bool
    ) -> tuple[str, ...]:
        """Return the sentences for an emergency.

        Args:
            category: As the triage names it.
            language: Of whoever spoke.
            scene: Where the robot stands.
            sent: Whether the alert has gone out.
        """
        if category == SUICIDE:
            return self._call(SUICIDE, language, scene, sent)
        call = self._call("emergency", language, scene, sent)
        step = self._mapping("first_aid").get(category)
        return call if step is None else (*call, step[language.value])

    def opening(self, category: str, language: Language) -> tuple[str, ...]:
        """Return what a call for a human soon begins with."""
        openings = self._mapping("nurse_openings")
        return (openings.get(category, openings["default"])[language.value],)

    def nurse(
        self, category: str, language: Language, scene: Scene, *, sent: bool
    ) -> tuple[str, ...]:
        """Return the sentences that say that a human comes soon, or whom to ask."""
        key = "nurse" if category in COMPLAINTS else "staff"
        return self._call(SUICIDE if category == SUICIDE else key, language, scene, sent)

    def urgent(self, scene: Scene, languages: Sequence[Language]) -> list[tuple[str, Language]]:
        """What a voice must have ready to speak at once in an emergency: every sentence in the
        first of these languages, in the others those that calls begin with.
        """
        found: dict[tuple[str, Language], None] = {}
        for language in languages:
            for category in ("", SUICIDE, *self._mapping("first_aid")):
                texts = self.emergency(category, language, scene, sent=True)
                for text in texts if language is languages[0] else texts[:1]:
                    found[text, language] = None
        return list(found)

    def _call(self, key: str, language: Language, scene: Scene, sent: bool) -> tuple[str, ...]:
        words = self._words[key]["sent" if sent else "unsent"][language.value][scene.value]
        lines = _JOINT[language].join(self._lines)
        return tuple(text.format(number=self.emergency_number, lines=lines) for text in words)

    def _mapping(self, key: str) -> Mapping[str, Any]:
        node = self._words.get(key)
        if not isinstance(node, dict):
            raise EmergencyWordsError(f"{self._where}: the key {key} is missing")
        return node

    def _check(self) -> None:
        """Read every word once, so that none is missing at a bedside."""
        for key in _CALLS:
            for state in ("sent", "unsent"):
                for language in Language:
                    for scene in Scene:
                        self._check_call(key, state, language, scene)
        for key in ("first_aid", "nurse_openings"):
            for category, words in self._mapping(key).items():
                for language in Language:
                    text = words.get(language.value) if isinstance(words, dict) else None
                    if not isinstance(text, str) or not text.strip():
                        raise EmergencyWordsError(
                            f"{self._where}: {key}.{category}.{language} is missing"
                        )
        if "default" not in self._mapping("nurse_openings"):
            raise EmergencyWordsError(f"{self._where}: nurse_openings.default is missing")

    def _check_call(self, key: str, state: str, language: Language, scene: Scene) -> None:
        where = f"{self._where}: {key}.{state}.{language}.{scene}"
        try:
            texts = self._words[key][state][language.value][scene.value]
        except (KeyError, TypeError):
            raise EmergencyWordsError(f"{where} is missing") from None
        if not isinstance(texts, list) or not texts or not all(isinstance(t, str) for t in texts):
            raise EmergencyWordsError(f"{where} must be a list of texts")
        names: set[str] = set()
        for text in texts:
            try:
                names |= {name for _, name, _, _ in Formatter().parse(text) if name is not None}
            except ValueError:
                raise EmergencyWordsError(f"{where} has an unpaired brace") from None
        if not names <= {"number", "lines"}:
            raise EmergencyWordsError(f"{where}: only {{number}} and {{lines}} can be filled in")
        if scene is Scene.HOME and key == "emergency" and "number" not in names:
            raise EmergencyWordsError(f"{where} lacks {{number}}")
        if key == SUICIDE and "lines" not in names:
            raise EmergencyWordsError(f"{where} lacks {{lines}}")
