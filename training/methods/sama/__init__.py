"""SAMA (arXiv 2603.19228): a source video edited by an instruction, with semantic anchoring and motion
alignment."""
