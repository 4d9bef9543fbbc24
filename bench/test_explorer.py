"""The explorer: time from a key on a slider to the picture drawn anew, measured in the page."""

import sys
from importlib.util import find_spec
from pathlib import Path
from statistics import median

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))  # for `import pages`

import pages

if find_spec("panel") is None or find_spec("playwright") is None or pages.chromium() is None:
    pytest.skip("needs nqm-fast[explore-browser] and a Chromium", allow_module_level=True)

CASES = {
    "paths": ("", "momentum", "path momentum", 100),
    "paths, all methods": ("", "learning rate, times h1", "path momentum", 100),
    "risk": ("risk", "learning rate", "curve 2", 100),
    "batch sizes": ("batch", "target risk", "hyperbola", 300),
    "best schedule": ("schedule", "samples per step, in the mean", "risk", 300),
}
"""Address, slider, source of data that changes, and the milliseconds that are promised."""

ANSWER = """async (name) => {
  const source = Bokeh.documents[0].get_model_by_name(name)
  const frame = () => new Promise(requestAnimationFrame)
  await new Promise((done) => {
    window.addEventListener("keydown", () => { window.pressed = performance.now() },
                            {capture: true, once: true})
    source.properties.data.change.connect(async () => {
      await frame()  // in which Bokeh draws
      await frame()
      window.answered ??= performance.now() - window.pressed
    })
    window.answered = undefined
    done()
  })
}"""


@pytest.fixture(scope="module")
def address():
    with pages.served() as address:
        yield address


@pytest.fixture(scope="module")
def browser():
    with pages.browser() as browser:
        yield browser


@pytest.mark.long
@pytest.mark.parametrize("case", CASES)
def test_a_slider_is_answered(benchmark, address, browser, case):
    name, label, changed, promised = CASES[case]
    page = browser.new_page(viewport={"width": 1280, "height": 1000})
    page.goto(address + name)
    pages.wait_for_picture(page)
    page.wait_for_timeout(1000)
    slider = page.get_by_role("slider", name=label, exact=True)
    slider.focus()
    times = []

    def press():
        page.evaluate(ANSWER, changed)
        page.keyboard.press("ArrowRight" if len(times) % 2 else "ArrowLeft")
        # looking at every frame, as Playwright does otherwise, takes the page half its time
        page.wait_for_function("window.answered !== undefined", timeout=pages.ANSWER, polling=100)
        times.append(page.evaluate("window.answered"))

    benchmark.pedantic(press, rounds=8, warmup_rounds=2)
    benchmark.extra_info["milliseconds"] = median(times)
    benchmark.extra_info["promised"] = promised
    print(f"\n{case}: {median(times):.0f} ms in the page, of {min(times):.0f} to {max(times):.0f}")
    page.close()
