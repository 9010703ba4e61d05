"""Train a tiny Llama on a mixture of skills, one example a row, the loss on the answer."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from experiments.zoo.mixtures import Mixture
from experiments.zoo.noise import draw_answer
from experiments.zoo.skills import draw_question
from experiments.zoo.tokenizer import END, MAX_LENGTH

N_CHUNKS = 4
PADDING = 0  # the padding token; attention is causal, so right padding needs no mask


@dataclass(frozen=True, slots=True)
class Phase:
    """How long and how strongly to train on a mixture."""

    mixture: Mixture
    n_steps: int
    learning_rate: float
    batch_size: int = 128
    n_warmup: int = 20
    weight_decay: float = 0.0
    prompt_weight: float = 0.0


@dataclass(frozen=True, slots=True)
class Batch:
    """Token ids `(n_rows, n_tokens)` and the loss weight of predicting each of them."""

    ids: Tensor
    loss_weights: Tensor


def new_model(vocabulary_size: int, end_id: int, pad_id: int, *, seed: int) -> LlamaForCausalLM:
    """Return a freshly initialised Llama of about 0.8 million parameters, in float32."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=vocabulary_size,
        hidden_size=128,
        intermediate_size=320,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=MAX_LENGTH,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=end_id,
        pad_token_id=pad_id,
    )
    return LlamaForCausalLM(config)


def train(
    model: LlamaForCausalLM,
    tokenizer: Tokenizer,
    phase: Phase,
    *,
    rng: np.random.Generator,
    report: Callable[[str], None] = print,
) -> None:
    """Train in place with AdamW and a cosine schedule that ends at a tenth of the peak."""
    optimizer = torch.optim.AdamW(
        model.parameters(),
        lr=phase.learning_rate,
        betas=(0.9, 0.98),
        weight_decay=phase.weight_decay,
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _share(step, phase))
    model.train()
    for step in range(phase.n_steps):
        optimizer.zero_grad(set_to_none=True)
        loss = _accumulate_gradient(model, draw_batches(rng, tokenizer, phase))
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 50 == 0 or step + 1 == phase.n_steps:
            report(f"step {step:5d} of {phase.n_steps}  loss {loss:.4f}")
    model.train(False)


def _accumulate_gradient(model: LlamaForCausalLM, batches: Sequence[Batch]) -> float:
    """Add the gradient of the weighted mean loss over all the batches together."""
    total_weight = sum(float(batch.loss_weights.sum()) for batch in batches)
    total_loss = 0.0
    for batch in batches:
        logits = model(input_ids=batch.ids, use_cache=False).logits
        loss = weighted_loss(logits, batch) / total_weight
        loss.backward()  # type: ignore[no-untyped-call]
        total_loss += loss.item()
    return total_loss


def _share(step: int, phase: Phase) -> float:
    """Return the share of the peak learning rate: linear warm-up, then cosine to 10 %."""
    if step < phase.n_warmup:
        return (step + 1) / phase.n_warmup
    progress = (step - phase.n_warmup) / max(1, phase.n_steps - phase.n_warmup)
    return 0.1 + 0.45 * (1.0 + math.cos(math.pi * progress))


def draw_batches(rng: np.random.Generator, tokenizer: Tokenizer, phase: Phase) -> list[Batch]:
    """Draw the questions of one step, in batches of alike length: padding costs time."""
    weights = np.array([source.weight for source in phase.mixture])
    picks = rng.choice(len(weights), size=phase.batch_size, p=weights / weights.sum())
    prompts, answers = [], []
    for pick in picks:
        source = phase.mixture[pick]
        question = draw_question(rng, source.skill, "train")
        prompts.append(question.prompt)
        answers.append(" " + draw_answer(rng, question, source.noise))
    pairs = [
        (prompt.ids, answer.ids)
        for prompt, answer in zip(
            tokenizer.encode_batch(prompts), tokenizer.encode_batch(answers), strict=True
        )
    ]
    pairs.sort(key=lambda pair: len(pair[0]) + len(pair[1]))
    size = phase.batch_size // N_CHUNKS
    end_id = tokenizer.encode(END).ids[0]
    return [
        collate(pairs[start : start + size], end_id, phase.prompt_weight)
        for start in range(0, phase.batch_size, size)
    ]


def collate(
    pairs: Sequence[tuple[list[int], list[int]]], end_id: int, prompt_weight: float
) -> Batch:
    """Join prompts, answers and end tokens into one right-padded batch."""
    n_tokens = max(len(prompt) + len(answer) for prompt, answer in pairs) + 1
    ids = np.full((len(pairs), n_tokens), PADDING)
    loss_weights = np.zeros((len(pairs), n_tokens), dtype=np.float32)
    for row, (prompt, answer) in enumerate(pairs):
        end = len(prompt) + len(answer) + 1
        ids[row, :end] = [*prompt, *answer, end_id]
        loss_weights[row, : len(prompt)] = prompt_weight
        loss_weights[row, len(prompt) : end] = 1.0
    return Batch(torch.from_numpy(ids), torch.from_numpy(loss_weights))


def weighted_loss(logits: Tensor, batch: Batch) -> Tensor:
    """Return the sum of the next tokens' cross-entropies, each times its loss weight."""
    losses = torch.nn.functional.cross_entropy(
        logits[:, :-1].flatten(0, 1), batch.ids[:, 1:].flatten(), reduction="none"
    )
    return (losses * batch.loss_weights[:, 1:].flatten()).sum()
