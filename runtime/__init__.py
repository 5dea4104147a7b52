"""Run the graphs of a bundle: its format, states, execution providers and audio."""
