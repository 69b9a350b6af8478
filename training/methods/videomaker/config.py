"""Configuration of a run of VideoMaker (arXiv 2412.19645), on Wan's attention over all frames. Numbers
without a source: [choice: videomaker-training]."""

from dataclasses import dataclass


@dataclass(frozen=True)
class PhotographedClips:
    """Clips with photographs: how many, their side in pixels, `frames` pictures that are `stride` apart."""

    count: int
    size: int
    frames: int = 17
    stride: int = 6


@dataclass(frozen=True)
class VideoMakerTraining:
    """Configuration of a run of VideoMaker: everything that it depends on.

    recipe              `videomaker`, the reference's own clock, or `videomaker_shared`, the video's
    sees                what the reference reads, as `core.controls.Controls` says: "all" in one softmax with
                        the video, "frames" as published, "itself" alone
    noise_ratio         α of guidance-recognition loss, as published
    recognition_weight  β of it, as published; both 0: without it
    ..._dropout         chances of leaving out the picture, the text, or both: they exclude each other
    named_share         captions that name the subjects
    """

    steps: int
    clips: PhotographedClips
    recipe: str = "videomaker"
    sees: str = "all"
    noise_ratio: float = 0.01
    recognition_weight: float = 0.1
    batch: int = 32
    rank: int = 32
    rate: float = 7e-3
    image_dropout: float = 0.1
    text_dropout: float = 0.1
    both_dropout: float = 0.05
    named_share: float = 0.4
    subject_weight: float = 1.5
    shift: float = 4.0
    seed: int = 0
