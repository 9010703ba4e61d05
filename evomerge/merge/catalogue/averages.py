"""Averages and sums of whole task vectors: what differs is how the experts are weighed."""

from evomerge.merge.method import MergeMethod, coefficient
from evomerge.merge.parameters import NOT_NEGATIVE, Parameter
from evomerge.merge.stages.sphere import of_rows, of_tensor, shrink_to_base
from evomerge.merge.stages.weigh import by_energy, by_energy_of_model, shares

LINEAR = MergeMethod(
    name="linear",
    summary="Weighted average of the experts' weights: θ = Σ wᵢ θᵢ / Σ wᵢ.",
    # All zero has no average: it is defined as the base. mergekit's `linear` with its default
    # `normalize: true`, but summed in float32 rather than in the tensors' dtype.
    reference="https://arxiv.org/abs/2203.05482",
    parameters=(
        # The default: all equal, the uniform average.
        coefficient("relative weight wᵢ of the expert in the average", high=1.0),
    ),
    space="weights",
    weigh=shares,
    only_ratios=True,
)

TASK_ARITHMETIC = MergeMethod(
    name="task_arithmetic",
    summary="Base plus scaled task vectors: θ = θ_base + Σ λᵢ τᵢ.",
    # mergekit's `task_arithmetic` with its defaults.
    reference="https://arxiv.org/abs/2212.04089",
    parameters=(
        # The default: recommended where nothing can be tuned, TIES paper, section 5.
        coefficient("scale λᵢ of the expert's task vector", default=0.4),
    ),
)

VARM = MergeMethod(
    name="varm",
    summary="Average of the task vectors, each weighed by its energy in the tensor.",
    # FuseChat's VaRM at `power` 1; the power is our addition, 0 gives the plain average.
    reference="https://arxiv.org/abs/2402.16107",
    parameters=(
        coefficient("scale λᵢ of the expert's task vector"),
        Parameter(
            "power",
            low=0.0,
            high=2.0,
            default=1.0,
            per_expert=False,
            limits=NOT_NEGATIVE,
            description="power of an expert's mean squared change in its weight",
        ),
    ),
    weigh=by_energy,
)

METAGPT = MergeMethod(
    name="metagpt",
    summary="Average of the task vectors, each weighed by its energy in the whole model.",
    # The paper's λᵢ = ‖τᵢ‖² / Σⱼ ‖τⱼ‖² over all tensors, whichever layer group they are in.
    reference="https://arxiv.org/abs/2406.11385",
    parameters=(coefficient("scale λᵢ of the expert's task vector"),),
    weigh=by_energy_of_model,
    whole_model=True,
)

MODEL_STOCK = MergeMethod(
    name="model_stock",
    summary="Average of the task vectors, shrunk to the base by how far their directions differ.",
    # As mergekit: the mean of the cosines of all pairs where the paper has one angle. mergekit
    # divides by products of norms below 10⁻⁶ as if they were 10⁻⁶, which turns cosines of small
    # tensors to 0, and follows a negative mean cosine away from the base; here it counts as 0.
    reference="https://arxiv.org/abs/2403.19522",
    parameters=(coefficient("scale λᵢ of the expert's task vector"),),
    weigh=of_tensor(shrink_to_base),
)

MODEL_STOCK_ROWS = MergeMethod(
    name="model_stock_rows",
    summary="Model Stock for each row of a tensor apart.",
    # mergekit's `filter_wise: true`.
    reference="https://arxiv.org/abs/2403.19522",
    parameters=MODEL_STOCK.parameters,
    weigh=of_rows(shrink_to_base),
)
