"""Counts what was really produced, apart from everyone else's books."""

from collections import deque
from typing import Any, Final

MODELS_MAX: Final = 10_000
REMEMBERED: Final = 50
OTHERS: Final = "(others)"
# Flags by which a request says what may be kept of it; none of them can hold content.
_FLAGS: Final = ("store", "stream", "n", "max_tokens", "max_completion_tokens", "logprobs")
_FLAG_OBJECTS: Final = ("stream_options", "provider")
_FLAG_WORDS: Final = frozenset({"allow", "deny"})
_FLAG_HEADERS: Final = frozenset(
    {"accept", "accept-encoding", "cf-aig-collect-log-payload", "content-type"}
    | {"cf-aig-skip-cache", "cf-aig-event-id", "cf-aig-metadata", "x-openrouter-cache"}
)


class Count:
    """What one model was asked for and gave."""

    __slots__ = ("cancelled", "faults", "finished", "started", "tokens")

    def __init__(self) -> None:
        self.started = self.finished = self.cancelled = self.faults = self.tokens = 0


class Meter:
    """The counts of each model, and the shapes of the last requests."""

    def __init__(self) -> None:
        self._models: dict[str, Count] = {}
        self.last: deque[dict[str, Any]] = deque(maxlen=REMEMBERED)

    def of(self, model: str) -> Count:
        """Give the count of a model; models beyond a bound share one."""
        count = self._models.get(model)
        if count is None:
            name = model if len(self._models) < MODELS_MAX else OTHERS
            count = self._models.setdefault(name, Count())
        return count

    def counts(self) -> dict[str, dict[str, int]]:
        """Give all counts by model."""
        return {
            model: {name: getattr(count, name) for name in Count.__slots__}
            for model, count in self._models.items()
        }

    def remember(self, path: str, headers: dict[str, str], body: dict[str, Any]) -> None:
        """Keep a request's names and privacy flags, and nothing of what it says."""
        shape = {
            "path": path,
            "model": str(body.get("model", ""))[:200],
            "headers": sorted(headers),
            "flag_headers": {name: headers[name] for name in _FLAG_HEADERS & headers.keys()},
            "keys": sorted(body),
        }
        self.last.append(shape | _flags(body))

    def reset(self) -> None:
        """Begin anew; answers under way are counted no more."""
        self._models.clear()
        self.last.clear()


def _flags(body: dict[str, Any]) -> dict[str, Any]:
    flags = {name: body[name] for name in _FLAGS if isinstance(body.get(name), bool | int)}
    for name in _FLAG_OBJECTS:
        if isinstance(body.get(name), dict):
            flags[name] = {
                key: value
                for key, value in body[name].items()
                if isinstance(value, bool) or (isinstance(value, str) and value in _FLAG_WORDS)
            }
    return flags
