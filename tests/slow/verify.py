"""The stand-alone verifier on large records: how quick it is, how much memory it takes, and that it misses nothing.

    python -m tests.slow.verify speed [--events 1000000]
    python -m tests.slow.verify changes [--events 10000]

`speed` makes an export of that many events and runs deploy/wardgate_verify.py on it as a process of its own.

`changes` takes a record of that many events in one chain, with a checkpoint every hundred, and does to each event, one
after the other, what can be done to it: edit, delete, insert, reorder, swap, move to another session, forget its
message, change its hash; the same for editing and deleting with every later event linked anew; and cutting the record
there. Each must be found at that event, or between the two checkpoints around it when it was linked anew. What comes
before the change is verified once, for it is the same each time. Then it changes several events at a time and runs the
tool itself.
"""

from __future__ import annotations

import argparse
import base64
import copy
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from sessions import chain
from tests.support.made_records import MadeRecord
from tests.support.verifying import PATH, tool

Members = dict[str, Any]
EVERY = 100


def speed(events: int) -> int:
    """Time the tool on a record of that many events."""
    with tempfile.TemporaryDirectory(prefix="wardgate-verify-") as folder:
        file = Path(folder) / "record.jsonl"
        with file.open("w") as out:
            out.writelines(line + "\n" for line in MadeRecord(events=events).lines())
        print(f"{file.stat().st_size / 1e6:,.0f} MB")
        began = time.monotonic()
        done = subprocess.run([sys.executable, "-I", str(PATH), str(file)], capture_output=True, text=True, check=False)
        took = time.monotonic() - began
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(done.stdout.strip() or done.stderr)
    cpu = used.ru_utime + used.ru_stime
    print(
        f"wall {took:.1f} s, CPU {cpu:.1f} s ({events / cpu:,.0f} events per CPU second), "
        f"RSS {used.ru_maxrss / 1024:.0f} MiB"
    )
    return done.returncode


def edit(segment: list[Members]) -> None:
    segment[1]["body"] = segment[1]["body"].replace("Ada", "Eve")


def delete(segment: list[Members]) -> None:
    del segment[1]


def insert(segment: list[Members]) -> None:
    segment.insert(1, dict(segment[1], body="{}"))


def reorder(segment: list[Members]) -> None:
    segment[0], segment[1] = segment[1], segment[0]


def swap(segment: list[Members]) -> None:
    for name in ("body", "payload"):
        segment[0][name], segment[1][name] = segment[1][name], segment[0][name]


def move(segment: list[Members]) -> None:
    segment[1]["session"] = "00" * 15 + "01"


def forget(segment: list[Members]) -> None:
    segment[1]["payload"] = None


def rehash(segment: list[Members]) -> None:
    segment[1]["hash"] = "00" * 32


CHANGES = [edit, delete, insert, reorder, swap, move, forget, rehash]


def relinked(segment: list[Members], prev: bytes, seq: int) -> list[Members]:
    """Return the events with numbers and hashes as an attacker would make them."""
    for members in segment:
        payload = None if members["payload"] is None else base64.b64decode(members["payload"])
        entry = chain.Entry(
            seq,
            members["at_us"],
            bytes.fromhex(members["session"]),
            bytes.fromhex(members["call"]),
            members["name"],
            members["body"].encode(),
            payload,
        )
        members["seq"], members["prev"] = seq, prev.hex()
        prev = chain.link(bytes.fromhex(members["instance"]), prev, entry)
        members["hash"] = prev.hex()
        seq += 1
    return segment


def first_found(verifier: Any, segment: list[Members]) -> dict[str, Any] | None:
    """Feed events until there is a problem, and return it."""
    mine = copy.deepcopy(verifier)
    for members in segment:
        mine.event(members)
        if mine.report.problems:
            return dict(mine.report.problems[0].as_dict())
    return None


def changes(events: int) -> int:
    """Do every change to every event, and count what is found where it is."""
    lines = [json.loads(line) for line in MadeRecord(events=events, processes=1, every=EVERY).lines()]
    of_events = [line for line in lines if line["type"] == "event"]
    report = tool.Report()
    verifier = tool.Verifier(report)
    verifier.header(lines[0])
    for line in lines[1:]:
        if line["type"] in {"key", "checkpoint"}:
            getattr(verifier, line["type"])(line)
    verifier.everything_but_events_is_there()
    done: Counter[str] = Counter()
    missed: list[str] = []

    def count(what: str, is_found: bool, seq: int) -> None:
        done[what] += 1
        if not is_found:
            missed.append(f"{what} of event {seq}")

    began = time.monotonic()
    for place, members in enumerate(of_events):
        seq = members["seq"]
        if place:
            for change in CHANGES:
                segment = [dict(event) for event in of_events[place - 1 : place + 3]]
                change(segment)
                found = first_found(verifier, segment)
                if found is None and change is delete:
                    found = cut_at(verifier, segment)
                count(change.__name__, found is not None and abs(found["seq"] - seq) <= 1, seq)
            until = min((seq // EVERY + 1) * EVERY + 1, events)
            for change in (edit, delete):
                segment = [dict(event) for event in of_events[place - 1 : until]]
                change(segment)
                prev, first = bytes.fromhex(segment[0]["prev"]), seq - 1
                found = first_found(verifier, relinked(segment, prev, first)) or cut_at(verifier, segment)
                is_around = False
                if found is not None:
                    after = found["proved"] if found["reason"] == "cut" else found["seq"] - 1
                    is_around = after <= seq <= found["last"] and found["last"] - after <= EVERY
                count(f"{change.__name__}, linked anew", is_around, seq)
            verifier.event(of_events[place - 1])
            verifier.report.problems.clear()
        found = cut_at(verifier, [])
        count("cut", found is not None and found["seq"] == (seq - 1 if place else 1) + (1 if place else 0), seq)
        if place % 1000 == 0:
            print(f"{place} events, {time.monotonic() - began:.0f} s, {len(missed)} missed", flush=True)
    print(f"{sum(done.values())} changes: {dict(done)}")
    several, several_missed = _several_at_a_time(lines, 50)
    print(f"{several} records with 2 to 6 changes each, through the whole tool: {several_missed} missed")
    print(f"missed: {len(missed)} {missed[:5]}")
    return 1 if missed or several_missed else 0


def cut_at(verifier: Any, segment: list[Members]) -> dict[str, Any] | None:
    """Feed the events, end the record there, and return the first problem of an event."""
    mine = copy.deepcopy(verifier)
    for members in segment:
        mine.event(members)
    mine.finish()
    return next((dict(found.as_dict()) for found in mine.report.problems if found.kind == "event"), None)


def _several_at_a_time(lines: list[Members], count: int) -> tuple[int, int]:
    chance, missed = random.Random(3), 0
    begin = next(place for place, line in enumerate(lines) if line["type"] == "event")
    for _ in range(count):
        changed = [dict(line) for line in lines]
        places = sorted(chance.sample(range(begin + 1, len(lines) - 3), chance.randint(2, 6)), reverse=True)
        for place in places:
            segment = changed[place - 1 : place + 2]
            chance.choice(CHANGES)(segment)
            changed[place - 1 : place + 2] = segment
        report = tool.Report()
        tool.verify_lines((json.dumps(line).encode() + b"\n" for line in changed), report)
        first = report.problems[0].as_dict() if report.problems else {}
        missed += not report.problems or abs(first.get("seq", -9) - lines[places[-1]]["seq"]) > 1
    return count, missed


def main() -> int:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["speed", "changes"])
    parser.add_argument("--events", type=int)
    options = parser.parse_args()
    return speed(options.events or 1_000_000) if options.what == "speed" else changes(options.events or 10_000)


if __name__ == "__main__":
    sys.exit(main())
