"""`styleclip edit`: the main job. Faces in, edited faces out."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from styleclip_cli.cli import completion, methods, options
from styleclip_cli.cli import inputs as io
from styleclip_cli.cli import looks as looking
from styleclip_cli.cli.asked import Asked, exclude, kept_identity
from styleclip_cli.cli.batch import Failures, run_jobs
from styleclip_cli.cli.gallery import Gallery
from styleclip_cli.cli.interrupt import Interruptible, Stopped
from styleclip_cli.cli.looks import Look
from styleclip_cli.cli.packs import choose
from styleclip_cli.cli.records import record
from styleclip_cli.cli.report import Reporter
from styleclip_cli.errors import BadInputError, PartialFailure, UsageError
from styleclip_cli.machine import profile as profiling
from styleclip_cli.machine.shards import Shard, own_device, processes, rank
from styleclip_cli.recipe import Recipe, load
from styleclip_cli.settings import DEFAULT_COMPOSITE

_EDIT, _PHOTOS, _OUTPUT, _BATCH, _PICTURES = "Edit", "Photos", "Output", "Many photos", "Pictures"
_TOGETHER = 8  # photos that are edited and rendered at once, at the most
_PIXELS = 2**24  # of photos that are worked on together; as many are read meanwhile, or wait to be written


def edit(
    inputs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="INPUT",
            help="Images, folders of images, @LIST (a file with one input a line), - (a picture on standard "
            "input), latents (.npz; StyleCLIP's .npy and .pt), or seeds of generated faces (seed:7, "
            "seed:1-5).",
            show_default=False,
        ),
    ] = None,
    prompt: options.Prompts = None,
    neutral: options.Neutrals = None,
    method: methods.Method = None,
    mapper: methods.Mapper = None,
    direction: Annotated[
        Path | None,
        typer.Option(
            "--direction",
            metavar="FILE",
            autocompletion=completion.directions,
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
            metavar="NUMBER[,NUMBER...]|FROM:TO:COUNT",
            help="Strength; negative for the opposite. Several make a strip: original, first, second ...; "
            "with several prompts it is one for each.",
            show_default="the pack's; 1 for optimize and mapper",
            rich_help_panel=_EDIT,
        ),
    ] = None,
    beta: Annotated[
        list[str] | None,
        typer.Option(
            "--beta",
            metavar="NUMBER|auto|FROM:TO:COUNT",
            help="Keep channels whose relevance is at least this; higher changes less else. Several make the "
            "rows of a grid.",
            show_default="chosen to keep --channels",
            rich_help_panel=_EDIT,
        ),
    ] = None,
    channels: options.Channels = None,
    auto: Annotated[
        bool,
        typer.Option(
            "--auto",
            help="Choose strength and threshold for each face: as strong as CLIP says it pays, and as the "
            "person stays the same (--keep-identity).",
            rich_help_panel=_EDIT,
        ),
    ] = False,
    keep_identity: Annotated[
        float | None,
        typer.Option(
            "--keep-identity",
            metavar="0..1",
            help="With --auto: the least cosine of the face embeddings before and after.",
            show_default="0.8",
            rich_help_panel=_EDIT,
        ),
    ] = None,
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
            metavar="adaptive|residual|replace",
            help=options.COMPOSITE_HELP,
            show_default=DEFAULT_COMPOSITE,
            rich_help_panel=_PHOTOS,
        ),
    ] = None,
    max_megapixels: options.MaxMegapixels = 100,
    keep_exif: options.KeepExif = False,
    inverter: options.Inverter = None,
    steps: options.Steps = None,
    noise: options.Noise = False,
    budget: options.Budget = None,
    recursive: Annotated[
        bool,
        typer.Option("--recursive", "-r", help="Look into folders inside folders.", rich_help_panel=_BATCH),
    ] = False,
    manifest: Annotated[
        str | None,
        typer.Option(
            "--manifest",
            metavar="FILE|-",
            help="Rows of inputs, each with its own edit: CSV with the columns input, output, prompt, "
            "neutral, alpha, beta, channels, mapper, direction (what is empty is the command's), or JSON "
            "lines.",
            show_default=False,
            rich_help_panel=_BATCH,
        ),
    ] = None,
    skip_existing: Annotated[
        bool,
        typer.Option(
            "--skip-existing",
            help="Leave out inputs whose results are there already: go on with a job that was stopped.",
            rich_help_panel=_BATCH,
        ),
    ] = False,
    fail_fast: Annotated[
        bool,
        typer.Option("--fail-fast", help="Stop at the first input that fails.", rich_help_panel=_BATCH),
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Check all inputs and names, say what would be written, and do nothing.",
            rich_help_panel=_BATCH,
        ),
    ] = False,
    shard: options.ShardOption = None,
    out: options.Pictures = None,
    name: Annotated[
        str | None,
        typer.Option(
            "--name",
            metavar="TEMPLATE",
            help="Names in the folder, of {stem}, {edit}, {prompt}, {neutral}, {method}, {alpha}, {number}, "
            "{folder} and {seed}.",
            show_default="{stem}_{edit}.png",
            rich_help_panel=_OUTPUT,
        ),
    ] = None,
    format: options.Format = None,
    quality: options.Quality = 95,
    compression: options.Compression = None,
    no_metadata: options.NoMetadata = False,
    save_latent: options.SaveLatent = False,
    overwrite: options.Overwrite = False,
    json: options.Json = False,
    scores: Annotated[
        bool,
        typer.Option(
            "--scores",
            help="Say how far CLIP sees the edit going the prompt's way, and how much of the person stays.",
            rich_help_panel=_OUTPUT,
        ),
    ] = False,
    sheet: Annotated[
        Path | None,
        typer.Option(
            "--sheet",
            metavar="FILE",
            help="Also write all originals and edits on one sheet.",
            show_default=False,
            rich_help_panel=_PICTURES,
        ),
    ] = None,
    slider: Annotated[
        Path | None,
        typer.Option(
            "--slider",
            metavar="FILE.html",
            help="Also write a page with a slider over each original and edit, all in one file.",
            show_default=False,
            rich_help_panel=_PICTURES,
        ),
    ] = None,
    diff: Annotated[
        bool,
        typer.Option(
            "--diff",
            help="Also write where each picture changed, as a heat map beside it.",
            rich_help_panel=_PICTURES,
        ),
    ] = False,
    animation: methods.Animation = None,
    show: Annotated[
        bool,
        typer.Option(
            "--show",
            help="Show each result in the terminal, in coloured blocks, where it has true colours.",
            rich_help_panel=_PICTURES,
        ),
    ] = False,
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
    verbose: options.Verbose = False,
) -> None:
    """Edit faces by a sentence, and put them back into their photos.

    Several prompts, or the edits of a recipe, are made one after the other. Several processes can share the
    work: torchrun --nproc-per-node 4 -m styleclip_cli edit ..., or --shard on each machine.

    Example: styleclip edit examples/face.png --prompt "with glasses" --alpha 4

    Example: styleclip edit portraits/ --prompt smiling --prompt "with glasses" --alpha 3 --out edited/

    Example: styleclip edit portraits/ --prompt "with a beard" --auto --out bearded/ --sheet sheet.png

    Example: cat face.jpg | styleclip edit - --prompt smiling --out - > smiling.png
    """
    began = time.monotonic()
    profiled = profiling.start(time.perf_counter()) if profile else None
    streamed = out is not None and str(out) == io.STREAM
    reporter = Reporter(quiet, notes=rank() == 0, json=json, aside=streamed)
    part = Shard.parse(shard).divided(rank(), processes())
    exclude(
        ("--skip-existing", skip_existing, "--overwrite", overwrite),
        ("--manifest", manifest is not None, "INPUT", bool(inputs)),
        ("--manifest", manifest is not None, "--recipe", recipe is not None),
        ("--direction", direction is not None, "--recipe", recipe is not None),
        ("--json", json, "--out -", streamed),
        ("--diff", diff, "--out -", streamed),
        ("--keep-identity", keep_identity is not None, "no --auto", not auto),
        ("--auto", auto, "--alpha", bool(alpha)),
    )
    ways = bool(prompt) + (direction is not None) + (mapper is not None)
    if ways > 1 or (ways == 0 and recipe is None and manifest is None):
        raise UsageError(
            "say what to change, by one of --prompt, --direction, --mapper, --recipe or --manifest",
            'styleclip edit face.png --prompt "smiling"',
        )
    options.check_inversion(options.check_inverter(inverter), steps, noise)
    seconds = options.parse_budget(budget)
    options.check_device(device)
    kept = kept_identity(auto, keep_identity)
    naming = io.Naming(name, io.suffix_of(format))
    asked = Asked(
        prompts=tuple(prompt or ()),
        neutrals=tuple(neutral or ()),
        method=method,
        mapper=mapper,
        direction=direction,
        alphas=tuple(options.parse_alphas(alpha)),
        betas=tuple(beta or ()),
        channels=channels,
        literal=literal,
        auto=auto,
        layers=layers,
        relevance=relevance,
        face=face,
        composite=composite,
        no_align=no_align,
        inverter=inverter,
        steps=steps,
        noise=noise,
        seed=seed,
        models=models,
        optimizing=methods.Optimizing(
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
        ),
    )
    before = None
    if recipe is not None:
        before = load(recipe)
        asked = asked.over(before, recipe)
    how, asked = asked.checked(repeated=before is not None)
    wanted = asked.optimizing
    chosen_layers = options.check_layers(asked.layers) if how == "global" else None
    mode = options.check_relevance(asked.relevance)
    rendered_in = options.check_precision(precision)
    chosen_inverter = options.check_inverter(asked.inverter)
    chosen_face = options.check_face(asked.face or "largest")
    chosen_composite = options.check_composite(asked.composite or DEFAULT_COMPOSITE)
    look = asked.look(how)
    if out is not None and io.is_file_name(out) and format is None and not streamed:
        io.check_picture(out)

    own_names: Sequence[str | None] = ()
    if manifest is not None:
        items, own_names = looking.read_manifest(manifest, look, asked.common, max_megapixels, recursive)
        if how == "optimize":
            items = [replace(i, look=None if i.look is None else looking.optimized(i.look)) for i in items]
    elif inputs:
        try:
            items = io.expand(inputs, max_megapixels, recursive)
        except BadInputError as error:  # the only input, or a list
            reporter.record(record("error", inputs[0], None, error=error))
            raise
    elif wanted.free:
        items = [io.Item("average", "average", average=True)]
    else:
        raise UsageError("no INPUT is given", 'styleclip edit face.png --prompt "smiling"')
    own_looks = [item.look or look or Look(()) for item in items]
    if auto and any(not one.is_one_picture for one in own_looks):
        raise UsageError("--auto makes one picture of each face", "leave out --alpha and --beta")
    # Names are given out to all, whoever does the work; what exists already matters to those who do.
    gallery = Gallery(sheet, slider, diff, _animation(animation, how, len(items), own_looks))
    if streamed:
        paths = [_stream(items, naming, save_latent)]
    else:
        paths = io.plan_outputs(items, own_looks, out, naming, overwrite=True, given=own_names)
        left = items if manifest is not None else io.without_results(items, paths, gallery.planned(paths))
        if len(left) < len(items):
            reporter.note(f"{len(items) - len(left)} of {len(items)} inputs are results of others: left out")
            items, own_looks = left, own_looks[: len(left)]  # without a manifest all have the same look
            paths = io.plan_outputs(items, own_looks, out, naming, overwrite=True)
    work = [one for number, one in enumerate(zip(items, paths, strict=True)) if part.takes(number)]
    compared = ["--sheet"] * bool(sheet) + ["--slider"] * bool(slider) + ["--diff"] * diff
    if (sheet or slider) and part.count > 1:
        raise UsageError(
            "--sheet and --slider show all results", "afterwards, in one process: --skip-existing"
        )
    if compared and any(not one.is_one_picture for one in own_looks):
        raise UsageError(f"{', '.join(compared)}: compare one picture with its original", "one --alpha")
    beside = gallery.files([path for _, path in work])
    latents = [path.with_suffix(".npz") for _, path in work] if save_latent else []
    if len(set(latents)) < len(latents):
        raise UsageError(
            "two results would have the same file of latents", "names that differ before the dot"
        )
    io.check_results(items, paths)
    io.check_outputs([path for _, path in work], overwrite=overwrite or skip_existing or streamed)
    io.check_beside([*beside, *latents], items, overwrite=overwrite, again=skip_existing)
    if skip_existing:
        work = _unfinished(work, save_latent, gallery, reporter)
    film = methods.plan_frames(
        replace(wanted, animation=animation if how == "optimize" else None),
        [path for _, path in work],
        chosen_face,
        overwrite or skip_existing,
    )
    if dry_run:
        _tell_plan(work, streamed, reporter)
        return
    if out is None:
        reporter.note(f"writing to the current folder ({Path.cwd()}); --out chooses another")
    if not work and not gallery.missing and processes() == 1:
        reporter.note("nothing to do")
        gallery.finish(_title(look, manifest), reporter)
        return
    pack = choose(asked.models, reporter, offline)
    if before is not None:
        _compare(before, pack, reporter)
    for one in {step.mapper for each in own_looks for step in each.steps if step.mapper is not None}:
        methods.find_mapper(pack, one)

    with profiling.stage("start"):
        from styleclip_cli.cli.edit_job import EditJob, Writing
        from styleclip_cli.cli.sharing import together as all_together
        from styleclip_cli.engine import Engine
        from styleclip_cli.synthesize import fitting

    engine = Engine(
        pack,
        device=own_device(device),
        seed=asked.seed,
        layers=chosen_layers,
        progress=reporter.progress,
        relevance=mode,
        precision=rendered_in,
    )
    stop = Interruptible()
    onlooker = methods.Onlooker(reporter, stop, film)
    optimize = watch = None
    if how == "optimize":
        optimize = wanted.settings(engine.optimize_settings, engine.generator.style_space.num_ws)
        watch = onlooker.watch(optimize.steps)
    job = EditJob(
        engine=engine,
        look=look,
        edits=looking.Edits(engine, optimize, watch, automatic=auto),
        settings=engine.inversion(chosen_inverter, asked.steps, asked.noise or None, seconds),
        face=chosen_face,
        align=not asked.no_align,
        crop=crop,
        mode=chosen_composite,
        writing=Writing(format, quality, compression, not no_metadata, save_latent, streamed),
        max_megapixels=max_megapixels,
        keep_exif=keep_exif,
        reporter=reporter,
        extra=_extra(how, wanted, kept),
        onlooker=onlooker if how == "optimize" else None,
        scored=scores or auto,
        keep_identity=kept,
        gallery=gallery or None,
        show=show,
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
    failure: PartialFailure | None = None
    try:
        with all_together(engine, measuring=how == "global" and processes() > 1):
            run_jobs(work, job, together, stop, fail_fast)
    except PartialFailure as error:
        failure = error
    except Stopped:
        _tell_stopped(job.done, len(work), reporter)
        raise
    gallery.recall(engine)
    gallery.finish(_title(look, manifest), reporter)
    reporter.note(f"{time.monotonic() - began:.1f} s in all")
    if profiled is not None:
        _tell_profile(profiled, reporter)
    if stop():
        raise Stopped(stop.number)
    if failure is not None:
        raise failure


def _title(look: Look | None, manifest: str | None) -> str:
    """What a page of results is called."""
    return look.words if look is not None else Path(manifest or "edits").stem


def _stream(items: list[io.Item], naming: io.Naming, save_latent: bool) -> Path:
    """Where the picture is written before it goes to standard output.

    Raises:
        UsageError: If it cannot go there.
    """
    if len(items) > 1:
        raise UsageError(f"{len(items)} results do not fit into standard output", "--out FOLDER")
    if save_latent:
        raise UsageError("--save-latent writes a file beside the picture", "--out FILE")
    if sys.__stdout__ is None:
        raise UsageError("standard output is closed", "--out FILE")
    if sys.stdout.isatty():
        raise UsageError("a picture is nothing for a terminal", "styleclip edit ... --out - > face.png")
    return io.scratch() / f"picture{naming.suffix}"


def _animation(text: str | None, how: str, count: int, all_looks: Sequence[Look]) -> Path | None:
    """Where the morph goes; None if there is none, or it is the way of an optimization.

    Raises:
        UsageError: If it would show more than one result.
    """
    if text is None or how == "optimize":
        return None
    if count > 1:
        raise UsageError(f"--animation shows one input, not {count}", "one at a time")
    if any(len(look.betas) > 1 for look in all_looks):
        raise UsageError("--animation shows one threshold", "--beta 0.1")
    return Path(text)


def _unfinished(
    work: list[tuple[io.Item, Path]], save_latent: bool, gallery: Gallery, reporter: Reporter
) -> list[tuple[io.Item, Path]]:
    """Work whose results are not there yet; the gallery shows the others all the same."""
    left = []
    for item, path in work:
        wanted = [path, *([path.with_suffix(".npz")] if save_latent else []), *gallery.of_one(path)]
        if all(one.exists() for one in wanted):
            reporter.record(record("skipped", item.name, path))
            gallery.found(item, path)
        else:
            left.append((item, path))
    reporter.note(f"{len(work) - len(left)} of {len(work)} results are there already")
    return left


def _tell_plan(work: Sequence[tuple[io.Item, Path]], streamed: bool, reporter: Reporter) -> None:
    """Say what would be done.

    Raises:
        StyleClipError: As the work itself would, of inputs that cannot be read.
    """

    def told(item: io.Item, path: Path, error: Any) -> None:
        reporter.record(record("error", item.name, None, error=error))

    failures = Failures(len(work), told, outcome="would be written")
    for item, path in work:
        if item.error is not None:
            failures.add(item, path, item.error)
        else:
            reporter.result(f"{item.name} -> {'standard output' if streamed else path}")
            reporter.record(record("planned", item.name, None if streamed else path))
    failures.conclude()


def _tell_stopped(done: int, count: int, reporter: Reporter) -> None:
    """Say how far it came."""
    if count > 1:
        reporter.note(f"{done} of {count} are written; the same with --skip-existing goes on")


def _tell_profile(profiled: profiling.Profile, reporter: Reporter) -> None:
    """Say where the time went."""
    profiling.stop()
    wall = profiled.wall
    total = sum(stage.seconds for stage in profiled.stages.values())
    reporter.note(f"{'stage':14s} {'seconds':>8s} {'of wall':>8s} {'times':>6s}")
    for name, stage in sorted(profiled.stages.items(), key=lambda item: -item[1].seconds):
        reporter.note(f"{name:14s} {stage.seconds:8.2f} {stage.seconds / wall:8.0%} {stage.count:6d}")
    reporter.note(f"{'wall':14s} {wall:8.2f}; the stages together took {total:.2f} s, as some overlap")


def _extra(how: str, wanted: methods.Optimizing, kept: float | None) -> dict[str, Any]:
    """What a recipe says of the options beside what the edit says of itself."""
    said: dict[str, Any] = {} if kept is None else {"identity": kept}
    if how == "optimize":
        said |= {"official": wanted.official or None, "free": wanted.free or None}
    return said


def _compare(before: Recipe, models: str, reporter: Reporter) -> None:
    """Say so if a recipe was made with other weights than those it is repeated with."""
    from styleclip_cli.fingerprints import same
    from styleclip_cli.weights.packs import find_pack

    fingerprint = find_pack(models).fingerprint
    if before.fingerprint is not None and not same(before.fingerprint, fingerprint):
        reporter.note(
            f"the recipe was made with other weights ({before.models}, {before.fingerprint[:12]}; here "
            f"{fingerprint[:12]}): the result may be another"
        )
