"""Items scored by lm-eval's own model class, in its own batches: slow, and right by definition.

What lm-eval does again and again is left out: requests are tokenised already, and nothing is
logged. The batches, their order and padding, and what is computed of them are lm-eval's, so that
log-likelihoods and texts are equal to the last bit to those of `simple_evaluate` for the same
items, batch size, dtype and threads.
"""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from lm_eval.models.huggingface import HFLM
from lm_eval.models.utils import (
    Collator,
    handle_stop_sequences,
    normalize_gen_kwargs,
    postprocess_generated_text,
)

from evomerge.errors import ScoringError
from evomerge.scoring.answers import Answer
from evomerge.scoring.benchmark import Benchmark
from evomerge.scoring.lm_eval_tasks import quiet
from evomerge.scoring.resident import ResidentModel
from evomerge.scoring.tokens import TokenisedItems

Scored = tuple[float, bool]
"""A log-likelihood, and whether greedy decoding would say the same."""
_Request = tuple[None, list[int], list[int]]


@dataclass(frozen=True)
class Prompt:
    """A prompt as text, by which lm-eval orders, and as tokens; with what it asks of decoding."""

    text: str
    tokens: tuple[int, ...]
    options: Mapping[str, object]


class Reference:
    """lm-eval's view of the resident model; the weights are shared, not copied."""

    def __init__(self, model: ResidentModel, batch_size: int) -> None:
        self.lm = HFLM(pretrained=model.model, tokenizer=model.tokenizer, batch_size=batch_size)

    def answers(
        self, benchmark: Benchmark, tokens: TokenisedItems, items: Sequence[int]
    ) -> dict[int, Answer]:
        """What the model answers to each item.

        Raises:
            ScoringError: lm-eval refuses a request.
            NonFiniteScore: the model's logits are NaN or infinite.
        """
        if not items:
            return {}
        answer = {
            "generate_until": self._generated,
            "loglikelihood_rolling": self._rolling,
        }.get(benchmark.output_type, self._likely)
        try:
            with quiet():
                found = answer(benchmark, tokens, items)
                return dict(zip(items, found, strict=True))
        except AssertionError as error:
            raise ScoringError(
                f"lm-eval cannot score benchmark {benchmark.name!r}: "
                f"{error or 'a request is empty'}"
            ) from error

    def texts(self, prompts: Sequence[Prompt]) -> list[tuple[str, list[int]]]:
        """What the model says to each prompt: the text without its end, and all tokens."""
        order = Collator(
            list(prompts),
            sort_fn=lambda prompt: (-len(prompt.tokens), prompt.text),
            group_by="gen_kwargs",
            group_fn=lambda prompt: prompt.options,
        )
        said = [
            own for batch in order.get_batched(n=self.lm.batch_size) for own in self._decode(batch)
        ]
        found: list[tuple[str, list[int]]] = order.get_original(said)
        return found

    def _decode(self, prompts: Sequence[Prompt]) -> Iterator[tuple[str, list[int]]]:
        """One batch, as in lm-eval's `generate_until`."""
        lm = self.lm
        options = normalize_gen_kwargs(dict(prompts[0].options), lm.max_gen_toks)
        eos = lm.tok_decode(lm.eot_token_id, skip_special_tokens=False)
        until = handle_stop_sequences(options.pop("until", None), eos=eos)
        n_most = options.pop("max_gen_toks")
        longest = lm.max_length - n_most
        if longest <= 0:
            raise ScoringError(
                f"max_gen_toks is {n_most}, expected less than the model's longest sequence, "
                f"{lm.max_length} tokens; set it in the task's generation_kwargs"
            )
        tokens, mask = (x[:, -longest:].to(lm.device) for x in self._pad(prompts))
        end = options.pop("max_length", tokens.shape[1] + n_most)
        rows = lm._model_generate(
            context=tokens, attention_mask=mask, stop=until, max_length=end, **options
        )
        for row in rows[:, tokens.shape[1] :].tolist():
            yield postprocess_generated_text(lm.tok_decode(row), until, None), row

    def _pad(self, prompts: Sequence[Prompt]) -> tuple[torch.Tensor, torch.Tensor]:
        """Tokens and mask `(n_prompts, n_tokens)`, padded on the left."""
        n_tokens = max(len(prompt.tokens) for prompt in prompts)
        padding = self.lm.tokenizer.pad_token_id
        rows = [[padding] * (n_tokens - len(p.tokens)) + list(p.tokens) for p in prompts]
        mask = [[0] * (n_tokens - len(p.tokens)) + [1] * len(p.tokens) for p in prompts]
        return torch.tensor(rows), torch.tensor(mask)

    def _generated(
        self, benchmark: Benchmark, tokens: TokenisedItems, items: Sequence[int]
    ) -> Iterator[Answer]:
        prompts, repeats = [], []
        for item in items:
            (request,) = benchmark.requests[item]
            ((context, _),) = tokens.pairs(item)
            text, options = request.args
            prompts += [Prompt(text, tuple(context.tolist()), options)] * request.repeats
            repeats.append(request.repeats)
        texts = iter(self.texts(prompts))
        likelihoods = iter(self._right_answers(benchmark, tokens, items))
        for n in repeats:
            said = list(itertools.islice(texts, n))
            text, row = said[0]
            yield Answer([own for own, _ in said], n_spoken(self.lm, row, text), next(likelihoods))

    def _right_answers(
        self, benchmark: Benchmark, tokens: TokenisedItems, items: Sequence[int]
    ) -> list[float | None]:
        """Mean log p of the tokens of each right answer, where that is wanted and there is one."""
        if all(metric.name != "log_likelihood" for metric in benchmark.metrics):
            return [None] * len(items)
        requests = {item: own for item in items if (own := _requests(tokens, item))[0][2]}
        found = self._score([request for (request,) in requests.values()])
        means = {
            item: ll / len(request[2])
            for (item, (request,)), (ll, _) in zip(requests.items(), found, strict=True)
        }
        return [means.get(item) for item in items]

    def _likely(
        self, benchmark: Benchmark, tokens: TokenisedItems, items: Sequence[int]
    ) -> Iterator[Answer]:
        requests = {item: _requests(tokens, item) for item in items}
        repeats = {item: benchmark.requests[item][0].repeats for item in items}
        flat = [own for item in items for own in requests[item] for _ in range(repeats[item])]
        found = iter(self._score(flat))
        for item in items:
            responses = list(itertools.islice(found, len(requests[item]) * repeats[item]))
            mean = responses[0][0] / max(1, len(requests[item][0][2]))
            yield Answer(responses, log_likelihood=mean)

    def _rolling(
        self, benchmark: Benchmark, tokens: TokenisedItems, items: Sequence[int]
    ) -> Iterator[Answer]:
        windows = {item: _requests(tokens, item) for item in items}
        flat = [window for own in windows.values() for window in own]
        size = self.lm.batch_size
        chunks = (flat[start : start + size] for start in range(0, len(flat), size))
        found = iter([scored for chunk in chunks for scored in self._score(chunk)])
        for item in items:
            own = itertools.islice(found, len(windows[item]))
            total = sum(ll for ll, _ in own)
            yield Answer([total] * benchmark.requests[item][0].repeats)

    def _score(self, requests: Iterable[_Request]) -> list[Scored]:
        scored: list[Scored] = self.lm._loglikelihood_tokens(list(requests), disable_tqdm=True)
        return scored


def n_spoken(lm: HFLM, tokens: Sequence[int], text: str) -> int:
    """How many tokens were needed to say a text that the tokens begin with."""
    n = len(tokens)
    while n and len(lm.tok_decode(list(tokens[: n - 1]))) >= len(text):
        n -= 1
    return n


def _requests(tokens: TokenisedItems, item: int) -> list[_Request]:
    return [
        (None, context.tolist(), continuation.tolist())
        for context, continuation in tokens.pairs(item)
    ]
