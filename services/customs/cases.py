"""The kinds of case that customs can open: what no rule settles, and what a person does about it."""

from __future__ import annotations

from typing import Final

from shared.cases import Kinds

KINDS: Final[Kinds] = {}
