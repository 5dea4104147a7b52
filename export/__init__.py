"""Export checkpoints of PyTorch to bundles; needs the `export` extra."""
