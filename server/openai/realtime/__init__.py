"""OpenAI's Realtime API over a websocket: transcription, and texts that are spoken."""
