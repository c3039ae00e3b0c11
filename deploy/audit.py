"""`make audit`: the components of the product (CycloneDX), and their published weaknesses
(pip-audit).

Both tools have an environment of their own from `requirements-audit.txt`. The list needs no
network. The advisories do: if their source is out of reach, that part is skipped with a message,
and never counts as "none found".
"""

from __future__ import annotations

import json
import subprocess
import sys
import venv
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parents[1]
REQUIREMENTS: Final = ROOT / "requirements.txt"
TOOLS: Final = ROOT / "requirements-audit.txt"
BOUND_S: Final = 300


def tools(folder: Path) -> Path:
    """Return the folder of the tools' programs, reinstalled when their requirements
    have changed.
    """
    mark = sha256(TOOLS.read_bytes()).hexdigest()
    stamp = folder / "installed"
    programs = folder / "bin"
    if not stamp.is_file() or stamp.read_text() != mark:
        venv.create(folder, with_pip=True, clear=True)
        pip = [
            str(programs / "python"),
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--require-hashes",
        ]
        subprocess.run([*pip, "-r", str(TOOLS)], check=True)
        stamp.write_text(mark)
    return programs


def write_bom(programs: Path, to: Path) -> int:
    """Write the list of all that the image installs, with file hashes.

    Return the number of components.
    """
    to.parent.mkdir(parents=True, exist_ok=True)
    command = [
        str(programs / "cyclonedx-py"),
        "requirements",
        "--output-reproducible",
        "--of",
        "JSON",
        "-o",
        str(to),
    ]
    done = subprocess.run(
        [*command, str(REQUIREMENTS)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"the list could not be made: {done.stderr.strip()[-400:]}")
    return len(json.loads(to.read_text())["components"])


def weaknesses(programs: Path) -> list[str] | str:
    """Return each known weakness as one line; or, as a text, why none could be looked up."""
    command = [
        str(programs / "pip-audit"),
        "--requirement",
        str(REQUIREMENTS),
        "--disable-pip",
        "--require-hashes",
    ]
    try:
        done = subprocess.run(
            [*command, "--format", "json", "--progress-spinner", "off", "--timeout", "15"],
            capture_output=True,
            text=True,
            check=False,
            timeout=BOUND_S,
        )
    except subprocess.TimeoutExpired:
        return f"no answer in {BOUND_S} s"
    return read(done.stdout, done.stderr)


def read(output: str, errors: str) -> list[str] | str:
    """Return what pip-audit's output means; unreadable or incomplete output is no all-clear."""
    try:
        packages: Sequence[dict[str, Any]] = json.loads(output)["dependencies"]
    except (ValueError, KeyError, TypeError):
        lines = errors.strip().splitlines() or ["pip-audit printed nothing"]
        return lines[-1][:300]
    skipped = [
        f"{each['name']}: {each['skip_reason']}" for each in packages if "skip_reason" in each
    ]
    if skipped:
        return f"{len(skipped)} packages were left out: {', '.join(skipped[:3])}"
    if not packages:
        return "no package was looked at"
    return [_line(package, weakness) for package in packages for weakness in package["vulns"]]


def _line(package: dict[str, Any], weakness: dict[str, Any]) -> str:
    fixed = ", ".join(weakness["fix_versions"]) or "no release yet"
    return f"{package['name']} {package['version']}: {weakness['id']}, fixed in {fixed}"


def main() -> int:
    programs = tools(ROOT / ".crossborder" / "audit")
    bom = ROOT / "build" / "crossborder.cdx.json"
    print(f"{write_bom(programs, bom)} components in {bom.relative_to(ROOT)}")  # noqa: T201
    lines = weaknesses(programs)
    if isinstance(lines, str):
        sys.stderr.write(
            f"SKIPPED: the advisories are out of reach, so weaknesses are unknown ({lines})\n"
        )
        return 0
    for line in lines:
        print(line)  # noqa: T201
    sys.stderr.write(f"{len(lines)} known weaknesses\n")
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
