#!/usr/bin/env python3
"""Writes workers/assets/fonts/coverage.txt: what the embedded fonts show. Needs fonttools and brotli from PyPI.

A document embeds the font of a script only if a letter of that script's block occurs, so the font counts for its block alone.
"""

import re
from pathlib import Path

from fontTools.ttLib import TTFont

ROOT = Path(__file__).parent.parent
FONTS = ROOT / "workers/assets/fonts"
FACE = re.compile(r'face!\(".*?", ".*?", (?:None|Some\(\'\\u\{(\w+)\}\'\.\.=\'\\u\{(\w+)\}\'\)), "(.*?)"\)')


def ranges(codes):
    """Neighbouring codes as `first-last`."""
    found = []
    for code in sorted(codes):
        if found and found[-1][1] == code - 1:
            found[-1][1] = code
        else:
            found.append([code, code])
    return " ".join(f"{first:x}" if first == last else f"{first:x}-{last:x}" for first, last in found)


covered = set()
for first, last, name in FACE.findall((ROOT / "workers/src/documents/fonts.rs").read_text()):
    font = TTFont(FONTS / f"{name}.woff2")
    block = range(int(first, 16), int(last, 16) + 1) if first else range(0x110000)
    # Glyph 0 is the box.
    covered |= {code for code, glyph in font.getBestCmap().items() if code in block and font.getGlyphID(glyph) != 0}

header = "# What the fonts in this folder show, in hexadecimal ranges. Made by scripts/font_coverage.py.\n"
(FONTS / "coverage.txt").write_text(header + ranges(covered) + "\n")
