"""Orthogonal matching pursuit for many targets at once."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

_BATCH_BYTES = 256 << 20
_SCRATCH_ENTRIES = 16 << 20
_PARALLEL = 1e-4
"""An atom of which less than this fraction lies outside the span of those chosen adds rounding."""
_EXHAUSTED = 2.0**-18
"""A step that explains less than this fraction of the target explains its rounding."""


@dataclass(frozen=True)
class Sparse:
    """Targets as combinations of few atoms: target i ≈ Σⱼ coefficients[i, j] atoms[chosen[i, j]].

    Args:
        chosen: `(n, k)` int64, the atoms in the order in which they were chosen.
        coefficients: `(n, k)` float32; zero where a further atom could not help.
        residuals: `(n,)` float32, ‖target − combination‖ / ‖target‖; zero where the target is.
    """

    chosen: Tensor
    coefficients: Tensor
    residuals: Tensor


@torch.no_grad()
def pursue(targets: Tensor, atoms: Tensor, k: int, *, at_once: int = 1) -> Sparse:
    """Approximate each target by at most `k` atoms, greedily: orthogonal matching pursuit.

    In each step the atom with the largest |⟨residual, atom⟩| is chosen, and the target projected
    anew on all that were (Pati, Rezaiifar & Krishnaprasad, 1993); in float32, with the projection
    kept as a Gram–Schmidt basis. Atoms are not normalised first, so that long ones are preferred,
    as mergekit 0.1.4 does. Most time goes into the products of all residuals with all atoms,
    2 · k / at_once · n · n_atoms · d operations.

    Args:
        targets: `(n, d)` rows in any floating-point dtype.
        atoms: `(n_atoms, d)` likewise, on the same device; a row of zeros has no coefficient.
        k: the most atoms of a combination.
        at_once: how many atoms a step chooses; more than one is the generalised pursuit of Wang,
            Kwon & Shim (2012), https://arxiv.org/abs/1111.6664: faster and a little less exact.
    """
    atoms, k = atoms.float(), min(k, len(atoms))
    fits = []
    for batch in _batches(targets, k):
        fit = _Fit(batch.float(), k)
        for step in range(0, k, at_once):
            fit.add(_nearest(fit.residual, atoms, min(at_once, k - step)), atoms)
        fits.append((fit.chosen, fit.coefficients(), fit.relative_residuals()))
    chosen, coefficients, residuals = (torch.cat(x) for x in zip(*fits, strict=True))
    return Sparse(chosen, coefficients, residuals)


def combine(sparse: Sparse, rows: Tensor) -> Tensor:
    """`(n, ...)` float32: the same combinations of other rows, `(n_atoms, ...)`."""
    table = rows.float().reshape(len(rows), -1)
    sums = torch.nn.functional.embedding_bag(
        sparse.chosen, table, per_sample_weights=sparse.coefficients, mode="sum"
    )
    return sums.reshape(-1, *rows.shape[1:])


class _Fit:
    """The projection of a batch of targets `(n, d)` on what was chosen so far for each.

    With a⁽ˢ⁾ = Σₜ U[t, s] q⁽ᵗ⁾ for orthonormal q⁽ᵗ⁾, the coefficients γ of the atoms a⁽ˢ⁾ solve
    U γ = (q⁽ˢ⁾ · target)ₛ.
    """

    def __init__(self, targets: Tensor, k: int) -> None:
        n, d = targets.shape
        self.residual = targets.clone()
        self.chosen = torch.zeros(n, k, dtype=torch.int64, device=targets.device)
        self._length = targets.norm(dim=1)
        self._basis = targets.new_zeros(n, k, d)  # q
        self._upper = targets.new_zeros(n, k, k)  # U
        self._explained = targets.new_zeros(n, k)
        self._step = 0

    def add(self, picked: Tensor, atoms: Tensor) -> None:
        """Take more atoms `(n, m)` into each projection, but those that add nothing but rounding.

        All at once with the basis so far, which is read once for all of them, then one by one.
        """
        before = self._step
        vectors = atoms[picked]
        rests, outer = _orthogonal(vectors, self._basis[:, :before])
        self.chosen[:, before : before + picked.shape[1]] = picked
        for j in range(picked.shape[1]):
            rest, inner = _orthogonal(rests[:, j : j + 1], self._basis[:, before : self._step])
            coordinates = torch.cat([outer[:, j], inner[:, 0]], dim=1)
            self._take(rest[:, 0], coordinates, shortest=_PARALLEL * vectors[:, j].norm(dim=1))

    def _take(self, q: Tensor, coordinates: Tensor, *, shortest: Tensor) -> None:
        """One more atom, as its rest `(n, d)` outside the basis and its coordinates `(n, s)`."""
        s = self._step
        rest = q.norm(dim=1)
        q = q / torch.where(rest > 0, rest, 1)[:, None]
        gain = (q * self.residual).sum(1)
        useful = (rest > shortest) & (gain.abs() > _EXHAUSTED * self._length)
        self._basis[:, s] = torch.where(useful[:, None], q, 0)
        self._upper[:, :s, s] = torch.where(useful[:, None], coordinates, 0)
        self._upper[:, s, s] = torch.where(useful, rest, 1)
        self._explained[:, s] = torch.where(useful, gain, 0)
        self.residual -= self._basis[:, s] * self._explained[:, s, None]
        self._step += 1

    def coefficients(self) -> Tensor:
        """`(n, k)` of the atoms."""
        right = self._explained[..., None]
        solved: Tensor = torch.linalg.solve_triangular(self._upper, right, upper=True)
        return solved.squeeze(-1)

    def relative_residuals(self) -> Tensor:
        """`(n,)`, as fractions of the targets' lengths."""
        rest: Tensor = self.residual.norm(dim=1)
        return rest / torch.where(self._length > 0, self._length, 1)


def _batches(targets: Tensor, k: int) -> Iterator[Tensor]:
    size = max(1, _BATCH_BYTES // (4 * max(k, 1) * targets.shape[1]))
    return (targets[i : i + size] for i in range(0, max(len(targets), 1), size))


def _nearest(residual: Tensor, atoms: Tensor, n: int) -> Tensor:
    """`(n_targets, n)` int64: the atoms with the largest |⟨residual, atom⟩|, best first."""
    size = max(n, _SCRATCH_ENTRIES // max(len(residual), 1))
    values, places = [], []
    for start in range(0, len(atoms), size):
        products = (residual @ atoms[start : start + size].T).abs_()
        best = products.topk(min(n, products.shape[1]), dim=1) if n > 1 else products.max(1, True)
        values.append(best[0])
        places.append(best[1] + start)
    order = torch.cat(values, dim=1).topk(n, dim=1).indices
    return torch.cat(places, dim=1).gather(1, order)


def _orthogonal(vectors: Tensor, basis: Tensor) -> tuple[Tensor, Tensor]:
    """What of vectors `(n, m, d)` is outside a basis `(n, s, d)`, and their coordinates in it.

    Twice: a single pass of Gram–Schmidt leaves rounding that grows with each step.
    """
    first = vectors @ basis.mT
    rest = vectors - first @ basis
    second = rest @ basis.mT
    return rest - second @ basis, first + second
