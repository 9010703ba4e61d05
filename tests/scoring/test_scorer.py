import pytest
import torch

from evomerge.errors import ScoringError
from evomerge.scoring.benchmark import load_benchmarks
from evomerge.scoring.resident import NonFiniteScore, ResidentModel
from evomerge.scoring.scorer import Scorer
from tests.tiny import TinyZoo

TASKS = ("words_search", "choice_search")


@pytest.fixture
def scorer(tiny_zoo: TinyZoo) -> Scorer:
    resident = ResidentModel.from_folder(tiny_zoo.base, dtype=torch.float32)
    return Scorer(resident, load_benchmarks(TASKS, tasks_path=tiny_zoo.tasks_path))


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_give_no_score(
    tiny_zoo: TinyZoo, task: str, bad: float
) -> None:
    resident = ResidentModel.from_folder(tiny_zoo.base, dtype=torch.float32)
    scorer = Scorer(resident, load_benchmarks([task], tasks_path=tiny_zoo.tasks_path))
    good = scorer.score(task, range(9))
    weight = resident.tensors["model.layers.1.mlp.down_proj.weight"]
    before = weight.clone()
    weight[0, 0] = bad
    with pytest.raises(NonFiniteScore, match="logits are not finite"):
        scorer.score(task, range(9))
    weight.copy_(before)
    assert scorer.score(task, range(9)) == good


def test_lm_evals_own_path_refuses_weights_that_are_not_finite(
    tiny_zoo: TinyZoo, scorer: Scorer
) -> None:
    scorer._tasks["words_search"]._fast = None
    scorer._reference.lm.model.model.norm.weight.fill_(float("nan"))
    with pytest.raises(NonFiniteScore):
        scorer.score("words_search", [0])


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_metric_that_is_not_finite_is_no_score(
    scorer: Scorer, monkeypatch: pytest.MonkeyPatch, bad: float
) -> None:
    own = scorer._tasks["words_search"]
    own._fast = None
    monkeypatch.setattr(own._benchmark.task, "process_results", lambda *_: {"exact_match": bad})
    with pytest.raises(NonFiniteScore, match=f"item 3 of benchmark 'words_search' is {bad}"):
        scorer.score("words_search", [3])


def test_an_unknown_benchmark_is_named(scorer: Scorer) -> None:
    with pytest.raises(ScoringError, match=r"no benchmark 'word'.*words_search, choice_search"):
        scorer.score("word", [0])


@pytest.mark.parametrize("item", [-1, 40])
def test_an_item_that_does_not_exist_is_named(scorer: Scorer, item: int) -> None:
    with pytest.raises(ScoringError, match=f"items 0 to 39, not {item}"):
        scorer.score("words_search", [0, item])


def test_no_items_give_no_scores(scorer: Scorer) -> None:
    assert scorer.score("choice_search", [])["choice_search"].values == ()
