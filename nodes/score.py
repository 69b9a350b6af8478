"""The score node: figures of how well a clip keeps to its reference."""

from math import nan

import numpy as np
import torch
from comfy_api.latest import io, ui
from torch import Tensor

from ..core.references import Reference
from ..drawing.sheet import draw_sheet
from ..evaluation.clip import (
    SHEET_TITLES,
    Figures,
    ReadClip,
    Scored,
    Target,
    score_clip,
    score_report,
    sheet_row,
)
from .sockets import Category, Node, ReferencesSocket

SHEET_SCALE = 2


class RefVidScore(Node):
    @classmethod
    def define_schema(cls) -> io.Schema:
        def figure(name: str, tooltip: str) -> io.Float.Output:
            return io.Float.Output(
                display_name=name, tooltip=tooltip + " Not a number where it could not be measured."
            )

        return io.Schema(
            node_id="RefVidScore",
            display_name="Score Against Reference",
            category=Category.MEASURING,
            search_aliases=[
                "score", "similarity", "metric", "evaluate", "evaluation", "measure", "compare",
                "identity similarity", "consistency",
            ],
            description="Measures a clip of any model: does it show the reference's subject, and only that? "
                        "Colours, texture, outline, leaked background and motion, by plain arithmetic.",
            is_output_node=True,
            inputs=[
                io.Image.Input("clip", tooltip="The frames of the video, from VAE Decode or Get Video "
                                               "Components."),
                ReferencesSocket.Input("reference", tooltip="From Masked Reference: one picture, the subject asked "
                                                      "for."),
                io.Mask.Input("subject_mask", optional=True,
                              tooltip="Where the subject is in the clip, in white: one mask a frame, or one "
                                      "for all. Without it the subject is looked for by the reference's "
                                      "colours, which flatters."),
                io.Image.Input("baseline", optional=True,
                               tooltip="A clip of the same prompt without the reference: what its background "
                                       "has is not a leak."),
            ],
            outputs=[
                figure("similarity", "Overlap of the subject's colours: 1 the same, 0 none in common."),
                figure("texture", "Overlap of the subject's local texture: 1 the same; unlike ones share "
                                  "some too."),
                figure("shape", "Overlap of the outlines, turned and scaled: 1 the same; a disc and a square "
                                "have 0.83."),
                figure("leak", "The reference's background behind the subject: 0 none, 1 all."),
                figure("dynamic_degree", "Speed of the fastest 5 %, in picture diagonals per frame: 0 "
                                         "nothing moves."),
                io.String.Output(display_name="report", tooltip="All figures in words, with the reason for "
                                                                "what is missing."),
                io.Image.Output(display_name="sheet", tooltip="Reference, clip, and what was taken for the "
                                                              "subject."),
            ],
        )  # fmt: skip

    @classmethod
    def execute(cls, clip, reference, subject_mask=None, baseline=None) -> io.NodeOutput:
        target = Target(_only(reference))
        against = None if baseline is None else ReadClip(baseline, what="baseline")
        scored = score_clip(target, ReadClip(clip, subject_mask), against)
        figures = [getattr(scored.figures, name) for name in Figures.names()]
        numbers = [nan if value is None else value for value in figures]
        said = score_report(scored)
        return io.NodeOutput(*numbers, said, _sheet(target, scored), ui=ui.PreviewText(said))


def _only(references: list[Reference]) -> Reference:
    if len(references) != 1:
        raise ValueError(
            f"reference: {len(references)} pictures came; a clip is compared with one. Use a Score node for "
            "each of them"
        )
    return references[0]


def _sheet(target: Target, scored: Scored) -> Tensor:
    """A sheet (1, H, W, 3) of the reference, the clip, and what was taken for the subject."""
    drawn = draw_sheet([sheet_row(target, scored)], SHEET_TITLES, scale=SHEET_SCALE)
    return torch.from_numpy(np.asarray(drawn, dtype=np.float32) / 255)[None]
