"""`crossborder probe`: one synthetic order, now."""

from __future__ import annotations

import typer

from services.cli.connect import Exit, as_json, exit_with, print_err, run, target


def register(app: typer.Typer) -> None:
    app.command()(probe)


def probe(
    late: float = typer.Option(
        120.0, "--late", min=1, help="most seconds until the order must be at its end"
    ),
    json: bool = typer.Option(False, "--json", help="for machines"),
) -> None:
    """Publish one synthetic order and follow it to its end.

    Exit 1 if the order is not fulfilled in time.
    A synthetic order does not count as a sale.
    """
    from deploy import prober as deploy_prober
    from shared.settings import load

    to = target()
    settings = load(deploy_prober.ProbeSettings).model_copy(
        update={"kafka": to.kafka, "topic_prefix": to.prefix, "probe_late_s": late, "home": to.home}
    )
    done = run(deploy_prober.once(settings, to.security))
    if json:
        as_json(
            {
                "order_no": done.order_no,
                "order_id": str(done.order_id),
                "outcome": done.outcome,
                "seconds": round(done.took_s, 3),
            }
        )
    else:
        print(f"{done.order_no} {done.outcome} after {done.took_s:.1f} s")
    if done.outcome != "fulfilled":
        print_err(
            f"look at `crossborder order show {done.order_no}`: it should have been fulfilled "
            f"within {late:.0f} s"
        )
        exit_with(Exit.NO)
