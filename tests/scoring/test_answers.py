import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from evomerge.errors import ScoringError
from evomerge.scoring.answers import digest_of, share_of_right
from evomerge.scoring.benchmark import load_benchmarks
from evomerge.scoring.resident import ResidentModel
from evomerge.scoring.scorer import Mode, Scorer
from tests.tiny import TinyZoo

LIKELIHOODS = st.lists(st.floats(-900.0, 0.0), min_size=2, max_size=6)


@given(LIKELIHOODS)
def test_the_shares_of_all_choices_add_up_to_one(likelihoods: list[float]) -> None:
    shares = [share_of_right(likelihoods, [c]) for c in range(len(likelihoods))]
    assert sum(np.exp(shares)) == pytest.approx(1.0)
    assert share_of_right(likelihoods, range(len(likelihoods))) == pytest.approx(0.0, abs=1e-9)


@given(LIKELIHOODS, st.floats(-50.0, 50.0))
def test_what_all_choices_gain_does_not_count(likelihoods: list[float], gain: float) -> None:
    moved = [ll + gain for ll in likelihoods]
    assert share_of_right(moved, [0]) == pytest.approx(share_of_right(likelihoods, [0]), abs=1e-9)


@given(st.text(max_size=9), st.text(max_size=9))
def test_a_digest_is_a_number_that_a_float_holds(a: str, b: str) -> None:
    assert 0 <= digest_of(a) < 2**52
    assert int(float(digest_of(a))) == digest_of(a)
    assert (digest_of(a) == digest_of(b)) == (a == b)


@pytest.mark.parametrize("mode", ["packed", "exact"])
@pytest.mark.parametrize("task", ["choice_search", "words_search"])
def test_likelihood_needs_one_right_answer(
    tmp_path: Path, tiny_zoo: TinyZoo, mode: Mode, task: str
) -> None:
    for source in tiny_zoo.tasks_path.glob("*.jsonl"):
        documents = [json.loads(line) for line in source.open()]
        documents[1] |= {"label": 9}
        lines = [json.dumps({**own, "targets": ["a", "b"]}) + "\n" for own in documents]
        (tmp_path / source.name).write_text("".join(lines))
    yaml = (tiny_zoo.tasks_path / f"{task}.yaml").read_text()
    (tmp_path / f"{task}.yaml").write_text(yaml.replace('"{{target}}"', "targets"))
    benchmarks = load_benchmarks([task], tasks_path=tmp_path, metrics={task: ["log_likelihood"]})
    resident = ResidentModel.from_folder(tiny_zoo.base, dtype=torch.float32)
    scorer = Scorer(resident, benchmarks, mode=mode)
    with pytest.raises(ScoringError, match=r"item [01] of benchmark .* no single right answer"):
        scorer.score(task, [0, 1])


@pytest.mark.parametrize("mode", ["packed", "exact"])
def test_more_tokens_than_the_model_can_see_are_refused(
    tmp_path: Path, tiny_zoo: TinyZoo, mode: Mode
) -> None:
    for source in tiny_zoo.tasks_path.glob("words_*"):
        text = source.read_text().replace("max_gen_toks: 6", "max_gen_toks: 900")
        (tmp_path / source.name).write_text(text)
    resident = ResidentModel.from_folder(tiny_zoo.base, dtype=torch.float32)
    benchmarks = load_benchmarks(["words_search"], tasks_path=tmp_path)
    scorer = Scorer(resident, benchmarks, mode=mode)
    with pytest.raises(ScoringError, match=r"max_gen_toks is 900, expected less .* 256 tokens"):
        scorer.score("words_search", [0])
