from __future__ import annotations

import errno
import os
import re
from io import StringIO

import msgspec
import pytest
from rich.console import Console

from smarty_async.archive.journal.records import FailedPhoto
from smarty_async.progress import InFlight, Progress
from smarty_async.report.estimate import Estimator
from smarty_async.report.progress import Bar, Lines, Silence, counting
from smarty_async.report.summary import (
    FREE,
    Tally,
    failed_line,
    failure_lines,
    left_alone_line,
    photo_line,
    plan_lines,
    status_lines,
    summary_lines,
)
from smarty_async.report.wording import (
    advice,
    columns,
    count,
    duration,
    end_of,
    estimated,
    money,
    pace,
    plain,
    wrapped,
)
from smarty_async.results import ErrorInfo, Failures, Outcome, Plan, Result, Status


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
    [
        (0, "less than 1 s"),
        (59.4, "59 s"),
        (59.6, "1 min 0 s"),
        (125, "2 min 5 s"),
        (12_000, "3 h 20 min"),
        (-1, "less than 1 s"),
    ],
)
def test_duration(seconds: float, words: str) -> None:
    assert duration(seconds) == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "about 1 s"),
        (7.6, "about 8 s"),
        (38, "about 40 s"),
        (81, "about 1 min 30 s"),
        (329, "about 5 min"),
        (2_800, "about 45 min"),
        (12_100, "about 3 h 20 min"),
        (200_000, "about 56 h"),
    ],
)
def test_an_estimate_is_no_more_exact_than_it_is_known(seconds: float, words: str) -> None:
    assert estimated(seconds) == words


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.4, "2.5 photos/s"), (1.0, "1.0 photos/s"), (3.24, "3.2 s/photo"), (75, "75.0 s/photo")]
)
def test_a_pace_is_never_under_one(seconds: float, words: str) -> None:
    assert pace(seconds) == words


def test_lines_are_broken_between_words_only() -> None:
    line = "  1 photo not-sent: /a/very/long/path/without/any/space/in/it/and/more.jpg is damaged"
    lines = wrapped(line, 30).splitlines()
    assert lines[0] == "  1 photo not-sent:"
    assert lines[1:] == ["    /a/very/long/path/without/any/space/in/it/and/more.jpg", "    is damaged"]
    assert wrapped("short", 80) == "short"


def test_a_line_that_begins_with_a_long_word_keeps_its_indent() -> None:
    name = "a_very_long_name_of_a_photo_without_spaces.jpg"
    assert wrapped(f"    {name}", 30) == f"    {name}"
    assert wrapped(f"    {name} is damaged", 30).splitlines() == [f"    {name}", "      is damaged"]


def test_lines_are_as_wide_as_a_terminal_draws_them() -> None:
    assert [columns(text) for text in ("ab", "дом", "写真", "e\u0301")] == [2, 3, 4, 1]
    assert wrapped("  写真写真 写真写真 写真写真", 20).splitlines() == ["  写真写真 写真写真", "    写真写真"]
    assert end_of("album/写真写真.jpg", 9) == "…写真.jpg"
    assert end_of("short.jpg", 9) == "short.jpg"


def test_names_in_persian_and_joined_emoji_are_printed_as_they_are() -> None:
    for name in ("عکس\u200cها.jpg", "👨\u200d👩\u200d👧.jpg"):
        assert plain(name) == name
    assert plain("a\u202eb") == r"a\u202eb"  # turns the text around


@pytest.mark.parametrize("width", [40, 60])
def test_lines_under_the_bar_fit_a_narrow_terminal(monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    monkeypatch.setenv("TERM", "xterm")
    screen, clock = StringIO(), Clock()
    console = Console(file=screen, force_terminal=True, width=width, color_system=None, legacy_windows=False)
    bar = Bar(console, free=False)
    outcomes: dict[Outcome, int] = {"restored": 20, "failed": 5}
    progress = Progress(found=1200, scanning=False, requests=1000, retries=3, outcomes=outcomes)
    bar.show(progress, estimate_of(clock, progress), [InFlight("写真" * 50, 1, 1)] * 12)
    bar.say("tall.jpg: 300×4000 pixels are outside the dimensions that are accepted")
    bar.close()
    drawn = re.sub(r"\x1b\[[^a-zA-Z]*[a-zA-Z]", "", screen.getvalue()).replace("\r", "\n").split("\n")
    details = [line for line in drawn if " tried again" in line or " not restored" in line or " requests" in line]
    assert details
    for line in details:
        assert re.fullmatch(
            r"(?:(?:about [\d.]+ ₽|1,000 requests|3 tried again|5 photos not restored)(?: · |$))+", line
        )
    assert any(re.fullmatch(r"waiting for …[写真]+ and 11 more", line) for line in drawn)
    assert max(map(columns, drawn)) <= width
    assert "accepted" in {line.strip().split(" ")[-1] for line in drawn if line.startswith("  ")}


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
    assert (first.type, first.count, first.names) == ("too_large", 2, ["b.jpg", "c.jpg"])
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


def test_failures_of_several_sources_are_named_with_their_source() -> None:
    tally = Tally()
    for source in ("/photos", "/scans"):
        tally.add(msgspec.structs.replace(result("a.jpg", "failed", ("permanent", "no face")), source=source))
    (group,) = tally.failures
    assert (group.count, group.example, group.names) == (2, "/photos/a.jpg", ["/photos/a.jpg", "/scans/a.jpg"])


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

    assert "4 photos so far in 1 min 1 s" in text
    assert "5 photos left for another run" in text
    assert "1  restored" in text
    assert "1  already good" in text
    assert "--exclude" in text
    assert "--retry-failed" in text
    assert "c.txt" in text
    assert "\x1b" not in text
    assert "The results are in restored." in text
    assert "about 0.36 ₽ (6 images sent in 2 requests, all probably paid for)" in text
    assert "smarty-async view restored" in text


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
    assert "continues from here" in text
    assert "Price" not in text


def test_outputs_that_were_not_kept_are_a_problem() -> None:
    lacking = Progress(not_kept={"colorized": 3, "resolved": 1})
    summary = Tally().summary(lacking, out="o", seconds=1, free=False)
    [line] = summary_lines(summary, free=False, only_problems=True)
    assert line.startswith("3 finished photos have no colorized, 1 finished photo has no resolved: an earlier run")
    assert line.endswith("(--outputs). --redo-missing sends them again, and pays again.")


def test_failed_photos_are_named_the_first_twenty_of_a_reason() -> None:
    tally = Tally()
    for number in range(25):
        tally.add(result(f"{number}.jpg", "rejected", ("damaged", "the file is damaged")))
    lines = list(summary_lines(tally.summary(Progress(), out="my out", seconds=1, free=True), free=True))
    assert lines[:3] == ["25 photos were not restored:", "  25 photos not sent: the file is damaged", "    0.jpg"]
    assert lines[21] == "    19.jpg"
    see_all = 'smarty-async status "my out" --failed' if os.name == "nt" else "smarty-async status 'my out' --failed"
    assert lines[22].replace('"', "'") == f"    and 5 more: see {see_all}".replace('"', "'")


def test_the_pages_of_a_file_are_named_apart() -> None:
    tally = Tally()
    pages = [
        msgspec.structs.replace(result("scan.tif", "failed", ("permanent", "no face")), page=page) for page in (1, 2)
    ]
    for one in pages:
        tally.add(one)
    lines = list(summary_lines(tally.summary(Progress(), out="o", seconds=1, free=True), free=True))
    assert lines[1:4] == ["  2 photos failed: no face", "    scan.tif", "    scan.tif (page 2)"]
    assert [photo_line(one) for one in pages] == ["scan.tif: failed: no face", "scan.tif (page 2): failed: no face"]


def test_groups_of_an_older_version_have_one_name() -> None:
    group = Failures(outcome="failed", type="permanent", message="no face", count=1, example="a.jpg")
    assert list(failure_lines([group], see_all=None))[:2] == ["  1 photo failed: no face", "    a.jpg"]


def test_one_failed_photo_on_one_line() -> None:
    failed = FailedPhoto(1, "a\n.tif", "/s", 2, "failed", ErrorInfo("permanent", "no face"))
    assert failed_line(failed) == r"a\n.tif (page 2): failed: no face"


@pytest.mark.parametrize(
    ("number", "names", "line"),
    [
        (1, ["notes.txt"], "1 file that is not a photo or is a result was left alone: notes.txt"),
        (7, list("abcdef"), "7 files that are not photos or are results were left alone: a, b, c, d, e and 2 more"),
        (2, [], "2 files that are not photos or are results were left alone"),
    ],
)
def test_files_that_are_no_photos(number: int, names: list[str], line: str) -> None:
    assert left_alone_line(number, names) == line


def test_a_run_stopped_with_nothing_left_says_so() -> None:
    tally = Tally()
    tally.add(result("a.jpg", "restored"))
    summary = tally.summary(Progress(found=1, scanning=False), out="o", seconds=1, free=True, interrupted=True)
    assert "Nothing was left to do" in "\n".join(summary_lines(summary, free=True))


@pytest.mark.parametrize(
    ("ahead", "says"),
    [(4990, "with 4,999 photos left."), (None, "with at least 9 photos left.")],
)
@pytest.mark.parametrize("limit_reached", [False, True])
def test_a_stopped_run_counts_the_photos_that_it_has_not_come_to(
    ahead: int | None, says: str, *, limit_reached: bool
) -> None:
    tally = Tally()
    tally.add(result("a.jpg", "restored"))
    progress = Progress(found=10, ahead=ahead, limit_reached=limit_reached)
    summary = tally.summary(progress, out="o", seconds=1, free=True, interrupted=not limit_reached)
    lines = "\n".join(summary_lines(summary, free=True))
    assert f"{'The spend limit was reached' if limit_reached else 'Stopped'} {says}" in lines
    assert summary.scanning is (ahead is None)


def test_a_folder_whose_name_ends_with_a_dot_is_quoted() -> None:
    tally = Tally()
    tally.add(result("a.jpg", "restored"))
    summary = tally.summary(Progress(found=1), out=".", seconds=1, free=True)
    assert "The results are in '.'. Look at them with:" in list(summary_lines(summary, free=True))


def test_the_status_command_of_the_last_lines_has_the_state_of_the_run() -> None:
    """Without it, `status` would read the whole log of the bucket."""
    tally = Tally()
    tally.add(result("a.jpg", "restored"))
    for number in range(100):
        tally.add(result(f"{number}.jpg", "failed", ("permanent", "no")))
    summary = tally.summary(Progress(found=101), out="s3://b/out", seconds=1, free=True)
    lines = list(summary_lines(summary, free=True, state="my state"))
    assert "  smarty-async status s3://b/out --state 'my state'" in lines
    assert any(line.endswith("see smarty-async status s3://b/out --state 'my state' --failed") for line in lines)
    assert "  smarty-async status s3://b/out" in list(summary_lines(summary, free=True))


def test_a_run_stopped_before_all_photos_were_found_says_so() -> None:
    summary = Tally().summary(Progress(), out="o", seconds=1, free=True, interrupted=True)
    line = "Stopped before all photos were found. The same command continues from here."
    assert line in list(summary_lines(summary, free=True))


@pytest.mark.parametrize("kind", ["damaged", "truncated", "heic", "raw"])
def test_advice_that_the_message_gives_is_not_given_again(kind: str) -> None:
    tally = Tally()
    tally.add(result("a", "rejected", (kind, "the file is incomplete: copy it again")))
    lines = [*summary_lines(tally.summary(Progress(), out="o", seconds=1, free=True), free=True, only_problems=True)]
    assert any("copy it again" in line for line in lines)
    assert not any("What to do" in line for line in lines)


def test_advice_comes_once_for_a_type() -> None:
    tally = Tally()
    tally.add(result("a", "failed", ("permanent", "no face")))
    tally.add(result("b", "failed", ("permanent", "no eyes")))
    text = "\n".join(
        summary_lines(tally.summary(Progress(), out="o", seconds=1, free=True), free=True, only_problems=True)
    )
    assert text.count(advice("permanent") or "") == 1


def test_only_photos_that_no_run_takes_by_itself_are_advised_to_be_retried() -> None:
    left = {"temporary", "unanswered", "broken_output", "internal", "something new"}
    taken = {"changed", "collision", "no_such_page", "output_exists", "output_refused", "path_too_long"}
    kinds = left | taken | {"permanent", "too_large", "unreadable", "unreadable_folder"}
    assert {kind for kind in kinds if "--retry-failed" in (advice(kind) or "")} == left
    elsewhere = [to_do for kind in kinds if "another --out" in (to_do := advice(kind) or "")]
    assert len(elsewhere) == 4
    assert all("for them alone" in to_do for to_do in elsewhere), "everything else would be sent again"


def test_folders_that_cannot_be_read_are_not_counted_as_photos() -> None:
    tally, reason = Tally(), "the folder cannot be read, so the photos in it are not known: Permission denied"
    for name in ("b", "c/deep", "z"):
        tally.add(result(name, "rejected", ("unreadable_folder", reason)))
    summary = tally.summary(Progress(), out="o", seconds=1, free=True)
    lines = list(summary_lines(summary, free=True, only_problems=True))
    assert lines[:2] == ["3 folders that cannot be read were not restored:", f"  3 folders not sent: {reason}"]
    tally.add(result("gone.jpg", "rejected", ("unreadable", "cannot be read: the link leads to nothing")))
    rejected = [result(name, "rejected", ("unreadable_folder", reason)) for name in ("b", "z")]
    rejected.append(result("c.txt", "rejected", ("not_an_image", "it is no image")))
    plan = "\n".join(plan_lines(Plan(photos=0, requests=0, bytes=0, skipped=0, rejected=rejected, cost=0), free=True))
    assert "  reject  1 photo and 2 folders that cannot be read\n" in plan
    assert "1 photo and 2 folders that cannot be read would not be sent:" in plan
    assert "make these folders readable" in plan


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
        left_alone=1,
        left_alone_names=["list.txt"],
    )
    text = "\n".join(plan_lines(plan, free=False))
    assert "Nothing was sent" in text
    assert "  leave   1 file alone that is not a photo or is a result\n" in text
    assert "7 photos (3.4 MB) in 2 requests" in text
    assert "about 0.42 ₽" in text
    assert "c.txt" in text
    assert "take" not in text
    free = "\n".join(plan_lines(plan, free=True, seconds=90))
    assert "nothing; the service in the cloud would cost about 0.42 ₽" in free
    assert "take    about 1 min 30 s" in free


def test_a_status_in_words() -> None:
    tally = Tally()
    tally.add(result("a.jpg", "failed", ("permanent", "no face")))
    status = Status(
        outcomes={"restored": 1200, "failed": 1},
        unfinished=3,
        failures=tally.failures,
        images=1214,
        images_paid=1210,
        cost=72.6,
    )
    text = "\n".join(status_lines(status, out="restored"))
    assert "restored: 1,204 photos" in text
    assert "(1,210 probably paid for), or nothing where the photos were restored on this machine" in text
    assert "1,200  restored" in text
    assert "3  not finished" in text
    assert "about 72.60 ₽" in text
    assert "no face" in text


# ── progress ─────────────────────────────────────────────────────────────────────────────────────────────────────


def estimate_of(clock: Clock, progress: Progress) -> Estimator:
    estimate = Estimator(unit="bytes", clock=clock)
    estimate.look(progress)
    return estimate


def wait(estimate: Estimator, clock: Clock, progress: Progress, *, seconds: int) -> None:
    for _ in range(seconds):
        clock.now += 1
        estimate.look(progress)


def test_plain_lines_come_every_ten_seconds_at_each_tenth_and_at_trouble() -> None:
    lines: list[str] = []
    clock = Clock()
    display = Lines(lines.append, free=False, clock=clock)
    progress = Progress(found=100, requests=1)
    progress.work.bytes = 100
    estimate = estimate_of(clock, progress)

    def show(*in_flight: InFlight) -> None:
        estimate.look(progress, in_flight)
        display.show(progress, estimate, in_flight)

    show()
    assert lines == []

    wait(estimate, clock, progress, seconds=10)
    show(InFlight("a/b\n.jpg", 1, 1), InFlight("c.jpg", 1, 1))
    assert lines[-1].startswith("0 of 100+ photos")
    assert lines.pop().endswith(r"waiting for a/b\n.jpg and 1 more")
    show()
    assert lines == []

    progress.scanning = False
    progress.outcomes["restored"] = progress.work.bytes_done = 9
    show()
    assert lines == []
    progress.outcomes["restored"] = progress.work.bytes_done = 11
    progress.images = progress.images_paid = 12
    progress.requests = 2
    show()
    assert "11 of 100 photos" in lines[-1]
    assert "1.1 photos/s" in lines[-1]
    assert "about 1 min 30 s left" in lines[-1]
    assert "about 0.72 ₽" in lines.pop()

    progress.status_message = "the service is down, waiting 12 s"
    show()
    assert "waiting 12 s" in lines.pop()
    progress.status_message = "the service is down, waiting 11 s"
    show()
    assert lines == []

    display.say("a line")
    display.close()
    assert lines == ["a line"]


def test_silence_says_only_what_is_said() -> None:
    lines: list[str] = []
    display = Silence(lines.append)
    display.show(Progress(found=100, status_message="down"), Estimator(unit="bytes"))
    display.say("a line")
    display.close()
    assert lines == ["a line"]


def test_a_bar_whose_terminal_is_gone_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    class Gone(StringIO):
        is_gone = False

        def write(self, text: str) -> int:
            if self.is_gone:
                raise OSError(errno.EIO, "the terminal is gone")
            return super().write(text)

    monkeypatch.setenv("TERM", "xterm")
    screen = Gone()
    console = Console(file=screen, force_terminal=True, width=100, color_system=None, legacy_windows=False)
    bar = Bar(console, free=False)
    screen.is_gone = True
    bar.show(Progress(found=120), Estimator(unit="bytes"))
    bar.say("a line")
    bar.close()


@pytest.mark.parametrize("is_terminal", [True, False])
def test_photos_are_counted_on_a_terminal_only(monkeypatch: pytest.MonkeyPatch, *, is_terminal: bool) -> None:
    monkeypatch.setenv("TERM", "xterm")
    screen, times = StringIO(), iter([0.0, 0.0, 0.0, 0.05, 1.0, 1.0])
    console = Console(file=screen, force_terminal=is_terminal, width=80, color_system=None, legacy_windows=False)
    with counting(console, clock=lambda: next(times)) as show:
        for done in (1, 2, 3):
            show(done, 2000)
    drawn = re.findall(r"[\d,]+ of 2,000 photos", screen.getvalue())
    assert list(dict.fromkeys(drawn)) == (["1 of 2,000 photos", "3 of 2,000 photos"] if is_terminal else [])
    assert bool(screen.getvalue()) == is_terminal


def test_the_bar_shows_it_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")  # rich draws nothing on a dumb one
    screen, clock = StringIO(), Clock()
    console = Console(file=screen, force_terminal=True, width=100, color_system=None, legacy_windows=False)
    bar = Bar(console, free=False)
    progress = Progress(found=120, requests=3)
    progress.work.bytes = 120
    estimate = estimate_of(clock, progress)
    bar.show(progress, estimate)
    wait(estimate, clock, progress, seconds=10)
    progress.outcomes = {"restored": 29, "failed": 1}
    progress.work.bytes_done = 30
    progress.images = progress.images_paid = 33
    progress.retries = 3
    estimate.look(progress)
    bar.show(progress, estimate)
    assert "30 of 120+ photos" in screen.getvalue()

    progress.scanning = False
    progress.status_message = "the service is down [bold]waiting\x1b 12 s"
    bar.say("[red]one.jpg[/red]: restored")
    long_name = f"{'x' * 60}/end.jpg"
    estimate.look(progress)
    bar.show(progress, estimate, [InFlight(long_name, 1, 1)])
    bar.close()
    text = screen.getvalue()
    assert "25 %" in text
    assert "30 of 120 photos" in text
    assert "3.0 photos/s" in text
    assert "about 30 s left" in text
    assert "about 1.98 ₽" in text
    assert "3 tried again" in text
    assert "1 photo not restored" in text
    assert "waiting for …xxx" in text
    assert "xxx/end.jpg" in text
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
