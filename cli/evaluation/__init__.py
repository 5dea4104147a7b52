"""How good a model is on recordings whose words are known."""
