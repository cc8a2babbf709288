# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The versions that are tested lie in the ranges that the package declares."""

from __future__ import annotations

import tomllib
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from support import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def pins() -> dict[str, str]:
    """Return the version of each package in python/requirements*.txt."""
    found = {}
    for file in sorted((ROOT / "python").glob("requirements*.txt")):
        for line in file.read_text().splitlines():
            text = line.partition("#")[0].strip()
            if text:
                requirement = Requirement(text)
                (pin,) = requirement.specifier
                assert pin.operator == "==", f"{file}: {text} is not one version"
                found[canonicalize_name(requirement.name)] = pin.version
    return found


def ranges(*extras: str) -> dict[str, Requirement]:
    texts = [*PROJECT["dependencies"]]
    for extra in extras:
        texts += PROJECT["optional-dependencies"][extra]
    requirements = map(Requirement, texts)
    return {canonicalize_name(r.name): r for r in requirements}


def test_tested_versions_are_declared() -> None:
    declared = ranges(*PROJECT["optional-dependencies"])
    for name, version in pins().items():
        assert name in declared, f"pyproject.toml does not declare {name}"
        assert version in declared[name].specifier, f"{name} {version} is out of range"


def test_declared_packages_are_tested() -> None:
    assert ranges("torch", "dev").keys() <= pins().keys()


def test_published_extras_exist() -> None:
    assert {"torch", "dev", "serve", "bench"} <= PROJECT["optional-dependencies"].keys()
