"""What the node costs over a bare llama.cpp loop: `make bench`.

Both run the same model on the same prompts, in turn, in one run on this machine, so that their
ratios mean something even where other work shares the cores. The bare loop is what a
llama-cpp-python user would write: `Llama.create_chat_completion(..., stream=True)`. The node is
the installed dialogue_node, asked over its topics from another process.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from std_srvs.srv import Trigger
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "test" / "nodes"))

from node_test_kit import NodeProcess
from node_test_kit import Place
from node_test_kit import Robot
from node_test_kit import amlodipine_task
from node_test_kit import spoken

from medbot_llm.domain import ChatMessage
from medbot_llm.domain import ChatRole
from medbot_llm.domain import Language
from medbot_llm.domain import MedbotError
from medbot_llm.domain import RobotContext
from medbot_llm.domain import Scene
from medbot_llm.knowledge.label_terms import LabelTerms
from medbot_llm.models.store import ModelStore
from medbot_llm.msg import AlertAck
from medbot_llm.msg import DialogueState
from medbot_llm.nodes.conversions import task_from_msg
from medbot_llm.prompts.builder import PromptBuilder

DEFAULT_MODEL = "qwen2.5-coder-0.5b-instruct-q4_k_m"
N_CTX = 4096
MAX_TOKENS = 64
QUESTIONS = (
    "可以陪我聊聊天嗎？",
    "你今天送了幾趟東西？",
    "你會不會覺得累？",
    "你平常都在哪裡？",
    "你喜歡這個工作嗎？",
)
"""Small talk: questions of fact carry their facts along, which the bare loop does not know."""
CRIES = (
    "我胸口好痛，喘不過氣，第{}次了",
    "I cannot breathe, my chest hurts, number {}",
)
ALERT_RUNS = 20
COLD_RUNS = 3
CANCEL_RUNS = 10
PAUSE_S = 0.6
"""Between two questions, as a person pauses; the node works through the next prompt meanwhile."""
GENERATION_LEAD_S = 0.12
"""After the first token, which the 0.5B gives at 0.08 s, and within its first sentence."""
ALERT_LEAD_S = PREFILL_LEAD_S = 0.2
CHATS = (
    "請你介紹一下自己，越詳細越好。",
    "可以陪我聊聊天嗎？隨便說說，越長越好。",
    "你可以說說春夏秋冬各有什麼好嗎？",
)
"""Questions with long answers; which of them a model answers at length is for it to say."""
TRIES = 2
"""So many times as many are asked as are needed: a short answer is over before it can be cut."""
_CHATTER = (
    "我昨天回家的路上遇到以前的鄰居，他說他兒子上個月結婚了，在台中辦了三十桌，菜色很好。"
    "後來我們站在巷口聊了很久，聊到以前一起在工廠上班的事情，那時候午休都在打乒乓球。"
    "他還說要介紹我去社區大學學書法，我年輕的時候其實也寫過一陣子。"
    "我想等天氣涼一點再去報名，你覺得學書法好還是學畫畫好？"
    "我太太喜歡種花，陽台上種了一整排的茉莉，晚上開窗就聞得到香味。"
    "下個禮拜孫子要來玩，我要帶他去動物園看企鵝，順便吃霜淇淋。"
)
LONG_QUESTION = "可以陪我聊聊天嗎？" + _CHATTER * 3
"""Takes longer to prefill than the lead. One sentence said 25 times over is no chatter to the
triage but a confused patient, whose emergency reply nothing interrupts."""


@dataclass
class Bar:
    """One figure, and what it must keep to."""

    name: str
    value: float
    limit: float
    unit: str
    at_least: bool = False

    @property
    def is_met(self) -> bool:
        return self.value >= self.limit if self.at_least else self.value <= self.limit

    def line(self) -> str:
        sign = ">=" if self.at_least else "<="
        verdict = "ok" if self.is_met else "MISSED"
        return (
            f"{self.name:<58} {self.value:>9.3f} {self.unit:<4} {sign} {self.limit:<8g} {verdict}"
        )


def bare_loop(pipe: Connection, model: str, threads: int) -> None:
    """Answer message lists from the pipe with a plain llama-cpp-python loop."""
    from llama_cpp import Llama

    llama = Llama(model, n_ctx=N_CTX, n_threads=threads, n_threads_batch=threads, verbose=False)
    pipe.send("ready")
    while (job := pipe.recv()) is not None:
        messages, is_cold = job
        if is_cold:
            llama.reset()
        started = time.monotonic()
        first = last = float("nan")
        tokens = 0
        for chunk in llama.create_chat_completion(
            messages, stream=True, max_tokens=MAX_TOKENS, temperature=0.0, repeat_penalty=1.1
        ):
            if chunk["choices"][0]["delta"].get("content"):
                last = time.monotonic()
                tokens += 1
                if tokens == 1:
                    first = last
        speed = (tokens - 1) / (last - first) if tokens > 1 else float("nan")
        pipe.send((first - started, speed))


def main() -> int:
    """Run the bench; returns 1 if a bar is missed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default=os.environ.get("MODEL") or DEFAULT_MODEL)
    parser.add_argument("--questions", type=int, default=20, help="how many (default: 20)")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--json", type=Path, help="write all figures to this file as well")
    options = parser.parse_args()
    try:
        store = ModelStore()
        if options.model in store.catalog:
            store.ensure(options.model)
        model = store.resolve(options.model)
    except MedbotError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2
    figures = run(model, options.questions, options.threads)
    report(figures, model, options)
    if options.json:
        values = {bar.name: bar.value for bar in figures["bars"]}
        options.json.write_text(json.dumps(values, indent=2), encoding="utf-8")
    return 0 if all(bar.is_met for bar in figures["bars"]) else 1


def run(model: Path, questions: int, threads: int) -> dict[str, Any]:
    """Ask node and bare loop in turn; returns what was measured."""
    spawn = multiprocessing.get_context("spawn")
    pipe, child_pipe = spawn.Pipe()
    bare = spawn.Process(target=bare_loop, args=(child_pipe, str(model), threads), daemon=True)
    bare.start()
    assert pipe.recv() == "ready"
    place = Place.of_its_own()
    robot = Robot(place)
    with tempfile.TemporaryDirectory() as folder:
        node = NodeProcess(
            place,
            Path(folder) / "node.log",
            {
                "autostart": True,
                "require_model": True,
                "model": model,
                "llama_cpp.n_ctx": N_CTX,
                "llama_cpp.n_threads": threads,
                "sampling.temperature": 0.0,
                "sampling.max_tokens": MAX_TOKENS,
                "timeouts.first_token_s": 120.0,
                "timeouts.between_tokens_s": 60.0,
                "timeouts.first_sentence_s": 300.0,
            },
        )
        try:
            return measure(robot, node, pipe, model, questions)
        finally:
            node.stop()
            robot.close()
            pipe.send(None)
            bare.join(10)


def measure(
    robot: Robot, node: NodeProcess, pipe: Connection, model: Path, questions: int
) -> dict[str, Any]:
    """Take every figure."""
    robot.wait_active()
    messages = same_prompt()

    def ask_bare(question: str, is_cold: bool = False) -> tuple[float, float]:
        asked = [*messages, ChatMessage(ChatRole.USER, question)]
        pipe.send(([{"role": str(m.role), "content": m.content} for m in asked], is_cold))
        return pipe.recv()

    cold = [ask_bare(QUESTIONS[0], is_cold=True)[0] for _ in range(COLD_RUNS)]
    robot.hand_over()
    node_first, bare_first, bare_speed = [], [], []
    for index in tqdm(range(questions), desc="questions", disable=not sys.stderr.isatty()):
        question = QUESTIONS[index % len(QUESTIONS)]
        fresh_conversation(robot)
        time.sleep(PAUSE_S)
        node_first.append(ask_node(robot, question))
        # The node works through its reply for the next turn: not on the bare loop's time.
        time.sleep(PAUSE_S)
        first, speed = ask_bare(question)
        bare_first.append(first)
        bare_speed.append(speed)
    details = {
        "first token, bare, cold (s)": cold,
        "first token, bare, prefix kept (s)": bare_first,
        "first token, node, through the topics (s)": node_first,
        "tokens per second, bare": bare_speed,
        "tokens per second, node": [float(diagnostic(robot, "tokens per second p50"))],
        "interrupt while generating (s)": cancels(robot, CHATS, GENERATION_LEAD_S),
        "interrupt in prefill (s)": cancels(robot, (LONG_QUESTION,), PREFILL_LEAD_S),
        "speech to alert (s)": [alert(robot, index) for index in range(ALERT_RUNS)],
        "node memory (MB)": [node.memory_mb()],
        "model file (MB)": [model.stat().st_size / 2**20],
    }
    return {"bars": bars_of(details), "details": details}


def ask_node(robot: Robot, question: str) -> float:
    """Seconds from a question's publication to the first token, both ways over the topics, but
    without the wait for the rest of the first sentence."""
    asked = time.monotonic()
    robot.say(question)
    robot.wait(lambda: robot.responses[robot._read :], "the first sentence")
    heard = time.monotonic()
    reply = robot.next_reply()
    # A sentence that the verifier blocks has had its first token all the same.
    assert reply[0].time_to_first_token > 0, f"the model was not asked: {spoken(reply)}"
    return heard - asked - (reply[0].time_to_first_sentence - reply[0].time_to_first_token)


def bars_of(details: Mapping[str, Sequence[float]]) -> list[Bar]:
    """What the figures must keep to."""
    middle = {name: statistics.median(values) for name, values in details.items()}
    node_first = middle["first token, node, through the topics (s)"]
    return [
        Bar(
            "first token through the topics, over bare (median)",
            (node_first - middle["first token, bare, prefix kept (s)"]) * 1000,
            30,
            "ms",
        ),
        Bar(
            "tokens per second, of bare (median)",
            middle["tokens per second, node"] / middle["tokens per second, bare"],
            0.95,
            "x",
            at_least=True,
        ),
        Bar(
            "first token with the task prefilled, of cold (median)",
            node_first / middle["first token, bare, cold (s)"],
            0.15,
            "x",
        ),
        Bar(
            "interrupt to last chunk while generating (max)",
            max(details["interrupt while generating (s)"]) * 1000,
            100,
            "ms",
        ),
        Bar(
            "interrupt to last chunk in prefill (max)",
            max(details["interrupt in prefill (s)"]) * 1000,
            400,
            "ms",
        ),
        Bar(
            "speech to alert while generating (max)",
            max(details["speech to alert (s)"]) * 1000,
            50,
            "ms",
        ),
        Bar(
            "node memory over the model file",
            middle["node memory (MB)"] - middle["model file (MB)"],
            400,
            "MB",
        ),
    ]


def same_prompt() -> list[ChatMessage]:
    """The messages that the node puts before a first question, as its session builds them."""
    terms = LabelTerms()
    task = task_from_msg(amlodipine_task(), Scene.WARD, Language.ZH_HANT, [])
    assert task is not None
    builder = PromptBuilder()
    system = builder.system_prompt(
        scene=task.scene,
        patient_group=task.patient_group,
        language=task.language,
        task=terms.worded_task(task, task.language),
        context=RobotContext(local_time=time.strftime("%Y-%m-%dT%H:%M")),
        disclose=True,
    )
    return list(builder.conversation(system, [], task.language))


def fresh_conversation(robot: Robot) -> None:
    """Begin again, so that each question finds the same prompt."""
    assert robot.trigger("reset").success
    assert robot.next_reply()[0].kind == "greeting"
    robot.scan()
    assert robot.next_reply()[0].kind == "handover"
    robot.wait(lambda: robot.states[-1].stage == DialogueState.STAGE_QUESTIONS, "questions")


def cancels(robot: Robot, questions: Sequence[str], lead_s: float) -> list[float]:
    """Seconds from interrupts to the last chunk, of replies that went on when it came."""
    found: list[float] = []
    for index in range(TRIES * CANCEL_RUNS):
        took = cancel(robot, questions[index % len(questions)], lead_s)
        if took is not None:
            found.append(took)
        if len(found) == CANCEL_RUNS:
            return found
    print(
        f"bench: only {len(found)} of {TRIES * CANCEL_RUNS} replies were long enough to be "
        "interrupted; ask this model for something longer (CHATS in tools/bench.py)",
        file=sys.stderr,
    )
    return found or [math.nan]


def cancel(robot: Robot, question: str, lead_s: float) -> float | None:
    """Seconds from an interrupt to the reply's last chunk; None where it had ended before."""
    fresh_conversation(robot)
    time.sleep(PAUSE_S)
    client = robot.node.create_client(Trigger, "dialogue_node/interrupt")
    client.wait_for_service()
    robot.say(question)
    time.sleep(lead_s)
    asked = time.monotonic()
    client.call_async(Trigger.Request())
    reply = robot.next_reply()
    took = time.monotonic() - asked
    robot.node.destroy_client(client)
    return took if reply[-1].was_interrupted else None


def alert(robot: Robot, index: int) -> float:
    """Seconds from a cry for help to its alert, while the model is busy with another reply."""
    fresh_conversation(robot)
    robot.say(CHATS[index % len(CHATS)])
    time.sleep(ALERT_LEAD_S)
    cry = CRIES[index % len(CRIES)].format(index)
    asked = time.monotonic()
    robot.say(cry)
    robot.wait(lambda: any(a.words == cry for a in robot.alerts), "the alert")
    took = time.monotonic() - asked
    robot.next_reply()
    assert robot.next_reply()[0].kind == "emergency"
    robot.ack_publisher.publish(AlertAck(acknowledged_by="bench"))
    return took


def diagnostic(robot: Robot, key: str) -> str:
    """A value of the model's diagnostics."""

    def read() -> str:
        status = robot.diagnostics.get("model")
        pairs = {pair.key: pair.value for pair in status.values} if status else {}
        return pairs.get(key, "")

    return robot.wait(read, key)


def report(figures: dict[str, Any], model: Path, options: argparse.Namespace) -> None:
    """Print every figure and how it stands to its bar."""
    print(
        f"model {model.name}, {options.threads} threads, {platform.machine()}, "
        f"load {os.getloadavg()[0]:.1f}\n"
    )
    for name, values in figures["details"].items():
        low, high = min(values), max(values)
        print(
            f"{name:<46} median {statistics.median(values):>9.3f}   "
            f"min {low:>9.3f}   max {high:>9.3f}   n {len(values)}"
        )
    print()
    for bar in figures["bars"]:
        print(bar.line())


if __name__ == "__main__":
    sys.exit(main())
