"""Translation only: a host's words to core's words and back. The hosts never meet."""
