"""The pages of docs/howto/, run as a reader would: every block, in its order, in one folder.

A block ```` ```toml ```` whose first line is a comment with a file's name becomes that file; blocks
```` ```sh ```` are run, each in a shell of its own, and those marked ```` ```sh fails ```` are
refused, with exit code 1. Ports are moved to free ones.
"""

from __future__ import annotations

import re
from pathlib import Path

from tests.support.processes import shell

HOWTO = Path(__file__).parents[2] / "docs/howto"
BLOCK = re.compile(r"^```(sh|sh fails|toml)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def moved(text: str, base: int) -> str:
    """Move the ports of a page: 7050 to *base*, those just above too, 7150 and 7250 likewise.

    The hundred of a network ends with its fifth member, at 7092.
    """
    text = re.sub(
        r"network create consortium( --ordering cometbft)?$",
        r"\g<0> --base-port 7050",
        text,
        flags=re.M,
    )
    return re.sub(
        r"\b7([0-2])([5-9])([0-2])\b",
        lambda m: str(base + 100 * int(m[1]) + 10 * (int(m[2]) - 5) + int(m[3])),
        text,
    )


def run_page(name: str, folder: Path, base: int) -> int:
    """Run a page in *folder*; return how many blocks of commands it had."""
    page = moved((HOWTO / name).read_text("utf-8"), base)
    ran = 0
    for language, content in BLOCK.findall(page):
        if language == "toml":
            file = content.splitlines()[0].removeprefix("# ")
            assert re.fullmatch(r"[\w.-]+\.toml", file), "the first line names the file"
            (folder / file).write_text(content)
            continue
        answer = shell(content, folder)
        wanted = 1 if language == "sh fails" else 0
        assert answer.code == wanted, f"{content}\n{answer.out}\n{answer.err}"
        ran += 1
    return ran
