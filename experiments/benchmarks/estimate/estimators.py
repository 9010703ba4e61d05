"""All estimators fitted to the same calibration models."""

from collections.abc import Iterator

import numpy as np

from evomerge.irt.adaptive import SIZES, ask, fit_adaptive, flag_items
from evomerge.irt.design import Difference, Mean, Stratified
from evomerge.irt.estimator import BoolArray, Estimates, Estimator
from evomerge.irt.fitting import fit_traits
from evomerge.irt.published import Anchors, Generalised, MpIrt, PIrt
from evomerge.irt.regression import Ridge
from experiments.benchmarks.estimate.selection import after_selection

OURS = "ours"
N_TRAITS_PUBLISHED = 5


class Fitted:
    """Everything that is fitted once for a split of the models.

    Args:
        responses: `(n_models, J)` of the calibration models.
        endpoints: `(M, J)` of the base and the experts, which are among them.
    """

    def __init__(self, responses: BoolArray, endpoints: BoolArray, seed: int) -> None:
        barred = [place for places in flag_items(responses).values() for place in places]
        self.ours = fit_adaptive(responses, barred=barred, seed=seed)
        one, many = fit_traits(responses, 1), fit_traits(responses, N_TRAITS_PUBLISHED)
        p_irt = PIrt(one)
        self.stratified = Stratified.by_difficulty(responses)
        self.mixed = {
            "mp-IRT": MpIrt.fit(many, endpoints),
            "mp-IRT, prior": MpIrt.fit(many, endpoints, responses),
        }
        self.common: dict[str, Estimator] = {
            "mean": Mean(),
            "p-IRT": p_irt,
            "ridge": Ridge.fit(responses),
        }
        rng = np.random.default_rng(seed)
        self.anchors = {
            n: Anchors.fit(responses.T, n, rng) for n in SIZES if n < responses.shape[1]
        }
        self.gp_irt = {
            n: Generalised.gp_irt(anchors, p_irt, responses) for n, anchors in self.anchors.items()
        }

    def results(
        self, test: BoolArray, rng: np.random.Generator
    ) -> Iterator[tuple[str, int, Estimates, float]]:
        """Name, number of items, estimates on one draw of the items; ours with its check."""
        order = rng.permutation(test.shape[1])
        asked = ask(self.ours, test, tuple(self.anchors), order)
        for n, seen in asked.items():
            for name, estimates in self._on_random(mask_of(test, order[:n]), test):
                yield name, n, estimates, np.nan
            strata = mask_of(test, self.stratified.choose(n, rng))
            yield "stratified", n, self.stratified.estimates(strata, test), np.nan
            anchored = mask_of(test, self.anchors[n].items)
            yield "anchors", n, self.anchors[n].estimates(anchored, test), np.nan
            yield "gp-IRT", n, self.gp_irt[n].estimates(anchored, test), np.nan
            estimates = self.ours.estimates(seen, test)
            check = after_selection(self.ours.traits, seen, test, estimates.mean, rng)
            yield OURS, n, estimates, check

    def _on_random(self, seen: BoolArray, test: BoolArray) -> Iterator[tuple[str, Estimates]]:
        for name, estimator in self.common.items():
            yield name, estimator.estimates(seen, test)
        greg = Difference(self.ours.traits.predictions(seen, test))
        yield "GREG", greg.estimates(seen, test)
        plain = Mean().estimates(seen, test).mean
        for name, mixture in self.mixed.items():
            estimates = mixture.estimates(seen, test)
            yield name, estimates
            # gmp-IRT is half and half; the search for the mixture need not be made twice.
            half = Estimates(0.5 * (plain + estimates.mean), estimates.se)
            yield f"g{name}", half


def mask_of(answers: BoolArray, places: np.ndarray) -> BoolArray:
    """The same places seen by every model."""
    mask = np.zeros(answers.shape, dtype=bool)
    mask[:, places] = True
    return mask
