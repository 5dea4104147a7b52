"""Speech to speech: Hibiki and Moshi."""
