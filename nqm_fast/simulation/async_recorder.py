"""A recorder at work in a thread of its own, while the kernels are driven on."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

    from .recorder import Recorder, RunProgress
    from .signals import Signals


class AsyncRecorder:
    """Passes events to a recorder, but for those that come while it is still writing."""

    def __init__(self, recorder: Recorder, thread: ThreadPoolExecutor) -> None:
        self.recorder, self.thread = recorder, thread
        self.writing: Future[None] | None = None
        self.passed_over: RunProgress | None = None

    def event(self, progress: RunProgress) -> None:
        """Have it written, if nothing else is being; errors of the last time come up here."""
        frozen = progress._replace(diverged_at=progress.diverged_at.copy(), state=None)
        if self.writing is not None and not self.writing.done():
            self.passed_over = frozen
            return
        self.wait()
        if self.recorder.is_due and progress.state is not None:
            saved = progress.state()
            frozen = frozen._replace(state=lambda: saved)
        self.passed_over = None
        self.writing = self.thread.submit(self.recorder.event, frozen)

    def stop(self, progress: RunProgress) -> None:
        """The run is stopped."""
        self.settle()
        self.recorder.stop(progress)

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
def recording_asynchronously(
    recorder: Recorder, wanted: bool, signals: Signals
) -> Generator[Recorder | AsyncRecorder]:
    """Give the recorder a thread of its own if that is wanted, and end it whatever happens."""
    if not wanted:
        yield recorder
        return
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1, thread_name_prefix="nqm_fast-writer") as thread:
        asynchronous = AsyncRecorder(recorder, thread)
        try:
            yield asynchronous
        finally:
            with signals.shield():
                asynchronous.settle()
