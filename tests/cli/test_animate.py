"""The command animate: moving pictures, and what is wrong with their arguments."""

import shutil
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image

SHORT = ["--steps", "6", "--replicas", "3"]


def test_a_gif_moves(nqm_fast, here):
    status, out, err = nqm_fast("animate", *SHORT, "--out", "lecture.gif", "--fps", "5")
    assert (status, out, err.strip()) == (0, "lecture.gif\n", "")  # a bar leaves an empty line
    assert [path.name for path in here.iterdir()] == ["lecture.gif"]
    with Image.open("lecture.gif") as picture:
        # those that stay the same at the end may have been joined to one that lasts longer
        frames, durations = [], []
        for k in range(picture.n_frames):
            picture.seek(k)
            frames.append(np.asarray(picture.convert("RGB")))
            durations.append(picture.info["duration"])
    assert len(frames) >= 7
    assert frames[0].shape == (540, 960, 3)
    assert sum(durations) == pytest.approx(1000 * (7 + 12) / 5, rel=0.05)
    for earlier, later in pairwise(frames[:7]):
        assert (earlier != later).any()


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed")
def test_an_mp4_is_written(nqm_fast, here):
    status, _, err = nqm_fast("animate", *SHORT, "--out", "lecture.mp4")
    assert (status, err.strip()) == (0, "")  # a bar leaves an empty line
    assert (here / "lecture.mp4").read_bytes()[4:8] == b"ftyp"


def test_an_mp4_needs_ffmpeg(nqm_fast, here, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda _: None)
    status, out, err = nqm_fast("animate", "--out", "lecture.mp4")
    assert (status, out) == (2, "")
    assert err == (
        "nqm-fast animate: --out 'lecture.mp4' needs ffmpeg, which is not installed: install it, "
        "or write a .gif\n"
    )
    assert not list(here.iterdir())


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--out", "lecture.png"], "--out must end with .gif or .mp4, not 'lecture.png'"),
        (["--condition", "0.5"], "--condition must be >= 1, not 0.5"),
        (["--fps", "0"], "--fps must be a whole number"),
        (["--momentum", "1"], "momentum must"),
        (["--batch-size", "0"], "batch_size must"),
    ],
)
def test_wrong_arguments_are_refused(nqm_fast, here, arguments, sentence):
    status, out, err = nqm_fast("animate", *SHORT, *arguments)
    assert (status, out) == (2, "")
    assert sentence in err
    assert not list(here.iterdir())
