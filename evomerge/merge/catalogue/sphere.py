"""Averages of directions: the experts' vectors as points on a sphere."""

from functools import partial

from evomerge.merge.method import MergeMethod, coefficient
from evomerge.merge.stages.sphere import great_circle, karcher_mean, mean_direction, of_tensor

_WEIGHT = coefficient("relative weight wᵢ of the expert", high=1.0)

SLERP = MergeMethod(
    name="slerp",
    summary="From one expert's weights to another's along the arc between them.",
    # To slerp with the base itself, as mergekit does, open it as an expert too.
    reference="https://doi.org/10.1145/325334.325242",
    parameters=(_WEIGHT,),
    space="weights",
    weigh=of_tensor(great_circle),
    only_ratios=True,
    n_experts=2,
)

SLERP_MERGEKIT = SLERP.as_in_mergekit(
    "Slerp along the chord instead of the arc where the angle's cosine is above 0.9995.",
    # That is so for almost every tensor of two fine-tunes: cosines of whole weights near 1.
    weigh=of_tensor(partial(great_circle, flat_above=0.9995)),
)

NUSLERP = MergeMethod(
    name="nuslerp",
    summary="From one expert's task vector to another's along the arc between them.",
    # mergekit's, with a base and `nuslerp_flatten: true`.
    reference="https://github.com/arcee-ai/mergekit/blob/main/docs/merge_methods.md",
    parameters=(_WEIGHT,),
    weigh=of_tensor(great_circle),
    only_ratios=True,
    n_experts=2,
)

MULTISLERP = MergeMethod(
    name="multislerp",
    summary="Weighted mean of the task vectors' directions, at their mean length.",
    reference="https://goddard.blog/posts/multislerp-wow-what-a-cool-idea",
    parameters=(_WEIGHT,),
    weigh=of_tensor(mean_direction),
    only_ratios=True,
)

MULTISLERP_MERGEKIT = MULTISLERP.as_in_mergekit(
    "Multi-SLERP of the experts' whole weights instead of their task vectors.",
    # mergekit's without a base model; with one both agree.
    space="weights",
)

KARCHER = MergeMethod(
    name="karcher",
    summary="Weighted Karcher mean of the task vectors' directions, at their mean length.",
    reference="https://doi.org/10.1002/cpa.3160300502",
    parameters=(_WEIGHT,),
    weigh=of_tensor(karcher_mean),
    only_ratios=True,
)

KARCHER_MERGEKIT = KARCHER.as_in_mergekit(
    "Karcher mean of the experts' whole weights instead of their task vectors.",
    # mergekit's has equal weights. It also leaves out an expert whose cosine with the mean rounds
    # to 1 in float32, as some do among near equal tensors, which moves the mean to the others.
    space="weights",
    weigh=of_tensor(partial(karcher_mean, n_steps=10, tolerance=1e-5)),
)
