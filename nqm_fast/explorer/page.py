"""A view on a page: one for each session, so that nobody sees what another has chosen."""

from __future__ import annotations

import html
import logging
from collections.abc import Sequence
from threading import Event
from typing import Any
from urllib.parse import urlencode

from ..foundation.messages import InputError
from . import components
from .dropped import MOST_BYTES, Dropped, read_dropped
from .environment import material, panel
from .parameters import Values, from_link, to_link
from .view import Numbers, View
from .widgets import widget_of

logger = logging.getLogger(__name__)

GATHERING_MS = 4
"""Changes that come within this time are answered together, by the last of them."""
ADDRESS_MS = 400
"""Time after which the browser's address follows, so that it does not take from every answer."""
LOOK_MS = 250
"""Milliseconds between two looks of a waiting page at whether kernels are compiled."""
FRAME_MS = 120
"""Time between frames that are played."""
BUTTONS = ["first", "previous", "pause", "play", "next", "last"]
WIDE = {"flex": "3 1 300px", "min-width": "0"}
NARROW = {"flex": "1 1 270px", "max-width": "100%", "min-width": "0"}
COMPILING = (
    "Compiling for this machine, which is done once and takes up to a minute: the picture comes "
    "then."
)
BODY = {"overflow-x": "clip", "width": "100%", "max-width": "1400px", "margin": "0 auto"}
CONTROL = {"flex": "1 1 165px", "min-width": "0"}
CODE_STYLE = "white-space: pre-wrap; overflow-wrap: anywhere; margin: 0"
NAVIGATION_STYLE = "display: flex; flex-wrap: wrap; gap: 0.2rem 1.2rem"


class Page:
    """The page of a view in one session of a browser.

    Parameters
    ----------
    view : View
    views : sequence of View
        All views, for links to them.
    query : dict of str to str
        What the address says of the parameters.
    is_ready : Event
        Set when what must be compiled is.
    """

    def __init__(
        self, view: View, views: Sequence[View], query: dict[str, str], is_ready: Event
    ) -> None:
        extensions = ["filedropper"] * view.takes_file
        self.panel, self.material = panel(*extensions), material()
        self.view, self.is_ready = view, is_ready
        self.document = self.panel.state.curdoc
        self.location = self.panel.state.location
        values, complaint = from_link(view.parameters, query)
        self.values_of_link, self.complaint_of_link = values, complaint
        self.dropped: Dropped | None = None
        self.numbers: Numbers | None = None
        self.is_pending = self.is_address_pending = False
        self.search = ""
        self.frame_steps: list[int] = []
        self.widgets = {one.name: widget_of(one, values[one.name]) for one in view.parameters}
        for widget in self.widgets.values():
            widget.param.watch(self._schedule, "value")
        self.picture = view.picture()
        self.status = components.status(text=COMPILING, sizing_mode="stretch_width", margin=(0, 10))
        self.complaint = components.status(
            text=complaint, role="alert", visible=bool(complaint), sizing_mode="stretch_width"
        )
        self.code = self.panel.pane.HTML("", sizing_mode="stretch_width")
        self.texts = {name: components.text() for name in ("code", "link")}
        self.player: Any = self._player() if view.is_animated else None
        self.drop: Any = self._drop() if view.takes_file else None
        self.figures = self._figures()
        self.body = self._body(views)

    @property
    def values(self) -> Values:
        """The values that are chosen."""
        return {name: widget.value for name, widget in self.widgets.items()}

    # -- what happens ------------------------------------------------------------------------

    def start(self) -> None:
        """Draw for the first time, when what must be compiled is."""
        if self.is_ready.is_set():
            self.update()
        else:
            self.document.add_timeout_callback(self.start, LOOK_MS)

    def _schedule(self, _: Any = None) -> None:
        """Answer changes soon, and those that come together by one answer."""
        if not self.is_pending and self.is_ready.is_set():
            self.is_pending = True
            self.document.add_timeout_callback(self.update, GATHERING_MS)

    def update(self) -> None:
        """Compute and draw what is chosen, or say why that is impossible."""
        self.is_pending = False
        values = self.values
        with self.panel.io.hold(self.document):
            self._update_texts(values)
            try:
                self.numbers = self.view.numbers(values, self.dropped)
                self.picture.show(self.numbers)
                self.status.text = self.view.words(self.numbers)
            except InputError as error:
                self._refuse(str(error))
                return
            except Exception as error:  # a fault of ours: the page says so, and the log where
                logger.exception("a page could not be drawn")
                self._refuse(f"This could not be computed, by a fault of the explorer: {error!r}")
                return
            if self.player is not None:
                self._show_frames()
            self.figures.visible = True
            is_of_link = values == self.values_of_link and bool(self.complaint_of_link)
            self.complaint.param.update(text=self.complaint_of_link, visible=is_of_link)

    def _refuse(self, sentence: str) -> None:
        """Say what is impossible; an older picture would be of something else."""
        self.complaint.text, self.complaint.visible = sentence, True
        self.status.text, self.figures.visible = "", False

    def _update_texts(self, values: Values) -> None:
        """Write the code, and the link, a moment later also into the browser's address."""
        code = self.view.code(values, self.dropped)
        self.code.object = f'<pre style="{CODE_STYLE}"><code>{html.escape(code)}</code></pre>'
        self.texts["code"].data = {"text": [code]}
        self.search = f"?{urlencode(to_link(values))}"
        self.texts["link"].data = {"text": [self.search]}
        if not self.is_address_pending:
            self.is_address_pending = True
            self.document.add_timeout_callback(self._update_address, ADDRESS_MS)

    def _update_address(self) -> None:
        """Write the link into the browser's address, which the browser confirms."""
        self.is_address_pending = False
        self.location.search = self.search

    def _show_frames(self) -> None:
        """Let the player have the frames of the picture, and be at the last if they are new."""
        steps = self.picture.frames(self.numbers)  # type: ignore[attr-defined]
        if steps != self.frame_steps:
            self.frame_steps = steps
            last = len(steps) - 1
            self.player.param.update(end=last, value=last, label=self._step_label(last))

    def _step_label(self, frame: int) -> str:
        """Name the step that a frame is of."""
        return f"step {self.frame_steps[frame]} of {self.frame_steps[-1]}; frame"

    def _show_frame(self, _: Any) -> None:
        """Draw the frame that the player is at."""
        frame = min(self.player.value, len(self.frame_steps) - 1)
        if self.numbers is not None and not self.is_pending:
            with self.panel.io.hold(self.document):
                self.player.label = self._step_label(frame)
                self.picture.show_frame(frame)  # type: ignore[attr-defined]

    def _take(self, event: Any) -> None:
        """Read the file that was dropped last."""
        self.dropped = None
        if not event.new:
            self._schedule()
        for name, content in list(event.new.items())[-1:]:
            data = content.encode() if isinstance(content, str) else content
            try:
                self.dropped = read_dropped(name, data)
            except InputError as error:
                self._refuse(str(error))
                return
            self._schedule()

    # -- what is on the page -----------------------------------------------------------------

    def _player(self) -> Any:
        player = self.material.Player(
            label="frame", start=0, end=1, value=1, interval=FRAME_MS, loop_policy="once",
            visible_buttons=BUTTONS, show_loop_controls=False, sizing_mode="stretch_width",
        )  # fmt: skip
        player.param.watch(self._show_frame, "value")
        return player

    def _drop(self) -> Any:
        drop = self.panel.widgets.FileDropper(
            max_file_size=f"{MOST_BYTES >> 20}MB",
            sizing_mode="stretch_width",
            height=90,
        )
        drop.param.watch(self._take, "value")
        return drop

    def _figures(self) -> Any:
        rows = []
        for figures in self.picture.rows:
            panes = [
                self.panel.Column(figure, sizing_mode="stretch_width", styles=NARROW)
                for figure in figures
            ]
            rows.append(self.panel.FlexBox(*panes, sizing_mode="stretch_width", gap="4px"))
        return self.panel.Column(*rows, sizing_mode="stretch_width", visible=False)

    def _buttons(self) -> Any:
        made, name = self.material, f"nqm-fast-{self.view.name}.png"
        copies = []
        for what, label in (("code", "Copy as Python"), ("link", "Copy link")):
            button = made.Button(label=label, variant="outlined", size="small")
            arguments = {"text": self.texts[what], "button": button, "label": label}
            button.js_on_click(args=arguments, code=components.COPY)
            copies.append(button)
        save = made.Button(label="Save picture", variant="outlined", size="small")
        figures = {
            f"figure_{i}_{k}": figure
            for i, row in enumerate(self.picture.rows)
            for k, figure in enumerate(row)
        }
        rows = [
            [f"figure_{i}_{k}" for k in range(len(row))] for i, row in enumerate(self.picture.rows)
        ]
        save.js_on_click(args=figures, code=components.save_code(rows, name))
        return self.panel.FlexBox(*copies, save, gap="4px", sizing_mode="stretch_width")

    def _heading(self, views: Sequence[View]) -> Any:
        links = [
            f'<a href="{address(view, views)}"{" aria-current=page" * (view is self.view)}>'
            f"{html.escape(view.short)}</a>"
            for view in views
        ]
        text = (
            f'<nav aria-label="views" style="{NAVIGATION_STYLE}">{"".join(links)}</nav>'
            f"<h1>{html.escape(self.view.title)}</h1><p>{html.escape(self.view.intro)}</p>"
        )
        return self.panel.pane.HTML(
            text, stylesheets=[components.HEADING_CSS], sizing_mode="stretch_width"
        )

    def _body(self, views: Sequence[View]) -> Any:
        column, box = self.panel.Column, self.panel.FlexBox
        sliders = box(
            *(column(one, styles=CONTROL) for one in self.widgets.values()),
            sizing_mode="stretch_width", gap="0px",
        )  # fmt: skip
        controls = column(
            *[self.drop] * self.view.takes_file, sliders, styles=NARROW, sizing_mode="stretch_width"
        )
        shown = column(
            self.complaint, self.status, *[self.player] * self.view.is_animated, self.figures,
            self._buttons(), styles=WIDE, sizing_mode="stretch_width",
        )  # fmt: skip
        code = self.material.Accordion(
            ("The same in Python", self.code),
            active=[],
            title_variant="body1",
            sizing_mode="stretch_width",
        )
        return column(
            self._heading(views),
            box(controls, shown, sizing_mode="stretch_width", gap="12px"),
            code,
            sizing_mode="stretch_width",
            styles=BODY,
        )

    def template(self) -> Any:
        """Return the whole page, with a switch between light and dark."""
        page = self.material.Page(
            title="nqm_fast explorer",
            main=[self.body, components.opening()],
            theme_toggle=True,
            busy_indicator=None,
        )
        components.set_idle(page)
        return page


def address(view: View, views: Sequence[View]) -> str:
    """Return the address of a view, relative to that of any other."""
    return "./" if view is views[0] else view.name


def serve_page(view: View, views: Sequence[View], is_ready: Event) -> Any:
    """Make the page of a view for the session that asks for it."""
    arguments = panel().state.session_args
    query = {name: values[0].decode("utf-8", "replace") for name, values in arguments.items()}
    page = Page(view, views, query, is_ready)
    template = page.template()
    page.panel.state.onload(page.start)
    return template
