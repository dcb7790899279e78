"""The real models of speech are what the catalog says, and lie where programs look for them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnxruntime

from medbot_llm.models.store import ModelStore

VOICES = {
    *("zf_xiaobei", "zf_xiaoni", "zf_xiaoxiao", "zf_xiaoyi"),
    *("zm_yunjian", "zm_yunxi", "zm_yunxia", "zm_yunyang"),
    *("af_heart", "af_bella", "am_michael", "bf_emma", "bm_george"),
}
TOKENS_OF_KOKORO = 510
"""The longest sentence that it takes, in phonemes."""


def test_recogniser_is_used_as_a_folder(whisper_model: Path) -> None:
    assert ModelStore().resolve("whisper-base") == whisper_model
    names = {path.name for path in whisper_model.iterdir()}
    assert names == {"model.bin", "config.json", "tokenizer.json", "vocabulary.txt"}


def test_voice_has_a_style_for_each_length_of_a_sentence(kokoro_model: Path) -> None:
    here = {path.stem for path in (kokoro_model / "voices").glob("*.bin")}
    assert here >= VOICES
    for voice in here:
        styles = np.fromfile(kokoro_model / "voices" / f"{voice}.bin", dtype="<f4")
        assert styles.size == TOKENS_OF_KOKORO * 256
        assert np.isfinite(styles).all() and np.abs(styles).max() < 10


def test_voice_takes_the_phonemes_of_its_vocabulary(kokoro_model: Path) -> None:
    main = ModelStore().resolve("kokoro-82m-v1.0-int8")
    assert main.parent == kokoro_model
    text = (kokoro_model / "vocab.json").read_text(encoding="utf-8")
    vocabulary = json.loads(text)["vocab"]
    session = onnxruntime.InferenceSession(main, providers=["CPUExecutionProvider"])
    assert [one.name for one in session.get_inputs()] == ["tokens", "style", "speed"]
    style = np.fromfile(kokoro_model / "voices" / "zf_xiaobei.bin", dtype="<f4").reshape(-1, 256)
    tokens = [0, *(vocabulary[phoneme] for phoneme in "ni↗nxau↓."), 0]
    sound = session.run(
        None,
        {
            "tokens": np.array([tokens], dtype=np.int64),
            "style": style[len(tokens) - 2][None],
            "speed": np.ones(1, dtype=np.float32),
        },
    )[0]
    assert 0.3 < sound.size / 24_000 < 3.0
    assert 0.01 < np.abs(sound).max() <= 1.0
