"""Mimi, the codec: audio to codes and back."""
