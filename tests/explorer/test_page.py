"""The explorer in a headless Chromium: what people see, press and hear, and what they must not."""

from importlib.util import find_spec
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pages
import pytest

import nqm_fast as nqm

pytestmark = pytest.mark.slow
for needed in ("panel", "panel_material_ui", "playwright"):
    if find_spec(needed) is None:
        pytest.skip(
            f"{needed} is not installed: pip install 'nqm-fast[explore-browser]'",
            allow_module_level=True,
        )
if pages.chromium() is None:
    pytest.skip("there is no Chromium, such as of apt install chromium", allow_module_level=True)

from nqm_fast.explorer.parameters import defaults, to_link  # noqa: E402
from nqm_fast.explorer.views import VIEWS, risk_curves  # noqa: E402

NAMES = [view.name for view in VIEWS]


@pytest.fixture
def opened(address, browser):
    """Open pages of people of their own; in the end nothing was asked elsewhere, nothing failed."""
    contexts, asked, failures = [], [], []

    def open_page(name, query="", **settings):
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 1000}} | settings)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(pages.START)
        page.on("request", lambda request: asked.append(request.url))
        page.on("pageerror", lambda error: failures.append(str(error)))
        page.on(
            "console",
            lambda said: failures.append(said.text) if is_failure(said) else None,
        )
        page.goto(address + ("" if name == NAMES[0] else name) + query)
        pages.wait_for_picture(page)
        return page

    yield open_page
    for context in contexts:
        context.close()
    places = {url for url in asked if not url.startswith((address, f"blob:{address}", "data:"))}
    assert not places
    assert not failures


def is_failure(said):
    """Whether a line of the console is an error, or a warning of Bokeh; others are of tests."""
    return said.type == "error" or (said.type == "warning" and "bokeh" in said.text)


def slider(page, label):
    return page.get_by_role("slider", name=label, exact=True)


def curve(page, k=2):
    """Steps and risk of one of the curves."""
    columns = pages.data(page, f"curve {k}")
    return np.array(columns["x"]), np.array(columns["y"], dtype=float)


def wait_for_change(page, name, before):
    """Wait until a source of data has other data, and give them."""
    page.wait_for_function(
        "([name, before]) => JSON.stringify(Array.from(Bokeh.documents[0]"
        ".get_model_by_name(name).data.y ?? [])) !== before",
        arg=[name, before],
        timeout=pages.ANSWER,
    )


def text_of(page, name):
    return page.evaluate(
        "(name) => JSON.stringify(Array.from("
        "Bokeh.documents[0].get_model_by_name(name).data.y ?? []))",
        name,
    )


# -- every view ---------------------------------------------------------------------------


@pytest.mark.parametrize("view", VIEWS, ids=NAMES)
def test_a_view_draws_and_fits_windows_in_light_and_dark(opened, view):
    page = opened(view.name)
    assert page.get_by_role("heading", name=view.title).count() == 1
    current = page.get_by_role("navigation").locator("[aria-current=page]")
    assert current.inner_text() == view.short
    assert page.get_by_role("status").inner_text() == view.words(
        view.numbers(defaults(view.parameters), None)
    )
    for width in (1280, 400):
        page.set_viewport_size({"width": width, "height": 1000})
        for scheme in ("dark", "light"):
            page.emulate_media(color_scheme=scheme)
            page.wait_for_function(
                "(dark) => (getComputedStyle(document.body).backgroundColor"
                " === 'rgb(18, 18, 18)') === dark",
                arg=scheme == "dark",
                timeout=pages.ANSWER,
            )
            assert pages.scrolls_sideways(page) == []
            assert pages.drawn_canvases(page) == sum(map(len, view.picture().rows))


@pytest.mark.parametrize("view", VIEWS, ids=NAMES)
def test_every_widget_has_a_name_and_takes_keys(opened, view):
    page = opened(view.name)
    kinds = {"Slider": "slider", "Choice": "combobox", "Switch": "checkbox"}
    for parameter in view.parameters:
        kind = kinds[type(parameter).__name__]
        found = page.get_by_role(kind, name=parameter.label, exact=True)
        assert found.count() == 1, parameter.label
        found.focus()
        assert found.evaluate("one => one.getRootNode().activeElement === one")
    for label in ("Copy as Python", "Copy link", "Save picture"):
        assert page.get_by_role("button", name=label).count() == 1


# -- numbers ------------------------------------------------------------------------------


def test_a_slider_moves_the_curve_to_the_expected_risk(opened):
    """By keyboard, as a slider of the browser: the next learning rate of the slider."""
    page = opened("risk")
    problem = nqm.Problem.power_law(10_000)
    steps, risk = curve(page)
    assert np.array_equal(risk, nqm.expected_risk(problem, nqm.SGD(0.1), 64, steps.astype(int)))
    before = text_of(page, "curve 2")
    slider(page, "learning rate").focus()
    page.keyboard.press("ArrowRight")
    wait_for_change(page, "curve 2", before)
    steps, risk = curve(page)
    assert np.array_equal(risk, nqm.expected_risk(problem, nqm.SGD(0.112), 64, steps.astype(int)))
    first = nqm.steps_to_target(problem, nqm.SGD(0.112), 64, 0.01)
    assert pages.data(page, "first 2")["x"] == [first]


def test_an_answer_computes_few_styles(opened):
    """Bokeh writes the place of each of some fifty parts for a picture: what stays is not told."""
    page = opened("paths")
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable")

    def styles():
        metrics = session.send("Performance.getMetrics")["metrics"]
        return next(one["value"] for one in metrics if one["name"] == "RecalcStyleCount")

    chosen = slider(page, "learning rate, times h1")
    chosen.focus()
    page.wait_for_timeout(1000)
    before, data = styles(), text_of(page, "path SGD")
    chosen.press("ArrowLeft")
    wait_for_change(page, "path SGD", data)
    page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    assert 0 < styles() - before < 25


def test_a_link_restores_what_was_chosen(opened):
    query = "?compare=momentum&lr=0.123&batch_size=16&target=0.02&exponent=1.25"
    page = opened("risk", query)
    values = defaults(risk_curves.PARAMETERS) | {
        "compare": "momentum", "lr": 0.123, "batch_size": 16, "target": 0.02, "exponent": 1.25
    }  # fmt: skip
    numbers = risk_curves.numbers(values)
    for k, risk in enumerate(numbers["risk"].values()):
        assert np.array_equal(curve(page, k)[1], risk, equal_nan=True)
    assert "0.123" in page.get_by_role("slider", name="learning rate").get_attribute(
        "aria-valuetext"
    )
    page.wait_for_url("**momentum=0.0**")  # now the address has all values
    found = {name: text[0] for name, text in parse_qs(urlsplit(page.url).query).items()}
    assert found == to_link(values)


def test_a_wrong_link_is_answered_by_a_sentence(opened):
    page = opened("risk", "?lr=-3&batch_size=banana")
    sentence = "lr must be a number from 0.0001 to 10, not '-3'; here it is 0.1"
    page.get_by_text(sentence).locator("visible=true").first.wait_for()
    assert np.array_equal(curve(page)[1], curve(opened("risk"))[1])


def test_two_people_do_not_see_each_other(opened):
    one, other = opened("risk"), opened("risk")
    before = text_of(one, "curve 2")
    slider(one, "batch size").focus()
    one.keyboard.press("End")
    wait_for_change(one, "curve 2", before)
    assert text_of(other, "curve 2") == before
    one.wait_for_function("!location.search.includes('batch_size=64')", timeout=pages.ANSWER)
    other.wait_for_function("location.search.includes('batch_size=64')", timeout=pages.ANSWER)
    assert text_of(opened("risk"), "curve 2") == before


# -- buttons ------------------------------------------------------------------------------


def test_code_and_link_are_copied(opened):
    page = opened("risk", permissions=["clipboard-read", "clipboard-write"])
    page.get_by_role("button", name="Copy as Python").click()
    page.get_by_role("button", name="Copied").wait_for()
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied == risk_curves.code(defaults(risk_curves.PARAMETERS))
    page.get_by_role("button", name="Copy link").click()
    page.wait_for_function("async () => (await navigator.clipboard.readText()).startsWith('http')")
    copied = page.evaluate("navigator.clipboard.readText()")
    assert urlsplit(copied).path == "/risk"
    assert "lr=0.1&" in copied


@pytest.mark.parametrize("name", ["paths", "schedule"])
def test_a_picture_is_saved(opened, name, tmp_path):
    image = pytest.importorskip("PIL.Image")
    page = opened(name)
    with page.expect_download(timeout=pages.ANSWER) as download:
        page.get_by_role("button", name="Save picture").click()
    assert download.value.suggested_filename == f"nqm-fast-{name}.png"
    download.value.save_as(tmp_path / "picture.png")
    with image.open(tmp_path / "picture.png") as picture:
        assert picture.width > 600
        assert picture.height > 300
        assert len(picture.convert("RGB").getcolors(1 << 24)) > 50


def test_the_paths_are_played_step_by_step(opened):
    page = opened("paths")
    assert len(pages.data(page, "path SGD")["x"]) == 41
    page.get_by_role("button", name="First frame").click()
    page.wait_for_function("Bokeh.documents[0].get_model_by_name('path SGD').data.x.length === 1")
    page.get_by_role("button", name="Next frame").click()
    page.wait_for_function("Bokeh.documents[0].get_model_by_name('path SGD').data.x.length === 2")
    page.get_by_role("button", name="Play").click()
    page.wait_for_function("Bokeh.documents[0].get_model_by_name('path SGD').data.x.length > 3")
    page.get_by_role("button", name="Pause").click()


def test_more_steps_have_more_frames(opened):
    page = opened("paths")
    slider = page.get_by_role("slider", name="steps", exact=True)
    slider.focus()
    for key, count in (("ArrowLeft", 30), ("ArrowRight", 40)):
        page.keyboard.press(key)
        page.get_by_text(f"Expected risk after {count} steps").wait_for(timeout=pages.ANSWER)
        page.wait_for_function(
            "count => Bokeh.documents[0].get_model_by_name('path SGD').data.x.length === count",
            arg=count + 1,
        )


# -- files --------------------------------------------------------------------------------


def drop(page, path):
    page.locator("input[type=file]").set_input_files(path)


def test_a_spectrum_is_dropped(opened, tmp_path):
    h = 1.0 / np.arange(1, 41) ** 1.5
    np.savetxt(tmp_path / "mine.csv", h)
    page = opened("data")
    drop(page, tmp_path / "mine.csv")
    page.get_by_text("mine.csv: 40 coordinates").wait_for(timeout=pages.ANSWER)
    columns = pages.data(page, "curve 0")
    risk = nqm.expected_risk(
        nqm.Problem(np.loadtxt(tmp_path / "mine.csv")), nqm.SGD(0.1), 64,
        np.array(columns["x"], dtype=int),
    )  # fmt: skip
    assert columns["mean"] == risk.tolist()


def test_a_run_is_dropped(opened, tmp_path):
    run = nqm.simulate(
        nqm.Problem.power_law(50), nqm.SGD(0.1), 16, 200, replicas=5, record=20,
        out=tmp_path / "run.h5", progress=False,
    )  # fmt: skip
    page = opened("data")
    drop(page, tmp_path / "run.h5")
    page.get_by_text("run.h5: a run that is finished, 5 replicas").wait_for(timeout=pages.ANSWER)
    assert pages.data(page, "curve 0")["mean"] == run.risk.mean(axis=0)[run.steps > 0].tolist()


def test_a_wrong_file_is_answered_by_a_sentence(opened, tmp_path):
    (tmp_path / "notes.txt").write_text("1.0\nnone\n")
    page = opened("data")
    drop(page, tmp_path / "notes.txt")
    page.get_by_text("notes.txt, line 2, column 1: there must be a number").wait_for(
        timeout=pages.ANSWER
    )
