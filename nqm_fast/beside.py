"""A recorder at work in a thread of its own, while the kernels are driven on."""

from __future__ import annotations

from collections.abc import Generator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .control import Recorder, Signals, Standing


class Beside:
    """Passes events to a recorder, but for those that come while it is still writing."""

    def __init__(self, recorder: Recorder, thread: ThreadPoolExecutor) -> None:
        self.recorder, self.thread = recorder, thread
        self.writing: Future[None] | None = None
        self.passed_over: Standing | None = None

    def event(self, standing: Standing) -> None:
        """Have it written, if nothing else is being; errors of the last time come up here."""
        frozen = standing._replace(diverged_at=standing.diverged_at.copy(), state=None)
        if self.writing is not None and not self.writing.done():
            self.passed_over = frozen
            return
        self.wait()
        if self.recorder.is_due and standing.state is not None:
            saved = standing.state()
            frozen = frozen._replace(state=lambda: saved)
        self.passed_over = None
        self.writing = self.thread.submit(self.recorder.event, frozen)

    def stop(self, standing: Standing) -> None:
        """The run is stopped."""
        self.settle()
        self.recorder.stop(standing)

    def settle(self) -> None:
        """Be done with all events."""
        self.wait()
        late, self.passed_over = self.passed_over, None
        if late is not None:
            self.recorder.event(late)

    def wait(self) -> None:
        """For what is being written."""
        done, self.writing = self.writing, None
        if done is not None:
            done.result()


@contextmanager
def writer(recorder: Recorder, beside: bool, signals: Signals) -> Generator[Recorder | Beside]:
    """The recorder itself, or in a thread that is done in the end, whatever happens."""
    if not beside:
        yield recorder
        return
    with ThreadPoolExecutor(1, thread_name_prefix="nqm_fast-writer") as thread:
        own = Beside(recorder, thread)
        try:
            yield own
        finally:
            with signals.shield():
                own.settle()
