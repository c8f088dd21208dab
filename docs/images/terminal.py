"""Draw what a terminal shows as an SVG beside this file."""

import io
from pathlib import Path

from rich.console import Console
from rich.text import Text

SVG = """<svg viewBox="0 0 {terminal_width} {terminal_height}" xmlns="http://www.w3.org/2000/svg">
<style>
.{unique_id}-matrix {{ font-family: monospace; font-size: {char_height}px; line-height: {line_height}px; }}
{styles}
</style>
<defs><clipPath id="{unique_id}-clip-terminal">
<rect x="0" y="0" width="{terminal_width}" height="{terminal_height}"/></clipPath>{lines}</defs>
<rect fill="#14161a" width="{terminal_width}" height="{terminal_height}" rx="8"/>
<g transform="translate(9, 6)" clip-path="url(#{unique_id}-clip-terminal)">{backgrounds}
<g class="{unique_id}-matrix">{matrix}</g></g>
</svg>
"""


def draw(name: str, text: str, columns: int) -> None:
    """Write a text with its ANSI colours as NAME.svg."""
    console = Console(record=True, width=columns, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    console.print(Text.from_ansi(text.rstrip() + "\n"))
    console.save_svg(str(Path(__file__).parent / f"{name}.svg"), title="", code_format=SVG, unique_id=name)
