"""moshi-server's protocol: speech to text, text to speech, and the chat of Moshi and Hibiki."""
