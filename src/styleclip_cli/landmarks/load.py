"""Which networks find faces in photos: a pack's own small ones, or face-alignment's."""

from __future__ import annotations

import torch

from styleclip_cli.errors import WeightsError
from styleclip_cli.photo.align import Landmarker
from styleclip_cli.weights.files import load_weights
from styleclip_cli.weights.packs import Pack


def landmarker_of(pack: Pack, device: torch.device) -> Landmarker:
    """Load the face finder that a pack comes with.

    Args:
        pack: Has the components `landmarks` and `detector`.
        device: Where to compute.

    Raises:
        WeightsError: If they are missing, damaged, or of no known kind.
    """
    if "landmarks" not in pack.entries or "detector" not in pack.entries:
        raise WeightsError(
            f"the model pack {pack.name} cannot find faces: it has no landmarks",
            "--no-align, for cropped faces",
        )
    landmarks, _ = load_weights(pack.component("landmarks"))
    detector, _ = load_weights(pack.component("detector"))
    if "conv_last0.weight" in landmarks:  # FAN: face-alignment's
        from styleclip_cli.landmarks.fan import FanLandmarker

        return FanLandmarker(landmarks, detector, device)
    from styleclip_cli.landmarks.small import SmallLandmarker
    from styleclip_cli.nets.landmarks import Finder, Regressor

    return SmallLandmarker(Finder.from_state_dict(detector), Regressor.from_state_dict(landmarks), device)
