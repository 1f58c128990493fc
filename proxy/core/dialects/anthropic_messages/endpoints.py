"""The paths of this API: messages are metered, counting their tokens is free."""

MESSAGES = "/v1/messages"
COUNT_TOKENS = "/v1/messages/count_tokens"
ENDPOINTS = (MESSAGES, COUNT_TOKENS)
