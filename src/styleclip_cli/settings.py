"""Default settings shared by the command line and the Python interface. Imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

LayerChoice = Literal["fs3", "conv", "all"]


@dataclass(frozen=True)
class StatisticsSettings:
    """How the style channels' mean and spread are measured.

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
    """How the effect of each style channel in CLIP space is measured.

    Defaults are the paper's and those of the published relevance files.

    Attributes:
        n_images: Pairs of pictures per channel.
        sigma: How far a channel is pushed to both sides of its mean, in standard deviations.
        layers: Which style layers take part: "fs3" (all but toRGB, up to 128 pixels, as published), "conv"
            (all but toRGB) or "all".
        seed: Seed of the pictures.
        stop_at: Render the pictures at this lower resolution only; None renders in full.
    """

    n_images: int = 100
    sigma: float = 5.0
    layers: LayerChoice = "fs3"
    seed: int = 5
    stop_at: int | None = None


@dataclass(frozen=True)
class DirectionSettings:
    """How a sentence becomes a step in style space.

    Attributes:
        alpha: Strength: displacement of the strongest channel in standard deviations.
        beta: Smallest |relevance| of a channel that takes part; None chooses it by `rule`.
        rule: "channels": keep a number of channels; "gui": the official interface's rule.
        channels: Channels kept by the rule "channels".
        gui_threshold: The rule "gui" wants more channels than this (officially 20 for FFHQ, else 100).
    """

    alpha: float = 4.0
    beta: float | None = None
    rule: Literal["channels", "gui"] = "channels"
    channels: int = 30
    gui_threshold: int = 20


Inverter = Literal["encoder", "refine", "pivotal"]


@dataclass(frozen=True)
class InversionSettings:
    """How the latent of a picture is found.

    Attributes:
        inverter: "encoder": the encoder's answer; "refine": W+ moved on from there; "pivotal": the generator
            tuned around that as well.
        steps: Steps of moving W+ (refine and pivotal).
        learning_rate: Step size, in units of the code's distance from the mean latent.
        lambda_pixel: Weight of the pixel difference (L1 + L2).
        lambda_perceptual: Weight of the perceptual distance.
        lambda_identity: Weight of the difference in face embeddings.
        lambda_code: Weight of the squared distance to the encoder's code.
        noise: Whether the noise is moved too.
        lambda_noise: Weight of the noise's regulariser (StyleGAN2's projector has 1e5 for another sum).
        pivotal_steps: Steps of tuning the generator.
        pivotal_rate: Step size of an equalised weight (published: 3e-4, with 350 steps).
        lambda_locality: Weight of leaving pictures near the pivot as they were.
        locality_reach: How far from the pivot to a random latent those lie, 0 to 1.
        seed: Seed of the random latents of locality.
        budget: Seconds for each picture; None for no limit.
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
    budget: float | None = None

    @property
    def total_steps(self) -> int:
        """Steps of all rungs together, at the most."""
        if self.inverter == "encoder":
            return 0
        return self.steps + (self.pivotal_steps if self.inverter == "pivotal" else 0)
