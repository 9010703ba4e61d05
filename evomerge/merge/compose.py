"""Methods made of others: in a basis, `knots(METHOD)`, and with stages behind, `METHOD+post`."""

from dataclasses import replace

from evomerge.errors import UsageError
from evomerge.merge.method import MergeMethod
from evomerge.merge.posts import PostStage
from evomerge.merge.stages.elect import everyone
from evomerge.merge.wrappers import Wrapper


def wrapped_in(wrapper: Wrapper, inner: MergeMethod) -> MergeMethod:
    """The inner method, which merges matrices of layers in the wrapper's basis.

    Raises:
        UsageError: the inner method is more than a function of the entries of task vectors.
    """
    name = f"{wrapper.name}({inner.name})"
    hindrances = {
        "merges whole weights": inner.space == "weights",
        "looks at the weights themselves": inner.reads_weights,
        "reads the whole model": inner.whole_model,
        "needs statistics": bool(inner.statistics),
        "merges matrices as a whole": inner.matrix is not None,
        "has a stage behind it": bool(inner.after),
    }
    for hindrance, holds in hindrances.items():
        if holds:
            raise UsageError(
                f"method '{name}' cannot be: {inner.name} {hindrance}, expected a method that "
                f"merges the entries of task vectors, such as {wrapper.name}(ties), and stages "
                "behind the bracket"
            )
    return replace(
        inner,
        name=name,
        summary=f"{inner.summary} {wrapper.summary}",
        reference=wrapper.reference,
        matrix=wrapper.matrix(inner),
    )


def followed_by(method: MergeMethod, post: PostStage) -> MergeMethod:
    """The method with a post-stage behind it; it has the parameters of both.

    Raises:
        UsageError: the method has the stage already, or elects no signs where the stage is about
            the election.
    """
    name = f"{method.name}+{post.name}"
    if set(post.parameters) & set(method.parameters):
        raise UsageError(
            f"method '{name}' has the stage '{post.name}' more than once, expected once: "
            "its parameters would be two of the same name"
        )
    if post.lenient and (method.elect is everyone or method.matrix or method.after):
        raise UsageError(
            f"method '{name}' has the stage '{post.name}' where no sign is elected, expected it "
            f"right behind a method that elects one, such as ties+{post.name}"
        )
    return replace(
        method,
        name=name,
        summary=f"{method.summary} Then: {post.summary}",
        parameters=(*method.parameters, *post.parameters),
        after=method.after if post.lenient else (*method.after, post),
        lenient=method.lenient or post.lenient,
        statistics=tuple(dict.fromkeys((*method.statistics, *post.statistics))),
    )
