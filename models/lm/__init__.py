"""The language models: a transformer in time, one in depth, and generation with them."""
