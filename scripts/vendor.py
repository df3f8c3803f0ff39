"""Fetch the console's third-party browser files at exact versions and write docs/vendored.md.

Run ``python scripts/vendor.py`` after changing a version below; the results are committed, so neither a checkout nor
a server needs npm. Files are taken from the packages unchanged, except that Lucide's icons become one sprite.
"""

from __future__ import annotations

import io
import json
import re
import subprocess
import tarfile
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENDOR = ROOT / "app/static/vendor"
SPRITE = ROOT / "app/static/console/icons.svg"

# package, version, {file in the package: target}, what it is for
PACKAGES: list[tuple[str, str, dict[str, Path], str]] = [
    (
        "@fontsource-variable/inter",
        "5.3.0",
        {
            "files/inter-latin-wght-normal.woff2": VENDOR / "inter-latin.woff2",
            "files/inter-latin-ext-wght-normal.woff2": VENDOR / "inter-latin-ext.woff2",
        },
        "typeface; the latin-ext part holds ₹ (U+20B9)",
    ),
    (
        "tom-select",
        "2.6.2",
        {"dist/js/tom-select.base.min.js": VENDOR / "tom-select.js"},
        "selects with search",
    ),
    ("lucide-static", "1.62.0", {}, "icons, as one sprite: static/console/icons.svg"),
    (
        "swagger-ui-dist",
        "5.35.0",
        {
            "swagger-ui-bundle.js": VENDOR / "swagger-ui.js",
            "swagger-ui.css": VENDOR / "swagger-ui.css",
        },
        "the REST API's page",
    ),
    (
        "axe-core",
        "4.14.1",
        {"axe.min.js": ROOT / "tests/vendor/axe.min.js"},
        "accessibility checks in browser tests",
    ),
]

ICONS = (ROOT / "scripts/icons.txt").read_text().split()  # Lucide names; add one and run again


def pack(package: str, version: str) -> tarfile.TarFile:
    """The published archive of one package version. Raises CalledProcessError when npm cannot deliver it."""
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            ["npm", "pack", f"{package}@{version}", "--json", "--pack-destination", folder],
            check=True,
            capture_output=True,
            text=True,
        )
        name = json.loads(done.stdout)[0]["filename"].removeprefix("@").replace("/", "-")
        return tarfile.open(fileobj=io.BytesIO((Path(folder) / name).read_bytes()))


def member(archive: tarfile.TarFile, path: str) -> bytes | None:
    """Bytes of *path* inside the package, or None when it is not there."""
    try:
        found = archive.extractfile(f"package/{path}")
    except KeyError:
        return None
    return found.read() if found else None


def sprite(archive: tarfile.TarFile) -> str:
    """One <svg> with a <symbol> per icon; strokes take the colour of the text around them."""
    symbols, missing = [], []
    for name in sorted(set(ICONS)):
        raw = member(archive, f"icons/{name}.svg")
        if raw is None:
            missing.append(name)
            continue
        body = re.search(r"<svg[^>]*>(.*)</svg>", raw.decode(), re.S)
        assert body is not None, name
        inner = re.sub(r"\s*\n\s*", "", body.group(1)).strip()
        symbols.append(
            f'<symbol id="{name}" viewBox="0 0 24 24" fill="none" stroke="currentColor" stroke-width="1.75" '
            f'stroke-linecap="round" stroke-linejoin="round">{inner}</symbol>'
        )
    if missing:
        raise SystemExit("no such icon in Lucide: " + ", ".join(missing))
    return '<svg xmlns="http://www.w3.org/2000/svg">\n' + "\n".join(symbols) + "\n</svg>\n"


def main() -> None:
    """Fetch everything, write the files, the sprite and the list of licences."""
    rows = []
    for package, version, files, why in PACKAGES:
        print(f"{package} {version}")
        archive = pack(package, version)
        meta = json.loads(member(archive, "package.json") or b"{}")
        for source, target in files.items():
            data = member(archive, source)
            if data is None:
                raise SystemExit(f"{package} {version} has no {source}")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(
                re.sub(rb"\n//# sourceMappingURL=.*", b"", data) if target.suffix == ".js" else data
            )
        if package == "lucide-static":
            SPRITE.parent.mkdir(parents=True, exist_ok=True)
            SPRITE.write_text(sprite(archive))
            files = {"": SPRITE}
        names = ", ".join(f"`{p.relative_to(ROOT)}`" for p in files.values())
        rows.append(f"| {package} | {version} | {meta.get('license', '?')} | {names} | {why} |")
    (ROOT / "docs/vendored.md").write_text(
        "# Vendored browser files\n\nWritten by `scripts/vendor.py`; change a version there and run it again.\n\n"
        "| Package | Version | Licence | Files | For |\n|---|---|---|---|---|\n" + "\n".join(rows) + "\n"
    )


if __name__ == "__main__":
    main()
