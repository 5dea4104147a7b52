"""OpenAI's endpoints for audio."""
