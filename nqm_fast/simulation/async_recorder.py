"""A recorder that writes in a thread of its own, while the kernels compute further chunks."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

    from .recorder import Recorder, RunProgress
    from .signals import Signals


class AsyncRecorder:
    """Passes events to a recorder in another thread, and skips those that find it still writing."""

    def __init__(self, recorder: Recorder, thread: ThreadPoolExecutor) -> None:
        self.recorder, self.thread = recorder, thread
        self.writing: Future[None] | None = None
        self.skipped_event: RunProgress | None = None  # the last one, if it was skipped

    def event(self, progress: RunProgress) -> None:
        """Start writing, unless the recorder is busy; raise the errors of its last writing."""
        frozen = progress._replace(diverged_at=progress.diverged_at.copy(), state=None)
        if self.writing is not None and not self.writing.done():
            self.skipped_event = frozen
            return
        self._wait()
        if self.recorder.checkpoint_is_due and progress.state is not None:
            state = progress.state()  # read here, as the kernels will change it meanwhile
            frozen = frozen._replace(state=lambda: state)
        self.skipped_event = None
        self.writing = self.thread.submit(self.recorder.event, frozen)

    def stop(self, progress: RunProgress) -> None:
        """Wait for the writing, then let the recorder save where the run stops."""
        self.flush()
        self.recorder.stop(progress)

    def flush(self) -> None:
        """Wait for the writing, and pass on the last event if it was skipped."""
        self._wait()
        skipped, self.skipped_event = self.skipped_event, None
        if skipped is not None:
            self.recorder.event(skipped)

    def _wait(self) -> None:
        """Wait until the recorder has written, and raise the error that it met, if any."""
        writing, self.writing = self.writing, None
        if writing is not None:
            writing.result()


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
                asynchronous.flush()
