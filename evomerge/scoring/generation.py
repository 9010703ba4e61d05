"""Items whose answer is a text: foretold where that is enough, else decoded greedily."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property, lru_cache
from inspect import signature

import torch

from evomerge.scoring.answers import Answer, Results, own_results
from evomerge.scoring.benchmark import Benchmark
from evomerge.scoring.decoding import Decoder
from evomerge.scoring.forward import REFUSALS
from evomerge.scoring.greedy import AnswerPass, Foretold, Judge
from evomerge.scoring.limits import decodes_greedily, limits_of
from evomerge.scoring.reference import Reference, n_spoken
from evomerge.scoring.resident import ResidentModel
from evomerge.scoring.tokenising import right_text
from evomerge.scoring.tokens import TokenisedItems

Settled = tuple[Results, Answer]
"""lm-eval's metrics of an item, and the answer that they are of."""

_NOTHING = Foretold((), None)


class GenerationScorer:
    """Scores `generate_until` items whose greedy answer is clear of rounding."""

    def __init__(
        self,
        resident: ResidentModel,
        reference: Reference,
        benchmark: Benchmark,
        tokens: TokenisedItems,
    ) -> None:
        self._benchmark, self._tokens, self._reference = benchmark, tokens, reference
        self._lm = reference.lm
        self._limits = limits_of(resident, self._lm, benchmark)
        self._judge = Judge(benchmark, self._limits)
        self._foretell = AnswerPass(resident, tokens, self._limits)
        self._decoder = Decoder(resident, self._lm, self._limits, self._lm.batch_size)
        wanted = [metric.name == "log_likelihood" for metric in benchmark.metrics]
        self._needs_likelihood, self._needs_answer = any(wanted), not all(wanted)
        # Where the text itself is wanted, most answers would have to be decoded after all.
        self._foretells = self._needs_likelihood or not self._judge.needs_text
        self._settled = lru_cache(maxsize=100_000)(self._judge_beginning)

    @staticmethod
    def fits(resident: ResidentModel, reference: Reference, benchmark: Benchmark) -> bool:
        """Whether this benchmark asks for greedily decoded text, no frills."""
        return (
            benchmark.output_type == "generate_until"
            and "position_ids" in signature(resident.model.forward).parameters
            and decodes_greedily(resident, reference.lm, benchmark)
        )

    def decide(self, items: Sequence[int]) -> dict[int, Results]:
        """The metrics of the items whose answers are clear of rounding.

        Raises:
            NonFiniteScore: the model's logits are NaN or infinite.
        """
        known = [item for item in items if self._fits(item)]
        foretold: dict[int, Foretold] = {}
        if self._foretells:
            foretold = self._foretell.run(known, likelihood=self._needs_likelihood)
        results: dict[int, Results] = {}
        for item in known:
            ahead = foretold.get(item, _NOTHING)
            if settled := self._settled(item, ahead.said):
                results[item] = self._with_own(item, settled, ahead)
        rest = [item for item in known if item not in results]
        if rest and self._decodes:
            for item, said in zip(rest, self._decode(rest, foretold), strict=True):
                if said and (settled := self._settled(item, said)):
                    results[item] = self._with_own(item, settled, foretold.get(item, _NOTHING))
        return results

    def _fits(self, item: int) -> bool:
        ((prompt, answer),) = self._tokens.pairs(item)
        room = self._lm.max_length - max(self._limits.max_tokens, len(answer))
        return 0 < len(prompt) <= room and (len(answer) > 0 or not self._needs_likelihood)

    def _decode(
        self, items: Sequence[int], foretold: Mapping[int, Foretold]
    ) -> list[tuple[int, ...] | None]:
        prompts = [self._tokens.pairs(item)[0][0] for item in items]
        begun = [foretold.get(item, _NOTHING).said for item in items]
        with torch.inference_mode():
            return self._decoder.decode(prompts, begun)

    @cached_property
    def _decodes(self) -> bool:
        """Whether our decoding says what lm-eval's says, seen on prompts of several lengths."""
        items = [item for item in range(self._benchmark.n_items) if self._fits(item)]
        items.sort(key=lambda item: len(self._tokens.pairs(item)[0][0]))
        few = sorted({items[0], items[len(items) // 2], items[-1]})
        answers = self._reference.answers(self._benchmark, self._tokens, few)
        try:
            found = self._decode(few, {})
        except REFUSALS:
            return False
        return all(
            said is None or self._text(said) == answers[item].responses[0]
            for item, said in zip(few, found, strict=True)
        )

    def _text(self, said: tuple[int, ...]) -> str:
        return self._limits.cut(self._lm.tok_decode(list(said)))

    def _judge_beginning(self, item: int, said: tuple[int, ...]) -> Settled | None:
        """What is known of an item whose answer begins with these tokens; None if not enough."""
        if not self._needs_answer:
            return {}, Answer([])
        limits = self._limits
        ended = bool(said) and said[-1] in limits.end_tokens
        if not said or limits.special.intersection(said[:-1] if ended else said):
            return None
        text = self._lm.tok_decode(list(said))
        if ended or len(said) == limits.max_tokens or any(stop in text for stop in limits.stops):
            answer = limits.cut(text)
            n_tokens = n_spoken(self._lm, said, answer)
            return self._benchmark.values(item, [answer]), Answer([answer], n_tokens)
        target = right_text(self._benchmark, item)
        if self._judge.needs_text or target is None or not self._judge.fails(text, target):
            return None
        keys = [metric.key for metric in self._benchmark.metrics if not metric.is_ours]
        return dict.fromkeys(keys, 0.0), Answer([text])

    def _with_own(self, item: int, settled: Settled, ahead: Foretold) -> Results:
        results, answer = settled
        answer = replace(answer, log_likelihood=ahead.log_likelihood)
        return {**results, **own_results(self._benchmark, item, answer)}
