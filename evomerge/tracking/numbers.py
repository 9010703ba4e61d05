"""Scores as text: shares with three decimals, counts of millions without any."""


def number_text(number: float, beside: float | None = None) -> str:
    """`0.912`, `12.345`, `1,234,567`, `1.1e-05`; written as the number that it stands beside."""
    size = abs(number if beside is None else beside)
    if 0.0 < size < 0.0005:
        return f"{number:.1e}"
    return f"{number:.3f}" if size < 1000 else f"{number:,.0f}"
