"""What a trained model answers, and whether llama.cpp answers the same with what was exported.

transformers answers some questions greedily. llama.cpp is then led along each answer, id by id:
where it too has the next id for the likeliest all along, it would have given that answer itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medbot_training.export.compare import divergence
from medbot_training.export.folders import ExportError
from medbot_training.export.llama_runner import Runner
from medbot_training.export.llama_runner import encoded_by_robot
from medbot_training.export.probes import COMPARED_TOKENS
from medbot_training.export.probes import Probe
from medbot_training.prompting import ChatMessages
from medbot_training.templates import TemplateFacts

KEPT = 0.95
"""Share of tokens from which on a quantisation counts as the same model."""
_LIKE_IN_F16 = 0.95
_DIVERGENCE_IN_F16 = 0.02


@dataclass(frozen=True)
class Answer:
    """An answer of the trained model.

    Attributes:
        messages: What was asked.
        prompt: Its ids.
        ids: The answer's ids, with the end of the turn if it came to that.
        logits: What it was chosen from: a float32 tensor, len(ids) x vocabulary.
    """

    messages: ChatMessages
    prompt: list[int]
    ids: list[int]
    logits: Any


def greedy_answers(
    model: Any, tokenizer: Any, facts: TemplateFacts, probes: Sequence[Probe]
) -> list[Answer]:
    """Let a transformers (or PEFT) model answer, always with the likeliest token."""
    import torch

    found = []
    with torch.inference_mode():
        for probe in probes:
            prompt = torch.tensor([probe.prompt])
            made = model.generate(
                input_ids=prompt,
                attention_mask=torch.ones_like(prompt),
                do_sample=False,
                # Whatever the model's own settings say: they are the server's business.
                temperature=None,
                top_p=None,
                top_k=None,
                repetition_penalty=1.0,
                max_new_tokens=COMPARED_TOKENS,
                eos_token_id=[facts.end_of_turn_id],
                pad_token_id=tokenizer.pad_token_id,
                return_dict_in_generate=True,
                output_logits=True,
            )
            ids = made.sequences[0, len(probe.prompt) :].tolist()
            logits = torch.cat(made.logits).float()
            found.append(Answer(probe.messages, probe.prompt, ids, logits))
    return found


def check_ids(
    model: Path, answers: Sequence[Answer], adapter: Path | None = None, what_to_do: str = ""
) -> None:
    """Check that the robot asks a GGUF with exactly the ids that were trained on.

    Raises:
        ExportError: It does not; says where.
    """
    asked = encoded_by_robot(model, [answer.messages for answer in answers], adapter)
    for answer, ids in zip(answers, asked, strict=True):
        if ids == answer.prompt:
            continue
        place = next(
            (n for n, (a, b) in enumerate(zip(ids, answer.prompt, strict=False)) if a != b),
            min(len(ids), len(answer.prompt)),
        )
        raise ExportError(
            f"the robot would ask {model.name} otherwise than was trained: id {place} of"
            f" {len(answer.prompt)} differs in '{answer.messages[-1]['content'][:40]}'{what_to_do}"
        )


def measure(
    model: Path, answers: Sequence[Answer], facts: TemplateFacts, adapter: Path | None = None
) -> dict[str, Any]:
    """Lead llama.cpp along the answers, and count where it would have said the same.

    Returns:
        questions, tokens; same_tokens and same_answers (shares, counts), mean_divergence (nats),
        ended and ends_too: answers that ended, and those that llama.cpp ends at the same place.

    Raises:
        ExportError: The GGUF can't be run, or would not stop at the end of a turn.
    """
    longest = max(len(answer.prompt) + len(answer.ids) for answer in answers)
    same = total = same_answers = ended = ends_too = 0
    given = []
    with Runner(model, longest + 8, adapter) as runner:
        if not runner.ends(facts.end_of_turn_id):
            raise ExportError(f"{model.name} would not stop at {facts.end_of_turn}; export again")
        for answer in answers:
            logits = runner.answer_logits(answer.prompt, answer.ids)
            given.append(logits)
            # Ids beyond the tokenizer's are padding of the matrix.
            hits = [
                int(row[: answer.logits.shape[-1]].argmax()) == token
                for row, token in zip(logits, answer.ids, strict=True)
            ]
            same += sum(hits)
            total += len(hits)
            same_answers += all(hits)
            if answer.ids[-1] == facts.end_of_turn_id:
                ended += 1
                ends_too += hits[-1]
    mean, _ = divergence([answer.logits for answer in answers], given)
    return {
        "questions": len(answers),
        "tokens": total,
        "same_tokens": round(same / total, 4),
        "same_answers": same_answers,
        "mean_divergence": round(mean, 6),
        "ended": ended,
        "ends_too": ends_too,
    }


def check_conversion(name: str, found: dict[str, Any]) -> None:
    """Refuse 16-bit weights that are not the model any more. Raises ExportError."""
    if found["same_tokens"] < _LIKE_IN_F16 or not found["mean_divergence"] <= _DIVERGENCE_IN_F16:
        raise ExportError(
            f"{name} does not answer as the trained model: {found['same_tokens']:.1%} of tokens"
            f" alike, divergence {found['mean_divergence']:.2g} nats; the conversion is wrong for"
            " this architecture, nothing was kept"
        )


def words(found: dict[str, Any]) -> str:
    """A measurement in one line."""
    return (
        f"{found['same_tokens']:.1%} of {found['tokens']} tokens and {found['same_answers']} of"
        f" {found['questions']} answers as trained, divergence {found['mean_divergence']:.2g} nats"
    )
