"""Transcripts, subtitles, tokens and codes, as a user reads them."""
