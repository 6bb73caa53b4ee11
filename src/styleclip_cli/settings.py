"""Default settings shared by the command line and the Python interface. Imports nothing heavy.

Files (pack.toml, checkpoints) call them by their fields' names, but for those that had another one before
(`key_of`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import Field, dataclass, field
from typing import Any, Literal

DEFAULT_NEUTRAL = "face"
"""What a face is before an edit, where nothing is said."""
KEEP_IDENTITY = 0.8
"""Least cosine of the face embeddings before and after, where a strength is chosen."""
LayerChoice = Literal["fs3", "conv", "all"]
RelevanceMode = Literal["exact", "preview", "gradient"]
CompositeMode = Literal["adaptive", "residual", "replace"]
"""How an edited crop returns to its photo; see `paste_back.paste`."""
DEFAULT_COMPOSITE: CompositeMode = "adaptive"
PARTS = (
    *("background", "skin", "brows", "eyes", "nose", "mouth", "ears", "hair", "glasses", "hat"),
    *("earrings", "neck", "necklace", "clothes"),
)
"""What parsers tell apart in a face's image: skin is that of the face, mouth the lips and what is between."""
_FACE = ("skin", "brows", "eyes", "nose", "mouth", "glasses")
PART_WORDS: Mapping[str, tuple[str, ...]] = {
    **{part: (part,) for part in PARTS},
    "skin": ("skin", "nose", "ears", "neck"),
    "face": _FACE,
    "head": (*_FACE, "ears", "hair", "hat", "earrings"),
    "body": ("neck", "necklace", "clothes"),
    "lips": ("mouth",),
    "eyebrows": ("brows",),
    "eyeglasses": ("glasses",),
}
"""What people call parts, and which of `PARTS` they mean by it."""
PictureFormat = Literal["png", "jpg", "jpeg", "webp", "avif", "tif", "tiff"]
"""What images are written in, as their names end."""


def key_of(setting: Field[Any]) -> str:
    """Name of a setting in files."""
    key: str = setting.metadata.get("key", setting.name)
    return key


@dataclass(frozen=True)
class StatisticsSettings:
    """How the mean and standard deviation of the style channels are measured.

    Defaults are those of the official TensorFlow preprocessing.

    Attributes:
        n: Number of sampled latents.
        seed: Seed of the samples.
        truncation_psi: Truncation toward the mean latent, on all layers.
    """

    n: int = 100_000
    seed: int = 5
    truncation_psi: float = 0.7


@dataclass(frozen=True)
class RelevanceSettings:
    """How the relevance of each style channel in CLIP space is measured.

    Defaults are the paper's and those of the published relevance files.

    Attributes:
        n_images: Pairs of images per channel.
        sigma: How far a channel is shifted to both sides of its mean, in standard deviations.
        layers: Which style layers are measured: "fs3" (all but toRGB, up to 128 pixels, as published), "conv"
            (all but toRGB) or "all".
        seed: Seed of the images.
        stop_at: Render the images at this lower resolution only; None renders in full, or as `mode` says.
        mode: "exact": as the paper does; "preview": the same on smaller images; "gradient": estimated from
            derivatives. None: what the pack ships, else what has been measured exactly, else an estimate.
    """

    n_images: int = 100
    sigma: float = 5.0
    layers: LayerChoice = "fs3"
    seed: int = 5
    stop_at: int | None = None
    mode: RelevanceMode | None = None


@dataclass(frozen=True)
class DirectionSettings:
    """How a prompt becomes a direction in style space.

    Attributes:
        alpha: Strength: shift of the most relevant channel in standard deviations.
        beta: Smallest |relevance| of a channel that is shifted; None chooses it by `rule`.
        rule: "channels": keep a number of channels; "gui": the official interface's rule.
        channels: Channels kept by the rule "channels".
        gui_threshold: The rule "gui" wants more channels than this (officially 20 for FFHQ, else 100).
    """

    alpha: float = 4.0
    beta: float | None = None
    rule: Literal["channels", "gui"] = "channels"
    channels: int = 30
    gui_threshold: int = 20


Inverter = Literal["encoder", "refine", "features", "pivotal"]


@dataclass(frozen=True)
class InversionSettings:
    """How the latent of an image is found.

    Attributes:
        inverter: "encoder": the encoder alone; "refine": W+ is optimized from there; "features": the features
            of one layer are then optimized too; "pivotal": the generator is tuned instead.
        steps: Steps of optimizing W+ (all but the encoder).
        learning_rate: Step size, in units of the code's distance from the mean latent.
        lambda_pixel: Weight of the pixel difference (L1 + L2).
        lambda_perceptual: Weight of the perceptual distance.
        lambda_identity: Weight of the difference in face embeddings.
        lambda_code: Weight of the squared distance to the encoder's code.
        noise: Whether the noise is optimized too.
        lambda_noise: Weight of the noise's regulariser (StyleGAN2's projector has 1e5 for another sum).
        pivotal_steps: Steps of tuning the generator.
        pivotal_rate: Step size of an equalised weight (published: 3e-4, with 350 steps); of a kernel in
            proportion to its size.
        lambda_locality: Weight of keeping images of latents near the pivot unchanged.
        locality_reach: Where those latents lie between the pivot and a random latent, 0 to 1.
        seed: Seed of the random latents of locality.
        feature_steps: Steps of optimizing features.
        feature_rate: Their step size, in units of the spread of each channel.
        lambda_features: Weight of staying near the features of the latent (mean square, in the same units).
        budget: Seconds for each image; None for no limit.
    """

    inverter: Inverter = "encoder"
    steps: int = 300
    learning_rate: float = 0.05
    lambda_pixel: float = 1.0
    lambda_perceptual: float = 0.1
    lambda_identity: float = 0.02
    lambda_code: float = 0.05
    noise: bool = False
    lambda_noise: float = 10.0
    pivotal_steps: int = 350
    pivotal_rate: float = 5e-3
    lambda_locality: float = 0.1
    locality_reach: float = 0.5
    seed: int = 0
    feature_steps: int = 60
    feature_rate: float = 0.1
    lambda_features: float = 0.02
    budget: float | None = None

    @property
    def total_steps(self) -> int:
        """Steps of all methods that take part, at the most."""
        if self.inverter == "encoder":
            return 0
        more = {"features": self.feature_steps, "pivotal": self.pivotal_steps}
        return self.steps + more.get(self.inverter, 0)


Level = Literal["coarse", "medium", "fine"]
LEVELS: dict[Level, tuple[int, int | None]] = {"coarse": (0, 4), "medium": (4, 8), "fine": (8, None)}
"""First W+ vector of each level, and the one after its last, at all sizes (official latent_mappers.py)."""
MapperKind = Literal["levels", "single", "styles"]
MapperNorm = Literal["layers", "channels"]


Compare = Literal["text", "direction"]
"""How images are compared with a text: by their cosine to the target text, as officially; or by how far
their embedding went from the neutral to the target text."""
Preprocessing = Literal["clip", "styleclip"]
"""How CLIP sees images: as it was trained to; or as the official losses show them."""


Space = Literal["w+", "s"]


@dataclass(frozen=True)
class OptimizeSettings:
    """How a latent is moved toward a text (paper section 4).

    Attributes:
        space: "w+", or "s" for the style channels themselves (but toRGB).
        steps: Steps of Adam.
        learning_rate: The largest step size; it rises over the first twentieth and falls in the last quarter.
        lambda_l2: Weight of the squared distance to the start, a sum over the latent.
        lambda_id: Weight of the identity loss.
        compare: How images are compared with the text.
        preprocessing: How CLIP sees images.
        crops: Random crops of each image that CLIP sees in the place of the whole; 0 for the whole.
        neighbourhood_radius: How far from this face the other faces lie that the first steps use: 1 is any
            face, 0 is this one alone, as in the official code.
        layers: W+ vectors that may change; None for all. In "s" the style layers that they feed.
        keep: Whether the latent with the lowest loss is kept, or the last one.
        patience: Stop after this many steps without an improvement; 0 for never.
        batch: Faces optimized at once.
        seed: Seed of crops and of the other faces.
    """

    space: Space = "w+"
    steps: int = 60
    learning_rate: float = 0.1
    lambda_l2: float = 0.008
    lambda_id: float = 0.0
    compare: Compare = "text"
    preprocessing: Preprocessing = "clip"
    crops: int = 0
    neighbourhood_radius: float = field(default=1.0, metadata={"key": "explore"})
    layers: tuple[int, ...] | None = None
    keep: Literal["best", "last"] = "best"
    patience: int = 10
    batch: int = 8
    seed: int = 0


OFFICIAL_OPTIMIZE = OptimizeSettings(
    steps=300,
    preprocessing="styleclip",
    neighbourhood_radius=0.0,
    keep="last",
    patience=0,
    batch=1,
)
"""As the official optimization/run_optimization.py by default."""


OptimizerName = Literal["adam", "adamw", "ranger"]
Precision = Literal["fp32", "bf16", "fp16"]


@dataclass(frozen=True)
class TrainingSettings:
    """How a mapper is trained (paper section 5).

    Attributes:
        kind: What is mapped: "levels" of W+, W+ by a "single" network, or "styles".
        levels: The levels that "levels" has; the others are left as they are.
        norm: Which axis the mappers normalise: "channels", or "layers" as the published ones.
        zero_init: Start from an offset near 0; in the official code, from a random one.
        strength: Factor between the networks' output and the offset.
        compare: How images are compared with the text.
        preprocessing: How CLIP sees images.
        lambda_clip: Weight of the CLIP loss.
        lambda_id: Weight of the identity loss.
        lambda_l2: Weight of the offset's mean square.
        optimizer: The optimizer.
        learning_rate: Its learning rate; the networks store their weights multiplied by 100.
        decay: Whether the learning rate decays to 0 over the last quarter; in the official code it does not.
        batch: Faces a step.
        steps: Steps in all.
        crops: Random crops of each image that CLIP sees in the place of the whole; 0 for the whole.
        truncation_psi: Of sampled faces.
        faces: How many sampled faces there are; 0 for new ones in every step.
        seed: Of everything random.
        validate_every: Steps between validations.
        n_validation: Faces of a validation.
        precision: Of the generator and the losses' networks.
        compile: Let torch.compile make the generator faster; the first step takes longer.
    """

    kind: MapperKind = "levels"
    levels: tuple[Level, ...] = ("coarse", "medium", "fine")
    norm: MapperNorm = "channels"
    zero_init: bool = field(default=True, metadata={"key": "quiet"})
    strength: float = 0.1
    compare: Compare = "text"
    preprocessing: Preprocessing = "clip"
    lambda_clip: float = 1.0
    lambda_id: float = 0.1
    lambda_l2: float = 0.8
    optimizer: OptimizerName = "adam"
    learning_rate: float = 0.5
    decay: bool = True
    batch: int = 8
    steps: int = 1000
    crops: int = 0
    truncation_psi: float = 0.7
    faces: int = 0
    seed: int = 0
    validate_every: int = 200
    n_validation: int = 16
    precision: Precision = "fp32"
    compile: bool = False


OFFICIAL_TRAINING = TrainingSettings(
    norm="layers",
    zero_init=False,
    preprocessing="styleclip",
    optimizer="ranger",
    decay=False,
    batch=2,
    steps=50_000,
    faces=5000,
    validate_every=2000,
    n_validation=201,
)
"""As the official mapper/scripts/train.py by default."""
