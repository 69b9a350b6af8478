"""Random masks, and masked frames as references (Saber, arXiv 2512.06905, §3.2)."""
