"""A whole run of ComfyUI's sampler, as riders are handed it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import comfy.utils
from torch import Tensor


@dataclass(frozen=True)
class SamplerRun:
    """The arguments of an OUTER_SAMPLE, and the guider whose run it is."""

    guider: Any
    latents: tuple[Tensor, Tensor]  # noise, latent
    sampler: Any
    sigmas: Tensor
    mask: Tensor | None
    callback: Callable | None
    rest: tuple
    named: dict[str, Any]

    @property
    def conditions(self) -> list[dict[str, Any]]:
        """Conditions of the run, of all sides."""
        return [cond for conds in self.guider.conds.values() for cond in conds]

    @property
    def nested(self) -> bool:
        """True where it begins with a nested latent, which core hands over packed."""
        return len(self.named.get("latent_shapes") or ()) > 1

    @property
    def seed(self) -> int | None:
        """The seed. Core passes it last, after whether a progress bar is wanted."""
        return self.named.get("seed", self.rest[1] if len(self.rest) > 1 else None)

    def video(self) -> Tensor:
        """Noise of the video (B, C, F, h, w)."""
        noise = self.latents[0]
        return comfy.utils.unpack_latents(noise, self.named["latent_shapes"])[0] if self.nested else noise

    def through(self, executor: Callable) -> Any:
        """Run core's sampler, or the wrapper behind this one. -> samples."""
        given = (*self.latents, self.sampler, self.sigmas, self.mask, self.callback, *self.rest)
        return executor(*given, **self.named)
