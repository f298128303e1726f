"""Facts -> all that is said of a machine, and whether the baseline runs there. Pure."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass

from evbench.doctor.facts import Facts
from evbench.doctor.findings import GPU, Finding
from evbench.doctor.gpu import about_gpu
from evbench.doctor.room import about_room
from evbench.doctor.software import about_software
from evbench.doctor.variants import Runs, about_variants, runs

REFUSED = 2
"""Exit code where the baseline cannot run: as of any other command that this machine cannot carry out."""
DEVICES = {"cuda": "the GPU", "cpu": "the CPU"}


@dataclass(frozen=True)
class Examination:
    """What is said of a machine."""

    device: str
    findings: tuple[Finding, ...]
    runs: tuple[Runs, ...]

    @property
    def stopped_by(self) -> tuple[str, ...]:
        """Subjects of what has to be mended before the baseline runs."""
        return _stopping(self.findings)

    @property
    def exit_code(self) -> int:
        return REFUSED if self.stopped_by else 0

    @property
    def conclusion(self) -> str:
        """The exit code and its reason."""
        device = DEVICES[self.device]
        if not self.stopped_by:
            return f"exit 0: the baseline can run on {device}"
        on_cpu = self.device == "cuda" and all(finding.area == GPU for finding in self.findings if finding.stops)
        advice = "; on the CPU it can, with --device cpu" if on_cpu else ""
        return f"exit {REFUSED}: the baseline cannot run on {device}; mend first: {', '.join(self.stopped_by)}{advice}"


def examine(facts: Facts) -> Examination:
    """Variants come last: what is wrong above stops them, too."""
    findings = (*about_gpu(facts), *about_software(facts), *about_room(facts))
    return Examination(facts.device, (*findings, *about_variants(facts, _stopping(findings))), tuple(runs(facts)))


def _stopping(findings: tuple[Finding, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(finding.subject for finding in findings if finding.stops))


def to_json(examination: Examination) -> str:
    """As `evbench doctor --json` prints it; its help lists the keys."""
    stopped = bool(examination.stopped_by)
    return json.dumps(
        {
            "device": examination.device,
            "baseline_runs": not stopped,
            "exit_code": examination.exit_code,
            "conclusion": examination.conclusion,
            "findings": [dataclasses.asdict(finding) for finding in examination.findings],
            "variants": [
                {
                    "variant": one.variant,
                    "model": one.model,
                    "input": one.kind,
                    "runs": not stopped and not one.reasons,
                    "reason": one.in_words,
                }
                for one in examination.runs
            ],
        },
        indent=1,
    )
