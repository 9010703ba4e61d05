"""Spectral methods: matrices of layers are decomposed once, everything else is averaged."""

import math
from dataclasses import replace

from evomerge.merge.method import MergeMethod, coefficient
from evomerge.merge.parameters import FRACTION, Parameter
from evomerge.merge.stages.low_rank import (
    centred_triplets,
    mean_and_centred,
    mean_of_rescaled,
    singular_triplets,
)
from evomerge.merge.stages.projections import (
    least_interference,
    least_interference_denoised,
    sequential_projections,
)
from evomerge.merge.stages.spectral import moved, prepared, recombined
from evomerge.merge.stages.sphere import of_tensor, to_mean_length
from evomerge.merge.stages.subspaces import (
    isotropic,
    isotropic_with_task_spaces,
    task_singular_vectors,
)
from evomerge.merge.stages.weigh import evenly

# An isotropic matrix is no expert's.
_ISOTROPIC = replace(
    coefficient("scale λᵢ of the directions in which the expert moves"), full=math.inf
)

TSV = MergeMethod(
    name="tsv",
    summary="Sum of every expert's largest singular triplets, made orthogonal to the others'.",
    # TSV-M; coefficients scale the singular values.
    reference="https://arxiv.org/abs/2412.00081",
    parameters=(coefficient("scale λᵢ of the expert's singular values"),),
    weigh=evenly,
    matrix=prepared("tsv", task_singular_vectors, recombined),
)

ISO_C = MergeMethod(
    name="iso_c",
    summary="Sum of the task vectors with all its singular values at their mean.",
    # At coefficients that differ, task_arithmetic+flatten makes the weighted sum itself isotropic,
    # and decomposes it for each candidate.
    reference="https://arxiv.org/abs/2502.04959",
    parameters=(_ISOTROPIC,),
    weigh=evenly,
    matrix=prepared("iso_c", isotropic, recombined),
)

ISO_CTS = MergeMethod(
    name="iso_cts",
    summary="Iso-C with a fifth of the directions given to what the sum lacks of each expert.",
    reference="https://arxiv.org/abs/2502.04959",
    parameters=(_ISOTROPIC,),
    weigh=evenly,
    matrix=prepared("iso_cts", isotropic_with_task_spaces, recombined),
)

STAR = MergeMethod(
    name="star",
    summary="Mean of truncated task vectors, each scaled to the nuclear norm it had.",
    reference="https://arxiv.org/abs/2502.10339",
    parameters=(
        coefficient("scale λᵢ of the expert's truncated task vector"),
        Parameter(
            "eta",
            low=0.05,
            high=1.0,
            default=0.4,
            per_expert=True,
            limits=FRACTION,
            full=1.0,
            description="share of the nuclear norm that the kept singular values hold",
        ),
    ),
    weigh=evenly,
    matrix=prepared("star", singular_triplets, mean_of_rescaled),
)

CART = MergeMethod(
    name="cart",
    summary="Mean of the task vectors, plus low-rank parts of how each differs from it.",
    reference="https://arxiv.org/abs/2412.12153",
    parameters=(
        coefficient("scale λᵢ of the expert's part"),
        Parameter(
            "scale",
            low=0.0,
            high=2.0,
            default=1.0,
            per_expert=False,
            description="scale of the low-rank differences",
        ),
        Parameter(
            "rank",
            low=0.02,
            high=1.0,
            default=0.08,
            per_expert=False,
            limits=FRACTION,
            description="rank kept of each difference, as a fraction of the full rank",
        ),
    ),
    weigh=evenly,
    matrix=prepared("cart", centred_triplets, mean_and_centred),
)

WUDI = MergeMethod(
    name="wudi",
    summary="The matrix that interferes least with every task vector, solved in closed form.",
    # The published method takes some hundred steps of Adam toward it.
    reference="https://arxiv.org/abs/2503.08099",
    parameters=(coefficient("scale λᵢ of the expert's part of the solution"),),
    weigh=evenly,
    matrix=prepared("wudi", least_interference, moved),
)

OPTMERGE = MergeMethod(
    name="optmerge",
    summary="WUDI on denoised low-rank task vectors, solved in closed form.",
    # The variant for full fine-tunes; 0.1 is the reference's scale.
    reference="https://arxiv.org/abs/2505.19892",
    parameters=(
        coefficient("scale λᵢ of the expert's part of the solution", high=1.0, default=0.1),
    ),
    weigh=evenly,
    matrix=prepared("optmerge", least_interference_denoised, moved),
)

OPCM = MergeMethod(
    name="opcm",
    summary="One expert after the other, less its part along those before it; order of names.",
    # A lone sum is scaled to the mean norm; tensor by tensor here, where the paper has one scale.
    reference="https://arxiv.org/abs/2501.09522",
    parameters=(coefficient("scale λᵢ of the expert's projected task vector"),),
    weigh=of_tensor(to_mean_length),
    matrix=prepared("opcm", sequential_projections, moved),
)
