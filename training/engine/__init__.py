"""The loop that every method trains in, and its parts. Knows no method."""
