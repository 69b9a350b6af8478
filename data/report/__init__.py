"""Report on prepared clips: counts, reasons and spreads, as text and as a page to look at."""
