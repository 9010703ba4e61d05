"""The files of `tests/mergekit/examples` that both merge to the same weights.

Of the others, `ties` is refused by mergekit, since of a norm with 8 weights it would keep none;
some draw random masks; `breadcrumbs*` and `model_stock*` are in the traps of their methods; and
`ram*` is in no release.
"""

from pathlib import Path

EXAMPLES = {
    name: Path(__file__).parents[2] / "mergekit" / "examples" / f"{name}.yml"
    for name in (
        "arcee_fusion",
        "depth_upscaling",
        "gradient_ties",
        "karcher",
        "linear",
        "linear_unnormalised",
        "multislerp",
        "multislerp_base",
        "nearswap",
        "nuslerp",
        "nuslerp_weights",
        "passthrough",
        "sce",
        "slerp",
        "task_arithmetic",
        "ties_summed",
    )
}
"""By name."""
