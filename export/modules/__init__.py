"""Kyutai's modules as pure steps: the state comes in as arguments and goes out as results.

The tree and its names are those of `moshi.modules`, so that the two can be read side by side.
"""
