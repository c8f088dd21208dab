"""Pictures as SVG text, of rectangles, lines, dots and words: nothing has to be installed to draw them."""

from dataclasses import dataclass, field
from xml.sax.saxutils import escape

INK, PALE, GRID = "#263238", "#78909c", "#e0e6e9"
BLUE, RED, GREEN, VIOLET, AMBER = "#1f6f8b", "#c8553d", "#588157", "#8e6bbf", "#d4a017"


@dataclass
class Picture:
    """What was drawn, in pixels from the upper left."""

    width: float
    height: float
    parts: list[str] = field(default_factory=list)

    def box(self, x: float, y: float, width: float, height: float, colour: str) -> None:
        """A filled rectangle."""
        self.parts.append(f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" fill="{colour}"/>')

    def line(self, x: float, y: float, to_x: float, to_y: float, colour: str, width: float = 1.0) -> None:
        """A straight line."""
        place = f'x1="{x:.1f}" y1="{y:.1f}" x2="{to_x:.1f}" y2="{to_y:.1f}"'
        self.parts.append(f'<line {place} stroke="{colour}" stroke-width="{width}"/>')

    def dot(self, x: float, y: float, radius: float, colour: str, opacity: float = 1.0) -> None:
        """A filled circle."""
        self.parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius}" fill="{colour}" fill-opacity="{opacity}"/>')

    def text(self, x: float, y: float, words: str, *, anchor: str = "start", colour: str = INK, size: int = 11) -> None:
        """Words; `anchor` says which end of them is at x: start, middle or end."""
        style = f'text-anchor="{anchor}" fill="{colour}" font-size="{size}"'
        self.parts.append(f'<text x="{x:.1f}" y="{y:.1f}" {style}>{escape(words)}</text>')

    def svg(self) -> str:
        """The whole file."""
        head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.width:.0f} {self.height:.0f}" '
            f'width="{self.width:.0f}" height="{self.height:.0f}" font-family="sans-serif">'
        )
        ground = f'<rect width="{self.width:.0f}" height="{self.height:.0f}" fill="#ffffff"/>'
        return "\n".join([head, ground, *self.parts, "</svg>"]) + "\n"
