"""Rule files of exports: routes, rebate rates, and a house's exporters."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel

from services.tax.exports.decisions import ExportBook
from services.tax.exports.domain import ExportRoutes, Merchants, RebateRates
from services.tax.rulebook.files import RULES, edition_of
from services.tax.rulebook.toml_files import RuleError, line_of, read_toml, validated

Model = TypeVar("Model", bound=BaseModel)


def load_exports(folder: Path = RULES) -> ExportBook:
    """Return routes and rebate rates of a folder's `cn-export-*.toml`; raises RuleError."""
    texts = {path: read_toml(path) for path in sorted(folder.glob("cn-export-*.toml"))}
    kinds = ("export-routes", "export-rebates")
    for path, text in texts.items():
        if text.get("kind") not in (*kinds, "exempt"):
            known = ", ".join((*kinds, "exempt"))
            raise RuleError(
                path,
                line_of(path, ["kind"]),
                f"kind: it must be one of {known}, found {text.get('kind')!r}",
            )
    routes, rebates = (
        _one(folder, texts, kinds[0], ExportRoutes),
        _one(folder, texts, kinds[1], RebateRates),
    )
    return ExportBook(
        routes, rebates, edition_of(text for text in texts.values() if text.get("kind") in kinds)
    )


def load_export_modes(folder: Path = RULES) -> tuple[str, ...]:
    """Return the supervision modes of a folder's exempt export regimes, else of this release's.

    Raises RuleError.
    """
    texts = (read_toml(path) for path in sorted(folder.glob("cn-export-*.toml")))
    modes = {
        mode
        for text in texts
        if (text.get("kind"), text.get("direction")) == ("exempt", "export")
        for mode in _list_of(text.get("modes"))
    }
    if not modes and folder != RULES:
        return load_export_modes(RULES)
    return tuple(sorted(map(str, modes)))


def _list_of(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list) else ()


def load_merchants(path: Path) -> Merchants:
    return validated(path, read_toml(path), Merchants)


def _one(
    folder: Path, texts: dict[Path, dict[str, object]], kind: str, shape: type[Model]
) -> Model:
    those = [path for path, text in texts.items() if text.get("kind") == kind]
    if len(those) != 1:
        where = those[-1] if those else folder
        raise RuleError(
            where,
            None,
            f"there must be one file of kind {kind!r} (cn-export-*.toml), found {len(those)}",
        )
    return validated(those[0], texts[those[0]], shape)
