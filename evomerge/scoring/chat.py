"""Prompts in a tokenizer's chat template, as lm-eval puts them there."""

from collections.abc import Callable, Sequence

import jinja2
from transformers import PreTrainedTokenizerBase

from evomerge.errors import ScoringError

Messages = Sequence[dict[str, str]]


def chat_template(tokenizer: PreTrainedTokenizerBase) -> Callable[..., str]:
    """What turns the messages of a chat into a prompt: lm-eval's `apply_chat_template`.

    Raises:
        ScoringError: the tokenizer has no template.
    """
    if not tokenizer.chat_template:
        raise ScoringError(
            "the base's tokenizer has no chat template, and chat_template is true; leave it out, "
            "or add a chat_template to the base's tokenizer_config.json"
        )

    def render(messages: Messages, add_generation_prompt: bool = True) -> str:
        text = tokenizer.apply_chat_template(
            messages,
            tokenize=False,
            add_generation_prompt=add_generation_prompt,
            continue_final_message=not add_generation_prompt,
        )
        return str(text)

    def apply(messages: Messages, add_generation_prompt: bool = True) -> str:
        try:
            return render(messages, add_generation_prompt)
        except jinja2.TemplateError:
            # Some templates know no system's role: lm-eval leaves it out.
            own = [message for message in messages if message["role"] != "system"]
            return render(own, add_generation_prompt)

    return apply
