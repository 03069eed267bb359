"""Calibrations as lines of text."""

from dvt.calibration import Certificate, RecordedExits, Risk, ThresholdSchedule, most_failures
from dvt.model import ThresholdProvenance
from jobs.calibration.fit import DEFAULT_DELTA
from jobs.calibration.thresholds_file import Figures, ThresholdsFile
from pipeline.units import cost_text, percent

__all__ = ["calibration_lines", "default_promise", "promise", "schedule_promises"]


def calibration_lines(file: ThresholdsFile) -> list[str]:
    """Thresholds, their figures and what is proved of them."""
    thresholds = " / ".join(f"{value:.4f}" for value in file.thresholds)
    lines = [
        f"{file.num_images:,} images of {file.data}, {file.num_unreadable:,} unreadable, "
        f"{file.dtype}{', groups' * (file.signal != 'label')}",
        f"thresholds: {thresholds}",
        f"on the images they were fitted to: {_figures(file, file.fitted)}",
    ]
    if file.held_out is not None:
        lines.append(f"expected on other images: {_figures(file, file.held_out)}")
    if file.certificate is not None:
        lines += [_test(file.certificate), promise(file)]
    return lines


def promise(file: ThresholdsFile) -> str:
    """What thresholds promise, in one line."""
    asked, certificate = file.asked, file.certificate
    if certificate is None:
        if asked.exit_mix is not None:
            mix = " / ".join(percent(share) for share in asked.exit_mix)
            return f"thresholds for {mix} of the images at the exits, by {file.data}"
        gmacs = (file.held_out or file.fitted).gmacs
        return f"thresholds for {cost_text(gmacs)} an image, by {file.data}"
    if certificate.num_accepted == 0:
        bound = percent(certificate.epsilon)
        return f"nothing cheaper than full depth could be proved for a drop of {bound}"
    return _certified(certificate.of, certificate.epsilon, certificate.delta, file.data)


def _certified(of: str, epsilon: float, delta: float, data: str) -> str:
    return f"certified: {_bound(of, epsilon, delta)}, on images like {data}"


def default_promise(provenance: ThresholdProvenance | None) -> str | None:
    """What is proved of a model's default thresholds, in one line; None if nothing is."""
    if provenance is None or not provenance.certified:
        return None
    if provenance.max_drop is None or provenance.delta is None:
        return None
    text = _certified(provenance.risk, provenance.max_drop, provenance.delta, provenance.data)
    return f"the model's own thresholds, {text}"


def schedule_promises(
    schedule: ThresholdSchedule,
    recorded: RecordedExits,
    max_drop: float | None,
    floor: float | None,
) -> tuple[str, ...]:
    """What a schedule promises whichever of its sets are used when, and how far it reaches.

    Args:
        schedule: for a deadline.
        recorded: what it was fitted to.
        max_drop: bound that was proved; or None, and
        floor: accuracy to expect.
    """
    sets = schedule.threshold_sets
    if len(sets) == 1:
        limit = "nothing cheaper than full depth is allowed, so no time can be saved"
    elif max_drop is not None:
        limit = (
            f"certified at any time of the run: {_bound(recorded.risk, max_drop, DEFAULT_DELTA)}"
        )
    else:
        assert floor is not None
        limit = (
            f"expected at any time of the run: {recorded.risk} of at least {percent(floor)} on "
            f"{recorded.data}"
        )
    loosest = " / ".join(f"{value:.4f}" for value in schedule.loosest)
    share = percent(round(sets[-1].gmacs / sets[0].gmacs, 3))
    return (
        limit,
        f"{len(sets)} sets of thresholds, down to {loosest} at {share} of full depth's MACs",
    )


def _bound(of: Risk | str, epsilon: float, delta: float) -> str:
    bound, sure = percent(epsilon), percent(1 - delta)
    if of == "agreement":
        return f"at most {bound} of the answers differ from full depth's, {sure} sure"
    return f"at most {bound} of accuracy is lost against full depth, {sure} sure"


def _figures(file: ThresholdsFile, figures: Figures) -> str:
    share = figures.gmacs / file.model.gmacs_per_exit[-1]
    exits = " / ".join(f"{count:,}" for count in figures.exits)
    parts = [
        f"{cost_text(figures.gmacs)} ({100 * share:.0f} % of full depth)",
        f"exits {exits}",
        f"agreement {100 * figures.agreement:.2f} %",
    ]
    if figures.accuracy is not None and figures.accuracy_full_depth is not None:
        parts.append(
            f"accuracy {100 * figures.accuracy:.2f} % "
            f"(full depth {100 * figures.accuracy_full_depth:.2f} %)"
        )
    return ", ".join(parts)


def _test(certificate: Certificate) -> str:
    """What a sample of this size could prove, and what it did prove."""
    number, seen = certificate.num_images, certificate.observed_risk
    result = (
        f"p = {certificate.p_value:.2g}; "
        f"{certificate.num_accepted:,} of {certificate.num_candidates:,} candidates passed"
    )
    if certificate.of == "accuracy":
        return f"{number:,} test images: {percent(seen)} of accuracy lost, {result}"
    most = most_failures(number, certificate.epsilon, certificate.delta) or 0
    return (
        f"{number:,} test images allow {most:,} answers ({percent(most / number)}) unlike full "
        f"depth's; {round(seen * number):,} were seen, {result}"
    )
