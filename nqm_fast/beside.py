"""A recorder at work in a thread of its own, while the kernels are driven on."""

from __future__ import annotations

from collections.abc import Generator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .control import Recorder, Standing


class Beside:
    """Passes events to a recorder, but for those that come while it is still writing."""

    def __init__(self, recorder: Recorder, thread: ThreadPoolExecutor) -> None:
        self.recorder, self.thread = recorder, thread
        self.writing: Future[None] | None = None

    def event(self, standing: Standing) -> None:
        """Have it written, if nothing else is being; errors of the last time come up here."""
        if self.writing is not None and not self.writing.done():
            return
        self.wait()
        saved = standing.state() if self.recorder.is_due and standing.state is not None else None
        frozen = standing._replace(
            diverged_at=standing.diverged_at.copy(),
            state=None if saved is None else lambda: saved,
        )
        self.writing = self.thread.submit(self.recorder.event, frozen)

    def stop(self, standing: Standing) -> None:
        """The run is stopped."""
        self.wait()
        self.recorder.event(standing)
        self.recorder.stop(standing)

    def wait(self) -> None:
        """For what is being written."""
        if self.writing is not None:
            self.writing.result()


@contextmanager
def writer(recorder: Recorder, beside: bool) -> Generator[Recorder | Beside]:
    """The recorder itself, or in a thread that has ended in the end, whatever happens."""
    if not beside:
        yield recorder
        return
    with ThreadPoolExecutor(1, thread_name_prefix="nqm_fast-writer") as thread:
        own = Beside(recorder, thread)
        yield own
        own.wait()
