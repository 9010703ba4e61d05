"""The requests of a benchmark tokenised by lm-eval's own rules, once for all workers."""

from collections.abc import Sequence

from lm_eval.filters.selection import TakeFirstFilter
from lm_eval.models.huggingface import HFLM
from lm_eval.models.utils import configure_pad_token, resolve_max_length
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window
from transformers import PretrainedConfig, PreTrainedTokenizerBase

from evomerge.scoring.benchmark import Benchmark
from evomerge.scoring.tokens import Pair, TokenisedItems


def tokenise(
    benchmark: Benchmark, tokenizer: PreTrainedTokenizerBase, config: PretrainedConfig
) -> TokenisedItems:
    """The tokens of every request of a benchmark, as lm-eval makes them.

    Args:
        benchmark: with its requests built.
        tokenizer: of the model.
        config: of the model; how long its context is says how a long text is cut into windows.
    """
    encoder = _Encoder(tokenizer, resolve_max_length(config, tokenizer))
    if benchmark.output_type == "generate_until":
        items = [[_prompt_and_answer(encoder, benchmark, i)] for i in range(benchmark.n_items)]
    elif benchmark.output_type == "loglikelihood_rolling":
        items = [encoder.windows(request.args[0]) for (request,) in benchmark.requests]
    else:
        items = [encoder.loglikelihood(list(own), disable_tqdm=True) for own in benchmark.requests]
    return TokenisedItems.of(items)


class _Encoder(HFLM):  # type: ignore[misc]
    """How lm-eval tokenises, without a model: "log-likelihoods" are the pairs to be scored."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, max_length: int) -> None:
        self.tokenizer = configure_pad_token(tokenizer)
        self.add_bos_token = self.custom_prefix_token_id = self.enable_thinking = None
        self.backend = "causal"
        self._max_length = max_length
        self._known: dict[str, list[int]] = {}

    def tok_encode(
        self, string: str, add_special_tokens: bool | None = None, **kwargs: object
    ) -> list[int]:
        """The tokens of a text; contexts come once for each choice, and are tokenised once."""
        if add_special_tokens is not None:
            return list(super().tok_encode(string, add_special_tokens, **kwargs))
        if string not in self._known:
            self._known[string] = super().tok_encode(string, **kwargs)
        return self._known[string]

    def _loglikelihood_tokens(
        self, requests: Sequence[tuple[object, list[int], list[int]]], **_: object
    ) -> list[Pair]:
        return [(context, continuation) for _, context, continuation in requests]

    def windows(self, text: str) -> list[Pair]:
        """A text cut as for `loglikelihood_rolling`."""
        windows = get_rolling_token_windows(
            self.tok_encode(text), self.prefix_token_id, self.max_length, 1
        )
        return [make_disjoint_window(window) for window in windows]

    def prompt(self, text: str) -> list[int]:
        """A prompt to be continued, which lm-eval tokenises in a way of its own."""
        tokens: list[int] = self.tok_batch_encode([text])[0][0].tolist()
        return tokens


def _prompt_and_answer(encoder: _Encoder, benchmark: Benchmark, item: int) -> Pair:
    """The prompt, and the right answer as the tokenizer would write it behind the prompt."""
    text = benchmark.requests[item][0].args[0]
    prompt, answer = encoder.prompt(text), right_answer(benchmark, item)
    if answer is None or not prompt:
        return prompt, []
    whole = encoder.prompt(text + answer)
    if whole[: len(prompt)] == prompt:
        return prompt, whole[len(prompt) :]
    # The prompt's last token would swallow the answer's beginning; lm-eval encodes it alone.
    return prompt, encoder.tok_encode(answer, add_special_tokens=False)


def right_answer(benchmark: Benchmark, item: int) -> str | None:
    """What a model that is right says to the prompt; None where there is no single text."""
    target = right_text(benchmark, item)
    if target is None or _is_judged_unfiltered(benchmark):
        return target
    return str(benchmark.task.config.target_delimiter) + target


def right_text(benchmark: Benchmark, item: int) -> str | None:
    """The target of an item as lm-eval's metrics get it; None where there is no single text."""
    target = benchmark.task.doc_to_target(benchmark.documents[item])
    if benchmark.task.config.doc_to_choice is not None and isinstance(target, int):
        target = benchmark.task.doc_to_choice(benchmark.documents[item])[target]
    if isinstance(target, list):
        return str(target[0]) if len(target) == 1 else None
    return str(target)


def _is_judged_unfiltered(benchmark: Benchmark) -> bool:
    """Whether a space before the answer would make an exact match fail."""
    return any(
        metric.name == "exact_match" and benchmark.steps_of(metric.filter) == (TakeFirstFilter,)
        for metric in benchmark.metrics
        if not metric.is_ours
    )
