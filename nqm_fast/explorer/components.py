"""Parts of a page that Panel lacks: a status line for screen readers, and scripts for buttons."""

from __future__ import annotations

from functools import cache
from typing import Any

from .environment import panel

STATUS_ESM = """
export function render({model}) {
  const line = document.createElement("p")
  line.setAttribute("role", model.role)
  line.style.cssText = "margin: 0; font-size: 1rem; min-height: 1.5em"
  if (model.role === "alert") {
    line.style.cssText += "; border-left: 5px solid #D9661F; padding: 0.4rem 0.8rem"
  }
  const say = () => { line.textContent = model.text }
  model.on("text", say)
  say()
  return line
}
"""
"""A line with a role, which stays while its text changes, so that screen readers notice."""

COPY = """
const shown = text.data.text[0]
const whole = shown.startsWith("?") ? location.origin + location.pathname + shown : shown
const say = (words) => {
  button.data.label = words
  setTimeout(() => { button.data.label = label }, 1500)
}
navigator.clipboard.writeText(whole).then(() => say("Copied"), () => say("The browser refuses it"))
"""

SAVE = """
const pictures = rows.map((row) => row.map((figure) =>
  Bokeh.index.find_one_by_id(figure.id).export("png", true).canvas))
const total = (numbers) => numbers.reduce((sum, one) => sum + one, 0)
const heights = pictures.map((row) => Math.max(...row.map((one) => one.height)))
const whole = document.createElement("canvas")
whole.width = Math.max(...pictures.map((row) => total(row.map((one) => one.width))))
whole.height = total(heights)
const pen = whole.getContext("2d")
pen.fillStyle = getComputedStyle(document.body).backgroundColor
pen.fillRect(0, 0, whole.width, whole.height)
pictures.forEach((row, k) => row.forEach((one, n) => pen.drawImage(
  one, total(row.slice(0, n).map((before) => before.width)), total(heights.slice(0, k)))))
const link = document.createElement("a")
link.download = NAME
link.href = whole.toDataURL("image/png")
link.click()
"""
"""Draws all figures on one canvas, as they are on the page, and saves it."""

OPENING_ESM = """
const keep_equal_styles = (sheets) => {
  const write = sheets?._update
  if (!write || write.keeps_equal) { return }
  sheets._update = function (text) { if (this.css !== text) { write.call(this, text) } }
  sheets._update.keeps_equal = true
}

const follow_wish = () => {
  const wish = window.matchMedia("(prefers-color-scheme: dark)")
  const follow = () => { document.documentElement.dataset.theme = wish.matches ? "dark" : "light" }
  wish.addEventListener("change", follow)
  follow()
}

export function render({view}) {
  follow_wish()
  keep_equal_styles(view.style && Object.getPrototypeOf(view.style))
  return document.createElement("span")
}
"""
"""Lets the page be dark where the browser's user wishes that; its switch may say otherwise.

And Bokeh writes the place of every axis, title and legend anew for each picture, also where it
stays, whereupon the browser computes all styles again. Here what is there already is not written.
"""

HEADING_CSS = """
h1 { font-size: 1.35rem; font-weight: 600; margin: 0.6rem 0 0.2rem }
p { margin: 0; max-width: 75ch }
a { color: inherit; padding: 0.2rem 0 }
a[aria-current] { font-weight: 700; text-decoration-thickness: 3px }
"""


@cache
def _classes() -> tuple[Any, Any]:
    """Make the components that are written for the browser."""
    import param

    class Status(panel().custom.JSComponent):  # type: ignore[misc]
        """A line of text that screen readers say when it changes."""

        text = param.String()
        role = param.String("status")
        _esm = STATUS_ESM

    class Opening(panel().custom.JSComponent):  # type: ignore[misc]
        """Runs in the browser when a page is opened, and shows nothing."""

        _esm = OPENING_ESM

    return Status, Opening


def status(**settings: Any) -> Any:
    """Make a line whose `text` screen readers say when it changes; its `role` may be "alert"."""
    return _classes()[0](**settings)


def opening() -> Any:
    """Make something unseen for what the browser does when a page is opened."""
    return _classes()[1](width=0, height=0, margin=0)


def text() -> Any:
    """Make something that holds a text for the browser, as its `data`."""
    from bokeh.models import ColumnDataSource

    return ColumnDataSource(data={})


def set_idle(page: Any) -> None:
    """Let a page not be told when the server begins to compute, and ends.

    It would be drawn anew each time, before and after every answer.
    """
    from panel.util import edit_readonly

    with edit_readonly(page):
        page.busy = False


def save_code(rows: list[list[str]], name: str) -> str:
    """Write what the browser does to save figures, named as arguments, in rows as one picture."""
    named = ", ".join(f"[{', '.join(row)}]" for row in rows)
    return f'const rows = [{named}]\nconst NAME = "{name}"\n{SAVE}'
