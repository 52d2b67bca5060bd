"""What the app executed, by run id, so that the tests can tell a memoised step from one that ran twice."""

import threading
import time
import typing


def now_ms() -> int:
    return int(time.time() * 1000)


class Journal:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entries: dict[str, list[dict[str, typing.Any]]] = {}

    def note(self, run: str, step: str) -> int:
        """Notes that `step` of `run` was executed and returns how often it was by now."""
        with self._lock:
            entries = self._entries.setdefault(run, [])
            entries.append({"step": step, "at": now_ms()})
            return sum(entry["step"] == step for entry in entries)

    def of(self, run: str) -> dict[str, typing.Any]:
        with self._lock:
            return {"now": now_ms(), "entries": list(self._entries.get(run, []))}
