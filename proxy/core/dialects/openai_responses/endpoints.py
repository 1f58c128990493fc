"""The paths of this API that are metered."""

RESPONSES = "/v1/responses"
COMPACT = "/v1/responses/compact"
ENDPOINTS = (RESPONSES, COMPACT)
