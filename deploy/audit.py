"""`make audit`: what the product is made of (CycloneDX), and which of it has a published weakness (pip-audit).

The two tools live in an environment of their own from `requirements-audit.txt`. The list is made without any network. The
advisories need one: where their source is not reachable that part is skipped, and says so; it never passes for "none found".
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
    """The folder of the tools' programs, installed anew when their requirements have changed."""
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
    """Write the list of everything the image installs, with the hash of each file; returns how many components it has."""
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
    """Each known weakness in one line; or, as a text, why nobody could say."""
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
            capture_output=True, text=True, check=False, timeout=BOUND_S,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return f"no answer in {BOUND_S} s"
    return read(done.stdout, done.stderr)


def read(said: str, complained: str) -> list[str] | str:
    """What pip-audit's answer means; an answer that is none, or that leaves a package out, is no all-clear."""
    try:
        found: Sequence[dict[str, Any]] = json.loads(said)["dependencies"]
    except (ValueError, KeyError, TypeError):
        lines = complained.strip().splitlines() or ["pip-audit said nothing"]
        return lines[-1][:300]
    skipped = [f"{each['name']}: {each['skip_reason']}" for each in found if "skip_reason" in each]
    if skipped or not found:
        return (
            f"{len(skipped)} packages were left out: {', '.join(skipped[:3])}"
            if skipped
            else "no package was looked at"
        )
    return [
        f"{each['name']} {each['version']}: {weak['id']}, mended in {', '.join(weak['fix_versions']) or 'no release yet'}"
        for each in found
        for weak in each["vulns"]
    ]


def main() -> int:
    programs = tools(ROOT / ".crossborder" / "audit")
    bom = ROOT / "build" / "crossborder.cdx.json"
    print(f"{write_bom(programs, bom)} components in {bom.relative_to(ROOT)}")  # noqa: T201
    found = weaknesses(programs)
    if isinstance(found, str):
        sys.stderr.write(
            f"SKIPPED: the advisories could not be asked, so nothing is said about weaknesses ({found})\n"
        )
        return 0
    for line in found:
        print(line)  # noqa: T201
    sys.stderr.write(f"{len(found)} known weaknesses\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
