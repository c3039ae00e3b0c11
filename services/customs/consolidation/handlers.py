"""Replies to summary requests: receipts (CEB702) and the declarations made of them (CEB792)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

from services.customs.ceb import codes
from services.customs.ceb.summaries import ResultLine, SummaryReceipt, SummaryResult
from services.customs.consolidation import (
    declaration_store,
    domain,
    event_store,
    grouping,
    list_store,
    store,
    summary_declaration,
)
from services.customs.consolidation.domain import Summary
from services.customs.consolidation.summary_declaration import DeclarationStage, SummaryDeclaration
from services.customs.consolidation.terms import ConsolidationRules
from services.customs.deps import Deps
from services.customs.domain.declaration import AuthorityReply
from shared.database import Connection
from shared.envelope import Message
from shared.errors import Unprocessable
from shared.subscriptions import Outcome
from shared.values import replace

EVENT_KINDS: Final = {DeclarationStage.DECLARED: "declared", DeclarationStage.CLOSED: "closed"}
MEANINGS: Final[Mapping[codes.StatusClass, domain.ReplyMeaning]] = {
    "granted": "accepted", "accepted": "accepted", "returned": "returned", "technical": "returned",
}  # fmt: skip
"""Meaning of a returnStatus on a summary request; any other is a wait."""


async def handle_summary_replies(conn: Connection, batch: Sequence[Message], deps: Deps) -> Outcome:
    """Apply replies to summary requests; a timer announces what follows."""
    for m in batch:
        if isinstance(m.event, SummaryReceipt):
            for s in await store.lock_by_number(conn, [m.event.cop_no], []):
                await _apply_reply(conn, s, reply_of(m.event), m.at, deps.consolidation)
        else:
            await _apply_result(conn, m.event, m.at, deps.consolidation)
    return Outcome()


async def refuse_message(
    conn: Connection,
    guid: str,
    reply: AuthorityReply,
    at: datetime,
    rules: ConsolidationRules,
    *,
    in_transit: bool,
) -> bool:
    """Refuse the requests of a message that was refused whole (CEB900). Return whether there are
    any.
    """
    summaries = await store.lock_in_message(conn, [guid])
    for s, seq in summaries:
        refusal = domain.SummaryReply(
            s.cop_no,
            seq,
            "returned",
            reply.status,
            reply.info,
            at,
            reply.status,
            on_the_way=in_transit,
        )
        await _apply_reply(conn, s, refusal, at, rules)
    return bool(summaries)


def reply_of(receipt: SummaryReceipt) -> domain.SummaryReply:
    """Return the reply without the authority's own text, which may quote a person."""
    status_class = codes.status(receipt.status).meaning_class
    way = (
        (codes.way_of(receipt.code or receipt.status) or codes.way_of(receipt.status))
        if status_class == "technical"
        else None
    )
    # Customs has the request already, so its receipt is still to come.
    meaning = "waiting" if way == "there" else MEANINGS.get(status_class, "waiting")
    return domain.SummaryReply(
        receipt.cop_no,
        receipt.seq,
        meaning,
        receipt.status,
        receipt.public_info,
        receipt.at,
        receipt.code,
        receipt.sum_no,
        receipt.named,
        on_the_way=way in ("wait", "ours"),
    )


async def _apply_reply(
    conn: Connection,
    s: Summary,
    reply: domain.SummaryReply,
    at: datetime,
    rules: ConsolidationRules,
) -> None:
    named = await list_store.filter_lists(conn, s.summary_id, reply.named) if reply.named else set()
    after, aside = domain.apply_reply(s, reply, named, rules.policy.summaries.asking)
    if after == s:
        return
    await store.save(conn, after, at)
    if after.state is not s.state and after.state is domain.SummaryState.REFUSED:
        if aside:
            await store.set_aside(conn, s.summary_id, aside)
        await event_store.queue_events_of_lists(conn, "refused", s.summary_id)
    if after.sum_no is not None and s.sum_no is None:
        # Results that overtook the receipt wait under its number.
        await _progress(conn, after, at)


async def _apply_result(
    conn: Connection, result: SummaryResult, at: datetime, rules: ConsolidationRules
) -> None:
    s = await _lock_summary(conn, result)
    seq_no = result.decl_seq_no
    before = (await declaration_store.load_declarations(conn, [seq_no], [])).get(seq_no)
    new = bool(result.lines) and (before is None or result.seq not in before.received_parts)
    after = summary_declaration.apply_result(
        before, result_of(result), len(result.lines) if new else 0
    )
    if after.sum_no != result.sum_no:
        raise _invalid(f"declaration {seq_no} is of request {after.sum_no}, found {result.sum_no}")
    if after != before:
        await declaration_store.save_declaration(conn, after)
    if s is None:
        return
    if new:
        await _add_lines(conn, s, result, rules)
    if s.sum_no is None:
        s = replace(s, sum_no=result.sum_no)
        await store.save(conn, s, at)
    await _progress(conn, s, at)


async def _lock_summary(conn: Connection, result: SummaryResult) -> Summary | None:
    """Return the request of a result, by its number or by the first list. Raises Unprocessable."""
    s = next(iter(await store.lock_by_number(conn, [], [result.sum_no])), None)
    if s is not None or not result.lines:
        return s
    invt_no = result.lines[0].invt_no
    s = await store.lock_of_list(conn, invt_no)
    if s is None:
        raise _invalid(f"list {invt_no} is in no summary request of ours")
    if s.sum_no not in (None, result.sum_no):
        raise _invalid(f"list {invt_no} is in request {s.sum_no}, found {result.sum_no}")
    return s


def _invalid(text: str) -> Unprocessable:
    return Unprocessable("invalid_value", f"CEB792: {text}")


def result_of(result: SummaryResult) -> summary_declaration.DeclarationResult:
    return summary_declaration.DeclarationResult(
        result.sum_no,
        result.decl_seq_no,
        codes.dec_state(result.status),
        result.status,
        result.at,
        result.entry_id,
        result.tmp_no,
        result.pre_no,
        result.count,
        result.seq,
    )


async def _add_lines(
    conn: Connection, s: Summary, result: SummaryResult, rules: ConsolidationRules
) -> None:
    """Store which line went where. Raises Unprocessable for a foreign or repeated line, or lines
    that may not share one.
    """
    numbers = {line.invt_no for line in result.lines}
    strange = numbers - await list_store.filter_lists(conn, s.summary_id, numbers)
    if strange:
        raise _invalid(f"list {min(strange)} is not in request {s.cop_no}")
    declared = await declaration_store.load_declared(conn, result.decl_seq_no)
    invt_nos = {*numbers, *(place.invt_no for _, place in declared)}
    lines = {
        line.place: line for line in await list_store.list_lines(conn, invt_nos, rules.traf_mode)
    }
    elsewhere = await declaration_store.find_other_declarations(conn, numbers, result.decl_seq_no)
    pairs = [(each, _line_of(each, lines, elsewhere)) for each in result.lines]
    closed_at = await list_store.first_closed(conn, s.summary_id)
    by = rules.grouping_of(rules.month_of(closed_at or result.at))
    assert by is not None, "a request is made under terms that are known"
    together = [(number, lines[place]) for number, place in declared]
    together += [(each.declared_line, line) for each, line in pairs]
    try:
        grouping.check(together, by)
    except grouping.IncompatibleLines as error:
        raise _invalid(f"declaration {result.decl_seq_no}: {error}") from None
    await declaration_store.add_lines(conn, result.decl_seq_no, pairs)


def _line_of(
    each: ResultLine,
    lines: Mapping[grouping.LinePlace, grouping.ListLine],
    elsewhere: Mapping[grouping.LinePlace, str],
) -> grouping.ListLine:
    place = grouping.LinePlace(each.invt_no, each.line_no)
    line = lines.get(place)
    if line is None or line.hs_code != each.hs_code:
        raise _invalid(f"{each.invt_no} has no line {each.line_no} under {each.hs_code}")
    if place in elsewhere:
        raise _invalid(f"{each.invt_no} line {each.line_no} is in {elsewhere[place]} already")
    return line


async def _progress(conn: Connection, s: Summary, at: datetime) -> None:
    assert s.sum_no is not None
    made: list[SummaryDeclaration] = []
    for d in (await declaration_store.load_declarations(conn, [], [s.sum_no])).values():
        after, stages = summary_declaration.take_unpublished_stages(d)
        for stage in stages:
            await event_store.queue_events_of_declaration(
                conn, EVENT_KINDS[stage], s.summary_id, d.decl_seq_no
            )
        if after != d:
            await declaration_store.save_declaration(conn, after)
        made.append(after)
    if (now := domain.apply_declarations(s, made)) != s:
        await store.save(conn, now, at)
