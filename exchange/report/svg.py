"""A plot as SVG, with a title and a description for whoever does not see it."""

from __future__ import annotations

from xml.etree import ElementTree as ET

from exchange.report.picture import HEIGHT, SIZE, WIDTH, Box, Label, Line, Picture

_SPACE = "http://www.w3.org/2000/svg"


def as_svg(picture: Picture) -> str:
    """Return an element that can stand in a page, or be a file of its own."""
    title, described = f"{picture.id}-title", f"{picture.id}-description"
    root = ET.Element(
        "svg",
        {
            "xmlns": _SPACE,
            "viewBox": f"0 0 {WIDTH:g} {HEIGHT:g}",
            "role": "img",
            "aria-labelledby": f"{title} {described}",
            "font-family": "system-ui, sans-serif",
            "font-size": f"{SIZE:g}",
        },
    )
    ET.SubElement(root, "title", {"id": title}).text = picture.title
    ET.SubElement(root, "desc", {"id": described}).text = picture.description
    for shape in picture.shapes:
        _draw(root, shape)
    return ET.tostring(root, encoding="unicode")


def _draw(root: ET.Element, shape: Line | Box | Label) -> None:
    match shape:
        case Line():
            points = " ".join(f"{x:.1f},{y:.1f}" for x, y in shape.points)
            dashes = {"stroke-dasharray": "6 4"} if shape.dashed else {}
            look = {"fill": "none", "stroke": shape.colour, "stroke-width": f"{shape.width:g}"}
            ET.SubElement(root, "polyline", {"points": points, **look, **dashes})
        case Box():
            place = {"x": shape.x, "y": shape.y, "width": shape.width, "height": shape.height}
            look = {"fill": "#ffffff" if shape.hollow else shape.colour, "stroke": shape.colour}
            dashes = {"stroke-dasharray": "2 2"} if shape.hollow else {}
            ET.SubElement(root, "rect", {name: f"{value:.1f}" for name, value in place.items()} | look | dashes)
        case Label():
            at = {"x": f"{shape.x:.1f}", "y": f"{shape.y:.1f}", "text-anchor": shape.anchor, "fill": shape.colour}
            ET.SubElement(root, "text", at).text = shape.text
