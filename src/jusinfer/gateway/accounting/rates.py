"""Requests and tokens per minute of one key, as this worker counts them.

Each worker takes an equal share of a key's limit, so that all workers together never exceed it;
what a worker shows as remaining may be low, never high.
"""

from typing import Final

from jusinfer.domain.errors import RateLimited

WINDOW_SECONDS: Final = 60.0
KEYS_MAX: Final = 200_000


class RateWindow:
    """A bucket that refills evenly over a minute, for requests and for tokens."""

    __slots__ = ("filled_at", "requests", "requests_limit", "tokens", "tokens_limit")

    def __init__(self, requests_limit: int, tokens_limit: int, now: float) -> None:
        self.requests_limit = requests_limit
        self.tokens_limit = tokens_limit
        self.requests = float(requests_limit)
        self.tokens = float(tokens_limit)
        self.filled_at = now

    def admit(self, tokens: int, now: float) -> None:
        """Take one request and its tokens, or raise RateLimited with the time to wait."""
        share = (now - self.filled_at) / WINDOW_SECONDS
        self.filled_at = now
        self.requests = min(self.requests + share * self.requests_limit, self.requests_limit)
        self.tokens = min(self.tokens + share * self.tokens_limit, self.tokens_limit)
        if self.requests < 1:
            raise _refusal("requests", self.requests_limit, 1 - self.requests)
        if self.tokens < tokens:
            if tokens > self.tokens_limit:
                raise RateLimited(
                    "this request alone is above the key's tokens per minute",
                    hint="Shorten it, or raise the key's limit.",
                )
            raise _refusal("tokens", self.tokens_limit, tokens - self.tokens)
        self.requests -= 1
        self.tokens -= tokens

    def give_back(self, tokens: int) -> None:
        """Return tokens that were taken and not used."""
        self.tokens = min(self.tokens + tokens, self.tokens_limit)


class Rates:
    """The windows of all keys that this worker has seen lately."""

    def __init__(self, requests_default: int, tokens_default: int, workers: int) -> None:
        self._requests_default = requests_default
        self._tokens_default = tokens_default
        self._workers = workers
        self._windows: dict[str, RateWindow] = {}

    def window(
        self, key_id: str, requests: int | None, tokens: int | None, now: float
    ) -> RateWindow:
        """Give the window of a key, made or remade when its limits changed."""
        limit = self._share(self._requests_default if requests is None else requests)
        tokens_limit = self._share(self._tokens_default if tokens is None else tokens)
        window = self._windows.get(key_id)
        if window is None or window.requests_limit != limit or window.tokens_limit != tokens_limit:
            while len(self._windows) >= KEYS_MAX:
                del self._windows[next(iter(self._windows))]
            window = self._windows[key_id] = RateWindow(limit, tokens_limit, now)
        return window

    def _share(self, limit: int) -> int:
        return max(limit // self._workers, 1)


def _refusal(kind: str, limit: int, missing: float) -> RateLimited:
    seconds = max(int(missing * WINDOW_SECONDS / limit) + 1, 1)
    return RateLimited(
        f"the key's {kind} per minute are used up",
        hint="Wait for the time in Retry-After, or raise the key's limit.",
        retry_after_seconds=seconds,
    )
