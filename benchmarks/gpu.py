"""One call for a GPU: device tests, speed against the published form, a slice of profile gpu.

python benchmarks/gpu.py                all parts, in under 8 minutes
python benchmarks/gpu.py loss step      these parts
python benchmarks/gpu.py --toy          small sizes, also without a GPU

Every part runs in a process of its own: one that fails, hangs or breaks the device leaves the
others alone. The exit status is 1 if a part failed.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import measure

SCRIPT = Path(__file__).with_name("gpu_parts.py")
# Seconds that each part may take; it also gets what earlier ones left.
LIMITS = {"exactness": 75, "resume": 65, "loss": 100, "step": 140, "profile": 70}
CHECKS = ("exactness", "resume")  # parts with bounds: a skipped piece has not been met
SHARE = 0.8  # of a part's time, after which it starts no further piece of work


def run_part(name, limit, toy):
    """Run a part, for ``limit`` seconds at most; returns its record."""
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        rows, log = Path(folder, "rows"), Path(folder, "log")
        rows.touch()
        command = [sys.executable, SCRIPT, name, rows, "--seconds", str(SHARE * limit)]
        with log.open("w") as output:
            status = _status([*command, *(["--toy"] if toy else [])], limit, output)
        # A process that was killed may have left half a line.
        results = [json.loads(line) for line in rows.read_text().split("\n")[:-1]]
        said = log.read_text(errors="replace").splitlines()
    wrong = [
        row["piece"]
        for row in results
        if "error" in row or not row.get("holds", True) or (name in CHECKS and "skipped" in row)
    ]
    if status is None:
        error = f"killed after its {limit:.0f} s"
    elif status:
        error = f"exit status {status}: {said[-1] if said else 'no message'}"
    else:
        error = f"failed: {'; '.join(wrong)}" if wrong else None
    _compare(results)
    record = {"seconds": time.perf_counter() - started, "limit_s": limit, "error": error}
    return record | {"results": results} | ({"log": said[-40:]} if error else {})


def _status(command, limit, output):
    """Exit status of a command, or None if it was killed, with what it had started."""
    process = subprocess.Popen(
        command, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
    )
    try:
        return process.wait(limit)
    except subprocess.TimeoutExpired:
        return None
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _compare(rows):
    """Hold every timed side against the first of its group, by tokens a second."""
    first = {}
    for row in rows:
        if "tokens_per_second" in row:
            rate = first.setdefault(row["group"], row["tokens_per_second"])
            row["faster"] = row["tokens_per_second"] / rate


def show(name, part):
    print(f"{name}: {part['seconds']:.0f} s{', ' + part['error'] if part['error'] else ''}")
    for row in part["results"]:
        print(f"  {row['piece']}: {_text(row)}", flush=True)


def _text(row):
    if "error" in row or "skipped" in row:
        return row.get("error") or f"skipped, {row['skipped']}"
    if "median_s" in row:
        memory = "" if row["extra_mib"] is None else f", {row['extra_mib']:,.0f} MiB"
        mfu = f", MFU {row['mfu']:.3f}" if "mfu" in row else ""
        return (
            f"batch {row['batch']}, {row['median_s']:.4f} s, {row['tokens_per_second']:,.0f} "
            f"tokens/s, {row['faster']:.2f} x{mfu}{memory}"
        )
    if "probes" in row:
        log, probes = row["log"], row["probes"]
        means = ", ".join(f"{p['set']} {p['quantity']} {p['mean']:.3f}" for p in probes)
        return (
            f"{row['corpus']}, loss {log['loss']:.3f}, {log['tokens_per_second']:,.0f} tokens/s, "
            f"MFU {log['mfu']:.3f}; {means}"
        )
    kept = {"value", "allowed", "bit_identical", "two_undisturbed_bit_identical", "same_again"}
    numbers = ", ".join(f"{name} {row[name]}" for name in row if name in kept)
    return f"{'' if row['holds'] else 'MISSED: '}{numbers}"


def main(arguments=None):
    """Run the parts and write the record; returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "parts", nargs="*", metavar="PART", help=f"of {', '.join(LIMITS)}; all by default"
    )
    parser.add_argument("--toy", action="store_true", help="small sizes, also without a GPU")
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="default: benchmarks/results/gpu[-toy].json"
    )
    options = parser.parse_args(arguments)
    chosen = options.parts or list(LIMITS)
    if unknown := set(chosen) - set(LIMITS):
        parser.error(f"PART={', '.join(sorted(unknown))} is unknown; allowed: {', '.join(LIMITS)}")
    if not (measure.GPU or options.toy):
        parser.error("there is no GPU here; allowed without one: --toy")
    out = options.out or measure.RESULTS / f"gpu{'-toy' if options.toy else ''}.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    record = {"benchmark": "gpu", "toy": options.toy, "machine": measure.machine(), "parts": {}}
    started = time.perf_counter()
    whole = sum(LIMITS[name] for name in chosen)
    for number, name in enumerate(chosen, 1):
        later = sum(LIMITS[other] for other in chosen[number:])
        limit = whole - later - (time.perf_counter() - started)
        part = record["parts"][name] = run_part(name, limit, options.toy)
        record["seconds"] = time.perf_counter() - started
        out.write_text(json.dumps(record, indent=1) + "\n")
        show(name, part)
    failed = [name for name, part in record["parts"].items() if part["error"]]
    print(f"{record['seconds']:.0f} s, {out}{'; failed: ' + ', '.join(failed) if failed else ''}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
