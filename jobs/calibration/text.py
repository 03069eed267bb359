"""A calibration as lines for a person."""

from dvt.calibration import Certificate, most_failures
from jobs.calibration.thresholds_file import Figures, ThresholdsFile
from pipeline.units import cost_text, percent

__all__ = ["calibration_lines", "certified_text", "promise"]


def calibration_lines(file: ThresholdsFile) -> list[str]:
    """What was found, what to expect of it, and what is proved."""
    thresholds = " / ".join(f"{value:.4f}" for value in file.thresholds)
    lines = [
        f"{file.num_images:,} pictures of {file.data}, {file.num_unreadable:,} unreadable, "
        f"{file.dtype}",
        f"thresholds: {thresholds}",
        f"on the pictures they were chosen on: {_told(file, file.fitted)}",
    ]
    if file.held_out is not None:
        lines.append(f"on others, as to be expected: {_told(file, file.held_out)}")
    if file.certificate is not None:
        lines += [_allowed(file.certificate), promise(file)]
    return lines


def promise(file: ThresholdsFile) -> str:
    """One line: what is known of these thresholds."""
    asked, certificate = file.asked, file.certificate
    if certificate is None:
        figures = file.held_out or file.fitted
        if asked.exit_mix is not None:
            mix = " / ".join(percent(share) for share in asked.exit_mix)
            return f"thresholds for {mix} of the images at the exits, by {file.data}"
        return f"thresholds for {cost_text(figures.gmacs)} an image, by {file.data}"
    if certificate.num_accepted == 0:
        bound = percent(certificate.epsilon)
        return f"nothing cheaper than full depth could be proved for a drop of {bound}"
    return certified_text(certificate.of, certificate.epsilon, certificate.delta, file.data)


def certified_text(of: str, epsilon: float, delta: float, data: str) -> str:
    """What a certificate says.

    Args:
        of: "accuracy" or "agreement".
        epsilon: bound of the loss.
        delta: probability that it fails.
        data: name of the pictures.
    """
    bound, sure = percent(epsilon), percent(1 - delta)
    risk = (
        f"at most {bound} of the answers differ from full depth's"
        if of == "agreement"
        else f"at most {bound} of accuracy is lost against full depth"
    )
    return f"certified: {risk}, {sure} sure, on pictures like {data}"


def _told(file: ThresholdsFile, figures: Figures) -> str:
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


def _allowed(certificate: Certificate) -> str:
    """What a sample of this size could prove at all, and what it did."""
    number, seen = certificate.num_images, certificate.observed_risk
    tested = f"{certificate.num_accepted:,} of {certificate.num_candidates:,} candidates passed"
    p_value = f"p = {certificate.p_value:.2g}"
    if certificate.of == "accuracy":
        return f"{number:,} test pictures: {percent(seen)} of accuracy lost, {p_value}; {tested}"
    most = most_failures(number, certificate.epsilon, certificate.delta) or 0
    return (
        f"{number:,} test pictures allow {most:,} answers ({percent(most / number)}) unlike full "
        f"depth's; {round(seen * number):,} were seen, {p_value}; {tested}"
    )
