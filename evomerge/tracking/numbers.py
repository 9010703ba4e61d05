"""Scores as text: shares with three decimals, counts of millions without any."""


def number_text(number: float) -> str:
    """`0.912`, `12.345`, `1,234,567`."""
    return f"{number:.3f}" if abs(number) < 1000 else f"{number:,.0f}"
