"""`mt1bridge journal list|export|verify`: what was recorded."""

import argparse
import csv
import json
import os
import sys
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from mt1bridge.cli import add_config_option, config_path, moments
from mt1bridge.cli.message_lines import HEADING, fact_line
from mt1bridge.journal.query import JournalReader, Recorded, Wanted
from mt1bridge.journal.verify import Verdict, verify
from mt1bridge.model.errors import BridgeError, UsageError
from mt1bridge.model.fact import InEffect
from mt1bridge.model.trigger import CHANNELS
from mt1bridge.runtime.clock import SystemClock
from mt1bridge.topics import times
from mt1bridge.topics.payloads import fact_body, last_body

HELP = (
    "Read the journal, where every trigger is written down before it is published. The bridge may run meanwhile.\n"
    "list shows it to people, export writes CSV or JSON lines with exact times, verify checks that it is whole."
)
EXAMPLE = """mt1bridge journal list --device 231203016 --since 2h
  mt1bridge journal export --format csv --final --since 2026-02-14 -o race.csv
  mt1bridge journal verify"""
EXAMPLES = {
    "list": "mt1bridge journal list --channel C1 --start-number 12",
    "export": "mt1bridge journal export --format jsonl --since 2026-02-14T09:00 --until 2026-02-14T12:00",
    "verify": "mt1bridge journal verify --directory /var/lib/mt1bridge",
}
WHAT = {
    "list": "Show what was published, one line for each message, in the order in which the bridge learned of it.",
    "export": "Write what was published, one row for each message, as CSV or JSON lines, exact times as text.",
    "verify": "Check the file, the sequences, the states, and say what the broker is still owed. Exit code 1 if a "
    "fault is found.",
}
KEEP_S = 90 * 86400  # the default of journal.keep, where no configuration is read
CSV_COLUMNS = (
    "id", "revision", "journal", "sequence", "event_type", "device", "device_name", "channel", "channel_name",
    "start_number", "start_number_type", "time", "local_time", "time_of_day", "timestamp", "time_offset", "valid",
    "blocked", "falling_edge", "in_effect", "source", "received_at", "delay_ms", "previous_start_number", "reasons",
    "delivered",
)  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="list|export|verify")
    for name, text in WHAT.items():
        one = actions.add_parser(
            name,
            help=text,
            description=text,
            epilog=f"example:\n  {EXAMPLES[name]}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        add_config_option(one)
        one.add_argument("--directory", type=Path, metavar="DIR", help="of the journal; no configuration is read then")
        if name == "verify":
            one.add_argument("--json", action="store_true", help="print JSON for programs instead of text for people")
            continue
        _add_filters(one)
        if name == "list":
            one.add_argument("--json", action="store_true", help="print JSON lines for programs")
            one.add_argument("-n", "--last", type=_number, metavar="N", help="only the last N")
        else:
            one.add_argument("--format", choices=("csv", "jsonl"), default="csv", help="default %(default)s")
            one.add_argument("--json", action="store_const", dest="format", const="jsonl", help="as --format jsonl")
            one.add_argument("-o", "--output", type=Path, metavar="FILE", help="write there (default: standard output)")


def _add_filters(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", metavar="ID", help="of this device only")
    parser.add_argument("--channel", choices=CHANNELS, metavar="C0..C8", help="of this channel only")
    parser.add_argument("--since", metavar="TIME", help=f"impulses from then on: {moments.HELP}")
    parser.add_argument("--until", metavar="TIME", help="impulses before then")
    parser.add_argument("--start-number", type=_number, metavar="N", help="of this start number, now or before")
    parser.add_argument("--final", action="store_true", help="each impulse once, as it is now; cleared ones left out")


def run(args: argparse.Namespace) -> int:
    """0; 1 if verify finds a fault. Raises JournalError, ConfigurationError, UsageError."""
    directory, keep_s = _place(args)
    with JournalReader(directory) as reader:
        if args.action == "verify":
            return _verify(reader, keep_s, args.json)
        bodies = _bodies(reader, _wanted(args), args.final)
        if args.action == "list":
            _list(bodies, args.last, args.json)
        else:
            with _output(args.output) as out:
                _export(bodies, args.format, out)
    return 0


def _place(args: argparse.Namespace) -> tuple[Path, int]:
    """Directory of the journal, and how long it keeps messages."""
    if args.directory is not None:
        return args.directory, KEEP_S
    from mt1bridge.cli.service_place import load_beside

    settings = load_beside(Path(config_path(args, os.environ)), os.environ).settings
    return settings.journal.directory, settings.journal.keep_s


def _wanted(args: argparse.Namespace) -> Wanted:
    now_ms = SystemClock().now().utc_ms
    bounds = []
    for name in ("since", "until"):
        text = getattr(args, name)
        try:
            bounds.append(None if text is None else moments.ticks(text, now_ms))
        except ValueError as error:
            raise UsageError(f"--{name}: {error}") from error
    return Wanted(args.device, args.channel, bounds[0], bounds[1], args.start_number)


# --- list and export --------------------------------------------------------------------------------------


def _bodies(reader: JournalReader, wanted: Wanted, final: bool) -> Iterator[dict[str, Any]]:
    """What is to be shown, with the keys that were published and `delivered`."""
    if final:
        yield from (_final_body(one) for one in reader.in_effect(wanted))
    else:
        yield from (recorded_body(one) for one in reader.facts(wanted))


def recorded_body(recorded: Recorded) -> dict[str, Any]:
    """The message as published. Whether an impulse was told as `late` is as it was told last."""
    entry = recorded.entry
    return {**fact_body(entry, entry.fact.late_at_birth), "delivered": recorded.delivered}


def _final_body(newest: InEffect) -> dict[str, Any]:
    fact = newest.first.fact
    return last_body(fact.at, newest, fact.device_name, fact.channel_name)


def _list(bodies: Iterator[dict[str, Any]], last: int | None, as_json: bool) -> None:
    shown: Iterable[dict[str, Any]] = bodies if last is None else deque(bodies, maxlen=last)
    if as_json:
        _export(shown, "jsonl", sys.stdout)
        return
    colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    print(f"{'day':<10}  {HEADING}")
    for body in shown:
        owed = "" if body.get("delivered", True) else "  [the broker has not got it yet]"
        print(f"{(body['local_time'] or '-')[:10]:<10}  {fact_line(body, colour)}{owed}")


def _export(bodies: Iterable[Mapping[str, Any]], how: str, out: TextIO) -> None:
    if how == "jsonl":
        for body in bodies:
            out.write(json.dumps(body, ensure_ascii=True, separators=(",", ":")) + "\n")
        return
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    writer.writerows([_cell(row.get(column)) for column in CSV_COLUMNS] for row in map(csv_row, bodies))


def csv_row(body: Mapping[str, Any]) -> dict[str, Any]:
    """A body without lists and objects in it."""
    previous = body.get("previous")
    return {
        **body,
        "previous_start_number": previous["start_number"] if previous else None,
        "reasons": " ".join(body.get("reasons", ())),
    }


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


@contextmanager
def _output(path: Path | None) -> Iterator[TextIO]:
    if path is None:
        yield sys.stdout
        return
    try:
        with path.open("w", encoding="utf-8", newline="") as out:
            yield out
    except OSError as error:
        raise BridgeError(f"{path} cannot be written: {error.strerror or error}") from error


# --- verify -----------------------------------------------------------------------------------------------


def _verify(reader: JournalReader, keep_s: int, as_json: bool) -> int:
    now_ms = SystemClock().now().utc_ms
    verdict = verify(reader, now_ms - keep_s * 1000)
    if as_json:
        print(json.dumps(_verdict_body(reader.path, verdict)))
    else:
        for line in _verdict_lines(reader.path, verdict):
            print(line)
    return 1 if verdict.faults else 0


def _verdict_lines(path: Path, verdict: Verdict) -> Iterator[str]:
    yield (
        f"{path}: {verdict.facts} messages (triggers, corrections, rejected) about {verdict.triggers} impulses "
        f"(usable or not), {verdict.epochs} journal id(s)."
    )
    yield from verdict.faults
    for owed in verdict.owed:
        since = times.milliseconds(owed.oldest_ms)
        yield f"{owed.at.device} {owed.at.channel}: {owed.count} not yet acknowledged by the broker, since {since}."
    if verdict.faults:
        yield "The journal is not whole. The bridge goes on with it; what the MT1 server still has, it reads again."
    else:
        yield "The journal is whole" + (" and the broker has everything." if not verdict.owed else ".")


def _verdict_body(path: Path, verdict: Verdict) -> dict[str, object]:
    return {
        "file": str(path),
        "ok": not verdict.faults,
        "faults": verdict.faults,
        "messages": verdict.facts,
        "triggers": verdict.triggers,
        "journals": verdict.epochs,
        "owed": [
            {
                "device": owed.at.device,
                "channel": owed.at.channel,
                "count": owed.count,
                "oldest": times.milliseconds(owed.oldest_ms),
            }
            for owed in verdict.owed
        ],
    }


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise argparse.ArgumentTypeError(f"{text} is not a number")
    return int(text)
