"""A server that speaks the protocols of Kyutai's own, OpenAI's and Wyoming."""
