"""Figures of one trained model on unseen toys of the demo world."""
