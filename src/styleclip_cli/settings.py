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


@dataclass(frozen=True)
class InversionSettings:
    """How an inversion is refined by optimisation after the encoder's answer.

    Attributes:
        steps: Optimisation steps; 0 keeps the encoder's answer.
        learning_rate: Step size, in units of the code's distance from the mean latent.
        lambda_pixel: Weight of the pixel difference (L1 + L2).
        lambda_clip: Weight of the difference in CLIP's image features.
        lambda_code: Weight of the squared distance to the encoder's code.
    """

    steps: int = 0
    learning_rate: float = 0.05
    lambda_pixel: float = 1.0
    lambda_clip: float = 0.1
    lambda_code: float = 0.1
