"""An item bank as one HTML page that works offline."""

import json
from collections.abc import Mapping, Sequence
from html import escape

import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from evomerge.irt.summary import BankSummary, places_of_curves
from evomerge.irt.trait_bank import TraitBank
from evomerge.tracking.bank_figures import (
    curves_figure,
    difficulties_figure,
    information_figure,
)
from evomerge.tracking.page_parts import STYLE

N_CURVES = 6
_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:"
)
_STYLE = "tbody tr { cursor: default; } td.text { white-space: pre-wrap; text-align: left; }"
_SCRIPT = """
const figures = JSON.parse(document.getElementById('data').textContent);
for (const [name, figure] of Object.entries(figures))
  Plotly.newPlot(name, figure.data, figure.layout, {displaylogo: false, responsive: true,
    modeBarButtons: [['zoom2d', 'pan2d', 'resetScale2d', 'toImage']]});
"""


def bank_page(
    bank: TraitBank, summary: BankSummary, worst: Sequence[int], texts: Mapping[int, str]
) -> str:
    """A complete HTML page of a bank: curves, information, difficulties, validation, worst items.

    Nothing is loaded from elsewhere, and the page's own content security policy forbids it.

    Args:
        worst: places of the items that are listed.
        texts: what an item asks, by document id, where that is known.
    """
    chosen = places_of_curves(summary, N_CURVES)
    data = {
        "curves": _plain(curves_figure(summary, chosen)),
        "information": _plain(information_figure(summary)),
        "difficulties": _plain(difficulties_figure(summary)),
    }
    # Inside a script element only these sequences could end the data early.
    safe = json.dumps(data, allow_nan=False).replace("</", "<\\/").replace("<!--", "<\\u0021--")
    title = f"Item bank of {bank.task}"
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<title>{escape(title)} · evomerge</title>
<style>{STYLE}{_STYLE}</style></head><body><main>
<header><p class="brand">evomerge</p><h1>{escape(title)}</h1>
<p class="lead">{_lead(bank)}</p></header>
<section><h2>Curves of items</h2>
<p class="hint">How likely a model is to be right: the items that tell most, some in the middle, and
the worst. Hover for the item.</p><div id="curves"></div></section>
<section><h2>What the items tell together</h2>
<p class="hint">High where few items suffice to tell models apart.</p>
<div id="information"></div></section>
<section><h2>Where items are hard and models are able</h2>
<p class="hint">Items far from all models are nearly always right or wrong.</p>
<div id="difficulties"></div></section>
<section><h2>Cross-validation</h2>
<p class="hint">Mean absolute error of the score of models left out of the fit.</p>
<div class="scroll">{_trials(bank)}</div></section>
<section><h2>The worst items</h2>
<p class="hint">Negative: able models do worse on it; the answer key may be wrong. No variance: all
models agreed. Then those that tell least.</p>
<div class="scroll">{_worst(summary, worst, texts)}</div></section>
</main>
<script type="application/json" id="data">{safe}</script>
<script>{get_plotlyjs()}</script>
<script>{_SCRIPT}</script>
</body></html>
"""


def _plain(figure: go.Figure) -> object:
    plain: object = json.loads(figure.to_json())
    return plain


def _lead(bank: TraitBank) -> str:
    estimator = bank.estimator
    trust = (
        "Cross-validation trusts it: scores are estimated with it from few items, chosen by it."
        if estimator.trusts_model
        else f"Cross-validation does not trust it: {escape(estimator.doubt)}."
    )
    return (
        f"{len(bank.items)} items, fitted to {bank.n_models} models; model of answers "
        f"<b>{escape(bank.model)}</b>; {len(bank.flags)} items are flagged. {trust}"
    )


def _trials(bank: TraitBank) -> str:
    sizes = list(dict.fromkeys(size for trial in bank.trials for size in trial.errors))
    head = "".join(f"<th>at {size} items</th>" for size in sizes)
    rows = []
    for trial in bank.trials:
        errors = (trial.errors.get(size) for size in sizes)
        cells = [_cell(error) for error in (*errors, trial.log_likelihood, trial.excess)]
        kind = ' class="on"' if trial.name == bank.model else ""
        rows.append(f"<tr{kind}><td>{escape(trial.name)}</td>{''.join(cells)}</tr>")
    return (
        f"<table><thead><tr><th>estimator</th>{head}<th>log-likelihood of an answer</th>"
        f"<th>above the best model's</th></tr></thead><tbody>{''.join(rows)}</tbody></table>"
    )


def _cell(number: float | None) -> str:
    return "<td></td>" if number is None else f"<td>{number:.4f}</td>"


def _worst(summary: BankSummary, worst: Sequence[int], texts: Mapping[int, str]) -> str:
    rows = []
    for place in worst:
        item = summary.items[place]
        numbers = f"<td>{item.share:.2f}</td><td>{item.slope:.2f} ± {item.slope_se:.2f}</td>"
        numbers += f"<td>{item.information:.3f}</td>"
        text = escape(texts.get(item.item, ""))
        rows.append(
            f"<tr><td>{item.item}</td><td>{escape(item.flag.replace('_', ' '))}</td>{numbers}"
            f'<td class="text">{text}</td></tr>'
        )
    return (
        "<table><thead><tr><th>item</th><th>flag</th><th>right</th><th>slope</th>"
        f"<th>information</th><th>text</th></tr></thead><tbody>{''.join(rows)}</tbody></table>"
    )
