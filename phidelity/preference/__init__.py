"""Preference pairs: pivotal tokens, judged answers, and what the model knows."""
