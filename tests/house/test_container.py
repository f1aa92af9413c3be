# SPDX-License-Identifier: GPL-2.0-or-later
"""The Dockerfile and the devcontainer type what the README says, and nothing that only they know."""

from __future__ import annotations

import json
import re
import subprocess
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
PYTHON_OF = {"debian:bookworm": (3, 11), "debian:trixie": (3, 13)}
"""What the image calls python3."""


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's, as (word, rest)."""
    lines = [line for line in (ROOT / "Dockerfile").read_text().splitlines() if line and not line.startswith("#")]
    return [(line.split()[0], line.partition(" ")[2]) for line in lines]


def steps() -> list[str]:
    """What the Dockerfile and the devcontainer have .ci/run do."""
    texts = [rest for word, rest in instructions() if word == "RUN"]
    texts.append(json.loads((ROOT / ".devcontainer/devcontainer.json").read_text())["postCreateCommand"])
    return [step for text in texts for found in re.findall(r"\.ci/run ([a-z ]+)", text) for step in found.split()]


def test_the_image_installs_by_the_blocks_of_the_readme() -> None:
    assert steps() == ["debian", "install", "install"]
    for step in steps():
        assert f"<!-- {step} -->\n```sh\n" in README
        printed = subprocess.run(
            ["bash", "-c", f"eval \"$(sed -n '/^commands()/,/^}}/p' .ci/run)\"; commands {step}"],
            cwd=ROOT, capture_output=True, text=True, check=True,
        ).stdout  # fmt: skip
        assert printed.strip() in README
        assert printed.strip()


def test_the_image_brings_what_the_blocks_need_and_no_more() -> None:
    own = [rest for word, rest in instructions() if word == "RUN" and ".ci/run" not in rest]
    (packages,) = re.findall(r"--no-install-recommends ([a-z0-9 -]+)$", own[0])
    assert packages.split() == ["ca-certificates", "python3", "python3-venv"]
    assert len(own) == 1
    (base,) = [rest for word, rest in instructions() if word == "FROM"]
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
    assert PYTHON_OF[base] >= tuple(int(part) for part in wanted.removeprefix(">=").split("."))


def test_no_environment_of_the_host_is_copied_into_the_image() -> None:
    assert ("COPY", ". .") in instructions()
    assert {".git", ".venv"} <= set((ROOT / ".dockerignore").read_text().split())


def test_the_devcontainer_is_the_image() -> None:
    build = json.loads((ROOT / ".devcontainer/devcontainer.json").read_text())["build"]
    assert (ROOT / ".devcontainer" / build["dockerfile"]).resolve() == ROOT / "Dockerfile"
    assert (ROOT / ".devcontainer" / build["context"]).resolve() == ROOT
