"""Names formats that are not read, by the first bytes of a file."""

import re
from pathlib import Path

BEGINNINGS = {
    b"\xff\x0a": "JPEG XL",
    b"\0\0\0\x0cJXL ": "JPEG XL",
    b"\0\0\0\x0cjP  ": "JPEG 2000",
    b"\xff\x4f\xff\x51": "JPEG 2000",
    b"8BPS": "PSD",
    b"%PDF": "PDF",
    b"%!PS": "PostScript",
    b"DDS ": "DDS",
    b"qoif": "QOI",
    b"\x76\x2f\x31\x01": "OpenEXR",
    b"#?RADIANCE": "Radiance HDR",
    b"\x1a\x45\xdf\xa3": "WebM or Matroska",
}

HEIC_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"}
"""Brands of HEIF files whose images are coded with HEVC, which Pillow does not read."""


def foreign_format(path: Path) -> str | None:
    """Returns the name of the format that a file begins like; `None` when it is none that is known here."""
    with path.open("rb") as file:
        head = file.read(256)
    for beginning, name in BEGINNINGS.items():
        if head.startswith(beginning):
            return name
    if head[4:8] == b"ftyp":
        end = min(int.from_bytes(head[:4], "big"), len(head))
        brands = {head[at : at + 4] for at in range(8, end - 3, 4)}
        if brands & {b"avif", b"avis"}:
            return None
        return "HEIC" if brands & HEIC_BRANDS else "MP4 or MOV"
    return "SVG" if re.match(rb"\s*(<\?xml[^>]*>\s*)?<svg\b", head) else None
