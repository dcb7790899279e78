"""What the node costs over a bare llama.cpp loop: `make bench`.

Both run the same model on the same prompts, in turn, in one run on this machine, so that their
ratios mean something even where other work shares the cores. The bare loop is what a
llama-cpp-python user would write: `Llama.create_chat_completion(..., stream=True)`. The node is
the installed dialogue_node, asked over its topics from another process.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import statistics
import sys
import tempfile
import time
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
GENERATION_LEAD_S = 0.3
LONG_QUESTION = "我想問這個藥的事情，因為我昨天回家的路上遇到鄰居聊了很久。" * 25


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
    node_first, node_speed, bare_first, bare_speed = [], [], [], []

    def ask_bare(is_cold: bool = False) -> tuple[float, float]:
        rows = [{"role": str(m.role), "content": m.content} for m in messages]
        pipe.send((rows, is_cold))
        return pipe.recv()

    messages.append(ChatMessage(ChatRole.USER, QUESTIONS[0]))
    cold = [ask_bare(is_cold=True)[0] for _ in range(COLD_RUNS)]
    messages.pop()
    robot.hand_over()
    for index in tqdm(range(questions), desc="questions", disable=not sys.stderr.isatty()):
        question = QUESTIONS[index % len(QUESTIONS)]
        fresh_conversation(robot, index)
        time.sleep(PAUSE_S)
        asked = time.monotonic()
        robot.say(question)
        robot.wait(lambda: robot.responses[robot._read :], "the first sentence")
        heard = time.monotonic()
        reply = robot.next_reply()
        assert reply[0].kind == "answer", f"the model did not answer: {spoken(reply)}"
        # From the question's publication to the first token, with both ways over the topics, but
        # without the wait for the rest of the first sentence.
        in_sentence = reply[0].time_to_first_sentence - reply[0].time_to_first_token
        node_first.append(heard - asked - in_sentence)
        messages.append(ChatMessage(ChatRole.USER, question))
        # The node works through its reply for the next turn: not on the bare loop's time.
        time.sleep(PAUSE_S)
        first, speed = ask_bare()
        messages.pop()
        bare_first.append(first)
        bare_speed.append(speed)
    node_speed.append(float(diagnostic(robot, "tokens per second p50")))
    cancel_generating = [
        cancel(robot, "請說一個很長的故事給我聽。", GENERATION_LEAD_S, index)
        for index in range(CANCEL_RUNS)
    ]
    cancel_prefill = [cancel(robot, LONG_QUESTION, 0.2, index) for index in range(CANCEL_RUNS)]
    alerts = [alert(robot, index) for index in range(ALERT_RUNS)]
    model_mb = model.stat().st_size / 2**20
    median = statistics.median
    bars = [
        Bar(
            "first token through the topics, over bare (median)",
            (median(node_first) - median(bare_first)) * 1000,
            30,
            "ms",
        ),
        Bar(
            "tokens per second, of bare (median)",
            median(node_speed) / median(bare_speed),
            0.95,
            "x",
            at_least=True,
        ),
        Bar(
            "first token with the task prefilled, of cold (median)",
            median(node_first) / median(cold),
            0.15,
            "x",
        ),
        Bar(
            "interrupt to last chunk while generating (max)",
            max(cancel_generating) * 1000,
            100,
            "ms",
        ),
        Bar("interrupt to last chunk in prefill (max)", max(cancel_prefill) * 1000, 400, "ms"),
        Bar("speech to alert while generating (max)", max(alerts) * 1000, 50, "ms"),
        Bar("node memory over the model file", node.memory_mb() - model_mb, 400, "MB"),
    ]
    return {
        "bars": bars,
        "details": {
            "first token, bare, cold (s)": cold,
            "first token, bare, prefix kept (s)": bare_first,
            "first token, node, through the topics (s)": node_first,
            "tokens per second, bare": bare_speed,
            "tokens per second, node": node_speed,
            "interrupt while generating (s)": cancel_generating,
            "interrupt in prefill (s)": cancel_prefill,
            "speech to alert (s)": alerts,
            "node memory (MB)": [node.memory_mb()],
            "model file (MB)": [model_mb],
        },
    }


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


def fresh_conversation(robot: Robot, index: int) -> None:
    """Begin again, so that each question finds the same prompt."""
    assert robot.trigger("reset").success
    assert robot.next_reply()[0].kind == "greeting"
    robot.scan()
    assert robot.next_reply()[0].kind == "handover"
    robot.wait(lambda: robot.states[-1].stage == DialogueState.STAGE_QUESTIONS, "questions")


def cancel(robot: Robot, question: str, lead_s: float, index: int) -> float:
    """Seconds from an interrupt to the reply's last chunk."""
    fresh_conversation(robot, index)
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
    assert reply[-1].was_interrupted, f"ended before the interrupt: {spoken(reply)}"
    return took


def alert(robot: Robot, index: int) -> float:
    """Seconds from a cry for help to its alert, while the model is busy with another reply."""
    fresh_conversation(robot, index)
    robot.say("請說一個很長的故事給我聽。")
    time.sleep(GENERATION_LEAD_S)
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
