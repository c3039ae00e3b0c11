"""Sample orders a trader would recognise, and the kinds of days an order can have."""

from __future__ import annotations

from deploy.samples.generate import PLAIN, SAMPLES, submission
from deploy.samples.kinds import KINDS, Case, Kind, Record, case_of, plain

__all__ = ["KINDS", "PLAIN", "SAMPLES", "Case", "Kind", "Record", "case_of", "plain", "submission"]
