"""The demo world: a procedural world of moving toys, its scores and its contact sheets."""
