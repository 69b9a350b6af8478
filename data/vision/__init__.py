"""Measures of pictures that need no model: cuts, borders, motion, sharpness, flashes, hashes."""
