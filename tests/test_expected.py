"""The table [expected] of a pack's file, which a stranger may have written."""

from __future__ import annotations

import pytest

from styleclip_cli.errors import WeightsError
from styleclip_cli.weights import packs
from styleclip_cli.weights.expected import BOUNDS, Expected, parse

EDIT = {"prompt": "smiling", "region": "mouth", "inside": 2}
READING = {"of": "mouth", "more": "open", "less": "closed"}
COSINE = {"first": "a", "second": "b", "cosine": 0.5}


def test_everything_can_be_left_out() -> None:
    assert parse({}) == Expected()


def test_all_entries_are_read() -> None:
    found = parse(
        {
            "faces": 1,
            "places": [[0.1, 0.2], [0.3, 0.2], [0.2, 0.3], [0.1, 0.4], [0.3, 0.4]],
            "subjects": ["a face", "a car"],
            "cosines": [COSINE],
            "readings": [READING],
            "edits": [EDIT, {**EDIT, "neutral": "sad face"}],
        }
    )
    assert found.bars == {"faces": 1.0}
    assert found.places[2] == (0.2, 0.3)
    assert found.subjects == ("a face", "a car")
    assert found.cosines[0].cosine == 0.5
    assert found.readings[0].more == "open"
    assert [one.neutral for one in found.edits] == ["face", "sad face"]
    assert found.edits[0].inside == 2.0


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"face": 1}, "face: expected one of faces"),
        ({"faces": 1.5}, "faces 1.5: expected 0 to 1"),
        ({"faces": True}, "faces True"),
        ({"faces": float("nan")}, "faces nan"),
        ({"faces": "1"}, "faces '1'"),
        ({"encoder_psnr": -1}, "encoder_psnr -1"),
        ({"places": [[0, 0]]}, "places: 1, expected 5"),
        ({"places": [[0, 2]] * 5}, "places 2: expected 0 to 1"),
        ({"places": [[0, 0, 0]] * 5}, "too many values"),
        ({"subjects": "a face"}, "subjects: not a list"),
        ({"subjects": ["a"] * 17}, "subjects: not a list of up to 16"),
        ({"subjects": [""]}, "subject '': expected a sentence"),
        ({"subjects": ["\x1b[2J"]}, "expected a sentence"),
        ({"subjects": ["a" * 101]}, "expected a sentence"),
        ({"subjects": [3]}, "subject 3"),
        ({"cosines": [{**COSINE, "cosine": 2}]}, "cosine 2: expected -1 to 1"),
        ({"readings": [{**READING, "of": "nose"}]}, "of 'nose': expected one of mouth, skin"),
        ({"edits": [{**EDIT, "region": ["mouth"]}]}, "region"),
        ({"edits": [{**EDIT, "inside": float("inf")}]}, "inside inf"),
    ],
)
def test_what_makes_no_sense_is_refused(values: dict, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        parse(values)


@pytest.mark.parametrize(
    "text", ["[expected]\nfaces = 2", "expected = 3", "[[expected.edits]]\nprompt = 'smiling'"]
)
def test_a_pack_says_so(pack, tmp_path, text) -> None:
    content = (pack / packs.PACK_FILE).read_text()
    where = tmp_path / packs.PACK_FILE
    where.write_text(f"{text}\n{content}" if "=" in text.split("\n")[0] else f"{content}\n{text}\n")
    with pytest.raises(WeightsError, match="not a usable model pack"):
        packs.find_pack(str(tmp_path))


@pytest.mark.parametrize("name", [name for name in packs.names() if packs.is_built_in(name)])
def test_each_pack_expects_something(name: str) -> None:
    found = packs.find_pack(name).expected
    assert found.bars
    assert set(found.bars) <= set(BOUNDS)
    if "subject" in found.bars:
        assert len(set(found.subjects)) > 4
