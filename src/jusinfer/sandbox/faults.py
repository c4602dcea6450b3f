"""Scripted misbehaviour: which fault, with which options, and whether it strikes this time."""

import json
import random
from typing import Final
from urllib.parse import parse_qsl

PREFIX: Final = "sandbox/"


class Fault:
    """One fault with its options; `echo` is none at all."""

    def __init__(self, name: str, options: dict[str, str]) -> None:
        self.name = name
        self.options = options

    def number(self, name: str, default: int) -> int:
        """Give a whole-number option."""
        try:
            return int(self.options.get(name, default))
        except ValueError:
            return default

    def flag(self, name: str) -> bool:
        """Tell whether an option is set."""
        return self.options.get(name, "0") not in {"0", "false", "no"}


class Faults:
    """Chooses faults, and remembers how often those with `first=n` have struck."""

    def __init__(self) -> None:
        self._struck: dict[tuple[str, str], int] = {}
        self._random = random.Random(7)  # noqa: S311 (a stand-in, not a secret)

    def choose(self, model: str, header: str | None, member: object, scope: str) -> Fault:
        """Read the fault from the model's name, a header or the body's `sandbox` member."""
        text = header or ""
        if not text and isinstance(member, dict):
            options = {key: str(value) for key, value in member.items() if key != "fault"}
            return self._strike(Fault(str(member.get("fault", "echo")), options), model, scope)
        if not text and model.startswith(PREFIX):
            text = model.removeprefix(PREFIX)
        name, _, query = text.partition("?")
        return self._strike(Fault(name or "echo", dict(parse_qsl(query))), model, scope)

    def reset(self) -> None:
        """Forget what has struck."""
        self._struck.clear()

    def _strike(self, fault: Fault, model: str, scope: str) -> Fault:
        if "first" in fault.options:
            key = (f"{model}{json.dumps(fault.options, sort_keys=True)}", scope)
            self._struck[key] = self._struck.get(key, 0) + 1
            if self._struck[key] > fault.number("first", 1):
                return Fault("echo", {})
        if "rate" in fault.options and self._random.random() >= float(fault.options["rate"]):
            return Fault("echo", {})
        return fault
