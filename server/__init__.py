"""A server that speaks Kyutai's own protocols, OpenAI's and Wyoming."""
