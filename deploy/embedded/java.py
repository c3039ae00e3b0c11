"""Java and the jars of the broker: found on this machine, or fetched by Maven."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Final

import deploy
from shared.errors import Misconfigured, Unavailable

FOLDER: Final = Path(deploy.__file__).parent / "kafka"


JAVA_LEAST: Final = 17


def libs_dir() -> Path:
    """Return the folder of the broker's jars: one for a checkout, whatever home folder
    a stack has.
    """
    given = os.environ.get("CROSSBORDER_KAFKA_LIBS")
    if given:
        return Path(given)
    root = FOLDER.parent.parent
    return (
        (root if (root / "pyproject.toml").is_file() else Path.cwd())
        / ".crossborder"
        / "kafka-libs"
    )


def find_java() -> str:
    """Return the `java` command; raise Misconfigured without one that is new enough for Kafka."""
    home = os.environ.get("JAVA_HOME")
    beside = [Path(home) / "bin" / "java"] if home else []
    java = next((str(path) for path in beside if path.is_file()), None) or shutil.which("java")
    wanted = f"install Java {JAVA_LEAST} or newer (Debian: default-jre-headless)"
    if java is None:
        raise Misconfigured(f"{wanted}: no `java` on the PATH and Kafka needs it")
    done = subprocess.run([java, "-version"], capture_output=True, text=True, check=False)
    version = re.search(r'version "(\d+)', done.stderr + done.stdout)
    if version is None or int(version[1]) < JAVA_LEAST:
        raise Misconfigured(
            f"{wanted}: `{java}` is {version[1] if version else 'not one that tells its version'}"
        )
    return java


def resolve_jars(libs: Path | None = None) -> Path:
    """Return the folder of the broker's jars, filled by Maven at first and after a change of the
    pom.
    """
    libs = libs or libs_dir()
    pom = FOLDER / "pom.xml"
    mark = hashlib.sha256(pom.read_bytes()).hexdigest()
    stamp = libs / "resolved"
    if stamp.is_file() and stamp.read_text().strip() == mark and any(libs.glob("kafka_*.jar")):
        return libs
    maven = shutil.which("mvn")
    if maven is None:
        raise Misconfigured(
            "install Maven (Debian: maven): no `mvn` on the PATH and Kafka's jars are fetched with "
            "it"
        )
    shutil.rmtree(libs, ignore_errors=True)
    libs.mkdir(parents=True)
    goal = [
        maven,
        "-q",
        "-B",
        "-f",
        str(pom),
        "dependency:copy-dependencies",
        "-DincludeScope=runtime",
    ]
    done = subprocess.run(
        [*goal, f"-DoutputDirectory={libs.resolve()}"], capture_output=True, text=True, check=False
    )
    if done.returncode or not any(libs.glob("kafka_*.jar")):
        output = (done.stdout + done.stderr).strip().splitlines() or ["Maven said nothing"]
        raise Unavailable(
            "Kafka's jars could not be fetched, check Maven's network and mirror settings: "
            f"{output[0][:300]}"
        )
    stamp.write_text(mark)
    return libs
