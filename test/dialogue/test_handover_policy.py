"""The hand-over as a state machine: each event in each stage, and what a scan alone opens."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from dialogue_test_kit import TASK
from dialogue_test_kit import WRISTBAND
from dialogue_test_kit import new_policy
from dialogue_test_kit import other_task
from dialogue_test_kit import say_to
from hypothesis import given
from hypothesis import strategies as st

from medbot_llm.dialogue.plans import Plan
from medbot_llm.dialogue.policy import Policy
from medbot_llm.domain import DeliveryTask
from medbot_llm.domain import Identity
from medbot_llm.domain import IdentityScan
from medbot_llm.domain import Language
from medbot_llm.domain import Medication
from medbot_llm.domain import PatientGroup
from medbot_llm.domain import ReplyKind
from medbot_llm.domain import RobotContext
from medbot_llm.domain import ScanResult
from medbot_llm.domain import ScanSource
from medbot_llm.domain import Scene
from medbot_llm.domain import SpeakerRole
from medbot_llm.domain import Stage
from medbot_llm.domain import TripStage
from medbot_llm.domain import Utterance

EN, ZH_HANT, ZH_HANS = Language.EN, Language.ZH_HANT, Language.ZH_HANS
MISMATCH = replace(WRISTBAND, result=ScanResult.MISMATCH)
UNREADABLE = replace(WRISTBAND, result=ScanResult.UNREADABLE)
BADGE = IdentityScan(ScanSource.STAFF_BADGE, ScanResult.MATCH, subject_role=SpeakerRole.NURSE)
QUESTION = Utterance("What is this for?")
NEXT_TASK = other_task()
PENICILLIN = Medication(name="Amoxicillin 500 mg capsule", dose="1 capsule", frequency="TID")
NEXT_WRISTBAND = replace(WRISTBAND, task_id="T-2")


def trip(stage: TripStage | None, **fields: object) -> RobotContext:
    return RobotContext(trip_stage=stage, **fields)  # type: ignore[arg-type]


def at(stage: Stage) -> Policy:
    """A policy in a stage, brought there by the shortest way through real events."""
    policy = new_policy()
    if stage is Stage.IDLE:
        return policy
    policy.on_context(trip(TripStage.EN_ROUTE))
    policy.on_task(TASK)
    if stage is not Stage.APPROACH:
        policy.on_context(trip(TripStage.ARRIVED))
    if stage is Stage.HELD:
        # Its receiver is allergic to what is delivered.
        policy.on_task(replace(TASK, medications=(PENICILLIN,), allergies=("penicillin",)))
    if stage in (Stage.HANDOVER, Stage.QUESTIONS, Stage.CONFIRM, Stage.HELD, Stage.LEAVE):
        policy.on_scan(WRISTBAND)
    if stage in (Stage.QUESTIONS, Stage.CONFIRM, Stage.LEAVE):
        policy.on_handover_said()
    if stage is Stage.CONFIRM:
        say_to(policy, Utterance("I am allergic to penicillin"), EN)
    if stage is Stage.LEAVE:
        policy.on_context(trip(TripStage.RETURNING))
    assert policy.stage is stage
    return policy


def summary(plan: Plan | None) -> str:
    """The kind of a plan, "model" where the model words it, "" for none."""
    if plan is None:
        return ""
    return "model" if plan.use_model else str(plan.kind)


EVENTS: dict[str, Callable[[Policy], Plan | None]] = {
    "next task": lambda policy: policy.on_task(NEXT_TASK),
    "task withdrawn": lambda policy: policy.on_task(None),
    "arrived": lambda policy: policy.on_context(trip(TripStage.ARRIVED)),
    "en route": lambda policy: policy.on_context(trip(TripStage.EN_ROUTE)),
    "returning": lambda policy: policy.on_context(trip(TripStage.RETURNING)),
    "trip unknown": lambda policy: policy.on_context(trip(None)),
    "match": lambda policy: policy.on_scan(WRISTBAND),
    "mismatch": lambda policy: policy.on_scan(MISMATCH),
    "unreadable": lambda policy: policy.on_scan(UNREADABLE),
    "staff badge": lambda policy: policy.on_scan(BADGE),
    "silence": lambda policy: policy.on_timeout(),
    "handover said": lambda policy: policy.on_handover_said(),  # type: ignore[func-returns-value]
    "question": lambda policy: say_to(policy, QUESTION, EN),
    "restart": lambda policy: policy.restart(),
}

OPEN_STAGES = (Stage.HANDOVER, Stage.QUESTIONS, Stage.CONFIRM)

# Event: for each of the stages, in their order, the plan and the stage that follows.
TABLE = """
                 idle                     approach                 identify                 handover                 questions                confirm                  held                     leave
next task        greeting:identify        :approach                greeting:identify        greeting:identify        greeting:identify        greeting:identify        greeting:identify        :approach
task withdrawn   :idle                    :idle                    farewell:idle            farewell:idle            farewell:idle            farewell:idle            farewell:idle            :idle
arrived          :idle                    greeting:identify        :identify                :handover                :questions               :confirm                 :held                    :leave
en route         :idle                    :approach                :approach                farewell:leave           farewell:leave           farewell:leave           :approach                :leave
returning        :idle                    :approach                farewell:leave           farewell:leave           farewell:leave           farewell:leave           farewell:leave           :leave
trip unknown     :idle                    :approach                :identify                :handover                :questions               :confirm                 :held                    :leave
match            :idle                    handover:handover        handover:handover        :handover                :questions               :confirm                 :held                    :leave
mismatch         :idle                    clarification:identify   clarification:identify   clarification:identify   clarification:identify   clarification:identify   clarification:held       :leave
unreadable       :idle                    clarification:identify   clarification:identify   clarification:handover   clarification:questions  clarification:confirm    clarification:held       :leave
staff badge      :idle                    handover:handover        handover:handover        handover:handover        handover:handover        handover:handover        handover:handover        :leave
handover said    :idle                    :approach                :identify                :questions               :questions               :confirm                 :held                    :leave
question         model:idle               greeting:identify        clarification:identify   model:handover           model:questions          model:questions          clarification:held       farewell:leave
silence          :idle                    :approach                clarification:identify   clarification:identify   clarification:identify   answer:questions         clarification:held       :leave
restart          :idle                    :approach                greeting:identify        greeting:identify        greeting:identify        greeting:identify        greeting:identify        greeting:identify
"""  # noqa: E501 - a table is read across


def table_rows() -> list[tuple[str, Stage, str]]:
    header, *lines = TABLE.strip("\n").splitlines()
    stages = [Stage(name) for name in header.split()]
    return [
        (line[:17].strip(), stage, outcome)
        for line in lines
        for stage, outcome in zip(stages, line[17:].split(), strict=True)
    ]


def test_the_table_has_every_event_in_every_stage() -> None:
    cases = {(event, stage) for event, stage, _ in table_rows()}
    assert cases == {(event, stage) for event in EVENTS for stage in Stage}


@pytest.mark.parametrize(("event", "stage", "outcome"), table_rows())
def test_each_event_in_each_stage(event: str, stage: Stage, outcome: str) -> None:
    policy = at(stage)
    plan = EVENTS[event](policy)
    assert f"{summary(plan)}:{policy.stage}" == outcome
    if plan is not None:
        assert all(plan.sentences)
        assert plan.sentences
    # Open is open only between the matching scan and the end of the hand-over.
    if policy.stage is not Stage.HELD:
        assert policy.may_disclose == (policy.stage in OPEN_STAGES)


@pytest.mark.parametrize("stage", list(Stage))
def test_from_everywhere_a_new_task_leads_to_a_hand_over_again(stage: Stage) -> None:
    policy = at(stage)
    policy.on_task(NEXT_TASK)
    assert not policy.may_disclose
    policy.on_context(trip(TripStage.EN_ROUTE))
    policy.on_context(trip(TripStage.ARRIVED))
    assert policy.stage is Stage.IDENTIFY
    plan = policy.on_scan(NEXT_WRISTBAND)
    assert plan is not None
    assert "Quorbitol" in " ".join(plan.sentences)
    assert policy.may_disclose


@pytest.mark.parametrize("stage", [s for s in Stage if s not in (Stage.IDLE, Stage.APPROACH)])
def test_from_everywhere_restart_asks_for_the_scan_again(stage: Stage) -> None:
    policy = at(stage)
    plan = policy.restart()
    assert plan is not None
    assert plan.kind is ReplyKind.GREETING
    assert policy.identity is Identity.UNKNOWN
    assert policy.on_scan(WRISTBAND) is not None
    assert policy.may_disclose


def test_without_a_known_trip_the_task_alone_greets() -> None:
    policy = new_policy()
    assert summary(policy.on_task(TASK)) == "greeting"
    assert policy.stage is Stage.IDENTIFY


def test_a_task_loaded_while_the_robot_drives_back_waits_for_the_arrival() -> None:
    policy = at(Stage.LEAVE)
    assert policy.on_task(NEXT_TASK) is None
    assert policy.stage is Stage.APPROACH
    assert summary(policy.on_context(trip(TripStage.HANDING_OVER))) == "greeting"


def test_arriving_greets_though_someone_on_the_way_was_greeted_already() -> None:
    policy = at(Stage.APPROACH)
    assert summary(say_to(policy, QUESTION, EN)) == "greeting"
    assert summary(policy.on_context(trip(TripStage.ARRIVED))) == "greeting"
    assert policy.on_context(trip(TripStage.HANDING_OVER)) is None


def test_learning_the_trip_after_the_greeting_does_not_greet_twice() -> None:
    policy = new_policy()
    policy.on_task(TASK)
    assert policy.on_context(trip(TripStage.ARRIVED)) is None
    assert policy.stage is Stage.IDENTIFY


@pytest.mark.parametrize("away", [t for t in TripStage if t not in ("arrived", "handing_over")])
@pytest.mark.parametrize("stage", [Stage.HANDOVER, Stage.QUESTIONS])
def test_whichever_way_the_robot_drives_off_it_locks(stage: Stage, away: TripStage) -> None:
    policy = at(stage)
    plan = policy.on_context(trip(away))
    assert summary(plan) == "farewell"
    assert policy.identity is Identity.UNKNOWN
    assert summary(say_to(policy, QUESTION, EN)) == "farewell"


def test_driving_off_without_a_scan_says_that_nothing_was_delivered() -> None:
    plan = at(Stage.IDENTIFY).on_context(trip(TripStage.RETURNING))
    assert plan is not None
    assert "not confirmed" in " ".join(plan.sentences)


@pytest.mark.parametrize("standing", [TripStage.CHARGING, TripStage.EN_ROUTE, TripStage.IDLE])
def test_a_hand_over_at_the_dock_is_not_ended_by_news_of_the_battery(standing: TripStage) -> None:
    policy = new_policy()
    policy.on_context(trip(standing, battery=0.80))
    policy.on_task(TASK)
    policy.on_scan(WRISTBAND)
    policy.on_handover_said()
    assert policy.on_context(trip(standing, battery=0.81)) is None
    assert policy.stage is Stage.QUESTIONS
    assert policy.may_disclose


# --- what opens, and what does not --------------------------------------------------------------

OPENING = [
    WRISTBAND,
    replace(WRISTBAND, task_id=""),
    replace(WRISTBAND, subject_id="P-556677", matched_identifiers=("birth_date",)),
    replace(WRISTBAND, subject_id="P-556677", subject_role=SpeakerRole.RELATIVE),
    IdentityScan(
        ScanSource.STAFF_BADGE,
        ScanResult.MATCH,
        subject_id="N-17",
        subject_role=SpeakerRole.NURSE,
        matched_identifiers=("staff_id",),
    ),
]
INCOMPLETE = [
    # One identifier is not two, and a room or a bed is none.
    IdentityScan(ScanSource.WRISTBAND, ScanResult.MATCH, "T-1"),
    IdentityScan(ScanSource.WRISTBAND, ScanResult.MATCH, "T-1", "P-556677"),
    replace(WRISTBAND, matched_identifiers=("name", "bed", "room")),
]
FOREIGN = [
    MISMATCH,
    replace(WRISTBAND, task_id="T-2"),
    replace(WRISTBAND, task_id="T-10"),
    replace(WRISTBAND, mismatched_identifiers=("birth_date",)),
    replace(WRISTBAND, matched_identifiers=("name",), mismatched_identifiers=("patient_id",)),
    replace(WRISTBAND, subject_id="P-1"),
    replace(WRISTBAND, subject_id="P-1", subject_role=SpeakerRole.PATIENT),
    replace(WRISTBAND, subject_id="P-1", subject_role=SpeakerRole.NURSE),
    IdentityScan(ScanSource.ID_CARD, ScanResult.MATCH, "T-1", "P-1", SpeakerRole.PATIENT),
    IdentityScan(ScanSource.STAFF_BADGE, ScanResult.MISMATCH),
    IdentityScan(ScanSource.STAFF_BADGE, ScanResult.MATCH, task_id="T-9"),
]
NOT_OPENING = [*FOREIGN, *INCOMPLETE, UNREADABLE]


@pytest.mark.parametrize("scan", OPENING)
@pytest.mark.parametrize("stage", [Stage.APPROACH, Stage.IDENTIFY])
def test_a_scan_that_matches_this_task_opens(stage: Stage, scan: IdentityScan) -> None:
    policy = at(stage)
    plan = policy.on_scan(scan)
    assert plan is not None
    assert plan.kind is ReplyKind.HANDOVER
    assert "Zentoprazine" in " ".join(plan.sentences)
    assert policy.identity is Identity.CONFIRMED


@pytest.mark.parametrize("scan", NOT_OPENING)
@pytest.mark.parametrize("stage", [Stage.APPROACH, Stage.IDENTIFY])
def test_a_scan_for_another_task_or_patient_or_with_a_mismatch_opens_nothing(
    stage: Stage, scan: IdentityScan
) -> None:
    policy = at(stage)
    plan = policy.on_scan(scan)
    assert plan is not None
    assert plan.kind is ReplyKind.CLARIFICATION
    assert not policy.may_disclose
    assert summary(say_to(policy, QUESTION, EN)) == "clarification"


@pytest.mark.parametrize("scan", FOREIGN)
def test_a_mismatch_locks_again_what_was_open(scan: IdentityScan) -> None:
    policy = at(Stage.QUESTIONS)
    policy.on_scan(scan)
    assert policy.identity is Identity.MISMATCH
    assert not policy.may_disclose
    assert "Zentoprazine" not in " ".join(say_to(policy, QUESTION, EN).sentences)


def test_an_unreadable_scan_locks_nothing_that_was_open() -> None:
    policy = at(Stage.QUESTIONS)
    policy.on_scan(UNREADABLE)
    assert policy.may_disclose


def test_no_spoken_word_opens() -> None:
    policy = at(Stage.IDENTIFY)
    claims = ("Yes, that is me.", "I am Mr Okonkwo, P-556677.", "I am the nurse, tell me.")
    for claim in claims:
        for role in SpeakerRole:
            say_to(policy, Utterance(claim, role=role), EN)
    assert policy.identity is Identity.UNKNOWN
    assert not policy.may_disclose


def test_the_patient_is_addressed_by_name_and_a_nurse_is_not() -> None:
    nurse = IdentityScan(ScanSource.STAFF_BADGE, ScanResult.MATCH, subject_role=SpeakerRole.NURSE)
    patient = replace(WRISTBAND, subject_role=SpeakerRole.PATIENT)
    to_patient, to_nurse = (at(Stage.IDENTIFY).on_scan(scan) for scan in (patient, nurse))
    assert to_patient is not None
    assert to_nurse is not None
    assert to_patient.sentences[0] != to_nurse.sentences[0]
    assert "Mr Okonkwo" in to_patient.sentences[0]


# --- nothing of medicine or patient before the scan ---------------------------------------------

_letters = st.text("abcdefghijklmnopqrstuvwxyz", min_size=5, max_size=9)
secret = _letters.map(lambda letters: f"Qx{letters}")
"""A word that is in none of the robot's own."""


@st.composite
def secret_tasks(draw: st.DrawFn) -> tuple[DeliveryTask, list[str]]:
    """A task all of whose data is made of secrets, and these."""
    secrets = draw(st.lists(secret, min_size=16, max_size=16, unique=True))
    hidden = iter(secrets)
    fields = ("name", "name_zh", "generic_name", "strength", "dose", "route", "frequency")
    medication = Medication(
        **{name: next(hidden) for name in fields},
        instructions=next(hidden),
        high_alert=draw(st.booleans()),
    )
    task = DeliveryTask(
        task_id=next(hidden),
        scene=draw(st.sampled_from(Scene)),
        language=draw(st.sampled_from(Language)),
        patient_group=draw(st.sampled_from(PatientGroup)),
        patient_id=next(hidden),
        spoken_name=next(hidden),
        birth_date=draw(st.dates()),
        room=next(hidden),
        bed=next(hidden),
        medications=(medication,) * draw(st.integers(1, 2)),
        allergies=(next(hidden),),
        conditions=(next(hidden),),
        notes=next(hidden),
    )
    return task, secrets


@st.composite
def locked_events(draw: st.DrawFn) -> Callable[[Policy, DeliveryTask], Plan | None]:
    """Anything that may happen and must not open."""
    kind = draw(st.sampled_from(["speech", "trip", "scan", "foreign scan", "restart", "said"]))
    if kind == "speech":
        text = draw(st.sampled_from(["It's me", "是我", "what is it?", "", "…", "x" * 3000]))
        confidence = draw(st.sampled_from([None, 0.1, 0.9]))
        spoken = Utterance(text, confidence=confidence, role=draw(st.sampled_from(SpeakerRole)))
        language = draw(st.sampled_from(Language))
        return lambda policy, task: say_to(policy, spoken, language)
    if kind == "trip":
        context = trip(draw(st.sampled_from([None, *TripStage])))
        return lambda policy, task: policy.on_context(context)
    if kind == "scan":
        result = draw(st.sampled_from([ScanResult.MISMATCH, ScanResult.UNREADABLE]))
        scan = IdentityScan(draw(st.sampled_from(ScanSource)), result)
        return lambda policy, task: policy.on_scan(scan)
    if kind == "foreign scan":
        source = draw(st.sampled_from(ScanSource))
        foreign = draw(
            st.sampled_from(
                [
                    {"task_id": "another"},
                    {"mismatched_identifiers": ("name",)},
                    {"subject_id": "another", "subject_role": SpeakerRole.PATIENT},
                ]
            )
        )
        scan = IdentityScan(source, ScanResult.MATCH, **foreign)  # type: ignore[arg-type]
        return lambda policy, task: policy.on_scan(scan)
    if kind == "restart":
        return lambda policy, task: policy.restart()
    return lambda policy, task: policy.on_handover_said()  # type: ignore[func-returns-value]


@given(secret_tasks(), st.lists(locked_events(), max_size=12))
def test_no_plan_before_the_scan_holds_anything_of_the_task(
    task_and_secrets: tuple[DeliveryTask, list[str]],
    events: list[Callable[[Policy, DeliveryTask], Plan | None]],
) -> None:
    task, secrets = task_and_secrets
    policy = new_policy()
    plans = [policy.on_task(task), *(event(policy, task) for event in events)]
    assert not policy.may_disclose
    for plan in filter(None, plans):
        assert not plan.use_model
        said = " ".join(plan.sentences)
        assert not [s for s in secrets if s in said]
    # And it would have been heard: the scan opens, and the label is said.
    policy.on_task(task)
    opened = policy.on_scan(BADGE)
    assert opened is not None
    assert any(s in " ".join(opened.sentences) for s in secrets[:3])


# --- what was said ------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["", "   ", "…", "?!", "。。。"])
@pytest.mark.parametrize("stage", list(Stage))
def test_speech_without_a_word_is_asked_for_again(stage: Stage, text: str) -> None:
    policy = at(stage)
    plan = say_to(policy, Utterance(text), EN)
    assert plan.kind is ReplyKind.CLARIFICATION
    assert not plan.use_model
    assert policy.stage is stage


@pytest.mark.parametrize(
    ("confidence", "heard"), [(None, True), (1.0, True), (0.5, True), (0.49, False), (0.01, False)]
)
def test_doubtful_speech_is_asked_for_again(confidence: float | None, heard: bool) -> None:
    policy = new_policy(min_confidence=0.5)
    plan = say_to(policy, Utterance("hello", confidence=confidence), EN)
    assert plan.use_model == heard


def test_doubtful_speech_does_not_change_the_language() -> None:
    policy = new_policy()
    say_to(policy, Utterance("你好"), ZH_HANT)
    plan = say_to(policy, Utterance("uh", confidence=0.1), EN)
    assert plan.language is ZH_HANT
    assert policy.language is ZH_HANT


def test_overlong_speech_is_asked_for_shorter() -> None:
    policy = new_policy(max_utterance_chars=20)
    assert say_to(policy, Utterance("x" * 20), EN).use_model
    plan = say_to(policy, Utterance("x" * 21), EN)
    assert not plan.use_model
    assert plan.kind is ReplyKind.FALLBACK


@pytest.mark.parametrize("stage", list(Stage))
@pytest.mark.parametrize("language", list(Language))
def test_the_answer_is_in_the_language_of_the_question(stage: Stage, language: Language) -> None:
    policy = at(stage)
    plan = say_to(policy, QUESTION, language)
    assert plan.language is language
    has_chinese = any("\u4e00" <= char <= "\u9fff" for char in " ".join(plan.sentences))
    assert has_chinese == language.is_chinese


def test_a_task_and_a_restart_speak_the_language_of_the_task() -> None:
    policy = new_policy()
    say_to(policy, Utterance("hello"), EN)
    plan = policy.on_task(replace(TASK, language=ZH_HANS))
    assert plan is not None
    assert plan.language is ZH_HANS
    say_to(policy, QUESTION, EN)
    again = policy.restart()
    assert again is not None
    assert again.language is ZH_HANS


def test_a_restart_without_a_task_returns_to_the_robots_own_language() -> None:
    policy = new_policy(default_language=ZH_HANT)
    say_to(policy, Utterance("hello"), EN)
    assert policy.restart() is None
    assert policy.language is ZH_HANT


def test_the_model_is_never_without_words_that_would_do() -> None:
    for stage in (Stage.IDLE, Stage.QUESTIONS):
        for language in Language:
            for question in (QUESTION, Utterance("Tell me something nice.")):
                plan = say_to(at(stage), question, language)
                assert plan.use_model
                assert all(plan.sentences)
                assert plan.sentences


def test_the_scene_is_the_tasks_then_the_robots_then_the_settings() -> None:
    policy = new_policy(default_scene=Scene.HOME)
    assert policy.scene is Scene.HOME
    policy.on_context(RobotContext(scene=Scene.PHARMACY))
    assert policy.scene is Scene.PHARMACY
    policy.on_task(replace(TASK, scene=Scene.ER))
    assert policy.scene is Scene.ER
