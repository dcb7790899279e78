"""Prompts stay short enough for a robot: every token costs about 6 ms before the first word."""

import os
from pathlib import Path

import pytest
from deliveries import ALL
from deliveries import CONTEXT
from deliveries import full_task

from medbot_llm.prompts.builder import PromptBuilder

# Qwen tokens. Traditional Chinese takes about a fifth more of them than the other two.
MAX_TOKENS_ONE_MEDICINE = 420
MAX_TOKENS_FORTY_MEDICINES = 1500


@pytest.fixture(scope="module")
def count():
    """Count tokens with a Qwen model's own tokenizer, if one is in the model store."""
    llama_cpp = pytest.importorskip("llama_cpp")
    home = Path(os.environ.get("MEDBOT_HOME", Path.home() / ".cache" / "medbot"))
    files = sorted(home.rglob("*[qQ]wen*.gguf"))
    if not files:
        pytest.skip(f"no Qwen model in {home}: medbot models pull one to measure prompts")
    model = llama_cpp.Llama(str(files[0]), vocab_only=True, verbose=False)
    yield lambda text: len(model.tokenize(text.encode(), add_bos=False, special=False))
    model.close()


@pytest.mark.parametrize(("scene", "group", "language"), ALL)
def test_a_filled_prompt_is_short(count, scene, group, language):
    builder = PromptBuilder()

    def tokens(medicines):
        text = builder.system_prompt(
            scene=scene,
            patient_group=group,
            language=language,
            task=full_task(language, scene, group, medicines),
            context=CONTEXT,
            disclose=True,
        )
        return count(text)

    assert 200 < tokens(1) <= MAX_TOKENS_ONE_MEDICINE
    assert tokens(40) <= MAX_TOKENS_FORTY_MEDICINES
