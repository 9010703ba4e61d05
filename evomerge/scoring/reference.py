"""Items scored by lm-eval's own model class: slow, and right by definition."""

from collections.abc import Mapping, Sequence

from lm_eval.models.huggingface import HFLM

from evomerge.errors import ScoringError
from evomerge.scoring.benchmark import Benchmark, ItemResult, quiet
from evomerge.scoring.resident import ResidentModel


def wrap(model: ResidentModel, batch_size: int) -> HFLM:
    """lm-eval's view of the resident model; the weights are shared, not copied."""
    return HFLM(pretrained=model.model, tokenizer=model.tokenizer, batch_size=batch_size)


def score_items(
    lm: HFLM, benchmark: Benchmark, items: Sequence[int]
) -> Mapping[int, Mapping[str, ItemResult]]:
    """The metrics of each item by key, by lm-eval's model, filters and rules; not those of ours.

    Raises:
        ScoringError: lm-eval refuses a request.
    """
    requests = [benchmark.copies_of(item) for item in items]
    flat = [request for own in requests for request in own]
    if not flat:
        return {}
    try:
        with quiet():  # rolling windows are shown whatever is said here
            responses = iter(getattr(lm, flat[0].request_type)(flat, disable_tqdm=True))
    except AssertionError as error:
        raise ScoringError(
            f"lm-eval cannot score benchmark {benchmark.name!r}: {error or 'a request is empty'}"
        ) from error
    return {
        item: benchmark.values(item, [next(responses) for _ in own])
        for item, own in zip(items, requests, strict=True)
    }
