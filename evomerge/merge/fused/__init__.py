"""The stages of common methods as compiled loops that read stored tensors where they lie."""
