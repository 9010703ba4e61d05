"""Texts and prompts in the words of the tiny zoo."""

import json
from pathlib import Path

import numpy as np

from tests.tiny import WORDS


def sentences(n: int, seed: int = 0) -> list[str]:
    """Prompts of one to eleven words."""
    rng = np.random.default_rng(seed)
    return [f"say: {' '.join(rng.choice(WORDS, size=rng.integers(1, 12)))} =" for _ in range(n)]


def write_jsonl(path: Path, texts: list[str]) -> Path:
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return path


def write_plain(path: Path, texts: list[str]) -> Path:
    path.write_text("\n".join(texts))
    return path
