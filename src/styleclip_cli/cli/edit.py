"""`styleclip edit`: the main job. Faces in, edited faces out."""

from __future__ import annotations

import time
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from styleclip_cli import profile as profiling
from styleclip_cli.cli import inputs as io
from styleclip_cli.cli import methods, options
from styleclip_cli.cli.batch import StopBatch, run_jobs
from styleclip_cli.cli.interrupt import Interruptible, Stopped
from styleclip_cli.cli.packs import choose
from styleclip_cli.cli.report import Reporter
from styleclip_cli.errors import StyleClipError, UsageError
from styleclip_cli.shards import Shard, own_device, processes, rank

if TYPE_CHECKING:
    from styleclip_cli.edits.edit import Edit
    from styleclip_cli.recipe import Recipe

_EDIT, _PHOTOS, _OUTPUT = "Edit", "Photos", "Output"
_TOGETHER = 8  # photos that are edited and rendered at once, at the most
_PIXELS = 2**24  # of photos that are worked on together; as many are read meanwhile, or wait to be written


def edit(
    inputs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="INPUT",
            help="Images, folders of images, latents (.npz; StyleCLIP's .npy and .pt), or seeds of "
            "generated faces (seed:7, seed:1-5).",
            show_default=False,
        ),
    ] = None,
    prompt: options.Prompt = None,
    neutral: options.Neutral = None,
    method: methods.Method = None,
    mapper: methods.Mapper = None,
    direction: Annotated[
        Path | None,
        typer.Option(
            "--direction",
            metavar="FILE",
            help="Use a direction saved by find-direction instead of a prompt.",
            show_default=False,
            rich_help_panel=_EDIT,
        ),
    ] = None,
    recipe: Annotated[
        Path | None,
        typer.Option(
            "--recipe",
            metavar="FILE",
            help="Edit as an edited picture was (or as a .json or .toml says); other options change that.",
            show_default=False,
            rich_help_panel=_EDIT,
        ),
    ] = None,
    alpha: Annotated[
        list[str] | None,
        typer.Option(
            "--alpha",
            "-a",
            metavar="NUMBER[,NUMBER...]",
            help="Strength; negative for the opposite. Several make a strip: original, first, second ...",
            show_default="the pack's; 1 for optimize and mapper",
            rich_help_panel=_EDIT,
        ),
    ] = None,
    beta: options.Beta = None,
    channels: options.Channels = None,
    literal: options.Literal = False,
    layers: Annotated[
        str | None,
        typer.Option(
            "--layers",
            metavar="fs3|conv|all, coarse,medium,fine",
            help="What may change. Global: style layers fs3 (no toRGB, up to 128 pixels), conv (no toRGB) or "
            "all. Optimize: W+ layers coarse, medium, fine, or numbers.",
            show_default="the pack's",
            rich_help_panel=_EDIT,
        ),
    ] = None,
    relevance: options.Relevance = None,
    iterations: methods.Iterations = None,
    lr: methods.LearningRate = None,
    lambda_l2: methods.LambdaL2 = None,
    lambda_id: methods.LambdaId = None,
    space: methods.Space = None,
    free: methods.Free = False,
    official: methods.Official = False,
    crops: methods.Crops = None,
    batch: methods.Batch = None,
    save_steps: methods.SaveSteps = 0,
    animation: methods.Animation = None,
    face: Annotated[
        str | None,
        typer.Option(
            "--face",
            metavar="largest|all|N",
            help="Which face of a photo: the largest, all of them, or the Nth from the left.",
            show_default="largest",
            rich_help_panel=_PHOTOS,
        ),
    ] = None,
    no_align: options.NoAlign = False,
    crop: options.Crop = False,
    composite: Annotated[
        str | None,
        typer.Option(
            "--composite",
            metavar="residual|replace",
            help="How the edit returns to the photo: what it changed is added; or the crop is pasted.",
            show_default="residual",
            rich_help_panel=_PHOTOS,
        ),
    ] = None,
    max_megapixels: options.MaxMegapixels = 100,
    keep_exif: options.KeepExif = False,
    inverter: options.Inverter = None,
    steps: options.Steps = None,
    noise: options.Noise = False,
    budget: options.Budget = None,
    out: options.Pictures = None,
    format: options.Format = None,
    quality: options.Quality = 95,
    compression: options.Compression = None,
    no_metadata: options.NoMetadata = False,
    save_latent: options.SaveLatent = False,
    overwrite: options.Overwrite = False,
    skip_existing: Annotated[
        bool,
        typer.Option(
            "--skip-existing",
            help="Leave out inputs whose results are there already: go on with a job that was stopped.",
            rich_help_panel=_OUTPUT,
        ),
    ] = False,
    shard: options.ShardOption = None,
    models: options.Models = None,
    offline: options.Offline = False,
    device: options.Device = "auto",
    precision: options.PrecisionOption = "fp32",
    no_kernels: options.NoKernels = False,
    seed: options.Seed = None,
    profile: Annotated[
        bool, typer.Option("--profile", help="Say where the time went.", rich_help_panel="Common")
    ] = False,
    quiet: options.Quiet = False,
) -> None:
    """Edit faces by a sentence, and put them back into their photos.

    Several processes can share the work: torchrun --nproc-per-node 4 -m styleclip_cli edit ..., or --shard on
    each machine.

    Example: styleclip edit examples/face.png --prompt "with glasses" --alpha 4
    """
    began = time.monotonic()
    profiled = profiling.start(time.perf_counter()) if profile else None
    reporter = Reporter(quiet, notes=rank() == 0)
    part = Shard.parse(shard).divided(rank(), processes())
    if skip_existing and overwrite:
        raise UsageError("--skip-existing and --overwrite exclude each other", "give one of them")
    wanted = methods.Optimizing(
        space=space,
        iterations=iterations,
        lr=lr,
        lambda_l2=lambda_l2,
        lambda_id=lambda_id,
        crops=crops,
        batch=batch,
        free=free,
        official=official,
        save_steps=save_steps,
        animation=animation,
    )
    if recipe is None:
        if (prompt is not None) + (direction is not None) + (mapper is not None) != 1:
            raise UsageError(
                "say what to change, by one of --prompt, --direction, --mapper or --recipe",
                'styleclip edit face.png --prompt "smiling"',
            )
    elif direction is not None:
        raise UsageError("--direction and --recipe exclude each other", "give one of them")
    chosen_inverter = options.check_inverter(inverter)
    seconds = options.parse_budget(budget)
    options.check_inversion(chosen_inverter, steps, noise)
    options.check_face(face or "largest")
    options.check_composite(composite or "residual")
    alphas = options.parse_alphas(alpha)
    options.check_device(device)
    suffix = io.suffix_of(format)

    if recipe is not None:
        from styleclip_cli.recipe import load

        before = load(recipe)
        again = methods.NAMES.get(before.method)
        if method is None and mapper is None and not (again == "mapper" and prompt is not None):
            method = again
        same = again == (method or ("mapper" if mapper is not None else "global"))
        if prompt is None:
            if before.method not in methods.NAMES or (before.prompt is None and before.mapper is None):
                raise UsageError(
                    f"{recipe}: made by {before.method}, which a recipe cannot repeat",
                    "the same command again",
                )
            if method == "mapper":
                mapper = mapper or before.mapper
            else:
                prompt, literal = before.prompt, literal or bool(before.literal)
            if method == "global" and beta is None and channels is None:
                beta, channels = before.beta, before.channels if before.beta is None else None
        if method == "optimize" and same:
            wanted = wanted.after(before)
            free = wanted.free
        if method != "mapper":
            neutral = before.neutral if neutral is None else neutral
        face = before.face if face is None else face
        composite = before.composite if composite is None else composite
        no_align = no_align or before.align is False
        noise = noise or bool(before.noise)
        if same:  # another method means other things by them
            alphas = alphas or list(before.alphas or ())
            layers = layers or (before.layers if again != "mapper" else None)
            relevance = relevance or before.relevance
        chosen_inverter = chosen_inverter or options.check_inverter(before.inverter)
        steps = before.steps if steps is None else steps
        seed = before.seed if seed is None else seed
        models = io.pack_of_recipe(models, before.models)

    how = methods.check_method(method, mapper, direction)
    text = {"--prompt": prompt, "--neutral": neutral}
    cut = {"--beta": beta, "--channels": channels, "--seed": seed, "--layers": layers}
    cut["--relevance"] = relevance
    given = [name for name, value in {**text, **cut}.items() if value is not None] + ["--literal"] * literal
    if direction is not None and given:
        raise UsageError(f"{', '.join(given)}: fixed in a saved direction", "leave out what is not --alpha")
    if how == "mapper":
        methods.refuse(how, [name for name in given if recipe is None or name != "--seed"] + wanted.given())
    elif how == "global":
        methods.refuse(how, wanted.given())
    else:
        methods.refuse(how, [name for name in given if name in ("--beta", "--channels", "--relevance")])
        wanted = replace(wanted, layers=layers, seed=seed)
        wanted.check()
    options.check_beta(beta, channels)
    chosen_layers = options.check_layers(layers) if how == "global" else None
    mode = options.check_relevance(relevance)
    rendered_in = options.check_precision(precision)
    chosen_face = options.check_face(face or "largest")
    if chosen_face == "all" and len(alphas) > 1:
        raise UsageError("--face all takes one --alpha: a strip shows one face", "--face 1 --alpha 2,4")
    if out is not None and io.is_file_name(out) and format is None:
        io.check_picture(out)
    if not inputs and not free:
        raise UsageError("no INPUT is given", 'styleclip edit face.png --prompt "smiling"')
    items = io.expand(inputs, max_megapixels) if inputs else [io.Item("average", "average", average=True)]
    what = prompt if prompt is not None else Path(direction or mapper or "edit").stem
    # Names are given out to all, whoever does the work; what exists already matters to those who do.
    paths = io.plan_outputs(items, out, io.slug(what), overwrite=True, suffix=suffix)
    work = [one for number, one in enumerate(zip(items, paths, strict=True)) if part.takes(number)]
    own = [path for _, path in work]
    if save_latent:
        own += [path.with_suffix(".npz") for path in own]
    io.check_outputs(own, overwrite=overwrite or skip_existing)
    if skip_existing:
        there = len(work)
        work = [
            (item, path)
            for item, path in work
            if not path.exists() or (save_latent and not path.with_suffix(".npz").exists())
        ]
        reporter.note(f"{there - len(work)} of {there} results are there already")
    film = methods.plan_frames(wanted, paths, chosen_face, overwrite)
    if out is None:
        reporter.note(f"writing to the current folder ({Path.cwd()}); --out chooses another")

    if not work and processes() == 1:
        reporter.note("nothing to do")
        return
    models = choose(models, reporter, offline)
    if recipe is not None:
        _compare(before, models, reporter)
    if mapper is not None:
        methods.find_mapper(models, mapper)

    with profiling.stage("start"):
        from styleclip_cli.cli.edit_job import EditJob, Writing
        from styleclip_cli.cli.sharing import together as all_together
        from styleclip_cli.engine import Engine
        from styleclip_cli.synthesize import fitting

    engine = Engine(
        models,
        device=own_device(device),
        seed=seed,
        layers=chosen_layers,
        progress=reporter.progress,
        relevance=mode,
        precision=rendered_in,
    )
    start = options.DEFAULT_NEUTRAL if neutral is None else neutral
    stop = Interruptible()
    onlooker = methods.Onlooker(reporter, stop, film)

    @cache
    def chosen() -> Edit:
        found: Edit
        try:
            if direction is not None:
                found = engine.load_direction(direction)
            elif mapper is not None:
                found = engine.mapper(mapper)
            elif how == "optimize":
                assert prompt is not None
                settings = wanted.settings(engine.optimize_settings, engine.generator.style_space.num_ws)
                found = engine.optimization(
                    prompt, start, settings, literal=literal, watch=onlooker.watch(settings.steps)
                )
            else:
                assert prompt is not None
                found = engine.direction(prompt, start, beta=beta, channels=channels, literal=literal)
        except StyleClipError as error:
            raise StopBatch(error) from error
        reporter.note(f'target "{found.target}"' + (f', neutral "{found.neutral}"' if found.neutral else ""))
        return found

    job = EditJob(
        engine=engine,
        method=methods.SAVED if direction is not None else methods.WORDS[how],
        chosen=chosen,
        alphas=alphas or [float(engine.default_alpha) if how == "global" else 1.0],
        settings=engine.inversion(chosen_inverter, steps, noise or None, seconds),
        face=chosen_face,
        align=not no_align,
        crop=crop,
        mode="replace" if composite == "replace" else "residual",
        writing=Writing(format, quality, compression, not no_metadata, save_latent),
        max_megapixels=max_megapixels,
        keep_exif=keep_exif,
        reporter=reporter,
        extra=_extra(how, mapper, wanted),
        onlooker=onlooker if how == "optimize" else None,
    )
    together = 1
    if how == "optimize":
        together = 1 if film is not None else wanted.batch or engine.optimize_settings.batch
    elif job.settings.inverter == "encoder" and len(work) > 1:
        # With slow inversions results are wanted one by one.
        largest = max(item.pixels for item, _ in work)  # 0 if there are no photos
        renderings = 2 if largest else 1  # a photo's face is rendered before and after
        at_once = fitting(engine.pack.resolution, engine.device) // renderings
        together = max(1, min(_TOGETHER, at_once, _PIXELS // max(1, largest)))
    with all_together(engine):
        run_jobs(work, job, together, stop)
    reporter.note(f"{time.monotonic() - began:.1f} s in all")
    if profiled is not None:
        _tell_profile(profiled, reporter)
    if stop():
        raise Stopped(stop.number)


def _tell_profile(profiled: profiling.Profile, reporter: Reporter) -> None:
    """Say where the time went."""
    profiling.stop()
    wall = profiled.wall
    total = sum(stage.seconds for stage in profiled.stages.values())
    reporter.note(f"{'stage':14s} {'seconds':>8s} {'of wall':>8s} {'times':>6s}")
    for name, stage in sorted(profiled.stages.items(), key=lambda item: -item[1].seconds):
        reporter.note(f"{name:14s} {stage.seconds:8.2f} {stage.seconds / wall:8.0%} {stage.count:6d}")
    reporter.note(f"{'wall':14s} {wall:8.2f}; the stages together took {total:.2f} s, as some overlap")


def _extra(how: str, mapper: str | None, wanted: methods.Optimizing) -> dict[str, Any]:
    """What a recipe says of the options beside what the edit says of itself."""
    if how == "optimize":
        return {"official": wanted.official or None, "free": wanted.free or None}
    return {"mapper": Path(mapper).name} if mapper is not None else {}


def _compare(before: Recipe, models: str, reporter: Reporter) -> None:
    """Say so if a recipe was made with other weights than those it is repeated with."""
    from styleclip_cli.weights.packs import find_pack

    fingerprint = find_pack(models).fingerprint
    if before.fingerprint is not None and before.fingerprint != fingerprint:
        reporter.note(
            f"the recipe was made with other weights ({before.models}, {before.fingerprint[:12]}; here "
            f"{fingerprint[:12]}): the result may be another"
        )
