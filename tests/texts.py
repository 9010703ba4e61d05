"""Texts in the words of the tiny zoo, and objectives that are measured on them."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tests.tiny import WORDS


def sentences(n: int, seed: int = 0) -> list[str]:
    """Prompts of one to eleven words."""
    rng = np.random.default_rng(seed)
    return [f"say: {' '.join(rng.choice(WORDS, size=rng.integers(1, 12)))} =" for _ in range(n)]


def write_jsonl(path: Path, texts: Sequence[str]) -> Path:
    """A document a line."""
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return path


def write_plain(path: Path, texts: Sequence[str]) -> Path:
    """A line each."""
    path.write_text("\n".join(texts))
    return path


def add_objectives(config: Path, *lines: str) -> Path:
    """The experiment with more objectives, and `docs.jsonl` and `prompts.txt` beside it."""
    write_jsonl(config.parent / "docs.jsonl", sentences(30))
    write_plain(config.parent / "prompts.txt", sentences(24, seed=1))
    added = "".join(f"  - {{{line}}}\n" for line in lines)
    config.write_text(config.read_text().replace("merge: {", f"{added}merge: {{", 1))
    return config
