"""The controller of a run: it drives the kernels from event to event.

A kernel computes one chunk. When it returns, which is an event, progress is reported, the recorder
may write, and the controller looks whether a signal has asked the run to stop.
"""

from __future__ import annotations

from collections.abc import Callable

from .async_recorder import AsyncRecorder, recording_asynchronously
from .chunking import ChunkSizer
from .propagation import Propagation
from .recorder import KernelSeconds, Recorder, RunProgress
from .signals import Signals


class Controller:
    """Drives propagations from event to event."""

    def __init__(
        self,
        chunk_sizer: ChunkSizer,
        signals: Signals,
        recorder: Recorder,
        report: Callable[[int], None],
    ) -> None:
        self.chunk_sizer, self.signals, self.recorder = chunk_sizer, signals, recorder
        self.report = report  # shows how many coordinate-steps are done
        self.compile_seconds, self.compute_seconds = recorder.earlier_kernel_seconds
        self.backend_compile_seconds = chunk_sizer.task.backend.compile_seconds
        self.counted_compile_seconds = self.backend_compile_seconds()

    @property
    def kernel_seconds(self) -> KernelSeconds:
        """Seconds that the run has spent in kernels so far."""
        return KernelSeconds(self.compile_seconds, self.compute_seconds)

    @property
    def stopped(self) -> bool:
        """Whether a signal has asked the run to stop."""
        return self.signals.number is not None

    def drive(self, propagation: Propagation, progress: Callable[[], RunProgress]) -> bool:
        """Propagate to the last step, or until a signal comes.

        Returns whether a signal came; the recorder has saved the run then. An asynchronous backend
        computes the next chunk while the recorder writes what was found in the last one.
        """
        self._count_compile_seconds()
        now = None
        with recording_asynchronously(
            self.recorder, propagation.is_asynchronous, self.signals
        ) as recorder:
            while not propagation.ended:
                self._launch(propagation, progress, recorder)
                self._collect(propagation)
                now = progress()
                if propagation.is_asynchronous and not self.stopped:
                    self._launch(propagation, progress, recorder)
                with self.signals.shield():
                    recorder.event(now)
                    stopped = self.stopped
                    if stopped:
                        recorder.stop(now)
                self.report(now.coordinate_steps)
                if stopped:
                    return True
            with self.signals.shield():
                recorder.flush()
                if now is None or not self.stopped:
                    return False
                recorder.stop(now)
        return True

    def _count_compile_seconds(self) -> None:
        """Add the seconds that the backend has compiled since they were last counted."""
        total = self.backend_compile_seconds()
        self.compile_seconds += total - self.counted_compile_seconds
        self.counted_compile_seconds = total

    def _launch(
        self,
        propagation: Propagation,
        progress: Callable[[], RunProgress],
        recorder: Recorder | AsyncRecorder,
    ) -> None:
        """Launch the next chunk, if there is one and it was not launched before.

        If there is too little memory for it, the recorder saves the chunks collected so far.
        """
        if propagation.launched or propagation.ended:
            return
        try:
            propagation.launch(self.chunk_sizer.next_stop(propagation.done))
        except MemoryError:
            if propagation.started:
                now = progress()
                with self.signals.shield():
                    recorder.event(now)
                    recorder.stop(now)
            raise

    def _collect(self, propagation: Propagation) -> None:
        """Wait for the chunk that was launched, and count the seconds that it took."""
        seconds = propagation.collect()
        self.signals.waiting = True
        self._count_compile_seconds()
        self.compute_seconds += seconds
        self.chunk_sizer.adapt(seconds)
