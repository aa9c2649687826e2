"""What a long command does, all the time: a bar in a terminal, elsewhere a line per step with the time since the start."""

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn


class Steps:
    """Counts the steps of a command and says each."""

    def __init__(self, console: Console, total: int) -> None:
        self.console, self.total, self.done = console, total, 0
        self.began = time.perf_counter()
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        self.bar = Progress(*columns, console=console, transient=True) if console.is_terminal else None
        self.task = None if self.bar is None else self.bar.add_task("starting", total=total)

    def __enter__(self) -> Self:
        if self.bar is not None:
            self.bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self.bar is not None:
            self.bar.stop()

    def __call__(self, done: str) -> None:
        """A step is done."""
        self.done += 1
        if self.bar is not None and self.task is not None:
            self.bar.update(self.task, advance=1, description=done)
        else:
            self.say(f"{self.done}/{self.total}  {done}")

    def now(self, words: str) -> None:
        """What was done since the last step, where the bar counts smaller ones."""
        if self.bar is not None and self.task is not None:
            self.bar.update(self.task, description=words)
        else:
            self.say(words)

    def tick(self) -> None:
        """A step too small for a line of its own."""
        self.done += 1
        if self.bar is not None and self.task is not None:
            self.bar.update(self.task, advance=1)

    def say(self, words: str) -> None:
        """A line of its own, with the time; above the bar, if there is one."""
        line = f"{time.perf_counter() - self.began:7.1f} s  {words}"
        if self.bar is not None:
            self.console.print(line, highlight=False, markup=False)
        else:
            print(line, file=self.console.file, flush=True)  # whole, however narrow the console thinks it is
