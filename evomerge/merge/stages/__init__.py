"""The stages of which merge methods are made; `kinds` says what a stage is."""
