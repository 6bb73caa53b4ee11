"""Texts -> a direction in CLIP space.

A direction needs two texts in the same words: what the face should become and what it is. People often
type only what changes ("with glasses", "smiling"); `resolve_prompt` joins that to the neutral text.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from styleclip_cli.edits.templates import IMAGENET_TEMPLATES
from styleclip_cli.errors import BadInputError, UsageError, shortened

if TYPE_CHECKING:
    from styleclip_cli.nets.clip import Clip


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Words that can only begin something said after a noun.
_AFTER = _words(
    """with without w/ w/o in on at of from by like as under behind against wearing having holding showing
    sporting displaying looking dressed covered made painted that who whose which not"""
)
_FACES = _words(
    """face faces person persons man men woman women boy boys girl girls child children kid kids baby babies
    guy lady gentleman people human portrait portraits head heads selfie headshot mugshot"""
)
# What a face has or wears: "glasses" alone means "with glasses".
_FEATURES = _words(
    """hair hairs haircut hairstyle hairdo fringe bangs beard stubble goatee moustache mustache sideburns
    eye eyes eyebrow eyebrows brows eyelashes lashes nose mouth lips lip teeth tooth tongue ears ear cheeks
    chin jaw jawline neck forehead skin complexion wrinkle wrinkles freckle freckles dimples scar scars mole
    moles tattoo tattoos makeup make-up lipstick eyeliner eyeshadow shadow mascara blush rouge glasses
    eyeglasses spectacles sunglasses shades goggles monocle hat hats cap beanie hood helmet crown headband
    headphones turban hijab scarf mask earring earrings necklace piercing piercings tie shirt t-shirt
    clothes clothing smile grin frown expression afro mohawk bob ponytail pigtails dreadlocks dreads braids
    curls locks background lighting light"""
)
_ADJECTIVES = _words(
    """smiling happy sad angry surprised scared afraid serious calm bored tired sleepy cheerful joyful
    joyous gloomy unhappy furious mad disgusted fearful neutral excited worried crying laughing
    old older elderly aged ancient young younger youthful teenage adult childish middle-aged senior mature
    clean-shaven male female feminine masculine androgynous girly manly
    bald balding hairless shaved shaven unshaven bearded beardless moustached mustached freckled wrinkled
    wrinkly bespectacled toothless tattooed tanned tan pale dark darker light lighter fair black white brown
    asian african european indian hispanic caucasian
    blond blonde blonder redhead ginger brunette grey gray red green blue purple pink orange yellow
    fat fatter chubby plump thin thinner slim slimmer skinny gaunt round oval square wide wider narrow
    narrower long longer short shorter big bigger large larger small smaller
    beautiful pretty handsome ugly attractive cute elegant rich poor healthy sick ill muscular strong
    curly wavy straight hairy fluffy shiny oily sweaty wet dirty clean
    made-up open closed angrier happier sadder nicer friendly friendlier evil scary creepy goth gothic
    punk hippie hipster royal"""
)
_BETWEEN = _words(
    "very more most much less least slightly somewhat extremely really quite so too a an bit little and or"
)
_ING_NOUNS = _words(
    "king ring earring piercing painting drawing being ceiling wedding building viking string wing thing"
)
# Embeddings are float32: a difference of this length is rounding, and its direction is noise.
_NOISE = 1e-5
_ARTICLE = re.compile(r"(an?|the|my|this)\s+(?=\S)", re.IGNORECASE)


def resolve_prompt(prompt: str, neutral: str, literal: bool = False) -> tuple[str, str]:
    """Complete a prompt that says only what changes.

    In this order, for the neutral "face":

    1. A prompt that begins as something said after a noun goes after the neutral: "with makeup" -> "face
       with makeup"; likewise without, wearing, having, in, not ... "no glasses" -> "face with no glasses".
    2. A prompt that names a face, person, man, portrait, ... or the neutral's own noun stands on its own:
       "a smiling face", "old man with a hat".
    3. Adjectives go before the neutral: "smiling" -> "smiling face", "very old" -> "very old face",
       "bald with glasses" -> "bald face with glasses".
    4. Something that faces have or wear goes after it: "blue eyes" -> "face with blue eyes".
    5. Anything else stands on its own: "zombie", "Taylor Swift".

    Where the neutral already says something of the same thing, the prompt replaces it: "with blonde hair"
    and "face with hair" -> "face with blonde hair".

    Args:
        prompt: What was typed.
        neutral: What the face is now.
        literal: Take the prompt as it stands.

    Returns:
        (target, neutral), each with single spaces and no full stop at its end.

    Raises:
        UsageError: If a text is empty, or both are the same.
    """
    target, base = " ".join(prompt.split()), " ".join(neutral.split())
    if not literal:
        target, base = target.rstrip(" .,;"), base.rstrip(" .,;")
    for name, text in (("prompt", target), ("neutral text", base)):
        if not text:
            raise UsageError(f"the {name} is empty", 'for example: --prompt "with glasses" --neutral "face"')
    if not literal:
        target = _join(target, base)
    if target.casefold() == base.casefold():
        raise UsageError(
            f'prompt and neutral text are the same ("{target}")', "say what should differ between them"
        )
    return target, base


def text_embedding(clip: Clip, text: str, templates: Sequence[str] = IMAGENET_TEMPLATES) -> Tensor:
    """Embed a text as the mean over many templates.

    Each template's embedding has unit length, so has their mean after renormalising (prompt ensembling of
    Radford et al. 2021; zeroshot_classifier in the official StyleCLIP code).

    Args:
        clip: The text encoder.
        text: A noun phrase.
        templates: Sentences with one {} each.

    Returns:
        [D], float32, unit length, on the CPU.

    Raises:
        BadInputError: If the text is too long for CLIP.
    """
    with torch.inference_mode():
        try:
            encoded = clip.encode_text([template.replace("{}", text) for template in templates])
        except BadInputError as error:
            message = f'the text "{shortened(text, 60)}" is too long: {error.message}'
            raise BadInputError(message, error.hint) from None
        rows = _unit(encoded.detach().cpu().double())
    return _unit(rows.mean(dim=0)).float().clone()


def text_direction(
    clip: Clip, target: str, neutral: str, templates: Sequence[str] = IMAGENET_TEMPLATES
) -> Tensor:
    """Direction from the neutral to the target text in CLIP space (paper section 6; official GetDt).

    Args:
        clip: The text encoder.
        target: What the face should become.
        neutral: What it is.
        templates: Sentences that both texts are put into.

    Returns:
        [D], float32, unit length, on the CPU.

    Raises:
        UsageError: If CLIP sees no difference between the texts.
        BadInputError: If a text is too long for CLIP.
    """
    return text_directions(clip, [target], neutral, templates)[0]


def text_directions(
    clip: Clip, targets: Sequence[str], neutral: str, templates: Sequence[str] = IMAGENET_TEMPLATES
) -> Tensor:
    """Directions from one neutral text to several targets, as `text_direction` finds each.

    Args:
        clip: As in `text_direction`.
        targets: P texts.
        neutral: What all start from.
        templates: As in `text_direction`.

    Returns:
        [P, D], float32, rows of unit length, on the CPU.

    Raises:
        UsageError: If CLIP sees no difference between a target and the neutral text.
        BadInputError: If a text is too long for CLIP.
    """
    start = text_embedding(clip, neutral, templates).double()
    rows = []
    for target in targets:
        difference = text_embedding(clip, target, templates).double() - start
        if not float(difference.norm()) > _NOISE:
            message = f'CLIP sees no difference between "{target}" and "{neutral}"'
            raise UsageError(message, "use other words for one of them")
        rows.append(_unit(difference).float())
    return torch.stack(rows)  # [P, D]


def image_direction(clip: Clip, before: Tensor, after: Tensor, batch: int = 32) -> Tensor:
    """Direction between two sets of images in CLIP space, instead of one between texts.

    It is the direction between the means of their embeddings, each of unit length. Other differences between
    the sets affect it as well, less so the more images there are.

    Args:
        clip: The image encoder.
        before: Images [N, 3, H, W] in [-1, 1], without the attribute.
        after: Images [M, 3, H', W'] with the attribute; they need not be of the same faces.
        batch: Batch size.

    Returns:
        [D], float32, unit length, on the CPU.

    Raises:
        UsageError: If a set is empty, or CLIP sees no difference between them.
    """
    means = []
    for images in (before, after):
        if not len(images):
            raise UsageError("a set of pictures is empty", "at least one picture before and one after")
        with torch.inference_mode():
            seen = [clip.encode_image(part.clamp(-1, 1)).cpu().double() for part in images.split(batch)]
        means.append(_unit(torch.cat(seen)).mean(dim=0).clone())
    difference = means[1] - means[0]
    if not float(difference.norm()) > _NOISE:
        raise UsageError(
            "CLIP sees no difference between the two sets of pictures", "pictures that differ in one thing"
        )
    return _unit(difference).float()


def _unit(rows: Tensor) -> Tensor:
    return rows / rows.norm(dim=-1, keepdim=True).clamp_min(1e-12)


def _join(target: str, neutral: str) -> str:
    words = _tokens(target)
    if not words:
        return target
    if words[0] in _AFTER | _ADJECTIVES | {"no"}:  # it will stand inside a phrase
        target = target[0].lower() + target[1:]
    if words[0] in _AFTER:
        return _append(neutral, target)
    if words[0] == "no" and len(words) > 1:
        return _append(neutral, f"with {target}")
    if _FACES & set(words) or _head(neutral) in words:
        return target
    # "bald and wearing a hat": the adjectives, then what is said after the noun.
    cut = next((i for i, word in enumerate(words) if word in _AFTER), len(words))
    spelled = target.split()
    if _adjectival(spelled[:cut]):
        before = " ".join(spelled[:cut]).rstrip(",")
        before = re.sub(r"[\s,]+(and|but|or)$", "", before, flags=re.IGNORECASE)
        joined = _prepend(neutral, before)
        return joined if cut == len(words) else _append(joined, " ".join(spelled[cut:]))
    if words[cut - 1] in _FEATURES or (words[0] in _FEATURES and _adjectival(spelled[1:cut])):  # eyes closed
        return _append(neutral, f"with {target}")
    return target


def _tokens(text: str) -> list[str]:
    """Words in lower case without punctuation, one for each blank-separated piece."""
    return [word.strip(".,;:!?\"'()").casefold().replace("’", "'") for word in text.split()]


def _head(phrase: str) -> str:
    """The noun of a noun phrase: the last word before its postmodifiers."""
    words = _tokens(phrase)
    cut = next((i for i, word in enumerate(words) if i and word in _AFTER), len(words))
    return words[cut - 1]


def _adjectival(spelled: Sequence[str]) -> bool:
    return any(_is_adjective(word) for word in spelled) and all(
        _is_adjective(word) or _tokens(word)[0] in _BETWEEN or word.endswith("ly") for word in spelled
    )


def _is_adjective(spelled: str) -> bool:
    word = _tokens(spelled)[0]
    if word in _ADJECTIVES:
        return True
    if word in _FEATURES or word in _ING_NOUNS or spelled[:1].isupper():  # a name: Jared, Ahmed
        return False
    hyphenated = "-" in word and word.endswith("ed")  # blue-eyed, dark-skinned
    return hyphenated or (len(word) > 4 and word.endswith(("ing", "ed", "ish", "less", "ful")))


def _prepend(neutral: str, adjectives: str) -> str:
    article = _ARTICLE.match(neutral)
    if article is None:
        return f"{adjectives} {neutral}"
    first = article.group(1)
    if first.lower() in ("a", "an"):
        vowel = adjectives[0].lower() in "aeiou"
        first = first[0] + ("n" if vowel else "")
    return f"{first} {adjectives} {neutral[article.end() :]}"


def _append(neutral: str, modifier: str) -> str:
    spelled, words = neutral.split(), _tokens(neutral)
    cut = next((i for i, word in enumerate(words) if i and word in _AFTER), len(words))
    if _tokens(modifier)[-1] in words[cut:]:  # says something else of what the neutral speaks of
        return f"{' '.join(spelled[:cut])} {modifier}"
    return f"{neutral} {modifier}"
