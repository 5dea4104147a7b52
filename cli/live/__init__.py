"""A microphone, speakers and a model, in step."""
