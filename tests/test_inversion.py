"""The ladder of inversion: each rung comes closer, what it finds can be kept, and nothing else changes."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from checkpoints import golden_generator, nvlabs_generator, nvlabs_pickle, save
from styleclip_cli import inversion
from styleclip_cli.cli import main
from styleclip_cli.engine import Engine
from styleclip_cli.errors import BadInputError
from styleclip_cli.inversion import FaceLatent, FeatureResidual, Perceptual, files, tuned
from styleclip_cli.inversion.pivotal import RANK, factorised, low_rank, pivotal
from styleclip_cli.inversion.refine import Deadline, Plateau, refine
from styleclip_cli.nets.stylegan2 import Generator
from styleclip_cli.save import save_image
from styleclip_cli.settings import InversionSettings
from styleclip_cli.toyworld.attributes import COUNT, attributes_of_normals
from styleclip_cli.toyworld.renderer import render_all
from styleclip_cli.weights.readers import read_parts
from tiny_pack import SIDE, make_pack


@pytest.fixture(scope="module")
def toy() -> Engine:
    return Engine("toy", device="cpu")


@pytest.fixture(scope="module")
def photo() -> Tensor:
    rng = torch.Generator().manual_seed(77)
    pictures = render_all(attributes_of_normals(torch.randn(1, COUNT, generator=rng)))
    return ((pictures + 1) * 127.5).round() / 127.5 - 1


@pytest.fixture
def tiny(tmp_path: Path) -> Engine:
    return Engine(make_pack(tmp_path / "pack"), device="cpu")


def picture(seed: int = 0) -> Tensor:
    return torch.rand(1, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def weights(engine: Engine) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in engine.generator.state_dict().items()}


def unchanged(engine: Engine, before: dict[str, Tensor]) -> bool:
    return all(torch.equal(tensor, before[name]) for name, tensor in engine.generator.state_dict().items())


@pytest.mark.slow
def test_each_rung_comes_closer(toy: Engine, photo: Tensor) -> None:
    before = weights(toy)
    found = {}
    for inverter in ("encoder", "refine", "features", "pivotal"):
        settings = replace(toy.settings_for_inversion(inverter), steps=12, pivotal_steps=12, feature_steps=12)
        found[inverter] = toy.invert(photo, settings, keep=False, measure=True)
    mse = {name: one.quality.mse for name, one in found.items()}
    assert mse["pivotal"] < 0.8 * mse["refine"] < 0.8 * mse["encoder"]
    assert mse["features"] < 0.8 * mse["refine"]
    looks = {name: one.quality.perceptual for name, one in found.items()}
    assert looks["pivotal"] < looks["refine"] < looks["encoder"]
    assert found["pivotal"].quality.identity > found["encoder"].quality.identity
    assert unchanged(toy, before)
    assert all(parameter.requires_grad is False for parameter in toy.generator.parameters())


def test_directions_keep_their_meaning(toy: Engine, photo: Tensor) -> None:
    """Styles of a W+ are the same before and after tuning: the affine layers are left alone."""
    settings = replace(toy.settings_for_inversion("pivotal"), steps=2, pivotal_steps=3)
    found = toy.invert(photo, settings, keep=False)
    assert found.weight_deltas
    assert not any(".affine." in name or name.startswith("mapping") for name in found.weight_deltas)
    before = toy.styles(found.w_plus)
    with tuned(toy.generator, found.weight_deltas):
        assert torch.equal(toy.styles(found.w_plus), before)


def test_tuning_ends_with_its_context(tiny: Engine) -> None:
    before = weights(tiny)
    changes = {"synthesis.b8.conv0.weight": torch.ones(1), "synthesis.b4.conv1.noise_const": torch.ones(4, 4)}
    styles = tiny.styles(tiny.sample([1]))
    plain = tiny.synthesize(styles)

    def stopped() -> None:
        with tuned(tiny.generator, changes):
            assert not torch.equal(tiny.generator.synthesize(tiny.generator.style_space.split(styles)), plain)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped()
    assert unchanged(tiny, before)
    assert torch.equal(tiny.synthesize(styles), plain)
    assert not torch.equal(tiny.synthesize(styles, changes), plain)


def test_an_interrupted_tuning_leaves_the_generator_as_it_was(tiny: Engine, monkeypatch) -> None:
    before = weights(tiny)
    steps = []

    def stop(self: Deadline) -> None:
        steps.append(1)
        if len(steps) == 7:  # four of refining, then in the middle of tuning
            raise KeyboardInterrupt

    monkeypatch.setattr(Deadline, "step", stop)
    with pytest.raises(KeyboardInterrupt):
        tiny.invert(picture(), tiny.settings_for_inversion("pivotal"), keep=False)
    assert len(steps) == 7
    assert unchanged(tiny, before)


@pytest.mark.slow
def test_locality_keeps_other_faces_as_they_were(toy: Engine, photo: Tensor) -> None:
    others = toy.styles(toy.sample(range(100, 108), 0.5))
    plain = toy.synthesize(others)

    def moved(weight: float) -> float:
        settings = toy.settings_for_inversion("pivotal")
        settings = replace(settings, steps=0, pivotal_steps=12, lambda_locality=weight)
        changes = toy.invert(photo, settings, keep=False).weight_deltas
        return float((toy.synthesize(others, changes) - plain).square().mean())

    assert moved(20.0) < 0.8 * moved(0.0)


def with_features(engine: Engine) -> tuple[Tensor, FaceLatent]:
    settings = replace(engine.settings_for_inversion("features"), steps=1, feature_steps=6)
    image = picture(3)
    return image, engine.invert(image, settings, keep=False)


def test_features_bring_the_image_closer_and_leave_the_generator_alone(tiny: Engine) -> None:
    before = weights(tiny)
    image, found = with_features(tiny)
    assert found.residual is not None
    assert not found.weight_deltas
    plain = replace(found, residual=None)
    far, near = ((tiny.render([face]) - image).square().mean() for face in (plain, found))
    assert near < far
    assert unchanged(tiny, before)


def test_features_stay_where_an_edit_changes_nothing(tiny: Engine) -> None:
    """An offset of 0 keeps all of them; else each place is on its own."""
    _, found = with_features(tiny)
    nothing = torch.zeros(1, tiny.generator.style_space.size)
    same = tiny.render([found.moved(style_offset=nothing)])
    assert torch.allclose(same, tiny.render([found]), atol=1e-5)
    before = torch.randn(1, 4, 12, 12, generator=torch.Generator().manual_seed(1))
    now = before.clone()
    now[..., :4] += 5
    kept = FeatureResidual.kept(now, before)
    assert float(kept[..., 6:].min()) == 1
    assert float(kept[..., :3].max()) < 1e-6


def test_features_stay_around_a_region(tiny: Engine) -> None:
    _, found = with_features(tiny)
    shift = torch.randn(1, tiny.generator.style_space.size, generator=torch.Generator().manual_seed(2))
    moved = found.moved(style_offset=shift)
    nowhere, everywhere = torch.zeros(1, 1, SIDE, SIDE), torch.ones(1, 1, SIDE, SIDE)
    for mask, face in ((nowhere, found), (everywhere, moved)):
        confined = tiny.renderer.confined([found], [moved], mask)
        assert torch.allclose(confined, tiny.render([face]), atol=1e-4)


def test_features_are_kept_in_files_and_in_the_cache(tiny: Engine, tmp_path: Path) -> None:
    settings = replace(tiny.settings_for_inversion("features"), steps=1, feature_steps=3)
    first, again = (tiny.invert(picture(3), settings) for _ in range(2))
    assert torch.equal(tiny.render([first]), tiny.render([again]))
    path = tmp_path / "face.npz"
    files.save(path, [first], ["here"], tiny.pack)
    (read,) = files.load(path, tiny.generator, tiny.pack)
    assert torch.allclose(tiny.render([read]), tiny.render([first]), atol=1e-3)
    with pytest.raises(ValueError, match="cannot be joined"):
        FaceLatent.joined([first, first])


@pytest.mark.parametrize("layer", [-1, 2, 999])
def test_features_of_another_generator_are_refused(tiny: Engine, tmp_path: Path, layer: int) -> None:
    _, found = with_features(tiny)
    path = tmp_path / "face.npz"
    wrong = replace(found, residual=replace(found.residual, layer=layer))
    files.save(path, [wrong], ["here"], tiny.pack)
    with pytest.raises(BadInputError, match="features"):
        files.load(path, tiny.generator, tiny.pack)


def test_photos_of_one_person_share_a_generator(tiny: Engine) -> None:
    settings = replace(tiny.settings_for_inversion("pivotal"), steps=1, pivotal_steps=6)
    images = [picture(seed) for seed in range(3)]
    before = weights(tiny)
    faces = tiny.inverter.invert_together(images, images, settings)
    assert unchanged(tiny, before)
    assert len({id(face.weight_deltas) for face in faces}) == 1
    assert not torch.equal(faces[0].w_plus, faces[1].w_plus)
    for image, face in zip(images, faces, strict=True):
        tuned_error, error = (
            (tiny.render([each]) - image).square().mean() for each in (face, replace(face, weight_deltas={}))
        )
        assert tuned_error < error
        again = tiny.invert(image, settings)
        assert torch.equal(again.w_plus, face.w_plus)
        assert again.weight_deltas is face.weight_deltas
    alone = tiny.invert(picture(9), settings)
    assert alone.weight_deltas is not faces[0].weight_deltas


def test_a_resized_picture_has_no_colours_beyond_white_and_black() -> None:
    """Bicubic interpolation overshoots at edges, as Pillow's would if it did not cut that off."""
    edge = torch.ones(1, 3, 64, 64)
    edge[..., ::7] = -1
    assert float(inversion.resized(edge, 48).abs().max()) == 1.0


def test_tuning_does_not_depend_on_how_a_file_keeps_its_kernels(tmp_path: Path) -> None:
    """NVlabs' PyTorch code keeps them undivided, rosinality's divided by the square root of the fan in."""
    state, average = golden_generator()
    rosinality = save(tmp_path / "g.pt", {"g_ema": state, "latent_avg": average})
    (tmp_path / "g.pkl").write_bytes(nvlabs_pickle(nvlabs_generator(state, average)))
    settings = InversionSettings(pivotal_steps=12, lambda_perceptual=0.0)
    shown, sizes = [], []
    for path in (rosinality, tmp_path / "g.pkl"):
        (part,) = read_parts(path)
        generator = Generator.from_state_dict({k: torch.tensor(v) for k, v in part.state.items()})
        w_plus = generator.w_plus(torch.randn(1, 64, generator=torch.Generator().manual_seed(3))).detach()
        target = picture(1)
        changes = pivotal(generator, w_plus, target, settings, None, {}, Deadline(None, None, 12))
        with torch.no_grad():
            before = generator(w_plus)
            with tuned(generator, changes):
                shown.append(generator(w_plus))
        moved = float((shown[-1] - before).abs().mean())
        sizes.append(float(generator.synthesis["b8"].conv1.weight.detach().square().mean()))
        assert float((shown[-1] - target).abs().mean()) < float((before - target).abs().mean())
    assert sizes[1] > 100 * sizes[0]
    assert float((shown[1] - shown[0]).abs().mean()) < 1e-3 * moved


def test_kernels_gain_little_to_keep() -> None:
    rng = torch.Generator().manual_seed(0)
    exact = torch.randn(48, 3, generator=rng) @ torch.randn(3, 40 * 9, generator=rng)
    change = exact.reshape(48, 40, 3, 3)
    left, right = factorised(change)
    assert (left.shape, right.shape) == ((48, RANK), (RANK, 360))
    assert torch.allclose(low_rank(change), change, atol=1e-4)
    noisy = torch.randn(48, 40, 3, 3, generator=rng)
    u, s, v = torch.linalg.svd(noisy.flatten(1), full_matrices=False)
    best = ((u[:, :RANK] * s[:RANK]) @ v[:RANK]).reshape(noisy.shape)
    assert torch.allclose(low_rank(noisy), best, atol=1e-4)
    assert factorised(torch.randn(3, 10, 1, 1)) is None
    assert factorised(torch.randn(12)) is None


def test_what_is_kept_is_what_was_found(toy: Engine, photo: Tensor) -> None:
    settings = replace(toy.settings_for_inversion("pivotal"), steps=2, pivotal_steps=4)
    first = toy.invert(photo, settings)
    began = time.monotonic()
    again = toy.invert(photo, settings)
    assert time.monotonic() - began < 1.0
    assert torch.equal(first.w_plus, again.w_plus)
    assert first.quality == again.quality
    assert set(first.weight_deltas) == set(again.weight_deltas)
    assert all(torch.equal(change, again.weight_deltas[name]) for name, change in first.weight_deltas.items())
    arrays, _ = first.to_arrays()
    assert (
        sum(array.nbytes for array in arrays.values()) < 400_000
    )  # all of it would be 1.8 MB in half precision


def test_other_settings_are_other_inversions(tiny: Engine) -> None:
    encoder = tiny.invert(picture(), tiny.settings_for_inversion("encoder"))
    refined = tiny.invert(picture(), tiny.settings_for_inversion("refine"))
    longer = tiny.invert(picture(), tiny.settings_for_inversion("refine", steps=9))
    assert not torch.equal(encoder.w_plus, refined.w_plus)
    assert not torch.equal(refined.w_plus, longer.w_plus)


def test_steps_alone_mean_refining(tiny: Engine) -> None:
    assert tiny.settings_for_inversion().inverter == "encoder"
    assert tiny.settings_for_inversion(steps=5).inverter == "refine"
    assert tiny.settings_for_inversion(steps=0).inverter == "encoder"
    assert tiny.settings_for_inversion("pivotal", steps=5).inverter == "pivotal"


def test_the_noise_can_be_moved_too(toy: Engine, photo: Tensor) -> None:
    settings = replace(toy.settings_for_inversion("refine", noise=True), steps=15)
    found = toy.invert(photo, settings, keep=False)
    assert found.weight_deltas
    assert all(name.endswith(".noise_const") for name in found.weight_deltas)
    buffers = dict(toy.generator.named_buffers())
    for name, change in found.weight_deltas.items():
        values = buffers[name] + change
        assert abs(float(values.mean())) < 0.02
        assert abs(float(values.square().mean()) - 1) < 0.05


def test_the_best_latent_is_kept_not_the_last(toy: Engine, photo: Tensor) -> None:
    start = inversion.encode(toy.networks.encoder, photo)
    usual = toy.settings_for_inversion("refine")
    wild = replace(usual, steps=10, learning_rate=5.0)  # every step makes it worse
    found, _ = refine(toy.generator, start, photo, wild)
    with torch.no_grad():
        assert float((toy.generator(found) - photo).abs().mean()) <= float(
            (toy.generator(start) - photo).abs().mean()
        )


def test_a_budget_ends_the_search(toy: Engine, photo: Tensor) -> None:
    settings = replace(toy.settings_for_inversion("pivotal", budget=0.7), steps=10_000, pivotal_steps=10_000)
    done = []
    began = time.monotonic()
    networks = toy.networks
    inversion.invert(
        photo, photo, toy.generator, networks.encoder, networks.perceptual, networks.identity, settings,
        lambda step, total: done.append((step, total)),
    )  # fmt: skip
    assert time.monotonic() - began < 6.0
    assert 0 < len(done) < 2_000
    assert done[-1][1] == 20_000


def test_a_plateau_is_noticed() -> None:
    plateau = Plateau()
    assert not any(plateau.reached(1.0 * 0.98**i) for i in range(200))
    assert [plateau.reached(0.01) for _ in range(40)].index(True) < 35


def test_perceptual_distance_is_one() -> None:
    with pytest.raises(ValueError, match="needs a network"):
        Perceptual(None)


def test_perceptual_distance_orders_pictures(toy: Engine, photo: Tensor) -> None:
    look = toy.networks.perceptual
    wanted = look.features(photo)
    assert float(look(photo, wanted)) == pytest.approx(0, abs=1e-6)
    blurred = torch.nn.functional.avg_pool2d(photo, 5, 1, 2)
    other = photo.flip(2)
    assert 0 < float(look(blurred, wanted)) < float(look(other, wanted)) <= 2


def test_packs_without_an_identity_network_are_compared_by_clip(tiny: Engine) -> None:
    look = Perceptual(None, tiny.networks.clip)
    wanted = look.features(picture(1))
    assert float(look(picture(1), wanted)) == pytest.approx(0, abs=1e-5)
    assert float(look(picture(2), wanted)) > 1e-4


# On the command line


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    make_pack(tmp_path / "pack")
    monkeypatch.setenv("STYLECLIP_MODELS", str(tmp_path / "pack"))
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    save_image(folder / "a.png", picture(3)[0])
    save_image(folder / "b.png", picture(4)[0])
    return folder


def test_invert_says_how_close_it_comes(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["invert", "a.png", "b.png", "--inverter", "pivotal", "--out", "l.npz"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("a.png  MSE 0.")
    for word in ("dB)", "perceptual", "identity", " s"):
        assert word in lines[0]
    engine = Engine(here.parent / "pack")
    found = engine.load_inversions(here / "l.npz")
    assert len(found) == 2
    assert all(one.weight_deltas for one in found)


def test_latents_bring_their_generator_with_them(here: Path) -> None:
    assert main(["invert", "a.png", "--inverter", "pivotal", "--out", "l.npz", "-q"]) == 0
    edit = ["-p", "smiling", "-a", "3", "-q"]
    assert main(["edit", "l.npz", *edit, "-o", "latent.png"]) == 0
    assert main(["edit", "a.png", *edit, "--inverter", "pivotal", "-o", "photo.png"]) == 0
    assert main(["edit", "a.png", *edit, "--inverter", "refine", "-o", "refined.png"]) == 0
    from PIL import Image

    one, same, other = (np.asarray(Image.open(here / f"{n}.png")) for n in ("latent", "photo", "refined"))
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


def test_photos_of_the_same_person_are_inverted_together(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "broken.png").write_bytes(b"no image")
    both = ["a.png", "b.png", "broken.png"]
    assert main(["invert", *both, "--same-person", "--out", "l.npz"]) == 7
    assert "one generator is tuned for 2 photos" in capsys.readouterr().err
    one, other = Engine(here.parent / "pack").load_inversions(here / "l.npz")
    assert one.weight_deltas
    assert all(torch.equal(change, other.weight_deltas[name]) for name, change in one.weight_deltas.items())
    assert main(["edit", "a.png", "b.png", "--same-person", "-p", "smiling", "-a", "2", "-o", "out"]) == 0
    assert len(list((here / "out").iterdir())) == 2


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["a.png", "--same-person"], "two photos or more"),
        (["a.png", "b.png", "--same-person", "--inverter", "refine"], "--inverter refine"),
        (["a.png", "b.png", "--same-person", "--face", "all"], "--face all"),
    ],
)
def test_the_same_person_is_on_several_photos(here: Path, capsys, arguments: list[str], named: str) -> None:
    assert main(["invert", *arguments, "--out", "l.npz"]) == 2
    assert named in capsys.readouterr().err


def test_saved_latents_of_an_edit_hold_it_too(here: Path) -> None:
    assert (
        main(["edit", "a.png", "-p", "smiling", "--inverter", "pivotal", "--save-latent", "-o", "o.png"]) == 0
    )
    assert Engine(here.parent / "pack").load_inversions(here / "o.npz")[0].weight_deltas


def test_tuned_latents_of_another_generator_are_refused(here: Path, tmp_path: Path) -> None:
    engine = Engine(here.parent / "pack")
    found = engine.invert(picture(3), engine.settings_for_inversion("pivotal"))
    wrong = replace(found, weight_deltas={"synthesis.b8.conv0.bias": torch.zeros(99)})
    engine.save_inversions(tmp_path / "w.npz", [wrong], ["x"])
    with pytest.raises(BadInputError, match="another generator"):
        engine.load_inversions(tmp_path / "w.npz")


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--inverter", "magic"], "magic"),
        (["--budget", "soon"], "soon"),
        (["--budget", "0s"], "0s"),
        (["--budget=-3s"], "-3s"),
    ],
)
def test_mistakes_are_told_at_once(here: Path, capsys, arguments: list[str], named: str) -> None:
    assert main(["invert", "a.png", *arguments, "--out", "l.npz"]) == 2
    assert named in capsys.readouterr().err
    assert not (here / "l.npz").exists()


def test_the_cache_is_listed_and_pruned(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["invert", "a.png", "b.png", "--out", "l.npz", "-q"]) == 0
    assert main(["cache"]) == 0
    assert "inversions" in capsys.readouterr().out
    assert main(["cache", "prune", "--older-than", "1h"]) == 0
    assert "0 files" in capsys.readouterr().out
    assert main(["cache", "prune", "--kind", "statistics"]) == 0
    assert "0 files" in capsys.readouterr().out
    assert main(["cache", "where"]) == 0
    folder = Path(capsys.readouterr().out.strip())
    kernels = folder / "kernels"
    (folder / "texts").unlink()  # the tests' own, for all of them
    kernels.unlink()
    kernels.mkdir()
    (kernels / "a.so").touch()
    assert main(["cache", "prune", "--kind", "kernels"]) == 0
    assert "1 files" in capsys.readouterr().out
    assert main(["cache", "prune"]) == 0
    assert "2 files" in capsys.readouterr().out
    for arguments in (["--older-than", "yesterday"], ["--kind", "photos"]):
        assert main(["cache", "prune", *arguments]) == 2
