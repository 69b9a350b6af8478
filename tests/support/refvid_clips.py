"""A small folder of clips as any model might have made them: blocks of two colours that cross plain
grounds."""

import json
from pathlib import Path

import torch
from torch import Tensor

from refvid import media

SUBJECTS = [
    ([0.9, 0.1, 0.1], [0.95, 0.8, 0.1]),
    ([0.1, 0.2, 0.9], [0.9, 0.9, 0.9]),
    ([0.1, 0.6, 0.2], [0.1, 0.1, 0.1]),
]
GROUNDS = [[0.75, 0.65, 0.5], [0.4, 0.1, 0.45], [0.55, 0.75, 0.85]]
SIZE, FRAMES = 64, 5


def subject_mask(subject: int, left: int = 8, frames: int = FRAMES, step: int = 6) -> Tensor:
    """(frames, 64, 64): a block, of another height for every subject, that goes right by `step` pixels a
    frame."""
    mask = torch.zeros(frames, SIZE, SIZE)
    for frame in range(frames):
        mask[frame, 16 : 30 + 8 * subject, left + step * frame : left + step * frame + 20] = 1
    return mask


def clip(subject: int, ground: int, **more: int) -> Tensor:
    """(frames, 64, 64, 3) in [0, 1]"""
    mask = subject_mask(subject, **more)[..., None]
    upper, lower = (torch.tensor(colour) for colour in SUBJECTS[subject])
    rows = torch.arange(SIZE).view(1, SIZE, 1, 1) < 22
    return torch.where(mask > 0, torch.where(rows, upper, lower), torch.tensor(GROUNDS[ground]))


def picture(subject: int) -> Tensor:
    """(64, 64, 3): the subject on the ground of its number."""
    return clip(subject, subject, frames=1)[0]


def write_folder(folder: Path) -> Path:
    """Three references; for each a clip with it (the first on the reference's own ground), with another's
    subject, and without one, with seeds and masks."""
    rows = []
    for index in range(len(SUBJECTS)):
        ground = (index + 1) % len(GROUNDS)
        other = (index + 1) % len(SUBJECTS)
        media.write_picture(folder / f"ref_{index}.png", picture(index))
        mask = subject_mask(index, frames=1)[0, ..., None].expand(-1, -1, 3)
        media.write_picture(folder / f"ref_{index}_mask.png", mask)
        made = {
            "own": (clip(index, index if index == 0 else ground), subject_mask(index)),
            "other": (clip(other, ground), subject_mask(other)),
            "none": (torch.tensor(GROUNDS[ground]).expand(FRAMES, SIZE, SIZE, 3), None),
        }
        for variant, (frames, subject) in made.items():
            row = {
                "video": f"{variant}_{index}.mp4",
                "reference": f"ref_{index}.png",
                "variant": variant,
                "seed": index,
            }
            media.write_video(folder / row["video"], frames.movedim(-1, 0) * 2 - 1, 8)
            row["mask"] = f"ref_{index}_mask.png"
            if subject is not None:
                row["subject_mask"] = f"{variant}_{index}_subject.mp4"
                shown = subject[..., None].expand(-1, -1, -1, 3)
                media.write_video(folder / row["subject_mask"], shown.movedim(-1, 0) * 2 - 1, 8)
            rows.append(row)
    (folder / "manifest.json").write_text(json.dumps(rows, indent=1))
    return folder
