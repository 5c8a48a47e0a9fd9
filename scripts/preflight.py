"""Checks a board before anything is measured, and prints what is missing with the command that mends it."""

from multidnn.logs import job_log

with job_log(snakemake.log[0]):
    from multidnn.errors import InputError
    from multidnn.targets.jetson.preflight import failed, preflight, render

    checks = preflight(snakemake.params.spec)
    print(render(checks))
    if failed(checks):
        missing = ", ".join(check.name for check in checks if check.ok is False)
        raise InputError(
            f"targets.{snakemake.params.name}: the board is not ready: {missing}; see above for what mends it"
        )
