"""Ablations on the demo world: small runs with one thing changed, and the claims they decide."""
