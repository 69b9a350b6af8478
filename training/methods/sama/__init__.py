"""SAMA (arXiv 2603.19228): editing a source video by an instruction, with semantic anchoring and motion alignment."""
