"""Binds the finished tables and figures of a target into one self-contained page, with Snakemake's own report."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from multidnn.errors import InputError
from multidnn.logs import job_log

with job_log(snakemake.log[0]) as log, tempfile.TemporaryDirectory() as scratch:
    # Snakemake reports on finished jobs only, so a second one is asked, under the configuration of this one
    configuration = Path(scratch) / "config.json"
    configuration.write_text(json.dumps(snakemake.config), encoding="utf-8")
    page = Path(scratch) / "report.html"
    snakefile = Path(snakemake.scriptdir).parent / "Snakefile"
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(snakefile), "--configfile", str(configuration)]
    command += ["--cores", "1", "--nolock", "--report", str(page), "--", *snakemake.input.shown]
    log.info("report: %d items", len(snakemake.input.shown))
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    if answer.returncode != 0:
        raise InputError(f"{snakemake.output[0]}: the report could not be made:\n{answer.stderr.strip()}")
    Path(snakemake.output[0]).write_bytes(page.read_bytes())
