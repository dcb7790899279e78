"""Everything a conversation needs besides the model: words, rules and facts, read once.

One place puts them together, so that the node, the command line and the tests talk from the same
ones. Reading checks every file whole: what is wrong shows at the start and not at a bedside.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from medbot_llm.dialogue.advice import Advisor
from medbot_llm.dialogue.intents import Intents
from medbot_llm.dialogue.phrases import Phrases
from medbot_llm.knowledge.formulary import Formulary
from medbot_llm.knowledge.interactions import Interactions
from medbot_llm.knowledge.label_terms import LabelTerms
from medbot_llm.prompts.builder import PromptBuilder
from medbot_llm.safety.base import Triage
from medbot_llm.safety.base import Verifier
from medbot_llm.safety.escalation import DEFAULT_REGION
from medbot_llm.safety.escalation import EmergencyWords
from medbot_llm.safety.identity import IdentityRules
from medbot_llm.safety.triage import SafetyTriage
from medbot_llm.safety.verifier import SafetyVerifier


@dataclass(frozen=True)
class ResourceSettings:
    """Which data files to use; None: those of this package.

    Attributes:
        prompts: Folder with the scene prompts.
        formulary: Database made by `medbot formulary`.
        identity_rules: File like `resource/identity.yaml`.
        emergency_words: File like `resource/emergency.yaml`.
        region: Whose emergency numbers are told.
    """

    prompts: Path | None = None
    formulary: Path | None = None
    identity_rules: Path | None = None
    emergency_words: Path | None = None
    region: str = DEFAULT_REGION


@dataclass(frozen=True)
class DialogueResources:
    """The words, rules and facts of a conversation. Safe to share between conversations."""

    prompts: PromptBuilder
    phrases: Phrases
    terms: LabelTerms
    intents: Intents
    advisor: Advisor
    emergency_words: EmergencyWords
    identity_rules: IdentityRules
    triage: Triage
    verifier: Verifier

    @classmethod
    def load(cls, settings: ResourceSettings | None = None) -> DialogueResources:
        """Read everything.

        Raises:
            MedbotError: A file is missing or wrong; names it and says what.
        """
        wanted = settings or ResourceSettings()
        formulary = Formulary.open(wanted.formulary)
        interactions = Interactions(formulary)
        terms = LabelTerms()
        return cls(
            prompts=PromptBuilder(wanted.prompts),
            phrases=Phrases(),
            terms=terms,
            intents=Intents(),
            advisor=Advisor(formulary, interactions, terms),
            emergency_words=EmergencyWords(wanted.region, wanted.emergency_words),
            identity_rules=IdentityRules.read(wanted.identity_rules),
            triage=SafetyTriage(),
            verifier=SafetyVerifier(formulary, interactions),
        )
