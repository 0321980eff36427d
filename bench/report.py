# SPDX-License-Identifier: Apache-2.0
"""report.py - medians, ratios and means of what bench/run measured, as a table and as the dictionary that becomes JSON."""
import math
import os
import platform
import statistics
import time


def machine():
    """What the numbers were taken on."""
    model = "unknown"
    with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
        for line in file:
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    return {
        "cpu": model,
        "cores": len(os.sched_getaffinity(0)),
        "kernel": platform.release(),
        "load": os.getloadavg(),
        "date": time.strftime("%Y-%m-%d %H:%M:%S %z"),
    }


def machine_line(facts):
    load = " ".join(f"{value:.1f}" for value in facts["load"])
    return f"{facts['cpu']}, {facts['cores']} cores, Linux {facts['kernel']}, load {load}, {facts['date']}"


def median(runs, key):
    values = [run[key] for run in runs]
    return statistics.median(values) if values else None


def quotient(above, below):
    return above / below if above and below else None


def geometric_mean(values):
    values = [value for value in values if value]
    return math.exp(sum(map(math.log, values)) / len(values)) if values else None


def summarize(runs, workloads, unmeaned):
    """runs[workload][machine] is a list of runs. A row a workload, and the two ratios' means by wall and by processor time."""
    rows = {}
    for workload in workloads:
        row = {"meaned": workload not in unmeaned}
        for key, prefix in (("seconds", ""), ("cpu_seconds", "cpu_")):
            for name in ("native", "tcg", "holon"):
                row[prefix + name] = median(runs[workload][name], key)
            row[prefix + "tcg_over_holon"] = quotient(row[prefix + "tcg"], row[prefix + "holon"])
            row[prefix + "holon_over_native"] = quotient(row[prefix + "holon"], row[prefix + "native"])
        row["runs"] = min(len(runs[workload][name]) for name in ("native", "tcg", "holon"))
        rows[workload] = row
    means = {}
    for key in ("tcg_over_holon", "holon_over_native", "cpu_tcg_over_holon", "cpu_holon_over_native"):
        means[key] = geometric_mean([row[key] for row in rows.values() if row["meaned"]])
    return rows, means


def cell(value, width=9, digits=3):
    return f"{'-':>{width}}" if value is None else f"{value:{width}.{digits}f}"


def table(rows, means, rounds):
    """Seconds are wall seconds by the guest's own clock; the last two columns are the same ratios in processor time."""
    lines = [f"{'':10}   native       TCG     Holon | TCG/Holon  Holon/native | in CPU time: TCG/Holon  Holon/native",
             f"{'':10}  seconds   seconds   seconds |"]
    for workload, row in rows.items():
        mark = "" if row["meaned"] else "*"
        few = "" if row["runs"] >= rounds else f"  ({row['runs']} of {rounds} runs)"
        lines.append(f"{workload + mark:9}{cell(row['native'])} {cell(row['tcg'])} {cell(row['holon'])} |"
                     f"{cell(row['tcg_over_holon'], 10, 2)}{cell(row['holon_over_native'], 14, 2)} |"
                     f"{cell(row['cpu_tcg_over_holon'], 23, 2)}{cell(row['cpu_holon_over_native'], 14, 2)}{few}")
    lines.append(f"{'geometric mean':39} |{cell(means['tcg_over_holon'], 10, 2)}{cell(means['holon_over_native'], 14, 2)} |"
                 f"{cell(means['cpu_tcg_over_holon'], 23, 2)}{cell(means['cpu_holon_over_native'], 14, 2)}")
    if any(not row["meaned"] for row in rows.values()):
        lines.append("* not part of the mean")
    return "\n".join(lines)
