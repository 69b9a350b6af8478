"""Inputs of what is asked of one reference: how strongly it acts, when and where, and what it sees. Masked
Reference and Load Reference have the same."""

from comfy_api.latest import io

from ..core.controls import MOST_FOCUS, MOST_STRENGTH, SEES, Controls, FrameWindow, StepWindow
from .sockets import FACTOR_STEP, SHARE_STEP


def strength_input() -> io.Float.Input:
    """Input of how much attention a reference gets."""
    return io.Float.Input("strength", default=1.0, min=0.0, max=MOST_STRENGTH, step=FACTOR_STEP,
                          tooltip="How much attention the reference gets. Start with 1; raise it towards 2 "
                                  "where the video follows the picture too little. 0 removes it. Works at cfg "
                                  "1.")  # fmt: skip


def control_inputs() -> list:
    """Inputs for when and where a reference acts, and what it sees."""
    return [
        io.Float.Input("start_percent", optional=True, default=0.0, min=0.0, max=1.0, step=SHARE_STEP,
                       tooltip="When the reference begins to act, as a share of all steps: 0 is pure noise. "
                               "Early steps decide what is where, late ones decide detail. Both experts of "
                               "Wan 2.2 count as one schedule."),
        io.Float.Input("end_percent", optional=True, default=1.0, min=0.0, max=1.0, step=SHARE_STEP,
                       tooltip="When the reference stops acting, as a share of all steps: 1 is the end."),
        io.Combo.Input("sees", optional=True, options=list(SEES), default=SEES[0],
                       tooltip="What the reference itself looks at; start with recipe, as the weights were "
                               "trained: mostly all. video: the video alone, so that subjects do not mix. "
                               "itself: nothing else; the video still looks at it. frames: one group of "
                               "frames at a time, and the mean of it."),
        io.Mask.Input("region", optional=True,
                      tooltip="Where in the video the reference may act: white; one mask of any size, or "
                              "one for each frame. Without it everywhere."),
        io.Int.Input("first_frame", optional=True, default=0, min=0, max=100000, advanced=True,
                     tooltip="First frame of the video on which the reference acts. Wan holds frames in "
                             "groups of four: 1-4, 5-8, …"),
        io.Int.Input("last_frame", optional=True, default=-1, min=-1, max=100000, advanced=True,
                     tooltip="Last frame on which the reference acts; -1 is the clip's last."),
        io.Float.Input("fade_in", optional=True, default=0.0, min=0.0, max=1.0, step=SHARE_STEP, advanced=True,
                       tooltip="Share of the steps over which the strength rises from 0 after "
                               "start_percent."),
        io.Float.Input("fade_out", optional=True, default=0.0, min=0.0, max=1.0, step=SHARE_STEP, advanced=True,
                       tooltip="Share of the steps over which the strength falls to 0 before end_percent."),
        io.Boolean.Input("soft_mask", optional=True, default=False, advanced=True,
                         tooltip="Count tokens at the mask's edge by the share that it covers: for hair and "
                                 "half transparent edges."),
        io.Float.Input("focus", optional=True, default=1.0, min=1.0, max=MOST_FOCUS, step=FACTOR_STEP, advanced=True,
                       tooltip="An automatic region: how much more attention the reference gets where the "
                               "video looks at it already. 1 is off; published values are 8 and 16. It acts "
                               "beside strength."),
        io.Float.Input("focus_start", optional=True, default=0.2, min=0.0, max=0.99, step=SHARE_STEP, advanced=True,
                       tooltip="When focus begins, as a share of all steps: early ones, which decide what is "
                               "where, stay as they are."),
    ]  # fmt: skip


def controls_of(
    strength: float = 1.0, start_percent: float = 0.0, end_percent: float = 1.0, sees: str = SEES[0],
    first_frame: int = 0, last_frame: int = -1, fade_in: float = 0.0, fade_out: float = 0.0,
    soft_mask: bool = False, focus: float = 1.0, focus_start: float = 0.2,
) -> Controls:  # fmt: skip
    """Controls from values of these inputs. ValueError for a window that ends before it begins."""
    steps = StepWindow(start_percent, end_percent, fade_in, fade_out)
    frames = FrameWindow(first_frame, None if last_frame < 0 else last_frame)
    return Controls(strength, steps, frames, sees, soft_mask, focus, focus_start)
