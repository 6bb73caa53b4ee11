"""Write parsers.npz: what facexlib's parsers (0.3.0, from PyPI) say of pictures.

    PYTHONPATH=tests:src python tests/golden/parsers.py FOLDER_OF_FACEXLIB

Their weights are a formula of names and shapes (`checkpoints.by_formula`), so that only outputs are kept.
BiSeNet is as wide as the published one; ParseNet is a narrow one, as its class allows.
"""

import sys
import types
from pathlib import Path

import numpy as np
import torch

from checkpoints import by_formula

# Its packages import OpenCV and more, of which their networks use nothing.
for package in ("facexlib", "facexlib.parsing"):
    sys.modules[package] = types.ModuleType(package)
    sys.modules[package].__path__ = [str(Path(sys.argv[1], *package.split(".")[1:]))]

from facexlib.parsing.bisenet import BiSeNet  # type: ignore[import-not-found]  # noqa: E402
from facexlib.parsing.parsenet import ParseNet  # type: ignore[import-not-found]  # noqa: E402

torch.set_num_threads(1)
images = by_formula({"images": torch.empty(2, 3, 64, 64)})["images"]
nets = {
    "bisenet": BiSeNet(19),
    "parsenet": ParseNet(64, 64, 16, 8, 19, res_depth=2, ch_range=[4, 16]),
}
found = {}
for name, net in nets.items():
    state = by_formula(net.state_dict())
    net.load_state_dict(state)
    with torch.no_grad():
        logits = net.eval()(images)[0]
    found[name] = logits[:, :, ::8, ::8].numpy()
    found[f"{name}_names"] = np.array(list(state))
    found[f"{name}_shapes"] = np.array([",".join(map(str, tensor.shape)) for tensor in state.values()])
np.savez_compressed(Path(__file__).with_name("parsers.npz"), **found)
