"""Applications built on the package, as an example."""
