"""Fast twins of pure functions. `eager` is the truth; everything else must agree with it."""
