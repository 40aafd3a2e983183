from __future__ import annotations

from io import StringIO

import pytest
from rich.console import Console

from smarty_async.report.advice import advice
from smarty_async.report.progress import Bar, Lines, Pace, Silence
from smarty_async.report.summary import (
    FREE,
    Tally,
    photo_line,
    plan_lines,
    status_lines,
    summary_lines,
)
from smarty_async.report.wording import count, duration, money, plain
from smarty_async.results import ErrorInfo, Outcome, Plan, Progress, Result, Status


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def result(photo: str, outcome: Outcome, error: tuple[str, str] | None = None) -> Result:
    return Result(photo=photo, source="/p", outcome=outcome, error=ErrorInfo(*error) if error else None)


# ── wording ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_text_from_elsewhere_cannot_command_a_terminal() -> None:
    assert plain("a\nb\x1b[2J\udcff") == r"a\nb\x1b[2J\udcff"
    assert plain("Бабушка, 1956 – «дача»") == "Бабушка, 1956 – «дача»"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 s"), (59.4, "59 s"), (59.6, "1 min 0 s"), (125, "2 min 5 s"), (12_000, "3 h 20 min"), (-1, "0 s")],
)
def test_duration(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_counts_and_money() -> None:
    assert count(1, "photo") == "1 photo"
    assert count(1200, "photo") == "1,200 photos"
    assert money(1234.5) == "about 1,234.50 ₽"


# ── summary ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_tally_groups_by_reason_whatever_numbers_and_names_are_in_it() -> None:
    tally = Tally()
    tally.add(result("a.jpg", "restored"))
    tally.add(result("b.jpg", "rejected", ("too_large", "'b.jpg' has 9.1 MB, more than 8 MB")))
    tally.add(result("c.jpg", "rejected", ("too_large", "'c.jpg' has 12.3 MB, more than 8 MB")))
    tally.add(result("d.jpg", "failed", ("permanent", "no face")))

    first, second = tally.failures
    assert (first.type, first.count, first.example) == ("too_large", 2, "b.jpg")
    assert (second.type, second.count, second.message) == ("permanent", 1, "no face")
    assert tally.bad == 3
    assert tally.outcomes == {"restored": 1, "rejected": 2, "failed": 1}


def test_a_tally_stays_bounded() -> None:
    tally = Tally()
    for number in range(500):
        name = "".join(chr(ord("a") + int(digit)) for digit in str(number))
        tally.add(result(name, "failed", ("permanent", f"reason {name}")))
    assert len(tally.failures) <= 101
    assert sum(group.count for group in tally.failures) == 500


def test_the_summary_says_what_became_of_every_photo_and_what_to_do() -> None:
    tally = Tally()
    tally.add(result("a.jpg", "restored"))
    tally.add(result("b.jpg", "already_good"))
    tally.add(result("c.txt", "rejected", ("not_an_image", "it is no image")))
    tally.add(result("d.jpg", "failed", ("temporary", "unable decode\x1b input image")))
    summary = tally.summary(
        Progress(found=9, images=6, images_paid=6, requests=2), out="restored", seconds=61, free=False
    )
    text = "\n".join(summary_lines(summary, free=False))

    assert "4 photos in 1 min 1 s" in text
    assert "5 photos left for another run" in text
    assert "1  restored" in text
    assert "1  already good" in text
    assert "--exclude" in text
    assert "--retry-failed" in text
    assert "one of them" not in text
    assert "c.txt" in text
    assert "\x1b" not in text
    assert "The results are in restored" in text
    assert "about 0.36 ₽ (6 images in 2 requests)" in text


def test_the_embedded_service_costs_nothing() -> None:
    tally = Tally()
    tally.add(result("a.jpg", "restored"))
    summary = tally.summary(Progress(images=1, images_paid=1, requests=1), out="o", seconds=1, free=True)
    assert summary.cost == 0
    assert FREE in "\n".join(summary_lines(summary, free=True))


def test_only_problems() -> None:
    tally = Tally()
    tally.add(result("a.jpg", "restored"))
    fine = tally.summary(Progress(), out="o", seconds=1, free=True)
    assert list(summary_lines(fine, free=True, only_problems=True)) == []

    tally.add(result("b.jpg", "failed", ("failed", "no")))
    bad = tally.summary(Progress(found=3), out="o", seconds=1, free=True, interrupted=True)
    text = "\n".join(summary_lines(bad, free=True, only_problems=True))
    assert "b.jpg" in text
    assert "goes on from here" in text
    assert "price" not in text


def test_advice_comes_once_for_a_type_and_always() -> None:
    tally = Tally()
    tally.add(result("a", "failed", ("permanent", "no face")))
    tally.add(result("b", "failed", ("permanent", "no eyes")))
    text = "\n".join(
        summary_lines(tally.summary(Progress(), out="o", seconds=1, free=True), free=True, only_problems=True)
    )
    assert text.count(advice("permanent")) == 1
    assert "--retry-failed" in advice("something new")


def test_a_photo_on_one_line() -> None:
    done = Result(photo="a\n.jpg", source="/p", outcome="restored", outputs={"improved": "improved/a.jpg"}, attempts=2)
    assert photo_line(done) == r"a\n.jpg: restored (improved) (in 2 requests)"
    failed = result("b.jpg", "failed", ("permanent", "no face"))
    assert photo_line(failed) == "b.jpg: failed: no face"


def test_a_plan_in_words() -> None:
    plan = Plan(
        photos=7,
        requests=2,
        bytes=3_400_000,
        skipped=1,
        rejected=[result("c.txt", "rejected", ("not_an_image", "it is no image"))],
        cost=0.42,
    )
    text = "\n".join(plan_lines(plan, free=False))
    assert "Nothing was sent" in text
    assert "7 photos (3.4 MB) in 2 requests" in text
    assert "about 0.42 ₽" in text
    assert "c.txt" in text
    assert FREE in "\n".join(plan_lines(plan, free=True))


def test_a_status_in_words() -> None:
    tally = Tally()
    tally.add(result("a.jpg", "failed", ("permanent", "no face")))
    status = Status(
        outcomes={"restored": 1200, "failed": 1}, unfinished=3, failures=tally.failures, images=1210, cost=72.6
    )
    text = "\n".join(status_lines(status, out="restored"))
    assert "1,204 photos known" in text
    assert "1,200  restored" in text
    assert "3  not finished" in text
    assert "about 72.60 ₽" in text
    assert "no face" in text


# ── progress ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_pace_is_over_the_last_minute_and_without_skipped_photos() -> None:
    clock = Clock()
    pace = Pace(clock)
    assert pace.look(Progress(outcomes={"skipped": 1000})) == 0
    clock.now += 10
    assert pace.look(Progress(outcomes={"skipped": 2000, "restored": 50})) == 5
    clock.now += 70
    assert pace.look(Progress(outcomes={"skipped": 2000, "restored": 50})) == 0


def test_plain_lines_come_every_ten_seconds_at_each_tenth_and_at_trouble() -> None:
    lines: list[str] = []
    clock = Clock()
    display_path = Lines(lines.append, free=False, clock=clock)
    progress = Progress(found=100)
    display_path.show(progress)
    assert lines == []

    clock.now += 10
    display_path.show(progress)
    assert lines.pop().startswith("0 of 100+ photos")
    display_path.show(progress)
    assert lines == []

    progress.scanning = False
    progress.outcomes["restored"] = 9
    display_path.show(progress)
    assert lines == []
    progress.outcomes["restored"] = 11
    progress.images = progress.images_paid = 12
    progress.requests = 2
    display_path.show(progress)
    assert "11 of 100 photos" in lines[-1]
    assert "1.1 photos/s" in lines[-1]
    assert "1 min 21 s left" in lines[-1]
    assert "about 0.72 ₽" in lines.pop()

    progress.status_message = "the service is down, waiting 12 s"
    display_path.show(progress)
    assert "waiting 12 s" in lines.pop()
    progress.status_message = "the service is down, waiting 11 s"
    display_path.show(progress)
    assert lines == []

    display_path.say("a line")
    display_path.close()
    assert lines == ["a line"]


def test_silence_says_only_what_is_said() -> None:
    lines: list[str] = []
    display_path = Silence(lines.append)
    display_path.show(Progress(found=100, status_message="down"))
    display_path.say("a line")
    display_path.close()
    assert lines == ["a line"]


def test_the_bar_shows_it_all() -> None:
    screen, clock = StringIO(), Clock()
    console = Console(file=screen, force_terminal=True, width=100, color_system=None, legacy_windows=False)
    bar = Bar(console, free=False, clock=clock)
    progress = Progress(found=120)
    bar.show(progress)
    clock.now += 10
    progress.outcomes = {"restored": 29, "failed": 1}
    progress.images = progress.images_paid = 33
    progress.requests = progress.retries = 3
    bar.show(progress)
    assert "30 of 120+ photos" in screen.getvalue()

    progress.scanning = False
    progress.status_message = "the service is down [bold]waiting\x1b 12 s"
    bar.say("[red]one.jpg[/red]: restored")
    bar.show(progress)
    bar.close()
    text = screen.getvalue()
    assert "25 %" in text
    assert "30 of 120 photos" in text
    assert "3.0 photos/s" in text
    assert "30 s left" in text
    assert "about 1.98 ₽" in text
    assert "3 tried again" in text
    assert "1 photo not restored" in text
    assert "[bold]waiting\\x1b 12 s" in text
    assert "[red]one.jpg[/red]: restored" in text


def test_colours_of_the_embedded_service_are_said_to_be_tones() -> None:
    result = Result(photo="a.jpg", source="/s", outcome="restored", outputs={"colorized": "colorized/a.jpg"}, bw=True)
    assert photo_line(result, toned=True) == "a.jpg: restored (colorized; toned, not colourized)"
    assert "toned" not in photo_line(result)
    tally = Tally()
    tally.add(result)
    summary = tally.summary(Progress(found=1), out="o", seconds=1.0, free=True)
    assert any("toned, not colourized" in line for line in summary_lines(summary, free=True))
    assert not any("toned" in line for line in summary_lines(summary, free=False))
