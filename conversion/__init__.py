"""From a checkpoint to a bundle without torch: reads weights, and fills templates with them."""
