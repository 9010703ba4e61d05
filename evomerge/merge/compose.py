"""Methods made of others: `METHOD+post` runs a stage on what a method gives."""

from dataclasses import replace

from evomerge.errors import UsageError
from evomerge.merge.method import MergeMethod
from evomerge.merge.posts import PostStage
from evomerge.merge.stages.elect import everyone


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
    )
