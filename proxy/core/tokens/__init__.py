"""Tokens: counting rules for text, prompts and images, and ratios that are learned."""
