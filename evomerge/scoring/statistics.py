"""Statistics of how a model treats text, for the merges that use them, see `merge.statistics`.

Each is a mapping from names of the checkpoint to float32 tensors on the CPU. All are means over
tokens or sequences, so that they do not grow with the text.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Literal

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from evomerge.errors import UsageError
from evomerge.merge.groups import is_matrix, place
from evomerge.merge.statistics import ROWS
from evomerge.scoring.resident import ResidentModel

Labels = Literal["text", "sampled"]
"""Which tokens Fisher information asks for: those of the text, or those that the model expects."""


def collect_grams(
    model: ResidentModel, sequences: Sequence[Tensor], *, batch_size: int = 1
) -> dict[str, Tensor]:
    """G = E[x xᵀ] of the inputs x of each linear map of a layer, over all tokens.

    A map that only some tokens go through, in an expert of a mixture, has zeros for the others. All
    Grams are held at once: 4 d² bytes for each map of d inputs.

    Args:
        model: the model.
        sequences: tokens, `(length,)` each.
        batch_size: sequences in a forward pass, at most; they have equal lengths.

    Returns:
        `(d, d)` for each linear map, under its weight's name, with `ROWS` behind it where the
        weight's rows are the inputs. None for maps that the live model fuses into others.

    Raises:
        UsageError: the sequences are longer than the model can read.
        NonFiniteScore: the model's logits are not finite.
    """
    _require_room(model, sequences)
    maps = {
        name: module
        for name, module in _linear_maps(model).items()
        if is_matrix(name.removesuffix(ROWS), _weight(module).shape)
    }
    sums = {name: torch.zeros((_n_inputs(module),) * 2) for name, module in maps.items()}

    def see(name: str, inputs: Tensor) -> None:
        rows = inputs.reshape(-1, inputs.shape[-1]).float()
        sums[name] += (rows.T @ rows).cpu()

    n_tokens = _watch(model, maps, see, _batches(sequences, batch_size))
    return {name: total / n_tokens for name, total in sums.items()}


def collect_activations(
    model: ResidentModel, sequences: Sequence[Tensor], *, batch_size: int = 1
) -> dict[str, Tensor]:
    """E|xⱼ| of the inputs x of each linear map and each norm, over all tokens; `(d,)` each.

    Embeddings have none, nor has a head that is tied to them. Names and errors as for Grams.
    """
    _require_room(model, sequences)
    watched = _linear_maps(model) | _norms(model)
    sums = {name: torch.zeros(_n_inputs(module)) for name, module in watched.items()}

    def see(name: str, inputs: Tensor) -> None:
        sums[name] += inputs.reshape(-1, inputs.shape[-1]).float().abs().sum(0).cpu()

    n_tokens = _watch(model, watched, see, _batches(sequences, batch_size))
    return {name: total / n_tokens for name, total in sums.items()}


def collect_fisher(
    model: ResidentModel, sequences: Sequence[Tensor], *, labels: Labels = "text", seed: int = 0
) -> dict[str, Tensor]:
    """F = E[g²] of each weight, g being the gradient of a sequence's mean log-likelihood.

    Args:
        model: the model; its weights are not changed.
        sequences: tokens, `(length,)` each, gone through one by one.
        labels: the tokens whose likelihood is meant, after the text's own beginnings.
        seed: of the sampled tokens.

    Returns:
        a tensor of its shape for each weight that the model uses; an embedding that is also the
        head has both parts in one.

    Raises:
        UsageError: the sequences are longer than the model can read.
        NonFiniteScore: the model's logits are not finite.
    """
    _require_room(model, sequences)
    names = _names(model)
    weights = {names[_key(w)]: w for w in model.model.parameters() if _key(w) in names}
    squares = {name: torch.zeros(weight.shape) for name, weight in weights.items()}
    generator = torch.Generator().manual_seed(seed)
    with _gradients_taken(weights, squares):
        for sequence in sequences:
            sequence = sequence.to(model.device)
            logits = model.model(input_ids=sequence[None], use_cache=False).logits[0, :-1].float()
            targets = sequence[1:] if labels == "text" else _sampled(logits, generator)
            torch.autograd.backward(nn.functional.cross_entropy(logits, targets))
    return {name: total / len(sequences) for name, total in squares.items()}


def _sampled(logits: Tensor, generator: torch.Generator) -> Tensor:
    probabilities = logits.detach().softmax(-1).cpu()
    return torch.multinomial(probabilities, 1, generator=generator).view(-1).to(logits.device)


def _batches(sequences: Sequence[Tensor], n: int) -> Iterator[Tensor]:
    """Batches of sequences of one length, so that there is no padding to leave out."""
    for _, alike in itertools.groupby(sorted(sequences, key=len), key=len):
        while batch := list(itertools.islice(alike, n)):
            yield torch.stack(batch)


@contextmanager
def _gradients_taken(
    weights: Mapping[str, nn.Parameter], squares: Mapping[str, Tensor]
) -> Iterator[None]:
    """Add each gradient's squares as soon as it is there, so that one is held at a time."""

    def taker(name: str) -> Callable[[Tensor], None]:
        def take(weight: Tensor) -> None:
            if weight.grad is not None:
                squares[name].add_(weight.grad.float().square().cpu())
            weight.grad = None

        return take

    with ExitStack() as undo, torch.enable_grad():
        for name, weight in weights.items():
            weight.requires_grad_(True)
            undo.callback(weight.requires_grad_, False)
            handle = weight.register_post_accumulate_grad_hook(taker(name))  # type: ignore[no-untyped-call]
            undo.callback(handle.remove)
        yield


def _watch(
    model: ResidentModel,
    modules: Mapping[str, nn.Module],
    see: Callable[[str, Tensor], None],
    batches: Iterable[Tensor],
) -> int:
    """Run the model on the batches and show the inputs of each module; the number of tokens."""

    def seer(name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        return lambda _module, inputs: see(name, inputs[0])

    n_tokens = 0
    with ExitStack() as undo, torch.inference_mode():
        for name, module in modules.items():
            undo.callback(module.register_forward_pre_hook(seer(name)).remove)
        for batch in batches:
            model.model(input_ids=batch.to(model.device), use_cache=False)
            n_tokens += batch.numel()
    return n_tokens


def _require_room(model: ResidentModel, sequences: Sequence[Tensor]) -> None:
    n_positions = getattr(model.model.config, "max_position_embeddings", None)
    longest = max(map(len, sequences))
    if n_positions is not None and longest > n_positions:
        raise UsageError(
            f"sequences of {longest} tokens are longer than the model's {n_positions} "
            "positions; lower merge.statistics.sequence_length"
        )


def _linear_maps(model: ResidentModel) -> dict[str, nn.Module]:
    """The modules that are linear maps, by their weight's name, with `ROWS` for transposed ones."""
    named = _modules(model, lambda module: isinstance(module, nn.Linear | Conv1D))
    return {
        name + ROWS if isinstance(module, Conv1D) else name: module
        for name, module in named.items()
        if place(name) != "embeddings"
    }


def _norms(model: ResidentModel) -> dict[str, nn.Module]:
    """The modules that scale each input by a weight, by the name of the weight."""
    return _modules(model, lambda module: _weight(module).dim() == 1)


def _modules(model: ResidentModel, wanted: Callable[[nn.Module], bool]) -> dict[str, nn.Module]:
    names = _names(model)
    having = [module for module in model.model.modules() if _has_weight(module)]
    return {
        names[_key(_weight(module))]: module
        for module in having
        if wanted(module) and _key(_weight(module)) in names
    }


def _names(model: ResidentModel) -> dict[tuple[int, tuple[int, ...]], str]:
    """The checkpoint's name of each live weight, by where the weight lies and its shape."""
    return {_key(tensor): name for name, tensor in model.tensors.items()}


def _key(weight: Tensor) -> tuple[int, tuple[int, ...]]:
    return weight.data_ptr(), tuple(weight.shape)


def _n_inputs(module: nn.Module) -> int:
    shape = _weight(module).shape
    return shape[0] if isinstance(module, Conv1D) else shape[-1]


def _has_weight(module: nn.Module) -> bool:
    return any(name == "weight" for name, _ in module.named_parameters(recurse=False))


def _weight(module: nn.Module) -> Tensor:
    return module.get_parameter("weight")
