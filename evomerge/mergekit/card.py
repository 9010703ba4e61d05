"""The model card of a merge by a configuration."""

from collections.abc import Sequence

from huggingface_hub import ModelCard, ModelCardData

_BODY = """\
---
{metadata}
---

# {title}

A merge of {n_models} models by `{method}`, made by evomerge from a configuration of mergekit.
Nothing was trained: its weights follow from those of the models below.

{models}

## Use

```python
from transformers import AutoModelForCausalLM, AutoTokenizer

folder = "."  # where this card lies
model = AutoModelForCausalLM.from_pretrained(folder, dtype="auto")
tokenizer = AutoTokenizer.from_pretrained(folder)
```

## Configuration

`mergekit_config.yml` holds it too; `evomerge merge mergekit_config.yml OUT` makes this model again.

```yaml
{configuration}
```
"""


def merge_card(title: str, *, method: str, models: Sequence[str], configuration: str) -> str:
    """The card as Markdown with the metadata block that model hubs read.

    Args:
        title: the name of the model.
        method: mergekit's name of the method.
        models: the merged models as the configuration names them.
        configuration: the text of the file.
    """
    metadata = ModelCardData(
        library_name="transformers",
        model_name=title,
        pipeline_tag="text-generation",
        tags=["merge", "evomerge"],
    )
    text = _BODY.format(
        metadata=metadata.to_yaml(),
        title=title,
        n_models=len(models),
        method=method,
        models="\n".join(f"- `{model}`" for model in models),
        configuration=configuration.strip(),
    )
    return str(ModelCard(text))
