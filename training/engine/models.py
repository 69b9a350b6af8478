"""The frozen files that an adapter is trained on."""

from dataclasses import dataclass, fields
from pathlib import Path

from .state import weights_digest


@dataclass(frozen=True)
class Models:
    """DiT, VAE and text encoder files of the backbone."""

    dit: Path
    vae: Path
    text_encoder: Path

    def digests(self) -> dict[str, str]:
        """Digests of the weights of each, by name. ValueError where one is missing."""
        return {
            file.name: weights_digest(getattr(self, file.name), f"base {file.name}") for file in fields(self)
        }
