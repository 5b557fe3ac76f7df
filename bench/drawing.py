"""Bars, as an SVG that a page can show; nothing is needed to draw them."""

from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

_COLOURS = {"peer": "#8fa3b8", "floor": "#d5dce4", "ours": "#1f3a5f"}
_INK, _FAINT = "#1d2733", "#4a5560"
_LEFT, _WIDTH, _ROW, _BAR = 320, 860, 38, 22
_FONT = "font-family='Liberation Sans, Arial, Helvetica, sans-serif'"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One bar: its value, the least and greatest that were measured, and whose it is."""

    name: str
    value: float
    least: float
    most: float
    of: str
    note: str = ""


def drawn(title: str, subtitle: str, bars: Sequence[Bar]) -> str:
    """The SVG of some bars, the longest as long as there is room for."""
    top = 92
    height = top + _ROW * len(bars) + 56
    scale = (_WIDTH - _LEFT - 150) / max(bar.most for bar in bars)
    label = f"{title}. " + "; ".join(f"{bar.name}: {bar.value:.1f}" for bar in bars)
    parts = [
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {_WIDTH} {height}' "
        f"width='{_WIDTH}' height='{height}' role='img' {_FONT}>",
        f"<title>{escape(label)}</title>",
        f"<rect width='{_WIDTH}' height='{height}' rx='10' fill='#ffffff'/>",
        _text(24, 38, title, size=20, weight="bold"),
        _text(24, 62, subtitle, size=13, colour=_FAINT),
    ]
    for number, bar in enumerate(bars):
        y = top + number * _ROW
        middle = y + _BAR / 2 + 5
        length = max(bar.value * scale, 2)
        edge = " stroke='#8fa3b8' stroke-dasharray='4 3'" if bar.of == "floor" else ""
        parts += [
            _text(
                _LEFT - 14,
                middle,
                bar.name,
                size=14,
                anchor="end",
                weight="bold" if bar.of == "ours" else "normal",
            ),
            f"<rect x='{_LEFT}' y='{y}' width='{length:.1f}' height='{_BAR}' rx='3' "
            f"fill='{_COLOURS[bar.of]}'{edge}/>",
        ]
        if bar.most > bar.least:
            left, right = _LEFT + bar.least * scale, _LEFT + bar.most * scale
            across = y + _BAR + 5
            parts.append(
                f"<path d='M{left:.1f} {across - 3}v6M{left:.1f} {across}H{right:.1f}"
                f"M{right:.1f} {across - 3}v6' stroke='{_FAINT}' fill='none'/>"
            )
        end = _LEFT + max(length, bar.most * scale if bar.most > bar.least else 0) + 10
        parts.append(_text(end, middle, f"{bar.value:.1f}", size=14, weight="bold"))
        if bar.note:
            offset = 12 + 8.4 * len(f"{bar.value:.1f}")
            parts.append(_text(end + offset, middle, bar.note, size=12, colour=_FAINT))
    legend = (("peer", "other programs"), ("floor", "LibreOffice alone"), ("ours", "letters"))
    x = _LEFT
    for kind, name in legend:
        y = height - 30
        edge = " stroke='#8fa3b8' stroke-dasharray='4 3'" if kind == "floor" else ""
        parts.append(
            f"<rect x='{x}' y='{y}' width='14' height='14' rx='3' fill='{_COLOURS[kind]}'{edge}/>"
        )
        parts.append(_text(x + 22, y + 12, name, size=12, colour=_FAINT))
        x += 44 + 7 * len(name)
    return "\n".join([*parts, "</svg>", ""])


def _text(
    x: float,
    y: float,
    words: str,
    *,
    size: int,
    colour: str = _INK,
    weight: str = "normal",
    anchor: str = "start",
) -> str:
    return (
        f"<text x='{x:.1f}' y='{y:.1f}' font-size='{size}' font-weight='{weight}' "
        f"fill='{colour}' text-anchor='{anchor}'>{escape(words)}</text>"
    )
