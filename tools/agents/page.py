"""Reads docs/agents.md: which files and which command each agent needs for each API."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

PAGE: Final = Path(__file__).parents[2] / "docs" / "agents.md"
URL: Final = "http://127.0.0.1:8787"
KEY: Final = "ji_live_your_key"
MODEL: Final = "your/model"
_BLOCK: Final = re.compile(r"^```\w+ ((?:\w+=\S+ ?)+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class Recipe(NamedTuple):
    """How an agent is set up and started for one API; the script is bash's."""

    agent: str
    api: str
    script: str
    files: tuple[tuple[str, str], ...]

    def filled(self, url: str, key: str, model: str) -> "Recipe":
        """Give the same with values in place of those that the page shows."""
        files = tuple((path, _filled(text, url, key, model)) for path, text in self.files)
        return self._replace(script=_filled(self.script, url, key, model), files=files)


def recipes(page: str) -> list[Recipe]:
    """Give every recipe of the page, in its order."""
    blocks = list(_blocks(page))
    return [
        Recipe(
            head["agent"],
            api,
            script,
            tuple(
                (other["file"], text)
                for other, text in blocks
                if other["agent"] == head["agent"] and "file" in other
            ),
        )
        for head, script in blocks
        for api in head.get("api", "").split(",")
        if api
    ]


def _blocks(page: str) -> Iterator[tuple[dict[str, str], str]]:
    for info, text in _BLOCK.findall(page):
        yield dict(pair.split("=", 1) for pair in info.split()), text


def _filled(text: str, url: str, key: str, model: str) -> str:
    return text.replace(URL, url).replace(KEY, key).replace(MODEL, model)
