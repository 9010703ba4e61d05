"""The colours and the font that all pictures share."""

FONT = "Inter, system-ui, -apple-system, 'Segoe UI', Roboto, 'Liberation Sans', Arial, sans-serif"
INK = "#1e293b"
MUTED = "#64748b"
GRID = "#e2e8f0"
FRONT = "#4338ca"
FRONT_LINE = "#a5b4fc"
DOMINATED = "#94a3b8"
BASELINE = "#ea580c"
BASELINE_INK = "#9a3412"
BASELINES = ("#ea580c", "#0d9488", "#be185d", "#a16207", "#0369a1", "#15803d", "#7c3aed", "#b91c1c")
MISSED = "#b91c1c"
SEQUENTIAL = ("#ffffff", "#c7d2fe", "#818cf8", "#4338ca", "#1e1b4b")
DIVERGING = ("#7c2d12", "#f97316", "#ffffff", "#818cf8", "#1e1b4b")
