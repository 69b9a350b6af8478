"""Configuration of a run of SAMA (arXiv 2603.19228), with sizes and rates of its own [choice:
sama-training]."""

from dataclasses import dataclass, replace

from ....core.recipe import Recipe
from ....core.recipes import sama


@dataclass(frozen=True)
class PairSet:
    """Set of pairs: "edits" or "pretexts", how many, and the pictures and pixels a side of their clips."""

    name: str
    count: int
    frames: int
    size: int


@dataclass(frozen=True)
class SamaTraining:
    """Configuration of a run of SAMA: everything that it depends on.

    motion_steps     of motion alignment come first (stage 0, on pretexts), then `steps` of edits (stage 1)
    semantic_weight  λ of semantic anchoring; 0 leaves the tokens out
    hidden           width of the MLP that takes semantic tokens in
    region_weight    extra loss on latent cells that an edit changes
    """

    motion_steps: int
    steps: int
    edits: PairSet
    pretexts: PairSet
    semantic_weight: float = 0.1
    batch: int = 16
    rank: int = 32
    hidden: int = 128
    rate: float = 7e-3
    text_dropout: float = 0.1
    region_weight: float = 3.0
    shift: float = 4.0
    seed: int = 0

    @property
    def recipe(self) -> Recipe:
        """Recipe `sama`, without its semantic tokens where they are not learned."""
        return sama() if self.semantic_weight else replace(sama(), semantic_tokens=0)
