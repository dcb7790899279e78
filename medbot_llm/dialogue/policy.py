"""What may and must be said now: the hand-over as a small explicit state machine.

An event comes in, a `Plan` comes out (or none), and the state moves. A plan carries words that
would do by themselves; the language model is asked only where `use_model` is set, and only for
questions after a scan has opened the gate, or for small talk while there is no task. Rules that
must not be reworded (a missed dose, doubling, stopping, what does not go together) are said in
prepared words even then.

    IDLE ──task──▶ APPROACH ──arrived──▶ IDENTIFY ──scan──▶ HANDOVER ──said──▶ QUESTIONS ──▶ LEAVE
                      │                  ▲  ▲  │                                 │   ▲
                      └──(already there)─┘  │  └──conflict──▶ HELD ──staff scan──┼───┤
                                            │                                    ▼   │
                                            └───── silence, wrong scan ◀──── CONFIRM ┘

Every state has a way back: a withdrawn or new task, a reset and a scan work in all of them, and
silence leads from CONFIRM and QUESTIONS to where nothing can be disclosed.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass
from dataclasses import field
from dataclasses import replace
from datetime import datetime

from medbot_llm.dialogue.advice import FIELDS
from medbot_llm.dialogue.advice import LABEL_ANSWERS
from medbot_llm.dialogue.advice import Advisor
from medbot_llm.dialogue.advice import Conflict
from medbot_llm.dialogue.advice import Heard
from medbot_llm.dialogue.advice import HoldFrom
from medbot_llm.dialogue.answers import Answers
from medbot_llm.dialogue.intents import ABOUT_ONE_MEDICINE
from medbot_llm.dialogue.intents import SURE
from medbot_llm.dialogue.intents import Answer
from medbot_llm.dialogue.intents import Intent
from medbot_llm.dialogue.intents import Intents
from medbot_llm.dialogue.intents import guessed
from medbot_llm.dialogue.missed_dose import read_missed_dose
from medbot_llm.dialogue.phrases import Phrases
from medbot_llm.dialogue.plans import Call
from medbot_llm.dialogue.plans import Plan
from medbot_llm.dialogue.utterances import SOMETHING_SAID
from medbot_llm.dialogue.utterances import is_no_words
from medbot_llm.dialogue.utterances import is_on_label
from medbot_llm.dialogue.utterances import quoted
from medbot_llm.dialogue.utterances import takes_back
from medbot_llm.dialogue.utterances import tells_number
from medbot_llm.dialogue.utterances import wanted_after
from medbot_llm.domain import CompartmentState
from medbot_llm.domain import DeliveryTask
from medbot_llm.domain import Identity
from medbot_llm.domain import IdentityScan
from medbot_llm.domain import Language
from medbot_llm.domain import Medication
from medbot_llm.domain import PatientGroup
from medbot_llm.domain import ReplyKind
from medbot_llm.domain import RobotContext
from medbot_llm.domain import Scene
from medbot_llm.domain import Severity
from medbot_llm.domain import SpeakerRole
from medbot_llm.domain import Stage
from medbot_llm.domain import TripStage
from medbot_llm.domain import Utterance
from medbot_llm.knowledge.label_terms import LabelTerms
from medbot_llm.knowledge.quantities import numbered
from medbot_llm.knowledge.quantities import read_amounts
from medbot_llm.knowledge.quantities import read_schedule
from medbot_llm.safety.base import TriageResult
from medbot_llm.safety.escalation import SUICIDE
from medbot_llm.safety.escalation import EmergencyWords
from medbot_llm.safety.identity import IdentityGate
from medbot_llm.safety.identity import IdentityRules
from medbot_llm.safety.identity import Outcome
from medbot_llm.safety.label_facts import DOSE_KINDS

logger = logging.getLogger(__name__)

AT_THE_RECEIVER = frozenset({TripStage.ARRIVED, TripStage.HANDING_OVER})
ON_THE_WAY_BACK = frozenset({TripStage.RETURNING, TripStage.CHARGING})
AT_WORK = (Stage.IDENTIFY, Stage.HANDOVER, Stage.QUESTIONS, Stage.CONFIRM, Stage.HELD)
OPEN_STAGES = (Stage.HANDOVER, Stage.QUESTIONS, Stage.CONFIRM)
LOW_BATTERY = 0.2
"""Charge below which the robot says so, 0 to 1."""
ASKS_BEFORE_A_HUMAN = 2
"""How often the robot asks to hear again before it calls a human."""

STATEMENTS = frozenset({Intent.ALLERGY_SAID, Intent.CONDITION_SAID, Intent.ALSO_TAKING})
"""What would change what happens, and is said back."""
WORDED_BY_MODEL = frozenset(
    {
        Intent.WHEN,
        Intent.HOW_MUCH,
        Intent.HOW_TO_TAKE,
        Intent.WHAT_IS_IT,
        Intent.WHAT_FOR,
        Intent.SIDE_EFFECTS,
        Intent.WITH_FOOD,
        Intent.STORAGE,
        Intent.DRIVING,
        Intent.OTHER,
        Intent.GREETING,
    }
)
"""Questions whose answer a model may word; what it may state are the plan's facts."""
AFTER_AN_EMERGENCY = frozenset(
    {
        Intent.OTHER,
        Intent.WITH_FOOD,
        Intent.UNSURE_TAKEN,
        Intent.MISSED_DOSE,
        Intent.DOUBLE_DOSE,
        Intent.TOGETHER,
        Intent.HOW_MUCH,
        Intent.HOW_TO_TAKE,
        Intent.WHEN,
        Intent.CHANGE_DOSE,
        Intent.CRUSH,
        Intent.REPEAT_PILL,
    }
)
"""What is answered by the emergency's own words again while it is open: to wait, to take
nothing."""
OF_THE_LABEL = frozenset({"dose_change_request", "suspected_error"})
PLAIN_QUESTIONS = frozenset(
    {
        Intent.CRUSH,
        Intent.WITH_FOOD,
        Intent.STORAGE,
        Intent.DRIVING,
        Intent.MISSED_DOSE,
        Intent.NEXT_DOSE,
        Intent.FASTING,
    }
)
"""Questions for which nobody has to come."""
STAFF_ROLES = frozenset({SpeakerRole.NURSE, SpeakerRole.PHARMACIST})
"""Who speaks so is the help that was called."""
HAS_FACTS_OF_ITS_OWN = frozenset({Intent.ALCOHOL, *ABOUT_ONE_MEDICINE})
"""Questions that the formulary answers where no rule speaks against what is named."""
HARMLESS_BESIDE_A_CALL = frozenset(
    {
        Intent.SIDE_EFFECTS,
        Intent.STORAGE,
        Intent.ALCOHOL,
        Intent.DRIVING,
        Intent.PREGNANCY,
        Intent.BREASTFEEDING,
    }
)
"""Questions that are answered although somebody was called: they tell nobody to take anything."""
RULE_PHRASES = {
    Intent.DOUBLE_DOSE: "double_no",
    Intent.STOP_MEDICINE: "stop_no",
    Intent.CHANGE_DOSE: "change_no",
    Intent.OPIOID_REQUEST: "opioid_no",
    Intent.ARE_YOU_DOCTOR: "doctor_no",
    Intent.DIAGNOSIS: "diagnosis_no",
    Intent.INSULT: "insult",
    Intent.OTHER_PATIENT: "others_no",
    Intent.VOMITED_DOSE: "vomited_ask",
    Intent.SHARING: "share_no",
    Intent.FASTING: "fasting_ask",
}
"""Intents that one prepared phrase answers, whoever stands there."""
NAME_ANOTHER = frozenset({Intent.ALSO_TAKING, Intent.TOGETHER})
"""What tells or asks of another medicine names it."""
MAY_TELL = frozenset({Intent.OTHER, Intent.TOGETHER, Intent.WITH_FOOD, Intent.STORAGE})
"""Questions in which it may be told that something else is taken already."""


@dataclass(frozen=True)
class PolicySettings:
    """What a hospital sets for the hand-over.

    Attributes:
        default_scene: Where the robot is taken to be while no task says it.
        default_language: Language until someone speaks another one.
        min_confidence: Speech recognised with less than this is asked for again; 0 to 1.
        max_utterance_chars: Longer speech is asked for again, shorter.
        hold_from: From which severity of an interaction on a delivery is held back.
    """

    default_scene: Scene = Scene.WARD
    default_language: Language = Language.ZH_HANT
    min_confidence: float = 0.35
    max_utterance_chars: int = 1000
    hold_from: HoldFrom = HoldFrom.MAJOR


@dataclass(frozen=True)
class _Pending:
    """What was said back and waits for yes or no.

    Attributes:
        before: The stage to go back to.
        conflict: What it means for the delivery; None: nothing.
        call: Whom to call, or to call again, once it is confirmed.
        is_dose: A dose that is not the label's.
        what: Its name, as it was said back.
    """

    before: Stage
    conflict: Conflict | None
    call: Call | None
    is_dose: bool = False
    what: str = ""


@dataclass
class Policy:
    """Keeps the state of one hand-over and turns each event into a plan. Not thread-safe."""

    phrases: Phrases
    terms: LabelTerms
    settings: PolicySettings
    advisor: Advisor
    intents: Intents
    emergency_words: EmergencyWords
    identity_rules: IdentityRules
    now: Callable[[], datetime] = datetime.now
    stage: Stage = Stage.IDLE
    task: DeliveryTask | None = None
    context: RobotContext = field(default_factory=RobotContext)
    language: Language = Language.ZH_HANT
    _pending: _Pending | None = None
    _asks_missed_dose: Medication | None = None
    _topic: Intent = Intent.OTHER
    _missed_at: float | None = None
    _is_stranger: bool = False
    _not_understood: int = 0
    _silences: int = 0
    _emergency: str = ""
    _is_released: bool = False
    _was_handed_over: bool = False
    _last: Plan | None = None

    def __post_init__(self) -> None:
        self.gate = IdentityGate(self.identity_rules)
        self.language = self.settings.default_language

    @property
    def scene(self) -> Scene:
        """Where the robot is taken to be: the task knows best, then the robot, then the
        setting.
        """
        task = self.task
        if task is not None:
            return task.scene
        return self.context.scene or self.settings.default_scene

    @property
    def patient_group(self) -> PatientGroup:
        """Who the robot speaks with, as the task says."""
        return self.task.patient_group if self.task is not None else PatientGroup.ADULT

    @property
    def identity(self) -> Identity:
        """What scans have told of whoever stands there."""
        return self.gate.state

    @property
    def may_disclose(self) -> bool:
        """Whether the medicine and the patient may be spoken of, to whoever speaks now."""
        return self.task is not None and self.gate.is_open and not self._is_stranger

    @property
    def timeout_s(self) -> float | None:
        """How long the present stage may last without an event, s; None: as long as it likes."""
        if self.task is None:
            return None
        rule = self.gate.rule(self.task)
        if self.stage is Stage.IDENTIFY:
            # After the staff were called there is nothing left to ask for.
            return rule.scan_timeout_s if self._silences <= rule.asks else None
        if self.stage is Stage.CONFIRM:
            return rule.scan_timeout_s
        return rule.disclosure_timeout_s if self.gate.is_open else None

    # --- events ----------------------------------------------------------------------------------

    def on_task(self, task: DeliveryTask | None) -> Plan | None:
        """Take up a task, or drop the current one for None."""
        had_listener = self.stage in AT_WORK
        self.task = task
        self._begin_again()
        if task is None:
            self.stage = Stage.IDLE
            return self._prepared("task_cancelled", ReplyKind.FAREWELL) if had_listener else None
        self.language = task.language
        trip = self.context.trip_stage
        if trip is None or trip in AT_THE_RECEIVER:
            return self._greet()
        self.stage = Stage.APPROACH
        return None

    def on_context(self, context: RobotContext) -> Plan | None:
        """Note where the robot is; arriving greets, driving off says good-bye and locks."""
        before, now = self.context.trip_stage, context.trip_stage
        trouble = self._trouble(context)
        self.context = context
        if self.stage is Stage.APPROACH and now in AT_THE_RECEIVER:
            return self._greet()
        if now is before or now is None or self.stage not in AT_WORK:
            # A trip that stands as it stood is no news: a scan may have opened the hand-over at
            # the dock.
            return trouble if self.stage in AT_WORK else None
        if now in AT_THE_RECEIVER:
            # It spoke with someone on its way, and comes only now to the one it was sent to.
            has_travelled = before is not None and before not in AT_THE_RECEIVER
            return self._greet() if has_travelled and self.stage is Stage.IDENTIFY else trouble
        is_delivered = self._was_handed_over
        self._close_identity()
        if not is_delivered and now not in ON_THE_WAY_BACK:
            self.stage = Stage.APPROACH
            return None
        self.stage = Stage.LEAVE
        key = "farewell" if is_delivered else "farewell_undelivered"
        return self._prepared(key, ReplyKind.FAREWELL)

    def on_scan(self, scan: IdentityScan) -> Plan | None:
        """Open the hand-over for a scan that the gate accepts, and for no other."""
        task = self.task
        if task is None or self.stage is Stage.LEAVE:
            logger.info("a scan was ignored: there is no task to hand over")
            return None
        if self.stage is Stage.APPROACH:
            # Someone is there to be scanned, whatever the trip says.
            self.stage = Stage.IDENTIFY
        self._silences, self._is_stranger = 0, False
        was_held, was_staff = self.stage is Stage.HELD, self.gate.is_staff
        outcome = self.gate.scan(scan, task)
        if outcome is Outcome.KNOWN and was_held and was_staff:
            return self._release()
        if outcome is Outcome.KNOWN:
            return None
        if outcome is not Outcome.OPENED:
            if not self.gate.is_open:
                self._pending = None
                self.stage = Stage.HELD if was_held else Stage.IDENTIFY
            return self._refused(outcome, scan)
        if was_held:
            return self._release() if self.gate.is_staff else self._held()
        if self._pending is not None and self._pending.conflict is not None:
            # Something that speaks against it was said before the scan, and not taken back.
            return self._hold(self._pending.conflict)
        self._pending = None
        conflicts = (
            []
            if self._is_released
            else self._grave(self.advisor.conflicts_known(task, self.language))
        )
        if conflicts:
            return self._hold(conflicts[0])
        return self._hand_over()

    def is_known(self, scan: IdentityScan) -> bool:
        """Whether a scan only says again what is confirmed: scanners read ten times a second."""
        return (
            self.task is not None
            and self.stage is not Stage.HELD
            and self.gate.is_known(scan, self.task)
        )

    def on_handover_said(self) -> None:
        """Open for questions once the hand-over words are out, whole or interrupted."""
        if self.stage is Stage.HANDOVER:
            self.stage = Stage.QUESTIONS

    def on_timeout(self) -> Plan | None:
        """Act on silence that lasted for `timeout_s`."""
        task = self.task
        if task is None or self.stage in (Stage.IDLE, Stage.APPROACH, Stage.LEAVE):
            return None
        self._silences += 1
        call = self._call_for_silence(self.gate.rule(task).asks)
        if self.stage is Stage.CONFIRM and self._pending is not None:
            # Nobody took it back: towards safety it counts as said.
            return self._confirmed(self._pending)
        if self.gate.is_open:
            self._close_identity()
            if self.stage is not Stage.HELD:
                self.stage = Stage.IDENTIFY
            return self._planned(self._say("identity_closed"), ReplyKind.CLARIFICATION, call)
        if self.stage is not Stage.IDENTIFY:
            return None
        if call is not None:
            return self._planned(self._say("no_answer"), ReplyKind.CLARIFICATION, call)
        words = (*self._say("scan_waiting"), *self._say("ask_identity_again"))
        return self._planned(words, ReplyKind.CLARIFICATION)

    def _call_for_silence(self, asks: int) -> Call | None:
        """Whoever does not answer for long, or after an emergency, may not be able to."""
        if self._emergency:
            reason = f"no answer after an emergency ({self._emergency})"
        elif self._silences == asks + 1:
            reason = "nobody has answered or been scanned"
        else:
            return None
        return Call(Severity.NURSE, "no_answer", reason)

    def emergency_over(self) -> None:
        """A human has taken notice of the alerts."""
        self._emergency = ""

    def on_utterance(self, utterance: Utterance, language: Language, triage: TriageResult) -> Plan:
        """Plan the answer to what a person said in `language`, and triage has judged."""
        self._silences = 0
        # A visitor stands beside a patient whose identity is confirmed, and is not that patient.
        self._is_stranger = utterance.role is SpeakerRole.VISITOR
        if triage.severity is Severity.EMERGENCY:
            self.language = language
            self._emergency = triage.category
            self._hold_for_what_is_said(utterance.text)
            return self._planned(
                (), ReplyKind.EMERGENCY, Call(triage.severity, triage.category, triage.reason)
            )
        if not SOMETHING_SAID.search(utterance.text) or self._is_doubtful(utterance):
            # What was hardly heard does not tell a language either.
            return self._not_heard()
        if triage.severity is None and self._is_garbled(utterance.text, language):
            return self._not_heard()
        self._not_understood = 0
        self.language = language
        if len(utterance.text) > self.settings.max_utterance_chars:
            return self._prepared("too_long", ReplyKind.FALLBACK)
        plan = self._answer(utterance, triage)
        self._last = plan if plan.kind is not ReplyKind.CLARIFICATION else self._last
        return self._saying_back(plan, utterance)

    def without_plan(self, language: Language, triage: TriageResult) -> Plan:
        """What is said where no plan could be made: whom to ask. Who is needed is called."""
        self.language = language
        call = None
        if triage.severity is not None:
            call = Call(triage.severity, triage.category, triage.reason)
        if triage.severity is Severity.EMERGENCY:
            return self._planned((), ReplyKind.EMERGENCY, call)
        is_locked = self.task is not None and not self.may_disclose
        key = "model_unavailable_locked" if is_locked else "model_unavailable"
        return self._planned(self._say(key), ReplyKind.FALLBACK, call)

    def foresee(self, utterance: Utterance, language: Language, triage: TriageResult) -> Plan:
        """What `on_utterance` would plan; nothing is changed by it."""
        trial = copy(self)
        trial.gate = copy(self.gate)
        return trial.on_utterance(utterance, language, triage)

    def _saying_back(self, plan: Plan, utterance: Utterance) -> Plan:
        """Begin with the medicine or allergy that was guessed from its sound, so that a wrong
        guess can be put right. Not while nothing of the delivery may be said: the guess may be
        its very medicine.
        """
        may_name = self.task is None or self.may_disclose
        said = "" if plan.use_model else "".join(plan.sentences)
        guessed = [word for word in utterance.guessed if word not in said]
        if not guessed or not may_name:
            return plan
        what = _listed(guessed, self.language)
        return replace(plan, opening=self._say("understood_as", what=what))

    def restart(self) -> Plan | None:
        """Forget who stands there and begin again with the same task."""
        self._begin_again()
        task = self.task
        self.language = task.language if task is not None else self.settings.default_language
        return self._greet() if task is not None and self.stage is not Stage.APPROACH else None

    def call_words(self, plan: Plan, *, sent: bool) -> tuple[str, ...]:
        """The plan's sentences with those on the call, as true as the call is."""
        call = plan.call
        if call is None:
            return plan.sentences
        words = self.emergency_words
        if call.severity is Severity.EMERGENCY:
            return (
                *plan.sentences,
                *words.emergency(call.category, plan.language, self.scene, sent=sent),
            )
        # The words for someone who wants to die begin as they must.
        opening = () if call.category == SUICIDE else plan.sentences
        if not opening and call.category != SUICIDE:
            opening = words.opening(call.category, plan.language)
        told = words.nurse(call.category, plan.language, self.scene, sent=sent)
        return (*opening, *told)

    # --- answers ---------------------------------------------------------------------------------

    def _answer(self, utterance: Utterance, triage: TriageResult) -> Plan:
        text, task = utterance.text, self.task
        call = None
        if triage.severity is Severity.NURSE and not self._asks_plainly(text, triage):
            call = Call(triage.severity, triage.category, triage.reason)
        if self.stage is Stage.LEAVE:
            return self._planned(self._say("farewell"), ReplyKind.FAREWELL, call)
        heard = self.advisor.heard(text, task, self.language)
        intent = self._intent(text, heard, triage)
        if self._pending is not None and self.stage is Stage.CONFIRM:
            plan = self._answer_to_say_back(text, intent, heard, call)
            if plan is not None:
                return plan
        if self.stage is Stage.APPROACH and call is None:
            # Whoever speaks is in front of the robot: ask for the scan as on arrival.
            return self._greet()
        if intent is Intent.EMERGENCY_NUMBER:
            number = self.emergency_words.emergency_number
            return self._planned(
                self._say("emergency_number", number=number), ReplyKind.ANSWER, call
            )
        is_like_it = intent in AFTER_AN_EMERGENCY or (
            # To whoever spoke of dying nothing is told of a medicine.
            self._emergency == SUICIDE and intent is not Intent.CALL_STAFF
        )
        is_staff = utterance.role in STAFF_ROLES
        is_waiting = bool(self._emergency) and not is_staff and self.stage is not Stage.CONFIRM
        if is_waiting and is_like_it:
            words = self.emergency_words.emergency(
                self._emergency, self.language, self.scene, sent=True
            )
            return self._planned(words, ReplyKind.EMERGENCY)
        if intent is Intent.CALL_STAFF:
            wanted = call or Call(Severity.NURSE, "staff_requested", "asked for a member of staff")
            return self._planned((), ReplyKind.ANSWER, wanted)
        if intent is Intent.UNSURE_TAKEN:
            wanted = call or Call(
                Severity.NURSE, "overdose", "does not know whether a dose was taken"
            )
            return self._planned(self._say("taken_unsure"), ReplyKind.ANSWER, wanted)
        if intent in STATEMENTS:
            return self._statement(intent, text, heard, call)
        if intent is Intent.DOSE_SAID and self._is_news(text, heard):
            return self._dose_said(text, call)
        if intent in RULE_PHRASES and not (intent is Intent.STOP_MEDICINE and self.may_disclose):
            words = self._say(RULE_PHRASES[intent])
            if intent is Intent.ARE_YOU_DOCTOR and task is not None and not self.may_disclose:
                words += self._say("ask_identity_again")
            return self._planned(words, ReplyKind.ANSWER, call)
        if self._asks_missed_dose is not None or intent is Intent.MISSED_DOSE:
            plan = self._missed_dose(text, intent, heard, call)
            if plan is not None:
                return plan
        if task is not None and not self.may_disclose:
            return self._answer_locked(intent, call)
        if self.stage is Stage.HELD:
            return self._planned(self._say("held"), ReplyKind.CLARIFICATION, call)
        if task is None:
            return self._answer_without_task(intent, call)
        if intent is Intent.NEXT_DOSE:
            return self._planned(
                self._answers.next_dose(task, heard.delivered or task.medications),
                ReplyKind.ANSWER,
                call,
            )
        plan = self._answer_open(task, intent, text, heard, call)
        return self._with_other_questions(plan, task, intent, text, heard)

    def _asks_plainly(self, text: str, triage: TriageResult) -> bool:
        """Whether a question that the rules know was guessed to be a wish for another dose, or for
        another medicine: "may I break it in two?"."""
        return (
            triage.is_guess
            and triage.category in OF_THE_LABEL
            and self.intents.of(text) in PLAIN_QUESTIONS
        )

    def _intent(self, text: str, heard: Heard, triage: TriageResult) -> Intent:
        """What is wanted; of a question that only goes on, what the one before wanted."""
        names_allergen = bool(self.advisor.names_allergy(text, self.language))
        # Who one is asks nothing once it is confirmed.
        never: set[Intent] = {Intent.IDENTITY_CLAIM} if self.may_disclose else set()
        intent = self.intents.of(
            text, names_other=bool(heard.others), names_allergen=names_allergen, without=never
        )
        # "Before or after my porridge? I had my mask on" tells of no medicine.
        named = heard.drugs if intent is Intent.WITH_FOOD else heard.others
        if named and intent in MAY_TELL and self.intents.tells_of_taking(text):
            intent = Intent.ALSO_TAKING
        elif intent is Intent.ALSO_TAKING and not heard.drugs:
            asked = self.intents.of(text, names_other=True, without={*never, intent})
            intent = asked if asked is Intent.WITH_FOOD else intent
        intent = wanted_after(self._topic, intent, text, names_other=bool(heard.others))
        # Before the scan little else is answered, and what is to be confirmed needs plain words.
        if intent is Intent.OTHER and self.may_disclose and self.stage is not Stage.CONFIRM:
            if not heard.others:
                never |= NAME_ANOTHER
            if not names_allergen:
                never |= {Intent.ALLERGY_SAID}
            intent = guessed(triage.wants, triage.wants_share, without=never)
            medications = self.task.medications if self.task is not None else ()
            # Words of the label tell more than a guess that is not sure.
            if triage.wants_share < SURE and is_on_label(text, medications):
                intent = Intent.HOW_TO_TAKE
        self._topic = intent
        return intent

    def _with_other_questions(
        self, plan: Plan, task: DeliveryTask, intent: Intent, text: str, heard: Heard
    ) -> Plan:
        """Answer also what else was asked in the same breath."""
        if plan.kind is not ReplyKind.ANSWER or plan.call is not None:
            return plan
        medications = heard.delivered or task.medications
        said = "".join((*plan.sentences, *plan.facts))
        more: list[str] = []
        for other in self.intents.each(text):
            if other is not intent and (other in FIELDS or other in LABEL_ANSWERS):
                more += [f for f in self._answers.facts(task, other, medications) if f not in said]
        if not more:
            return plan
        more = list(dict.fromkeys(more))
        closing = self._say("check_with_staff")
        words = [s for s in plan.sentences if s not in closing]
        facts = (*plan.facts, *more) if plan.use_model else plan.facts
        return replace(plan, sentences=(*words, *more, *closing), facts=facts)

    def _answer_locked(self, intent: Intent, call: Call | None) -> Plan:
        if call is not None:
            opening = self.emergency_words.opening(call.category, self.language)
            words = (*opening, *self._say("ask_identity_again"))
            return self._planned(words, ReplyKind.ANSWER, call)
        if intent is Intent.IDENTITY_CLAIM:
            words = (*self._say("identity_claim"), *self._say("ask_identity_again"))
            return self._planned((*words, *self._say("no_scan_possible")), ReplyKind.CLARIFICATION)
        if intent is Intent.GREETING:
            return self._greet()
        return self._prepared("locked_answer", ReplyKind.CLARIFICATION)

    def _answer_without_task(self, intent: Intent, call: Call | None) -> Plan:
        if call is not None:
            return self._planned((), ReplyKind.ANSWER, call)
        if intent is Intent.FAREWELL:
            return self._prepared("farewell", ReplyKind.FAREWELL)
        words = self._say("no_task")
        return Plan(ReplyKind.ANSWER, self.language, words, use_model=True)

    def _answer_open(
        self, task: DeliveryTask, intent: Intent, text: str, heard: Heard, call: Call | None
    ) -> Plan:
        if intent is Intent.REPEAT_PILL:
            wanted = call or Call(
                Severity.NURSE, "repeat_request", "asked again for a medicine already handed over"
            )
            return self._planned(self._say("repeat_no"), ReplyKind.ANSWER, wanted)
        if intent is Intent.REPEAT and self._last is not None and call is None:
            return Plan(self._last.kind, self._last.language, self._last.sentences)
        if heard.candidates:
            joint = "、" if self.language.is_chinese else ", "
            words = self._say("which_medicine", candidates=joint.join(heard.candidates))
            return self._planned(words, ReplyKind.CLARIFICATION, call)
        if heard.others:
            plan = self._about_others(task, intent, heard, call)
            if plan is not None:
                return plan
        medications = heard.delivered or task.medications
        facts = self._answers.facts(task, intent, medications)
        if call is not None:
            # The words of the call come first; a fact that was asked for may follow them.
            is_of_label = intent in LABEL_ANSWERS and call.category == "dose_change_request"
            about_it = facts if intent in HARMLESS_BESIDE_A_CALL or is_of_label else ()
            if intent is Intent.STOP_MEDICINE:
                return self._planned((*self._say("stop_no"), *facts), ReplyKind.ANSWER, call)
            opening = self.emergency_words.opening(call.category, self.language)
            return self._planned((*opening, *about_it), ReplyKind.ANSWER, call)
        if intent is Intent.FAREWELL:
            return self._prepared("farewell", ReplyKind.FAREWELL)
        if intent is Intent.STOP_MEDICINE:
            return self._planned((*self._say("stop_no"), *facts), ReplyKind.ANSWER)
        if intent is Intent.STORED_WRONG:
            return self._planned((*self._say("spoiled_ask"), *facts), ReplyKind.ANSWER)
        if intent is Intent.GREETING:
            return Plan(ReplyKind.ANSWER, self.language, self._say("hello"), use_model=True)
        if intent in WORDED_BY_MODEL and (facts or intent is Intent.OTHER):
            words = self._answers.without_model(task)
            if facts:
                words = (*facts, *self._say("check_with_staff"))
            return Plan(ReplyKind.ANSWER, self.language, words, use_model=True, facts=facts)
        if facts:
            return self._planned((*facts, *self._say("check_with_staff")), ReplyKind.ANSWER)
        return self._prepared("fact_missing", ReplyKind.ANSWER)

    def _about_others(
        self, task: DeliveryTask, intent: Intent, heard: Heard, call: Call | None
    ) -> Plan | None:
        """Answer what names another medicine or a food; None: the delivery's own facts, or the
        call, do."""
        what = _listed(heard.others, self.language)
        conflicts = self.advisor.conflicts_said(
            task, self.language, drugs=heard.drugs, foods=heard.foods
        )
        is_about_it = intent in ABOUT_ONE_MEDICINE and not heard.delivered and heard.drugs
        if is_about_it and not self._grave(conflicts) and call is None:
            return self._planned(self._say("not_in_delivery", what=what), ReplyKind.ANSWER)
        if not conflicts and (intent in HAS_FACTS_OF_ITS_OWN or call is not None):
            return None
        if not conflicts:
            words = self._say("together_nothing_known", what=what)
            if intent is Intent.WITH_FOOD:
                medications = heard.delivered or task.medications
                words = (*self._answers.facts(task, intent, medications), *words)
            return self._planned(words, ReplyKind.ANSWER)
        risks: list[str] = []
        for conflict in conflicts[:2]:
            risks += self._say(
                "together_risk", what=conflict.what, medicine=conflict.medicine, why=conflict.why
            )
        # The advice at the end is the same for both, and is said once.
        words = tuple(dict.fromkeys(reversed(risks)))[::-1]
        return self._planned(words, ReplyKind.ANSWER, call)

    def _missed_dose(
        self, text: str, intent: Intent, heard: Heard, call: Call | None
    ) -> Plan | None:
        """Answer on a missed dose, or ask for the time to the next one; None: it is about
        something else now."""
        asked, self._asks_missed_dose = self._asks_missed_dose, None
        task = self.task
        if task is None or not self.may_disclose:
            if intent is not Intent.MISSED_DOSE:
                return None
            return self._planned(
                self._answers.missed_dose("missed_rule", None), ReplyKind.ANSWER, call
            )
        medication = asked or next(iter(heard.delivered or task.medications))
        if len(task.medications) > 1 and not heard.delivered and asked is None:
            # Which of them is not known: the rule alone is right for all.
            return self._planned(
                self._answers.missed_dose("missed_rule", None), ReplyKind.ANSWER, call
            )
        own_rule, is_arithmetic = self.advisor.missed_dose_rule(medication, self.language)
        if own_rule and not is_arithmetic and intent is Intent.MISSED_DOSE:
            words = self._answers.missed_dose("", medication, rule=own_rule)
            return self._planned(words, ReplyKind.ANSWER, call)
        missed = read_missed_dose(text, medication.frequency, self._local_time(), self._missed_at)
        self._missed_at = missed.missed_at
        if missed.may_be_taken is None and intent is not Intent.MISSED_DOSE:
            return None
        if missed.may_be_taken is None:
            key = "" if own_rule else "missed_rule"
            words = self._answers.missed_dose(key, medication, rule=own_rule)
            if missed.interval_h is not None and asked is None:
                self._asks_missed_dose = medication
                words += self._say("missed_ask")
            return self._planned(words, ReplyKind.ANSWER, call)
        key = "missed_take_now" if missed.may_be_taken else "missed_skip"
        words = self._answers.missed_dose(key, medication, left_h=missed.left_h)
        return self._planned(words, ReplyKind.ANSWER, call)

    # --- what is said back -----------------------------------------------------------------------

    def _statement(self, intent: Intent, text: str, heard: Heard, call: Call | None) -> Plan:
        task = self.task
        what = self._named(intent, text, heard)
        if intent is Intent.ALLERGY_SAID:
            key, said = "say_back_allergy", {"allergies": [text]}
        elif intent is Intent.CONDITION_SAID:
            key, said = "say_back_condition", {"conditions": [text]}
        else:
            key = "say_back_taking"
            said = {"drugs": list(heard.drugs), "foods": list(heard.foods)}
        if not what:
            key, what = "say_back_words", quoted(text)
        words = self._say(key, what=what)
        conflicts = self.advisor.conflicts_said(task, self.language, **said) if task else []
        grave = self._grave(conflicts)
        if not grave and conflicts and self.may_disclose:
            mild = conflicts[0]
            risk = self._say("together_risk", what=mild.what, medicine=mild.medicine, why=mild.why)
            return self._planned(risk, ReplyKind.ANSWER, call)
        before = self._pending.before if self._pending is not None else self.stage
        if not grave:
            later = Call(Severity.NURSE, _category(intent, "said"), f"said: {text}")
            is_news = intent is not Intent.ALSO_TAKING
            self._pending = _Pending(before, None, later if is_news else None, what=what)
            self._to_confirm()
            return self._planned(words, ReplyKind.CLARIFICATION, call)
        conflict = grave[0]
        if conflict.what == text:
            # What was said in a sentence is told by its name.
            named = what if key != "say_back_words" else quoted(text)
            conflict = replace(conflict, what=named)
        wanted = Call(
            Severity.NURSE,
            _category(intent, "conflict"),
            f"{conflict.medicine} and {conflict.what} ({conflict.severity}, rule {conflict.rule})",
        )
        self._pending = _Pending(before, conflict, wanted, what=what)
        self._to_confirm()
        if self.may_disclose:
            words += self._say(
                "conflict_hold", what=conflict.what, medicine=conflict.medicine, why=conflict.why
            )
        else:
            words += self._say("conflict_hold_locked")
        return self._planned(words, ReplyKind.CLARIFICATION, wanted)

    def _named(self, intent: Intent, text: str, heard: Heard) -> str:
        """The allergy, condition or medicine that a statement tells of; "" for none known."""
        if intent is Intent.ALLERGY_SAID:
            return self.advisor.names_allergy(text, self.language)
        if intent is Intent.CONDITION_SAID:
            return self.advisor.names_condition(text, self.language)
        return _listed(heard.others, self.language)

    def _hold_for_what_is_said(self, text: str) -> None:
        """In an emergency nothing is said back; but an allergy told in it holds the delivery."""
        task = self.task
        if task is None or self.stage not in (Stage.IDENTIFY, *OPEN_STAGES):
            return
        if self.intents.of(text) is Intent.ALLERGY_SAID and self._grave(
            self.advisor.conflicts_said(task, self.language, allergies=[text])
        ):
            self.stage = Stage.HELD

    def _dose_said(self, text: str, call: Call | None) -> Plan:
        words = self._dose_said_back(text)
        wanted = call or Call(Severity.NURSE, "dose_change_request", f"said: {text}")
        if self.stage in OPEN_STAGES:
            before = self._pending.before if self._pending is not None else self.stage
            self._pending = _Pending(before, None, wanted, is_dose=True)
            self._to_confirm()
        return self._planned(words, ReplyKind.CLARIFICATION, wanted)

    def _dose_said_back(self, text: str) -> tuple[str, ...]:
        return (*self._say("say_back_words", what=quoted(text)), *self._say("keep_to_label"))

    def _is_news(self, text: str, heard: Heard) -> bool:
        """Whether a dose that somebody else is said to have told is not what the label says."""
        task = self.task
        if task is None or not self.may_disclose:
            return True
        said = [a for a in read_amounts(numbered(text)) if a.kind in DOSE_KINDS]
        often = read_schedule(text).per_day
        if not said and often is None:
            return True
        for medication in heard.delivered or task.medications:
            label = read_amounts(numbered(f"{medication.dose} ; {medication.strength}"))
            known = {(a.kind, a.low, a.high) for a in label}
            schedule = read_schedule(medication.frequency, medication.dose).per_day
            if all((a.kind, a.low, a.high) in known for a in said) and often in (None, schedule):
                return False
        return True

    def _answer_to_say_back(
        self, text: str, intent: Intent, heard: Heard, call: Call | None
    ) -> Plan | None:
        pending = self._pending
        assert pending is not None
        answer = self.intents.answer(text)
        named = self._named(intent, text, heard) if intent in STATEMENTS else ""
        if answer is Answer.YES and pending.conflict is None and named not in ("", pending.what):
            # "Yes, and aspirin too": one is settled, the other said back in its turn.
            self.stage, self._pending = pending.before, None
            return self._statement(intent, text, heard, call or pending.call)
        if answer is Answer.YES or self._names_again(text, heard, pending):
            return self._confirmed(pending)
        if intent in (Intent.EMERGENCY_NUMBER, Intent.CALL_STAFF):
            # Help is told of at once; what was said back still waits.
            return None
        if intent in STATEMENTS:
            return None
        if answer is Answer.NO and self.advisor.names_allergy(text, self.language):
            # "No, it is prawns": what was meant instead is said back in its turn.
            self.stage, self._pending = pending.before, None
            return self._statement(Intent.ALLERGY_SAID, text, heard, call)
        corrects = pending.is_dose and tells_number(text)
        if corrects and intent in (Intent.OTHER, Intent.DOSE_SAID):
            # A number put right is a number to hear right.
            return self._planned(self._dose_said_back(text), ReplyKind.CLARIFICATION, call)
        if answer is Answer.NO:
            self._pending = None
            self.stage = pending.before
            return self._planned(self._say("misheard"), ReplyKind.CLARIFICATION, call)
        if pending.conflict is not None and call is None:
            words = (*self._say("held"), *self._say("confirm_again"))
            return self._planned(words, ReplyKind.CLARIFICATION)
        if intent is Intent.OTHER and call is None:
            return self._prepared("confirm_again", ReplyKind.CLARIFICATION)
        # Something else is wanted; what was said stands as long as nobody takes it back.
        self.stage = Stage.HELD if pending.conflict is not None else pending.before
        self._pending = None
        return None

    def _names_again(self, text: str, heard: Heard, pending: _Pending) -> bool:
        """Whether the answer is what was said back, without a yes: "hm, Viagra, about eleven"."""
        if not pending.what or takes_back(text):
            return False
        return pending.what in (
            _listed(heard.others, self.language),
            self.advisor.names_allergy(text, self.language),
            self.advisor.names_condition(text, self.language),
        )

    def _confirmed(self, pending: _Pending) -> Plan:
        self._pending = None
        if pending.conflict is None:
            self.stage = pending.before
            words = self._say("noted")
            if pending.is_dose:
                words += self._say("keep_to_label")
            return self._planned(words, ReplyKind.ANSWER, pending.call)
        self.stage = Stage.HELD
        words = (*self._say("noted"), *self._say("held"))
        return self._planned(words, ReplyKind.ANSWER, pending.call)

    def _to_confirm(self) -> None:
        """Wait for yes or no; a hand-over that is held stays held whatever the answer."""
        if self.stage is not Stage.HELD:
            self.stage = Stage.CONFIRM

    # --- scans -----------------------------------------------------------------------------------

    def _hand_over(self) -> Plan:
        assert self.task is not None
        self.stage = Stage.HANDOVER
        self._was_handed_over = True
        words = self.phrases.handover(
            self.task,
            self.language,
            self.terms,
            to_patient=self.gate.receiver is SpeakerRole.PATIENT,
        )
        plan = Plan(ReplyKind.HANDOVER, self.language, tuple(words))
        self._last = plan
        return plan

    def _hold(self, conflict: Conflict) -> Plan:
        self.stage = Stage.HELD
        self._pending = None
        words = self._say(
            "conflict_hold", what=conflict.what, medicine=conflict.medicine, why=conflict.why
        )
        category = (
            "allergy_conflict" if conflict.kind == "drug_allergy" else "interaction_conflict"
        )
        reason = (
            f"{conflict.medicine} and {conflict.what} ({conflict.severity}, rule {conflict.rule})"
        )
        return self._planned(words, ReplyKind.HANDOVER, Call(Severity.NURSE, category, reason))

    def _held(self) -> Plan:
        return self._prepared("held", ReplyKind.CLARIFICATION)

    def _release(self) -> Plan:
        """Staff have looked at what spoke against it."""
        assert self.task is not None
        self._is_released = self._was_handed_over = True
        self.stage = Stage.HANDOVER
        words = (
            *self._say("released"),
            *self._answers.labels(self.task),
            *self._say("handover_closing"),
        )
        self._last = self._planned(words, ReplyKind.HANDOVER)
        return self._last

    def _refused(self, outcome: Outcome, scan: IdentityScan) -> Plan:
        key = {
            Outcome.UNREADABLE: "scan_unreadable",
            Outcome.INCOMPLETE: "scan_incomplete",
            Outcome.MISMATCH: "scan_mismatch",
            Outcome.WRONG_PLACE: "scan_wrong_place",
            Outcome.WRONG_SOURCE: "scan_wrong_source",
            Outcome.WRONG_RECEIVER: "scan_wrong_receiver",
            Outcome.LOCKED: "scan_locked",
        }[outcome]
        call = None
        if outcome in (Outcome.MISMATCH, Outcome.WRONG_PLACE, Outcome.LOCKED):
            category = {Outcome.LOCKED: "identity_locked", Outcome.WRONG_PLACE: "wrong_place"}.get(
                outcome, "identity_mismatch"
            )
            reason = f"what was scanned ({scan.source}) does not belong to the task"
            call = Call(Severity.NURSE, category, reason)
        words = self._say(key)
        if outcome is Outcome.WRONG_SOURCE:
            words += self._say("ask_identity_again")
        return self._planned(words, ReplyKind.CLARIFICATION, call)

    # --- small things ----------------------------------------------------------------------------

    def _begin_again(self) -> None:
        self._close_identity()
        self._was_handed_over = self._is_released = False
        self._not_understood = self._silences = 0
        self._emergency = ""
        if self.stage in (Stage.CONFIRM, Stage.HELD):
            self.stage = Stage.IDENTIFY

    def _close_identity(self) -> None:
        self.gate.close()
        self._pending = self._asks_missed_dose = self._last = None
        self._topic, self._missed_at = Intent.OTHER, None

    def _greet(self) -> Plan:
        self.stage = Stage.IDENTIFY
        return self._prepared("greeting", ReplyKind.GREETING)

    def _not_heard(self) -> Plan:
        self._not_understood += 1
        if self._not_understood > ASKS_BEFORE_A_HUMAN:
            self._not_understood = 0
            call = Call(Severity.NURSE, "not_understood", "speech could not be understood")
            words = self._say("not_understood_human")
            return self._planned(words, ReplyKind.CLARIFICATION, call)
        key = "not_heard" if self._not_understood == 1 else "not_understood_again"
        return self._prepared(key, ReplyKind.CLARIFICATION)

    def _trouble(self, context: RobotContext) -> Plan | None:
        """Tell of the robot's own trouble, once when it begins."""

        def is_low(state: RobotContext) -> bool:
            return state.battery is not None and state.battery < LOW_BATTERY

        if is_low(context) and not is_low(self.context):
            return self._prepared("low_battery", ReplyKind.CLARIFICATION)
        fault = CompartmentState.FAULT
        if context.compartment is fault and self.context.compartment is not fault:
            return self._prepared("compartment_fault", ReplyKind.CLARIFICATION)
        return None

    def _grave(self, conflicts: Sequence[Conflict]) -> list[Conflict]:
        return [conflict for conflict in conflicts if conflict.holds(self.settings.hold_from)]

    def _local_time(self) -> datetime | None:
        told = self.context.local_time
        if not told:
            return self.now()
        try:
            return datetime.fromisoformat(told.strip().removesuffix("Z"))
        except ValueError:
            return None

    @property
    def _answers(self) -> Answers:
        """In the language that is spoken now."""
        return Answers(self.phrases, self.terms, self.advisor, self.language, self.scene)

    def _say(self, key: str, **values: str) -> tuple[str, ...]:
        return self._answers.say(key, **values)

    def _planned(
        self, sentences: Sequence[str], kind: ReplyKind, call: Call | None = None
    ) -> Plan:
        return Plan(kind, self.language, tuple(sentences), call=call)

    def _prepared(self, key: str, kind: ReplyKind) -> Plan:
        return self._planned(self._say(key), kind)

    def _is_garbled(self, text: str, language: Language) -> bool:
        """Whether the words are no words, nor the name of anything."""
        if not is_no_words(text, language):
            return False
        is_named = self.advisor.heard(text, self.task, language).names_any
        return not is_named and self.intents.of(text) is Intent.OTHER

    def _is_doubtful(self, utterance: Utterance) -> bool:
        confidence = utterance.confidence
        return confidence is not None and confidence < self.settings.min_confidence


def _category(intent: Intent, what: str) -> str:
    """Category of the alert for something said: "allergy_conflict", "condition_said" …"""
    kinds = {Intent.ALLERGY_SAID: "allergy", Intent.CONDITION_SAID: "condition"}
    return f"{kinds.get(intent, 'interaction')}_{what}"


def _listed(names: Sequence[str], language: Language) -> str:
    return ("、" if language.is_chinese else ", ").join(names)
