"""The zoo's own byte-level BPE tokenizer, trained on questions of the training split."""

import json
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from experiments.zoo.skills import SKILLS, draw_question

END = "<eos>"
PAD = "<pad>"
VOCABULARY_SIZE = 384
MAX_LENGTH = 512


def train_tokenizer(*, seed: int, n_questions_per_skill: int = 3000) -> PreTrainedTokenizerFast:
    """Return a fast tokenizer that knows most of the zoo's words as single tokens."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY_SIZE, special_tokens=[PAD, END], show_progress=False
    )
    tokenizer.train_from_iterator(_corpus(seed, n_questions_per_skill), trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=END,
        pad_token=PAD,
        model_max_length=MAX_LENGTH,
        padding_side="left",
        clean_up_tokenization_spaces=False,
    )


def save_tokenizer(tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Save `tokenizer.json` and a `tokenizer_config.json` that older transformers read too."""
    tokenizer.save_pretrained(folder)
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": END,
        "pad_token": PAD,
        "model_max_length": MAX_LENGTH,
        "padding_side": "left",
        "clean_up_tokenization_spaces": False,
    }
    text = json.dumps(config, indent=2) + "\n"
    (folder / "tokenizer_config.json").write_text(text, encoding="utf-8")


def _corpus(seed: int, n_questions_per_skill: int) -> list[str]:
    rng = np.random.default_rng([seed, 1])
    lines = []
    for skill in SKILLS:
        for _ in range(n_questions_per_skill):
            question = draw_question(rng, skill, "train")
            lines += [f"{question.prompt} {answer}\n" for answer in question.answers.values()]
    return lines
