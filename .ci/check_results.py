"""Checks that a finished run of the pipeline holds what it promises: python .ci/check_results.py results/TARGET."""

import json
import re
import sys
from pathlib import Path

from multidnn import tables


def main(results: Path) -> None:
    """Raise AssertionError at the first thing that is missing or wrong in `results`."""
    rows = tables.read(results / "summary.csv", tables.SUMMARY)
    workloads = {row["workload"] for row in rows}
    assert workloads, "the summary is empty"
    for workload in workloads:
        mine = [row for row in rows if row["workload"] == workload]
        assert {row["scheduler"] for row in mine} >= {"haxconn", "whole", "streams"}, workload
        assert all(row["measured_median_ms"] > 0 for row in mine), workload
        recommended = [row for row in mine if row["recommended"]]
        fastest = min(row["measured_median_ms"] for row in mine)
        assert [row["measured_median_ms"] for row in recommended] == [fastest], workload
        outputs = json.loads((results / "runs" / f"{workload}.json").read_text())["outputs"]
        assert outputs, workload
        assert all(entry["ok"] for entry in outputs.values()), outputs
        for row in mine:
            trace = json.loads((results / "traces" / workload / f"{row['scheduler']}.json").read_text())
            assert trace["traceEvents"], (workload, row["scheduler"])
    kept = sorted(results.glob("isolation/*.json"))
    assert kept, "no network was kept at its latency"
    for path in kept:
        isolation = json.loads(path.read_text())
        conditions = isolation["conditions"]
        assert set(conditions) == {"alone", "alone_on_partition", "streams", "priority", "partitions"}, path
        assert all(entry["p50"]["ms"] > 0 for entry in conditions.values()), path
        assert all(entry["ok"] for entry in isolation["outputs"].values()), isolation["outputs"]
        assert (results / "figures" / "isolation" / f"{path.stem}.svg").is_file(), path
    emc = tables.read(results / "emc_results.csv", tables.EMC)
    convolutions = {row["name"] for row in emc if row["group"] is None}
    assert len(convolutions) == 25, sorted(convolutions)
    page = (results / "report.html").read_text(encoding="utf-8")
    loaded = re.findall(r"<(?:script|link|img)[^>]+(?:src|href)=[\"'](https?:[^\"']+)", page)
    assert len(page) > 1_000_000, "the report is too small to hold its items"
    assert not loaded, f"the report is not self-contained: {loaded}"
    print(f"{results}: {len(rows)} rows, {len(workloads)} workloads, outputs agree, the report is self-contained")


main(Path(sys.argv[1]))
