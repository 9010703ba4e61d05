"""The models that others are compared with: merged when their logits are first needed."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from evomerge.records import Recipe
from evomerge.scoring.divergence import DivergenceScorer
from evomerge.scoring.kept_logits import read_logits, write_logits
from evomerge.user_cache import user_cache


@dataclass(frozen=True)
class Reference:
    """The model that a benchmark compares with.

    Args:
        recipe: what it is as a merge.
        path: the file in which its logits are kept; on a machine that does not have the folder
            above the file's, a file of that name in the user's cache.
    """

    recipe: Recipe
    path: Path

    @property
    def file(self) -> Path:
        """The file on this machine."""
        there = self.path.parent.parent.is_dir()
        return self.path if there else user_cache("references") / self.path.name


class References:
    """Has scorers know their reference's logits before they need them.

    Args:
        references: by benchmark.
        scorers: by benchmark.
        become: merges a recipe into the model that the scorers see.
    """

    def __init__(
        self,
        references: Mapping[str, Reference],
        scorers: Mapping[str, DivergenceScorer],
        become: Callable[[Recipe], None],
    ) -> None:
        self._references, self._scorers, self._become = references, scorers, become

    def prepare(self, items: Mapping[str, Sequence[int]]) -> None:
        """Make known what the items need; the resident model may be a reference afterwards.

        Raises:
            NonFiniteScore: a reference's logits are NaN or infinite.
        """
        for name, scorer in self._scorers.items():
            wanted = items.get(name, ())
            if scorer.missing(wanted):
                self._learn(self._references[name], scorer, wanted)

    def _learn(self, reference: Reference, scorer: DivergenceScorer, items: Sequence[int]) -> None:
        path = reference.file
        scorer.take(read_logits(path))
        if missing := scorer.missing(items):
            self._become(reference.recipe)
            scorer.learn(missing)
            write_logits(path, scorer.reference)
