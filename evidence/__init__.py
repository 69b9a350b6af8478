"""Evidence for the methods on the demo world: trials, ablations, their claims, tables and sheets."""
